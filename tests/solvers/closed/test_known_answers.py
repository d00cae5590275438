"""Answers known from theory.md, section 6: two modes ±ν of equal mass, R = |ν|, fixed equal weights, unit variances.

The numbers are the literature's or of 30-digit integrals; the dynamics is that of the generated system, never retyped.
"""

from functools import partial

import numpy as np
import pytest
from scipy.optimize import brentq, fsolve, minimize_scalar
from scipy.stats import binom

from solvers.closed import flow
from solvers.problem.starts import Starts
from tests.solvers.closed.flow_cases import overlaps, problem, velocity_at

solve = partial(flow.solve, backend="numpy")

FALSE_ALARM = 1e-6


def two_modes(R, *, d=2, K=2, init=None, **time):
    return problem(d, {"separation": R}, {"components": K}, init or {"scale": 0.0}, time or None)


def speeds(R, x):
    """dx/dt of components on the axis of the modes at x (..., K): the flow's dm/dt over R."""
    nu = np.array([[R], [-R]])
    x = np.asarray(x, dtype=float)
    return velocity_at(two_modes(R, K=x.shape[-1]), x[..., None], nu)[1][..., 0] / R


def growth(R, pattern, at=0.0):
    """Rate at which a small displacement of the components along the axis grows, if it keeps its pattern."""
    step = 1e-3 * np.asarray(pattern, dtype=float)
    slopes = (
        8 * (speeds(R, at + step) - speeds(R, at - step)) - speeds(R, at + 2 * step) + speeds(R, at - 2 * step)
    ) / (12 * step)
    assert np.ptp(slopes) < 1e-9  # the pattern is an eigenvector
    return slopes[0]


def test_the_centre_loses_stability_at_the_critical_separation():
    assert brentq(lambda R: growth(R, [1.0]), 0.5, 3.0) == pytest.approx(1.46083, abs=5e-6)
    for R, stays in ((1.45, True), (1.47, False)):
        end = solve(two_modes(R, K=1, init={"means": [[1e-3]]}, end=1000.0, save=2)).m.values[0, -1, 0, 0] / R
        assert (abs(end) < 1e-3) == stays


def test_growth_rates_near_the_origin():
    assert growth(3.0, [1.0, 1.0]) == pytest.approx(0.646750, abs=5e-7)
    assert growth(3.0, [1.0, -1.0]) == pytest.approx(1.146750, abs=5e-7)
    for R in (0.5, 2.0, 6.0):
        assert growth(R, [1.0, -1.0]) - growth(R, [1.0, 1.0]) == pytest.approx(0.5, abs=1e-8)


def test_small_starts_grow_at_these_rates():
    given = two_modes(3.0, d=5, init={"means": [[3e-6], [1e-6]]}, end=3.0)
    x = solve(given, atol=1e-18).m.values[0, :, :, 0] / 3.0
    rates = np.log([x[-1].sum() / x[0].sum(), -np.diff(x[-1])[0] / -np.diff(x[0])[0]]) / 3.0
    assert rates == pytest.approx([0.646750, 1.146750], abs=2e-6)


@pytest.mark.parametrize(("R", "split", "estimate"), [(3.0, 0.411985, 0.3934), (3.5, 0.190748, 0.1885)])
def test_collapsed_pair_settles_at_a_residual_split(R, split, estimate):
    """The split is the distance of the two means along the axis of the modes."""
    (alone,) = fsolve(partial(speeds, R), [R])
    # Exactly aligned is unstable: a split grows at ½κR², which puts it at about 2R√κ.
    assert 2 * np.sqrt(2 * growth(R, [1.0, -1.0], at=alone)) == pytest.approx(estimate, abs=6e-5)
    given = two_modes(R, init={"means": [[R + 0.05, 0.02], [R - 0.05, -0.03]]}, end=2000.0, save=2)
    end = solve(given).isel(sample=0, time=-1)
    assert abs(end.m.values[0, 0] - end.m.values[1, 0]) / R == pytest.approx(split, abs=5e-7)
    assert end.collapsed == end.aligned == 1
    roots = fsolve(partial(speeds, R), R + split * np.array([0.6, -0.4]), xtol=1e-12)
    assert roots[0] - roots[1] == pytest.approx(split, abs=5e-7)


