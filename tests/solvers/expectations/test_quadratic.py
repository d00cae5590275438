"""Expectations over logits with |z|²: independent integrals, the edges of d, and their own estimate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import gammaln, roots_genlaguerre, softmax
from scipy.special import logsumexp as log_sum_exp

from solvers.expectations import gaussian_softmax
from solvers.expectations.quadratic import quadratic_softmax
from tests.limits import ROUNDING

Array = NDArray[np.float64]


def gauss_oracle(mean: Array, a: Array, curvature: Array, d: int, nodes: int) -> tuple[Array, ...]:
    """By Gauss–Hermite in the directions a (n, r) and generalised Gauss–Laguerre in χ²_{d−r}; for smooth integrands."""
    n, r = a.shape
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    grid = [g.ravel() for g in np.meshgrid(*[x] * r, indexing="ij")]
    z = np.stack(grid, axis=-1)
    weight = np.prod([g.ravel() for g in np.meshgrid(*[w / w.sum()] * r, indexing="ij")], axis=0)

    def total(degrees: int) -> tuple[Array, ...]:
        half, share = roots_genlaguerre(nodes, degrees / 2 - 1) if degrees else (np.zeros(1), np.ones(1))
        out = [np.zeros(n), np.zeros(n), np.zeros((n, n)), np.zeros(())]
        for rho, part in zip(2 * half, share / share.sum(), strict=True):
            square = np.sum(z**2, axis=1) + rho
            u = mean + z @ a.T + curvature * square[:, None]
            p = softmax(u, axis=1)
            out[0] += part * (weight @ p)
            out[1] += part * ((weight * square) @ p)
            out[2] += part * (np.diag(weight @ p) - (p * weight[:, None]).T @ p)
            out[3] += part * (weight @ log_sum_exp(u, axis=1))
        return tuple(out)

    softmax_, radius, _, lse = total(d - r)
    return softmax_, radius, total(d + 2 - r)[2], lse


@pytest.mark.parametrize(
    ("n", "r", "d"),
    [(2, 1, 1), (2, 1, 2), (2, 1, 3), (2, 1, 4), (2, 1, 9), (2, 1, 70), (3, 1, 5), (3, 2, 2), (3, 2, 3), (3, 2, 80)],
)
def test_against_gauss_rules(n: int, r: int, d: int) -> None:
    rng = np.random.default_rng([n, r, d])
    a = np.vstack([rng.normal(size=(n - 1, r)), np.zeros((1, r))])
    curvature = 0.2 * rng.normal(size=n) / np.sqrt(max(1.0, d / 8))
    mean = rng.normal(size=n) - curvature * d
    found = quadratic_softmax(mean, a @ a.T, curvature, d, error=True)
    nodes = 150 if r == 1 else 70
    for value, expected in zip(found, gauss_oracle(mean, a, curvature, d, nodes), strict=False):
        # The oracle's own error, seen by raising its nodes, is 1e-10 at two directions and small d.
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-8 * max(1.0, d))
    assert found[4] < 1e-7


def dense_oracle(shift: float, slope: float, g: float, d: int) -> tuple[float, ...]:
    """Two logits, brute force: sums over fine grids of y and of ϱ itself, d large enough that both are smooth there."""
    y = np.linspace(-9, 9, 3001)
    share = np.exp(-(y**2) / 2)
    share /= share.sum()
    out = []
    for degrees in (d - 1, d + 1):
        width = np.sqrt(2 * degrees)
        rho = np.linspace(max(0.0, degrees - 11 * width), degrees + 11 * width + 60, 3001)[1:]
        log_p = (degrees / 2 - 1) * np.log(rho) - rho / 2 - gammaln(degrees / 2)
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        sums = np.zeros(4)
        for at, part in zip(y, share, strict=True):
            square = at**2 + rho
            u = shift + slope * at + g * square
            s = 1 / (1 + np.exp(-np.clip(u, -700, 700)))
            sums += part * np.array([p @ s, p @ (s * square), p @ (s * (1 - s)), p @ np.logaddexp(0, u)])
        out.append(sums)
    return out[0][0], out[0][1], out[1][2], out[0][3]


@pytest.mark.parametrize(
    ("d", "slope", "g"), [(30, 12.0, 0.4), (70, 12.0, 0.4), (10**4, 8.0, 0.02), (10**4, 3.0, 0.3), (10**6, 6.0, 0.001)]
)
def test_steep_logits_and_high_dimension(d: int, slope: float, g: float) -> None:
    shift = 1.0 - g * d
    cov = np.array([[slope**2, 0.0], [0.0, 0.0]])
    values = quadratic_softmax(np.array([shift, 0.0]), cov, np.array([g, 0.0]), d, error=True)
    found = values[0][0], values[1][0] / d, values[2][0, 0], values[3]
    expected = np.array(dense_oracle(shift, slope, g, d)) / [1, d, 1, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-10)
    assert values[4] < 1e-9


def test_without_curvature_it_is_the_gaussian_law() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=(5, 3, 3))
    mean, cov = rng.normal(size=(5, 3)), a @ a.mT
    for d in (3, 7):
        softmax_, radius, slope, lse = quadratic_softmax(mean, cov, np.full(3, 0.4), d)
        expected, expected_lse = gaussian_softmax(mean + 0.4 * d, cov)
        np.testing.assert_allclose(softmax_, expected, atol=1e-10)
        np.testing.assert_allclose(lse, expected_lse, atol=1e-10)
        np.testing.assert_allclose(radius.sum(axis=-1), d, rtol=1e-11)
        np.testing.assert_allclose(slope.sum(axis=-1), 0, atol=ROUNDING)


def test_invariances_and_shapes() -> None:
    rng = np.random.default_rng(4)
    a = np.concatenate([rng.normal(size=(4, 2, 2)), np.zeros((4, 1, 2))], axis=1)
    mean, cov, curvature = rng.normal(size=(4, 3)), a @ a.mT, -rng.uniform(0.2, 1.0, size=(4, 3))
    found = quadratic_softmax(mean, cov, curvature, 6, error=True)
    assert [x.shape for x in found] == [(4, 3), (4, 3), (4, 3, 3), (4,), (4,)]
    np.testing.assert_allclose(found[0].sum(axis=-1), 1, atol=1e-13)
    np.testing.assert_allclose(found[1].sum(axis=-1), 6, rtol=1e-8)
    order = [2, 0, 1]
    turned = quadratic_softmax(mean[:, order], cov[:, order][:, :, order], curvature[:, order], 6)
    # Another last logit, other axes, another grid: what they leave is the quadrature error.
    np.testing.assert_allclose(turned[0], found[0][:, order], atol=10 * found[4].max())
    np.testing.assert_allclose(turned[2], found[2][:, order][:, :, order], atol=10 * found[4].max())
    one = quadratic_softmax(mean[1], cov[1], curvature[1], 6)
    for single, many in zip(one, found, strict=False):
        np.testing.assert_allclose(single, many[1], rtol=1e-13, atol=ROUNDING)


def test_many_directions_stay_within_their_estimate() -> None:
    rng = np.random.default_rng(5)
    a = np.vstack([rng.normal(size=(3, 3)), np.zeros((1, 3))])
    curvature, d = 0.1 * rng.normal(size=4), 12
    mean = -curvature * d
    found = quadratic_softmax(mean, a @ a.T, curvature, d, error=True)
    expected = gauss_oracle(mean, a, curvature, d, 26)
    for value, reference in zip(found, expected, strict=False):
        assert np.max(np.abs(value - reference)) < 2 * found[4] * d
    assert found[4] < 2e-3


def test_one_logit_and_what_is_not_finite() -> None:
    softmax_, radius, slope, lse = quadratic_softmax(np.array([0.3]), np.array([[2.0]]), np.array([-0.5]), 4)
    np.testing.assert_allclose(
        [softmax_[0], radius[0], slope[0, 0], lse], [1, 4, 0, 0.3 - 0.5 * 4], rtol=ROUNDING, atol=ROUNDING
    )
    broken = quadratic_softmax(np.array([np.nan, 0.0]), np.eye(2), np.zeros(2), 4)
    assert all(np.isnan(x).all() for x in broken)
    with pytest.raises(ValueError, match="need"):
        quadratic_softmax(np.zeros(2), np.eye(3), np.zeros(2), 4)
