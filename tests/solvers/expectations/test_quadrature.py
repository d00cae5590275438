"""E softmax and E logsumexp of three and more Gaussian logits: references, exact identities, honest error estimates."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from solvers.expectations import gaussian_softmax, logistic_normal
from tests.limits import ROUNDING
from tests.solvers.expectations.without_factors import leave_all

Array = NDArray[np.float64]


def fields(rank: int, n: int, scale: float, seed: int) -> tuple[Array, Array, Array]:
    """Means, covariance and a factor of it for n logits, the last zero, with `rank` directions of that scale."""
    rng = np.random.default_rng(seed)
    factor = np.append(rng.normal(size=(n - 1, rank)) * scale / np.sqrt(rank), np.zeros((1, rank)), axis=0)
    return np.append(rng.normal(size=n - 1) * scale / 2, 0), factor @ factor.T, factor


def plain(u: Array) -> Array:
    """(softmax, logsumexp) of rows of logits."""
    top = u.max(axis=-1, keepdims=True)
    powers = np.exp(u - top)
    norm = powers.sum(axis=-1, keepdims=True)
    return np.concatenate([powers / norm, top + np.log(norm)], axis=-1)


def fine(mean: Array, factor: Array, step: float) -> Array:
    """The same integral by a cube grid in the coordinates of `factor`: other axes, step and range than the code's."""
    rank = factor.shape[1]
    side = np.arange(-8.2 if rank < 3 else -7.0, 8.2 if rank < 3 else 7.0, step)
    z = np.stack(np.meshgrid(*[side] * rank, indexing="ij"), axis=-1).reshape(-1, rank)
    weight = np.exp(-(z**2).sum(axis=-1) / 2)
    total = sum(
        w @ plain(mean + part @ factor.T)
        for part, w in zip(np.array_split(z, 20), np.array_split(weight, 20), strict=True)
    )
    return np.asarray(total / weight.sum())


def distance(mean: Array, cov: Array, exact: Array) -> tuple[float, float]:
    """True error in the units of the estimate, and the estimate."""
    softmax, logsumexp, estimate = gaussian_softmax(mean, cov, error=True)
    assert softmax.sum() == pytest.approx(1, abs=ROUNDING)
    got = np.append(softmax, logsumexp)
    return float((np.abs(got - exact) / np.maximum(1, np.abs(exact))).max()), float(estimate)


@pytest.mark.parametrize("scale", [0.01, 1.0, 8.0, 100.0, 1000.0])
@pytest.mark.parametrize("n", [3, 5])
def test_modes_in_line_against_integrals(n: int, scale: float) -> None:
    mean, cov, factor = fields(1, n, scale, seed=n)
    crossings = [-(mean[i] - mean[j]) / (factor[i, 0] - factor[j, 0]) for i in range(n) for j in range(i)]
    near = [z + t / scale for z in crossings for t in (-30, -4, 0, 4, 30)]
    breaks = sorted([-12.0, 12.0, *(float(z) for z in near if abs(z) < 11.9)])

    def first(u: list[mpmath.mpf]) -> mpmath.mpf:
        return mpmath.exp(u[0] - highest(u))

    def highest(u: list[mpmath.mpf]) -> mpmath.mpf:
        return max(u) + mpmath.log(sum(mpmath.exp(x - max(u)) for x in u))

    def integral(f: Callable[[list[mpmath.mpf]], mpmath.mpf]) -> mpmath.mpf:
        lines = list(zip(mean.tolist(), factor[:, 0].tolist(), strict=True))
        return mpmath.quad(lambda z: f([m + s * z for m, s in lines]) * mpmath.npdf(z), breaks)

    exact = (integral(first), integral(highest))
    softmax, logsumexp, estimate = gaussian_softmax(mean, cov, error=True)
    error = max(abs(softmax[0] - exact[0]), abs(logsumexp - exact[1]) / max(1, abs(exact[1])))
    assert error <= estimate <= max(5e-11, 1e-15 * scale**2)  # the second: directions indistinguishable from rounding