@pytest.mark.slow
def test_both_means_near_one_mode_is_an_attractor_beyond_a_fold():
    """The branch of collapsed pairs, followed by the position of its inner mean, turns back at the smallest R."""
    guess = np.array([2.7, 2.26])

    def at_rest(y, inner):
        return speeds(y[1], [y[0], inner])

    def separation(inner):
        guess[:] = fsolve(at_rest, guess, (inner,), xtol=1e-12)
        return guess[1]

    fold = minimize_scalar(separation, bounds=(0.9, 1.4), method="bounded", options={"xatol": 1e-4})
    assert fold.success
    assert fold.fun == pytest.approx(2.25961, abs=5e-6)
    for R, stays in ((2.25, False), (2.27, True)):
        end = solve(two_modes(R, init={"means": [[2.7], [1.15]]}, end=2000.0, save=2)).isel(sample=0, time=-1)
        assert (end.m.values[1, 0] > 0) == stays
        assert (end.objective.values > 0.5) == stays


@pytest.mark.parametrize("separation", [8.0, 30.0])
@pytest.mark.parametrize("start", [[[0.9]], [[1.1], [1.1]]])
def test_missing_one_of_two_equal_modes_costs_log_two(start, separation):
    start = separation * np.array(start)
    given = two_modes(separation, d=10, K=len(start), init={"means": np.hstack([start, start * 0 + 0.3])}, end=80.0)
    end = solve(given).isel(sample=0, time=-1)
    assert end.objective.values == pytest.approx(np.log(2), abs=1e-6)
    assert end.mode_mass.values == pytest.approx([1, 0], abs=1e-9)
    assert end.collapsed == 1


@pytest.mark.slow
def test_a_mode_set_covered_exactly_costs_minus_the_log_of_its_mass():
    nu, pi = [[12.0], [-6.0, 10.0], [-6.0, -10.0]], np.array([0.2, 0.5, 0.3])
    family = {"components": 2, "learn": ["means", "weights"]}
    given = problem(5, {"means": nu, "weights": pi}, family, {"means": [[11.0, 1.0], [-7.0, 9.0]]}, {"end": 200.0})
    end = solve(given).isel(sample=0, time=-1)
    assert end.objective.values == pytest.approx(-np.log(0.7), abs=1e-8)
    assert end.w.values == pytest.approx(pi[:2] / 0.7, abs=1e-6)
    assert end.mode_mass.values == pytest.approx([*pi[:2] / 0.7, 0], abs=1e-6)


@pytest.mark.slow
def test_small_starts_collapse_with_the_exponent_of_the_rates():
    """P(collapse) ∝ σ₀^0.77310: the difference of the means must be below Δ(Σ) ∝ Σ^1.77310 where their sum is Σ."""

    def largest_collapsing(total):
        low, high = total**2 / 10, total
        for _ in range(2):
            differences = np.geomspace(low, high, 24)
            x = np.stack([total + differences, total - differences], axis=-1)[..., None] / 2
            s, m = overlaps(x, np.array([[3.0], [-3.0]]))
            drawn = Starts(s, m, np.log(np.full((24, 2), 0.5)))
            given = two_modes(3.0, d=1, init={"scale": total, "samples": 24}, end=25.0, save=[25.0])
            collapsed = solve(given, atol=1e-18, begin=drawn).collapsed.values == 1
            last = collapsed.sum() - 1
            assert collapsed[: last + 1].all()
            low, high = differences[last : last + 2]
        return np.sqrt(low * high)

    exponent = np.log(largest_collapsing(0.03) / largest_collapsing(0.003)) / np.log(10)
    assert exponent - 1 == pytest.approx(0.77310, abs=0.01)


@pytest.mark.slow
def test_half_of_the_large_starts_collapse():
    def plausible(scale, d):
        given = two_modes(3.0, d=d, init={"scale": scale, "samples": 200}, end=60.0, save=[60.0])
        count = int((solve(given).collapsed.values == 1).sum())
        return binom.ppf(FALSE_ALARM / 2, 200, 0.5) <= count <= binom.isf(FALSE_ALARM / 2, 200, 0.5)

    assert plausible(1.0, 10**6)
    assert not plausible(0.02, 4)  # control: small starts collapse more rarely, as the exponent says
