"""Rules that follow a tolerance: the error they reach, the estimate they give, what they cost."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from solvers.expectations import gaussian_softmax
from solvers.expectations.quadratic import quadratic_softmax
from solvers.expectations.quadrature import HALVINGS, MAX_NODES, TIGHTEST, digits, grid, halvings
from tests.solvers.expectations.without_factors import leave_all

Array = NDArray[np.float64]
TOLERANCES = (1e-3, 1e-5, 1e-7, 1e-9)


def laws(rank: int, widest: float, count: int, seed: int) -> list[tuple[Array, Array]]:
    """Means (n,) and factors (n, rank) of 3 to 8 or more logits, up to `widest` apart, some flat."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        n = int(rng.integers(max(3, rank + 1), max(9, rank + 2)))
        factor = rng.normal(size=(n, rank)) * np.exp(-rng.exponential(size=rank))
        width = np.exp(rng.uniform(np.log(0.1), np.log(widest)))
        factor *= width / np.sqrt(((factor[:, None] - factor) ** 2).sum(axis=-1).max())
        out.append((rng.normal(size=n) * width / 2, factor))
    return out


def in_space(mean: Array, factor: Array) -> tuple[Array, Array]:
    """E softmax and E logsumexp by a cube of nodes 0.2 apart: e^−24 for distances of 4, and 1e-11 beyond |z_i| = 7."""
    side = np.arange(-7.0, 7.0, 0.2)
    z = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=0).reshape(3, -1)
    weight = np.exp(-(z**2).sum(axis=0) / 2)
    u = factor @ z + mean[:, None]
    top = u.max(axis=0)
    u = np.exp(u - top)
    norm = u.sum(axis=0)
    return u @ (weight / norm) / weight.sum(), weight @ (top + np.log(norm)) / weight.sum()


def distance(mean: Array, found: tuple[Array, Array], best: tuple[Array, Array]) -> float:
    """The error of both in units of max(1, |value|), of the logits' differences to the last."""
    a, b = (np.append(softmax, logsumexp - mean[-1]) for softmax, logsumexp in (found, best))
    return float((np.abs(a - b) / np.maximum(1, np.abs(b))).max())


@pytest.mark.parametrize(("rank", "widest"), [(1, 300.0), (2, 12.0), (3, 4.0)])
def test_the_error_is_within_the_tolerance_and_the_estimate(rank: int, widest: float) -> None:
    """The reference is the tightest rule, with an error of 1e-11 or so (which test_quadrature.py tests), or a cube.

    In space 1e-9 is out of reach for the widest, whose estimates say so.
    """
    worst = dict.fromkeys(TOLERANCES, 0.0)
    for mean, factor in laws(rank, widest, 30 if rank < 3 else 12, seed=rank):
        cov = factor @ factor.T
        best = in_space(mean, factor) if rank == 3 else gaussian_softmax(mean, cov)
        for tolerance in TOLERANCES:
            *found, estimate = gaussian_softmax(mean, cov, error=True, tolerance=tolerance)
            error = distance(mean, (found[0], found[1]), (best[0], best[1]))
            if rank < 3 or tolerance > 1e-8:
                assert error <= tolerance
                assert estimate <= 4 * tolerance
            assert error <= estimate + 3e-11
            worst[tolerance] = max(worst[tolerance], error)
    # Control: a rule for one tolerance does not keep the next but one, nor that for 1e-3 a tolerance of 1e-8.
    assert worst[1e-3] > 1e-5
    assert worst[1e-5] > 1e-7


