"""Rules that follow a tolerance: the error they reach, the estimate they give, what they cost."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from solvers.expectations import gaussian_softmax
from solvers.expectations.quadrature import MAX_NODES, TIGHTEST, digits, grid, spacing

Array = NDArray[np.float64]
TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-9)
WIDEST = {1: 300.0, 2: 12.0, 3: 1.5}
"""Standard deviations of logits up to which the tightest rule, the judge, is much better than 1e-9."""


def laws(rank: int, widest: float, count: int, seed: int) -> list[tuple[Array, Array]]:
    """Means and covariances of 3 to 8 logits in so many directions, of widths from 0.1 on, some flat."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        n = int(rng.integers(max(3, rank + 1), 9))
        width = np.exp(rng.uniform(np.log(0.1), np.log(widest)))
        factor = rng.normal(size=(n, rank)) * width * np.exp(-rng.exponential(size=rank))
        out.append((rng.normal(size=n) * width, factor @ factor.T))
    return out


def errors(mean: Array, cov: Array, tolerance: float, judge: tuple[Array, Array]) -> tuple[float, float]:
    """The error of both results in units of max(1, |value|), and the estimate of it."""
    softmax, logsumexp, estimate = gaussian_softmax(mean, cov, error=True, tolerance=tolerance)
    found, expected = np.append(softmax, logsumexp - mean[-1]), np.append(judge[0], judge[1] - mean[-1])
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max()), float(estimate)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_error_is_within_the_tolerance_and_the_estimate(rank: int) -> None:
    """The judge has an error of its own, 1e-11 by its estimate; test_quadrature.py has it against other integrals."""
    worst = dict.fromkeys(TOLERANCES, 0.0)
    for mean, cov in laws(rank, WIDEST[rank], 40, seed=rank):
        *judge, own = gaussian_softmax(mean, cov, error=True)
        assert own < 1e-10
        for tolerance in TOLERANCES:
            error, estimate = errors(mean, cov, tolerance, (judge[0], judge[1]))
            assert error <= tolerance
            assert error <= estimate + own
            assert estimate <= 3 * tolerance
            worst[tolerance] = max(worst[tolerance], error)
    # Control: a rule for one tolerance does not keep the next but one.
    for loose, tight in zip(TOLERANCES, TOLERANCES[2:], strict=False):
        assert worst[loose] > tight


def test_wide_fields_in_space_and_estimates() -> None:
    """Beyond the widths where the lattice reaches its tolerance the estimate says so. Judge: 15 times the nodes."""


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_nodes_fall_with_the_tolerance_and_not_below_a_few(rank: int) -> None:
    counts = [len(grid(rank, 4, 4, 0, digits(tolerance))[0]) for tolerance in (TIGHTEST, *reversed(TOLERANCES))]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1]
    for level in range(0, 60):
        assert len(grid(1, level, 0, 0, digits(1e-7))[0]) <= MAX_NODES + 1
    assert len(grid(rank, 0, 0, 0, digits(1.0))[0]) >= 3**rank


@pytest.mark.parametrize(("rank", "n"), [(1, 4), (2, 3), (3, 4), (3, 5)])
def test_from_one_width_to_the_next_results_change_by_the_tolerance(rank: int, n: int) -> None:
    rng = np.random.default_rng(n)
    factor = rng.normal(size=(n, rank))
    width = np.linspace(0.4, 2.0, 1500)[:, None, None]
    for tolerance in (1e-4, 1e-7):
        _, path = gaussian_softmax(rng.normal(size=n), width**2 * (factor @ factor.T), tolerance=tolerance)
        # Third differences of a smooth path are 1e-9 times its third derivative; of one step, up to three of it.
        assert np.abs(np.diff(path, n=3)).max() <= 3 * tolerance + 1e-8


def test_a_single_wide_direction_costs_no_more_than_the_cap_and_says_what_that_costs() -> None:
    """Three logits z·(1, −1, 0)·5e5: each side is the largest with probability ½, and E max = 5e5 E|z|."""
    factor = np.array([5e5, -5e5, 0.0])
    tracemalloc.start()
    softmax, logsumexp, estimate = gaussian_softmax(
        np.array([1e5, 0.0, 0.0]), np.outer(factor, factor), error=True
    )
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
    # The largest is the first for 1e5 + 5e5 z > 0 and > −5e5 z, the second for z < −0.1 and 0 else; in between, z has
    # both positive parts at −0.2 < z < −0.1: there the third wins where neither is positive.
    _ = logsumexp
    first = 1 - ndtr(-0.1)
    assert abs(softmax[0] - first) <= estimate
    assert 1e-7 < estimate < 1e-3
