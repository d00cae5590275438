"""The rule of many logits: exact splits, and the series, against products of Gauss–Hermite rules."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest

from solvers.expectations import factors, gaussian_softmax
from solvers.expectations.lanes.factor import factored
from solvers.expectations.splits import split
from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS


def summed(means: Any, cov: Any, factor: bool, D: float) -> Any:
    """`factored` for a tolerance of 5 e^−D, which is what will do."""
    return factors.factored(means, cov, factor, D, 5 * np.exp(-D))


def law(n: int, norm: float, seed: int, near: float = 0.0) -> tuple[Any, Any]:
    """Means (n, n) under each of n Gaussians of a mixture, their common covariance; near: two of its means approach."""
    rng = np.random.default_rng(seed)
    mu = rng.standard_normal((n, 64)) * norm / 8
    mu[1] += near * (mu[0] - mu[1])
    cov = mu @ mu.T
    return np.log(np.full(n, 1 / n)) + cov - np.diag(cov) / 2, cov


def by_products(means: Any, cov: Any, nodes: int) -> Any:
    """(softmax, logsumexp) by the product of Gauss–Hermite rules in the principal axes of the differences."""
    n = len(cov)
    centre = np.eye(n) - 1 / n
    variances, axes = np.linalg.eigh(centre @ cov @ centre)
    factor = (axes * np.sqrt(np.maximum(variances, 0)))[:, 1:]
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    z = np.array(list(product(x, repeat=n - 1)))
    weight = np.prod(np.array(list(product(w / w.sum(), repeat=n - 1))), axis=1)
    u = means[:, None, :] + z @ factor.T
    top = u.max(axis=2, keepdims=True)
    e = np.exp(u - top)
    norm = e.sum(axis=2)
    softmax = np.einsum("p,rpj->rj", weight, e / norm[..., None])
    return np.column_stack([softmax, (top[..., 0] + np.log(norm)) @ weight])


def test_a_split_is_one() -> None:
    """diag(d) + b bᵀ + Δ differs from C by c 1ᵀ + 1 cᵀ: by nothing that differences of logits see."""
    for n, factor, near in product((3, 4, 8), (False, True), (0.0, 0.9)):
        cov = law(n, 2.5, n, near)[1]
        d, b, rest = np.empty(n), np.empty(n), np.empty((n, n))
        split(cov, factor, d, b, rest)
        differences = np.eye(n)[1:] - np.eye(n)[0]
        missing = differences @ (np.diag(d) + np.outer(b, b) + rest - cov) @ differences.T
        assert np.abs(missing).max() < 1e-13 * np.abs(cov).max()
        assert d.min() >= 0


@pytest.mark.parametrize(("n", "factor", "near"), [(3, False, 0.0), (3, True, 0.0), (3, True, 0.7), (4, True, 0.0)])
def test_exact_splits_reach_any_tolerance(n: int, factor: bool, near: float) -> None:
    """Three logits of an acute triangle are independent, any three and most four are given one factor: against 56 or 40
    Gauss–Hermite nodes an axis, which leave 1e-10 at this width."""
    means, cov = law(n, 1.0, 7, near)
    exact = by_products(means, cov, {3: 56, 4: 40}[n])
    for D, tolerance in ((12.0, 5e-5), (26.0, 5e-10)):
        found = summed(means, cov, factor, D)
        assert found is not None
        assert np.abs(found[0] - exact).max() < tolerance
    # control: a covariance a tenth larger is seen
    other = summed(means, 1.1 * cov, factor, 26.0)
    assert other is not None
    assert np.abs(other[0] - exact).max() > 1e-3


def test_the_series_is_of_the_fourth_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Δ scaled by ½ divides the error by some 2⁵, and a wrong factor of the last line does not."""

    def errors() -> list[float]:
        out = []
        for scale in (0.5, 0.25):
            rest = scale * np.array(
                [[0, 0.5, -0.4, 0.3], [0.5, 0, 0.3, -0.4], [-0.4, 0.3, 0, 0.5], [0.3, -0.4, 0.5, 0]]
            )
            cov = np.diag([1.2, 1.0, 0.9, 1.1]) + rest
            means = np.array([[0.1, -0.2, 0.3, 0.0]])
            found = summed(means, cov, False, 26.0)
            assert found is not None
            out.append(float(np.abs(found[0] - by_products(means, cov, 40)).max()))
        return out

    first, second = errors()
    assert first < 3e-6
    assert first / second > 2**4.4
    right = factors.connected

    def wrong(kappa: Any, delta: Any) -> Any:
        ratio, slopes, last = right(kappa, delta)
        return ratio * np.exp(last), slopes, last  # the last line twice

    monkeypatch.setattr(factors, "connected", wrong)
    assert errors()[0] > 5 * first


