"""The integrator around the closed equations: tolerances, blocks, save times, and trajectories that fail."""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from solvers.closed import blocks, flow, systems
from solvers.closed.systems import TermError
from tests.solvers.closed.flow_cases import problem, velocity_at

solve = partial(flow.solve, backend="numpy")

BOTH = ["means", "weights"]
TWO_MODES = {"separation": 3.0, "weights": [0.4, 0.6]}
TWO = {"components": 2, "weights": [0.7, 0.3], "learn": BOTH}
NAMES = ("m", "s", "w", "objective", "mode_mass")


def two_modes(samples=1, end=20.0, save=5, **family):
    return problem(16, TWO_MODES, TWO | family, {"scale": 0.5, "samples": samples}, {"end": end, "save": save})


def largest_difference(a, b):
    return max(float(np.abs(a[name] - b[name]).max()) for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("variances", [1.0, 0.02])
def test_errors_fall_with_the_tolerance(variances):
    given = two_modes(samples=4, end=4.0, variances=variances)
    exact = solve(given, rtol=1e-12, atol=1e-14)
    errors = [largest_difference(solve(given, rtol=rtol, atol=rtol / 100), exact) for rtol in (1e-4, 1e-6, 1e-8, 1e-10)]
    for coarse, fine in pairwise(errors):
        assert fine < coarse / 10
    assert errors[2] < 1e-8 * 9.0 * 200  # overlaps are about 9, and starts near a saddle multiply errors


@pytest.mark.slow
def test_trajectories_of_a_block_do_not_meet(monkeypatch):
    given = two_modes(samples=8)
    together = solve(given)
    monkeypatch.setattr(blocks, "TOGETHER", 1)
    assert largest_difference(solve(given), together) < 1e-5
    monkeypatch.setattr(blocks, "TOGETHER", 5)
    assert largest_difference(solve(given), together) < 1e-5
    # More starts leave the first ones where they were, and they are different from each other.
    assert largest_difference(solve(two_modes(samples=10)).isel(sample=slice(8)), together) < 1e-5
    assert np.abs(np.diff(together.m[:, -1], axis=0)).max((1, 2)).min() > 1e-3


def test_the_same_problem_gives_the_same_numbers():
    a, b = (solve(two_modes(samples=3)) for _ in range(2))
    assert all(a[name].values.tobytes() == b[name].values.tobytes() for name in a.data_vars)


def test_save_times_do_not_change_what_is_saved():
    few, many = solve(two_modes(save=2)), solve(two_modes(save=[0.3, 5.0, 10.0, 19.0, 20.0]))
    assert many.time.values.tolist() == [0.3, 5.0, 10.0, 19.0, 20.0]
    assert largest_difference(few.isel(time=-1), many.isel(time=-1)) == 0.0
    start = solve(two_modes(end=0.0, save=[0.0]))
    assert largest_difference(few.isel(time=0), start.isel(time=0)) == 0.0
    half = solve(two_modes(end=10.0, save=2))
    assert largest_difference(half.isel(time=-1), many.isel(time=2)) < 1e-6


def test_a_small_step_follows_the_velocity():
    rng = np.random.default_rng(0)
    mu, nu, step = rng.standard_normal((2, 3)), np.array([[1.5, 0.0, 0.0], [-1.0, 1.0, 0.5]]), 1e-3
    for metric in ("softmax", "fisher-rao"):
        given = problem(3, {"means": nu}, TWO, {"means": mu}, {"end": 2 * step, "save": 3}, {"weights": metric})
        ds = solve(given, rtol=1e-11, atol=1e-13).isel(sample=0)
        before, here, after = (ds.isel(time=i) for i in range(3))
        velocities = velocity_at(given, mu, nu)
        # Central differences are taken in the middle, one step after the start: first order in the step.
        assert ((after.s - before.s) / (2 * step)).values == pytest.approx(velocities[0], abs=20 * step)
        assert ((after.m - before.m) / (2 * step)).values == pytest.approx(velocities[1], abs=20 * step)
        w, dtheta = here.w.values, velocities[2]
        assert ((after.w - before.w) / (2 * step)).values == pytest.approx(w * (dtheta - w @ dtheta), abs=5 * step)
        assert np.abs(velocities[2]).max() > 20 * step
        assert min(np.abs(velocities[0]).max(), np.abs(velocities[1]).max()) > 100 * step


@pytest.mark.slow
def test_drop_solves_a_wrong_theory_and_says_so():
    right = solve(two_modes())
    for term in systems.terms(systems.read("reverse_kl")):
        wrong = solve(two_modes(end=2.0), drop=term)
        assert wrong.attrs["system"] == f"{right.attrs['system']} without {term}"
        if not term.startswith("dtheta.Fw"):  # the same for all components, which means nothing to the weights
            assert largest_difference(wrong, solve(two_modes(end=2.0))) > 1e-3, term
    with pytest.raises(TermError, match=r"--drop: dm\.X: no such term; allowed are .*dm\.Bc/u"):
        solve(two_modes(), drop="dm.X")


@pytest.mark.slow
def test_progress_rises_to_the_end():
    seen = []
    solve(two_modes(samples=70, end=50.0), progress=seen.append)
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert 0 <= seen[0] < 0.5 < seen[-1] <= 1


ONE = problem(8, {"separation": 3.0}, {"components": 1}, {"scale": 0.3, "samples": 6}, {"end": 10.0, "save": 11})


def check_rows(monkeypatch, spoil, status):
    """Solve ONE with a spoilt dm/dt for means that have come near the first mode; the others must not notice."""
    given, right = ONE, solve(ONE)
    doomed = right.m.values[:, -1, 0, 0] > 4
    assert 0 < doomed.sum() < 6
    real = systems.for_problem(given)

    def velocity(A, B, F, s, m, theta, c, v, u, beta, rate_means, rate_weights):
        ds, dm, dtheta = real.velocity(A, B, F, s, m, theta, c, v, u, beta, rate_means, rate_weights)
        return ds, np.where(m[..., :1, :1] > 4, spoil(dm, m), dm), dtheta

    broken = SimpleNamespace(**vars(real) | {"velocity": velocity})
    monkeypatch.setattr(systems, "for_problem", lambda problem, drop=None: broken)
    ds = solve(given)
    assert ds.status.values.tolist() == np.where(doomed, status, 0).tolist()
    for name in (*NAMES, "v", "quadrature_error"):
        assert np.isnan(ds[name].values[doomed]).all(), name
    for name in ("collapsed", "aligned", "vanished"):
        assert (ds[name].values[doomed] == -1).all()
        assert (ds[name].values[~doomed] == right[name].values[~doomed]).all()
    assert largest_difference(ds.isel(sample=~doomed), right.isel(sample=~doomed)) < 1e-5


@pytest.mark.slow
def test_rows_that_are_not_finite_leave_the_others_alone(monkeypatch):
    check_rows(monkeypatch, lambda dm, m: np.nan * dm, 2)


@pytest.mark.slow
def test_rows_that_need_too_many_steps_leave_the_others_alone(monkeypatch):
    monkeypatch.setattr(blocks, "MAX_STEPS", 200)
    check_rows(monkeypatch, lambda dm, m: dm * (2 + np.sin(1e7 * m)), 1)


def test_everything_may_fail(monkeypatch):
    monkeypatch.setattr(blocks, "MAX_STEPS", 3)
    ds = solve(two_modes(samples=3))
    assert ds.status.values.tolist() == [1, 1, 1]
    assert np.isnan(ds.m).all()
    assert np.isnan(ds.objective).all()
    assert ds.collapsed.values.tolist() == [-1, -1, -1]


def test_what_the_integrator_refuses_is_a_status_and_no_warning():
    # No absolute error at all is allowed of what is zero.
    given = problem(8, {"separation": 3.0}, {"components": 1}, {"scale": 0.0, "samples": 2}, {"end": 10.0})
    assert solve(given, atol=0.0).status.values.tolist() == [2, 2]