def test_wide_fields_in_space_say_that_they_miss_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchangeable logits, 12 apart: each has 1/4 but for the last, which is none of the axes of the lattice."""
    leave_all(monkeypatch)
    cov = 144 / 2 * np.eye(4)
    for tolerance in TOLERANCES[2:]:
        softmax, _, estimate = gaussian_softmax(np.zeros(4), cov, error=True, tolerance=tolerance)
        assert np.abs(softmax - 0.25).max() <= estimate
        assert 1e-6 < estimate < 1e-2


@pytest.mark.parametrize("size", [4, 6, 11])
def test_narrow_fields_of_many_directions_need_fewer_points(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference has all points, and an error of a quarter of the tolerance where others have half of them."""
    leave_all(monkeypatch)
    used = set()
    for mean, factor in laws(size, 0.7, 12, seed=size):
        cov = factor @ factor.T
        best = gaussian_softmax(mean, cov)
        for tolerance in (1e-3, 1e-5, 1e-7):
            *found, estimate = gaussian_softmax(mean, cov, error=True, tolerance=tolerance)
            half = halvings(float(np.sqrt(((factor[:, None] - factor) ** 2).sum(axis=-1).max())), digits(tolerance))
            used.add(half)
            error = distance(mean, (found[0], found[1]), (best[0], best[1]))
            if half:
                assert error <= tolerance
                assert estimate <= 3 * tolerance
            else:
                assert error == 0
    assert {0, HALVINGS} < used


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_looser_rules_have_fewer_nodes(rank: int) -> None:
    counts = [len(grid(rank, 8, 8, 0, digits(tolerance))[0]) for tolerance in (TIGHTEST, 1e-7, 1e-4)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 1.5**rank * counts[-1]
    assert len(grid(rank, 0, 0, 0, digits(1.0))[0]) >= 3**rank
    assert max(len(grid(1, level, 0, 0, digits(1e-7))[0]) for level in range(0, 90, 8)) <= MAX_NODES + 1


@pytest.mark.parametrize(("rank", "n"), [(1, 4), (2, 3), (3, 4), (3, 5)])
def test_from_one_width_to_the_next_results_change_by_less_than_the_tolerance(rank: int, n: int) -> None:
    rng = np.random.default_rng(n)
    mean, factor = rng.normal(size=n), rng.normal(size=(n, rank))
    width = np.linspace(0.4, 2.0, 600)[:, None, None]
    for tolerance in (1e-4, 1e-7):
        path = gaussian_softmax(mean, width**2 * (factor @ factor.T), tolerance=tolerance)[1]
        # Fourth differences of a smooth path are 5e-11 times its fourth derivative; of a jump, up to three of it.
        assert np.abs(np.diff(path, n=4)).max() <= 3 * tolerance
        assert np.abs(np.diff(path, n=1)).max() > 1e-4  # control: it moves


def test_a_tolerance_for_logits_with_squares() -> None:
    """The reference is the tightest rule again."""
    rng = np.random.default_rng(3)
    mean, factor, curvature = rng.normal(size=3), rng.normal(size=(3, 2)), np.array([0.02, -0.03, 0.0])
    best = quadratic_softmax(mean, factor @ factor.T, curvature, 9)
    worst = []
    for tolerance in TOLERANCES[:3]:
        *found, estimate = quadratic_softmax(mean, factor @ factor.T, curvature, 9, error=True, tolerance=tolerance)
        # E |z|² softmax is of order d.
        worst.append(max(np.abs((a - b) / max(1.0, np.abs(b).max())).max() for a, b in zip(found, best, strict=True)))
        assert worst[-1] <= min(tolerance, estimate)
    assert worst[0] > 1e-8  # control


def test_a_single_wide_direction_costs_no_more_than_the_cap_and_says_what_that_costs() -> None:
    """Logits 10⁵ + 5·10⁵ z, −5·10⁵ z, 0: the largest decides, the second for z < −0.1, the third never.

    Its mean is 10⁵ Φ(0.1) + 10⁶ φ(0.1), to 10⁻¹² relative: the logits cross within 10⁻⁶.
    """
    slope, cross = 5e5, -0.1
    factor = np.array([slope, -slope, 0.0])
    tracemalloc.start()
    softmax, logsumexp, estimate = gaussian_softmax(
        np.array([2 * 0.1 * slope, 0.0, 0.0]), np.outer(factor, factor), error=True
    )
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
    largest = 0.2 * slope * ndtr(-cross) + 2 * slope * np.exp(-(cross**2) / 2) / np.sqrt(2 * np.pi)
    found = np.array([softmax[0] - ndtr(-cross), softmax[1] - ndtr(cross), softmax[2], logsumexp / largest - 1])
    assert np.abs(found).max() <= estimate < 1e-4
    assert estimate > 1e-8  # control: no full accuracy is claimed