def test_slopes_are_derivatives_of_the_ratio() -> None:
    """`connected` with κ of H = exp(polynomials): its slopes against differences of its own logarithm."""
    rng = np.random.default_rng(3)
    n, h = 5, 1e-5
    rest = 0.2 * rng.standard_normal((n, n))
    rest = rest + rest.T
    c = rng.uniform(0.1, 0.6, (6, n)) * np.array([[0], [1], [-1], [1], [-1], [1]])

    def kappa(y: Any) -> Any:
        """Derivatives of Σ_m c_m yᵐ/m!."""
        return np.array(
            [np.polynomial.polynomial.polyval(y, (c[m:].T / _factorials(6 - m)).T, tensor=False) for m in range(1, 6)]
        )

    def logarithm(y: Any) -> Any:
        base = np.polynomial.polynomial.polyval(y, (c.T / _factorials(6)).T, tensor=False).sum(axis=1)
        return base + np.log(factors.connected(kappa(y), rest)[0])

    y = rng.uniform(-0.3, 0.3, (3, n))
    slopes = factors.connected(kappa(y), rest)[1]
    for i in range(n):
        step = h * np.eye(n)[i]
        assert np.allclose(slopes[:, i], (logarithm(y + step) - logarithm(y - step)) / (2 * h), rtol=1e-7, atol=1e-7)


def _factorials(count: int) -> Any:
    return np.cumprod(np.maximum(np.arange(count), 1)).astype(float)


def test_estimates_bound_errors() -> None:
    """Four logits without a factor: none of 60 laws errs by more than its estimate. A hundredth of it would be too
    little for most."""
    ratios = []
    for seed in range(60):
        means, cov = law(4, 1.0, seed, near=0.2 * (seed % 3))
        found = summed(means[:1], cov, False, 26.0)
        if found:  # logits of their own variance all
            ratios.append(np.abs(found[0] - by_products(means[:1], cov, 30)).max() / (found[1][0] + 1e-10))
    assert len(ratios) > 30
    assert max(ratios) < 1
    assert np.median(ratios) > 0.01


def test_more_directions_than_three_are_summed_so() -> None:
    """gaussian_softmax takes the rule where it is good: eight logits with an error that points do not reach."""
    means, cov = law(8, 2.5, 0)
    softmax, logsumexp, estimate = gaussian_softmax(means, cov, error=True)
    assert estimate.max() < 1e-4
    given = np.exp(means[0, :] - cov[0] + np.diag(cov) / 2)
    assert np.abs(given[:, None] * softmax - (given[:, None] * softmax).T).max() < 2 * estimate.max()  # w_k A_kj
    assert np.isfinite(logsumexp).all()
    # nan in one row leaves the others
    means[3, 2] = np.nan
    again, *_ = gaussian_softmax(means, cov)
    assert np.isnan(again[3]).all()
    np.testing.assert_array_equal(again[0], softmax[0])


def test_jumps_between_splits_are_as_small_as_estimates() -> None:
    """Along a path of covariances third differences fall like step³, but for what splits and rules differ by."""
    first, second = (law(7, 1.5, seed)[1] for seed in (4, 8))
    for step in (0.02, 0.01):
        t = np.arange(0.0, 1.0 + step / 2, step)[:, None, None]
        _, path, estimate = gaussian_softmax(np.zeros(7), (1 - t) * first + t * second, error=True)
        assert np.abs(np.diff(path, n=3)).max() < 20 * step**3 + 8 * estimate.max()
        assert estimate.max() < 3e-5


@entry(**FLAGS)
def compiled(means: Any, cov: Any, factor: bool, D: float, values: Any, errors: Any) -> None:
    factored(means, cov, factor, D, 5.0 * math.exp(-D), values, errors)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "factor"), [(3, False), (5, False), (5, True), (8, False), (16, False)])
def test_compiled_sums_are_those_of_numpy(n: int, factor: bool) -> None:
    """To the two digits that power series of H have beyond e^−D; what the last line adds is a hundred times that."""
    means, cov = law(n, 1.5, n)
    expected = summed(means, cov, factor, 20.0)
    values, errors = np.empty((n, n + 1)), np.empty(n)
    compiled(means, cov, factor, 20.0, values, errors)
    allowed = 0.05 * np.exp(-20.0)
    assert np.abs(values - expected[0]).max() < allowed
    assert np.abs(errors - expected[1]).max() < allowed
    if n > 3:
        assert expected[1].max() > 100 * allowed


@pytest.mark.slow
def test_compiled_second_moments_are_those_of_numpy() -> None:
    means, cov = law(3, 1.0, 3)
    expected = factors.factored(means, cov, False, 20.0, 5 * np.exp(-20.0), moments=True)
    values, errors = np.empty((3, 13)), np.empty(3)
    compiled(means, cov, False, 20.0, values, errors)
    assert expected is not None
    assert np.abs(values - expected[0]).max() < 0.05 * np.exp(-20.0)
    # and what they are: entries of rows that sum to the softmax
    second = values[:, 3:12].reshape(3, 3, 3)
    assert np.abs(second.sum(axis=2) - values[:, :3]).max() < 1e-14
    assert (second > 0).all()
    x, w = np.polynomial.hermite_e.hermegauss(50)
    variances, axes = np.linalg.eigh(cov - cov.mean(0) - cov.mean(0)[:, None] + cov.mean())
    z = np.array(list(product(x, repeat=2))) @ (axes * np.sqrt(np.maximum(variances, 0)))[:, 1:].T
    p = np.exp(means[0] + z)
    p /= p.sum(axis=1, keepdims=True)
    true = np.einsum("q,qi,qj->ij", np.prod(list(product(w / w.sum(), repeat=2)), axis=1), p, p)
    assert np.abs(second[0] - true).max() < 1e-8
