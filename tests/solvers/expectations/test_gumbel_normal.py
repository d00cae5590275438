"""H(y, δ) and its derivatives: 30-digit integrals, identities that hold exactly, and the table that is committed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from solvers.expectations.gumbel_normal import (
    ERROR,
    FIRST_LEVEL,
    HEADER,
    HIGHEST,
    LEVELS,
    RADIUS,
    SHIFT,
    SPACING,
    gumbel_coefficients,
    gumbel_normal,
)
from solvers.expectations.logistic_normal import TERMS
from solvers.expectations.make_gumbel_coefficients import patches
from tests.solvers.expectations.gumbel_normal_oracle import errors, exact

SPREADS = [0.0, 1e-9, 0.1, 0.24999, 0.7, 1.0, 1.4999999, 1.5, 3.0, 7.0, 20.0, 31.9]


@pytest.mark.parametrize("b", SPREADS)
def test_against_integrals(b: float) -> None:
    y = np.array([0.0, -2.6 - b, 0.31 * b, 2.5 + b, 3.0 - 2 * b, 1.0 + 4 * b, 40.0])
    assert errors(gumbel_normal(y, b * b), y, np.full(7, b * b)).max() <= ERROR


def test_without_variance_the_gumbel_law() -> None:
    y = np.linspace(-6, 60, 4001)
    a = np.exp(-y)
    density = np.exp(-y - a)
    exact = np.exp(-a), density, (a - 1) * density, (1 - 3 * a + a * a) * density
    np.testing.assert_allclose(gumbel_normal(y, 0.0), exact, rtol=0, atol=ERROR)


@pytest.mark.parametrize("delta", [0.0, 0.02, 0.3])
def test_digits_of_a_small_tail(delta: float) -> None:
    y = np.linspace(-3.4 - 4 * delta**0.5, 0, 60)
    wanted = np.array([[float(x) for x in exact(place, delta)[:2]] for place in y]).T
    value, slope = gumbel_normal(y, delta, order=2)
    for least, digits in ((1e-10, 8), (1e-12, 6)):
        kept = wanted[0] > least
        np.testing.assert_allclose(value[kept], wanted[0, kept], rtol=10.0**-digits)
        np.testing.assert_allclose((slope / value)[kept], (wanted[1] / wanted[0])[kept], rtol=10.0**-digits)


def points(count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """(y, δ), of all widths, from where H is 0 to where it is 1."""
    rng = np.random.default_rng(5)
    delta = np.where(rng.random(count) < 0.02, 0.0, 10 ** rng.uniform(-4, 3, count))
    return np.sqrt(1.6 + delta) * rng.uniform(-8, 8, count), delta


def test_derivative_is_a_shift() -> None:
    """H'(y, δ) = e^{δ/2 − y} H(y − δ, δ), and its derivatives: two patches agree, and patches with the tail."""
    y, delta = points()
    factor = np.exp(np.minimum(delta / 2 - y, 2))
    kept = delta / 2 - y < 2
    value, first, second, third = gumbel_normal(y, delta)
    shifted = gumbel_normal(y - delta, delta)
    for got, wanted in (
        (first, shifted[0]),
        (second, shifted[1] - shifted[0]),
        (third, shifted[2] - 2 * shifted[1] + shifted[0]),
    ):
        assert np.abs(got - factor * wanted)[kept].max() <= 2 * np.exp(2) * ERROR
    assert np.abs(first - 1.001 * factor * shifted[0])[kept].max() > 1e3 * ERROR  # it would have been noticed
    assert ((value >= 0) & (value <= 1) & (first >= 0)).all()


def test_between_two_laws() -> None:
    """Jensen: the normal part averages; and a wide normal part hides the Gumbel one, up to its mean and variance."""
    y, delta = points()
    value = gumbel_normal(y, delta, order=1)[0]
    assert (value <= ndtr((y + np.log(60)) / np.sqrt(delta + 1e-300)) + np.exp(-60) + ERROR).all()
    wide = gumbel_normal(np.linspace(-60, 60, 41), 1000.0)[0]
    normal = ndtr((np.linspace(-60, 60, 41) - np.euler_gamma) / np.sqrt(1000 + np.pi**2 / 6))
    np.testing.assert_allclose(wide, normal, atol=1e-5)