@pytest.mark.parametrize(
    ("rank", "n", "scale", "step", "bound"),
    [
        (2, 3, 0.2, 0.1, 2e-11),
        (2, 3, 5.0, 0.05, 2e-11),
        (2, 5, 8.0, 0.04, 2e-11),
        (2, 4, 60.0, 0.012, 1e-5),
        (3, 4, 0.5, 0.25, 2e-6),
        (3, 4, 4.0, 0.15, 2e-6),
        (3, 6, 4.0, 0.15, 2e-6),
        (3, 4, 12.0, 0.1, 2e-3),
    ],
)
def test_planes_and_more_against_fine_grids(rank: int, n: int, scale: float, step: float, bound: float) -> None:
    for seed in (1, 2) if rank < 3 else (1,):
        mean, cov, factor = fields(rank, n, scale, seed)
        error, estimate = distance(mean, cov, fine(mean, factor, step))
        assert error <= estimate <= bound


@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0, 30.0])
@pytest.mark.parametrize("n", [5, 8])
def test_many_directions_by_exchange(n: int, scale: float) -> None:
    """Independent equal logits: softmax is 1/n; the estimate covers the error, and is small for narrow fields."""
    softmax, _, estimate = gaussian_softmax(np.full(n, 0.3), scale**2 * np.eye(n), error=True)
    assert np.abs(softmax - 1 / n).max() <= estimate <= min(5e-3, 1e-4 * scale**2)
    assert softmax.sum() == pytest.approx(1, abs=ROUNDING)


def test_wide_fields_become_the_maximum() -> None:
    """E max of five standard normals is 1.16296447; logsumexp exceeds the maximum by O(1/scale)."""
    for scale in (50.0, 100.0):
        _, logsumexp, estimate = gaussian_softmax(np.zeros(5), scale**2 * np.eye(5), error=True)
        assert abs(logsumexp / scale - 1.16296447) <= 2 * estimate + 3 / scale**2


@pytest.mark.parametrize(("rank", "n", "tolerance"), [(1, 2, 3e-12), (2, 3, 2e-11), (3, 4, 2e-6), (4, 5, 2e-3)])
def test_merging_identical_logits(rank: int, n: int, tolerance: float) -> None:
    """Two logits that are one variable act as one with its mean raised by log 2."""
    mean, cov, _ = fields(rank, n, 4.0, seed=5)
    twin = [0, *range(n)]
    softmax, logsumexp = gaussian_softmax(mean[twin], cov[np.ix_(twin, twin)])
    raised = mean + np.log(2) * (np.arange(n) == 0)
    merged, expected = gaussian_softmax(raised, cov)
    np.testing.assert_allclose(softmax[0], softmax[1], atol=1e-13)
    np.testing.assert_allclose(np.append(softmax[0] + softmax[1], softmax[2:]), merged, atol=tolerance)
    assert logsumexp == pytest.approx(expected, abs=tolerance * max(1, expected))


@pytest.mark.parametrize(("rank", "n"), [(1, 3), (2, 4), (3, 4), (5, 6)])
def test_permutation_and_common_shift(rank: int, n: int) -> None:
    mean, cov, _ = fields(rank, n, 3.0, seed=2)
    softmax, logsumexp, estimate = gaussian_softmax(mean, cov, error=True)
    order = np.random.default_rng(0).permutation(n)
    permuted, same, _ = gaussian_softmax(mean[order] + 7, cov[np.ix_(order, order)] + 2.5, error=True)
    np.testing.assert_allclose(permuted, softmax[order], atol=2 * estimate)
    assert same - 7 == pytest.approx(logsumexp, abs=2 * estimate * max(1, logsumexp + 7))


@pytest.mark.parametrize(("rank", "n"), [(1, 3), (2, 3), (3, 4), (4, 5)])
def test_softmax_is_the_gradient(rank: int, n: int) -> None:
    """∂ E logsumexp / ∂ mean_i = E softmax_i, for each rule exactly, as it is node by node."""
    mean, cov, _ = fields(rank, n, 2.0, seed=9)
    step = 1e-4 * np.eye(n)
    rise = gaussian_softmax(mean + step, cov)[1] - gaussian_softmax(mean - step, cov)[1]
    np.testing.assert_allclose(rise / 2e-4, gaussian_softmax(mean, cov)[0], atol=1e-8)