def test_heat_equation() -> None:
    """∂H⁽ᵐ⁾/∂δ = H⁽ᵐ⁺²⁾/2, also across edges of levels; differences of fourth order."""
    y, delta = np.meshgrid(np.linspace(-6, 9, 31), [0.0625, 0.19, 0.9375, 1.9375, 17.0, 127.9375])
    step = 0.005 * (delta + 0.3)
    near, far = (
        np.array(gumbel_normal(y, delta + n * step)) - np.array(gumbel_normal(y, delta - n * step)) for n in (1, 2)
    )
    slope = (8 * near - far) / (12 * step)
    np.testing.assert_allclose(slope[:2], np.array(gumbel_normal(y, delta))[2:] / 2, atol=2e-10)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_values_that_are_no_numbers(order: int) -> None:
    y, delta = np.array([np.nan, 1.0, np.nan, 1e5, 1.0, 1.0]), np.array([1.0, np.nan, np.nan, np.nan, np.inf, 1024.0])
    jet = gumbel_normal(y, delta, order=order)
    assert len(jet) == order
    assert np.isnan(jet).all()
    assert not np.isnan(gumbel_normal(1.0, HIGHEST)).any()


def test_limits_and_shapes() -> None:
    np.testing.assert_array_equal(gumbel_normal(np.inf, [0.0, 3.0]), [[1, 1], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(gumbel_normal(-np.inf, [0.0, 3.0]), np.zeros((4, 2)))
    np.testing.assert_array_equal(gumbel_normal(0.5, -1e-16), gumbel_normal(0.5, 0.0))
    assert [x.shape for x in gumbel_normal(np.zeros((3, 1)), np.ones(4), order=2)] == [(3, 4)] * 2
    assert [x.shape for x in gumbel_normal(np.zeros((0, 2)), 1.0)] == [(0, 2)] * 4
    assert [np.shape(x) for x in gumbel_normal(0.0, 1.0)] == [()] * 4


def headers() -> np.ndarray:
    """(HEADER, LEVELS): what the table says of its levels."""
    return gumbel_coefficients()[: LEVELS * HEADER].reshape(LEVELS, HEADER).T


@pytest.mark.slow
@pytest.mark.parametrize("level", [9, 51, LEVELS - 1])
def test_patches_are_what_the_generator_makes(level: int) -> None:
    header, rows = patches(level)
    np.testing.assert_array_equal(headers()[:4, level], header)
    first = int(headers()[4, level])
    np.testing.assert_array_equal(gumbel_coefficients()[first : first + rows.size], rows.ravel())


def test_layout() -> None:
    table, (_, scale, counts, _, row, *rest) = gumbel_coefficients(), headers()
    np.testing.assert_array_equal(row, LEVELS * HEADER + TERMS * (np.cumsum(counts) - counts))
    assert table.shape == (LEVELS * HEADER + TERMS * int(counts.sum()),)
    lower = (FIRST_LEVEL + np.arange(LEVELS) << 49).view(np.float64) - SHIFT
    np.testing.assert_allclose(1 / scale, np.sqrt(RADIUS[0] ** 2 + RADIUS[1] ** 2 * lower), atol=0.002)
    assert not np.any(rest)
    assert table.nbytes < 1e6
    assert np.isfinite(table).all()
    assert not table.flags.writeable


def test_neighbours_agree_at_every_edge() -> None:
    """Across each edge in y, ends of patches included, and, at many y, across each edge in δ."""
    first, scale, counts, _, _, *_ = headers()
    edges = (FIRST_LEVEL + np.arange(LEVELS + 1) << 49).view(np.float64) - SHIFT
    level = np.repeat(np.arange(LEVELS), counts.astype(int) + 1)
    edge = np.arange(len(level)) - np.searchsorted(level, level)
    y = first[level] + (edge - 0.5) * SPACING / scale[level]
    middle = ((edges[:-1] + edges[1:]) / 2)[level]
    sides = [np.array(gumbel_normal(y + sign * 1e-13 * (1 + np.abs(y)), middle)) for sign in (-1, 1)]
    assert np.abs(sides[1] - sides[0]).max() <= 2 * ERROR + 4e-13
    inner = np.repeat(edges[1:-1], 200)
    y = np.tile(np.linspace(-9, 9, 200), LEVELS - 1) * np.sqrt(inner + 1.6)
    sides = [np.array(gumbel_normal(y, inner * (1 + sign))) for sign in (-4e-16, 4e-16)]
    assert np.abs(sides[1] - sides[0]).max() <= 2 * ERROR