@pytest.mark.parametrize("n", [4, 5, 7])
def test_smooth_in_the_covariance(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along a path through crossing eigenvalues third differences fall like step³: no flips of axes, no new points."""
    leave_all(monkeypatch)
    mean, cov, _ = fields(n - 1, n, 2.0, seed=4)
    other = fields(n - 1, n, 2.0, seed=8)[1]
    for step in (0.02, 0.01):
        t = np.arange(0.0, 1.0 + step / 2, step)[:, None, None]
        path = gaussian_softmax(mean, (1 - t) * cov + t * other)[1]
        assert np.abs(np.diff(path, n=3)).max() < 20 * step**3


def test_degenerate_fields() -> None:
    for n in (3, 6):
        mean = np.random.default_rng(n).normal(size=(4, n))
        softmax, logsumexp, estimate = gaussian_softmax(mean, np.zeros((n, n)), error=True)
        np.testing.assert_allclose(np.column_stack([softmax, logsumexp]), plain(mean), rtol=1e-14)
        assert (estimate <= 1e-12).all()
    softmax, logsumexp, _ = gaussian_softmax(np.array([[2.5]]), np.array([[4.0]]), error=True)
    assert (softmax, logsumexp) == (1, 2.5)
    # Three in line behave as a pair when one of them is out of reach.
    cov = np.outer([3.0, 1.0, 0.0], [3.0, 1.0, 0.0])
    softmax, logsumexp = gaussian_softmax(np.array([0.4, -1e4, 0.0]), cov)
    np.testing.assert_allclose([softmax[0], logsumexp], logistic_normal(0.4, 3.0), atol=1e-11)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_logits_of_thousands(rank: int) -> None:
    for seed, high in ((0, 1e4), (1, -1e4)):
        _, cov, _ = fields(rank, 5, 100.0, seed)
        mean = np.array([0.0, high, 0.0, 0.0, 0.0])
        softmax, logsumexp = gaussian_softmax(mean, cov)
        assert np.isfinite(softmax).all()
        assert softmax[1] == pytest.approx(float(high > 0), abs=1e-14)
        if high > 0:
            assert logsumexp == pytest.approx(high, rel=1e-12)


def test_batches_are_elements() -> None:
    """Ranks 0 to 4 in one batch, covariances shared along one axis: each element is what it is alone."""
    n, ranks = 5, (0, 1, 2, 2, 3, 4)
    cov = np.stack([fields(max(r, 1), n, 2.0, 20 + i)[1] * (r > 0) for i, r in enumerate(ranks)])
    mean = np.random.default_rng(1).normal(size=(len(ranks), 3, n))
    softmax, logsumexp, estimate = gaussian_softmax(mean, cov[:, None], error=True)
    assert softmax.shape == mean.shape
    assert logsumexp.shape == estimate.shape == mean.shape[:2]
    for i in range(len(ranks)):
        alone = gaussian_softmax(mean[i, 1], cov[i], error=True)
        np.testing.assert_allclose(softmax[i, 1], alone[0], rtol=1e-13)
        np.testing.assert_allclose([logsumexp[i, 1], estimate[i, 1]], alone[1:], rtol=1e-11, atol=1e-15)
    assert gaussian_softmax(np.zeros((0, n)), np.eye(n))[0].shape == (0, n)
    assert gaussian_softmax(np.zeros(n), np.zeros((0, n, n)))[1].shape == (0,)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"mean \(3,\) and cov \(2, 2\)"):
        gaussian_softmax(np.zeros(3), np.eye(2))
    cov = np.stack([np.eye(4), np.full((4, 4), np.nan)])
    softmax, logsumexp, estimate = gaussian_softmax(np.zeros((2, 4)), cov, error=True)
    assert np.isfinite(softmax[0]).all()
    assert np.isnan(softmax[1]).all()
    assert np.isnan([logsumexp[1], estimate[1]]).all()


def test_memory_is_bounded() -> None:
    mean, cov, _ = fields(1, 3, 3.0, seed=0)
    tracemalloc.start()
    gaussian_softmax(mean + np.linspace(-1, 1, 20_000)[:, None], cov)
    gaussian_softmax(*fields(2, 4, 60.0, seed=0)[:2])
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
