"""Ensembles of a toy system: orders, tolerances, save points, and that no trajectory knows of another."""

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from solvers.closed.compiled import ensemble
from solvers.integrate import ensemble as module
from solvers.integrate.tableaus import DOP853, RODAS5P
from tests.solvers.integrate.toy_system import grown, oscillator, saddle, van_der_pol

pytestmark = pytest.mark.slow

BOTH = pytest.mark.parametrize("method", ["explicit", "rosenbrock"])
PATH = saddle(1.0, 1.0)


def solution(a, t):
    """a(t), b(t) of the saddle with g = k = 1 from (a, 1 + a²/2); b by a fine quadrature."""
    x, w = np.polynomial.legendre.leggauss(40)
    s = 0.5 * t * (x + 1)
    forced = np.sum(0.5 * t * w * np.exp(s - t) * (grown(a, s) ** 2 + 1))
    return np.array([grown(a, t), (1 + a * a / 2) * np.exp(-t) + forced])


@BOTH
def test_one_step_and_its_dense_output_have_the_declared_orders(toy, method):
    declared = DOP853 if method == "explicit" else RODAS5P
    a, theta = 0.3, 0.6
    lengths = np.array([0.5, 0.4, 0.32, 0.25]) if method == "explicit" else np.array([0.16, 0.12, 0.09, 0.07])
    errors = []
    for h in lengths:
        # So loose a tolerance that one step does it.
        paths = ensemble(toy, [[a, 1 + a * a / 2]], PATH, [theta * h, h], rtol=1e4, atol=1e4, method=method)
        assert paths.steps.tolist() == [1]
        errors.append([np.abs(paths.y[0, i] - solution(a, t)).max() for i, t in enumerate((theta * h, h))])
    inside, end = np.polyfit(np.log(lengths), np.log(errors), 1)[0]
    assert end == pytest.approx(declared.order + 1, abs=0.5)
    assert inside == pytest.approx(declared.dense_order + 1, abs=0.5)


@BOTH
def test_errors_are_proportional_to_the_tolerance(toy, method):
    starts = np.random.default_rng(0).normal(size=(24, 2))
    times = np.linspace(0.5, 12, 9)
    options: dict[str, Any] = {"method": "DOP853", "t_eval": times, "rtol": 1e-13, "atol": 1e-14}
    solutions = [solve_ivp(lambda _, y: [y[1], (1 - y[0] ** 2) * y[1] - y[0]], (0, 12), y, **options) for y in starts]
    exact = np.array([result.y.T for result in solutions])
    tolerances = np.logspace(-4, -10, 7)
    errors = []
    for rtol in tolerances:
        paths = ensemble(toy, starts, van_der_pol(1.0), times, rtol=rtol, atol=rtol, method=method)
        assert not paths.status.any()
        errors.append(np.median(np.abs(paths.y - exact).max(axis=(1, 2))))
    slope, offset = np.polyfit(np.log10(tolerances), np.log10(errors), 1)
    assert slope == pytest.approx(1, abs=0.15)
    assert np.abs(np.log10(errors) - offset - slope * np.log10(tolerances)).max() < 0.5
    assert 0.01 < errors[3] / tolerances[3] < 30


@pytest.mark.parametrize("method", ["explicit", "rosenbrock", "auto"])
def test_results_depend_on_nothing_but_the_trajectory(toy, method, monkeypatch):
    rng = np.random.default_rng(1)
    starts = rng.normal(size=(61, 2)) * rng.choice([0.1, 1, 3], (61, 1))
    starts[5] = np.nan
    options = {"rtol": 1e-6, "atol": 1e-8, "method": method}
    times = [0.0, 3.0, 11.0, 40.0]
    whole = ensemble(toy, starts, van_der_pol(30.0), times, threads=1, **options)
    assert len(set(whole.steps.tolist())) > 5  # lanes were refilled at different times
    assert np.any(whole.stiff) == (method != "explicit")
    for rows, chunk, threads in ((rng.permutation(61), 7, 2), (np.arange(60, 40, -1), 64, 1), (np.array([17]), 1, 3)):
        monkeypatch.setattr(module, "LARGEST_CHUNK", chunk)
        part = ensemble(toy, starts[rows], van_der_pol(30.0), times, threads=threads, **options)
        assert part.y.tobytes() == whole.y[rows].tobytes()
        for name in ("status", "steps", "evaluations", "stiff"):
            assert np.array_equal(getattr(part, name), getattr(whole, name)[rows])


@BOTH
def test_a_bad_start_disturbs_no_other(toy, method):
    starts = np.random.default_rng(2).normal(size=(19, 2))
    good = ensemble(toy, starts, oscillator(), [5.0], method=method)
    for bad in (np.nan, np.inf, 1e200):  # the last is finite, but not its velocity under p₂a³
        spoilt = starts.copy()
        spoilt[[3, 11], 0] = bad
        kept = np.setdiff1d(np.arange(19), [3, 11])
        if np.isfinite(bad):
            paths = ensemble(toy, spoilt, saddle(1.0, 1.0), [5.0], method=method)
            assert not paths.status[kept].any()
        else:
            paths = ensemble(toy, spoilt, oscillator(), [5.0], method=method)
            assert paths.y[kept].tobytes() == good.y[kept].tobytes()
        assert paths.status[[3, 11]].tolist() == [2, 2]
        assert np.isnan(paths.y[[3, 11]]).all()


@BOTH
def test_blow_up_is_not_finite_and_keeps_what_was_reached(toy, method):
    p = np.zeros(8)
    p[2] = 1.0  # a' = a³ ends at t = 1/(2a²)
    paths = ensemble(toy, [[1.0, 0.0], [0.1, 0.0]], p, [0.1, 0.4, 0.6, 0.7], method=method)
    assert paths.status.tolist() == [2, 0]
    assert np.isfinite(paths.y[0, :2]).all()
    assert np.isnan(paths.y[0, 2:]).all()
    assert paths.y[0, :2, 0] == pytest.approx([(1 - 2 * t) ** -0.5 for t in (0.1, 0.4)], rel=1e-6)
    # Who takes a lane after a failure, in the middle of a rejected step, starts afresh.
    rest = np.stack([np.linspace(0.1, 0.5, 12), np.zeros(12)], axis=1)
    alone = ensemble(toy, rest, p, [0.7], method=method, threads=1)
    after = ensemble(toy, np.concatenate([np.ones((12, 2)), rest]), p, [0.7], method=method, threads=1)
    assert after.status.tolist() == [2] * 12 + [0] * 12
    assert after.y[12:].tobytes() == alone.y.tobytes()
    assert np.array_equal(after.steps[12:], alone.steps)


@pytest.mark.parametrize("method", ["explicit", "rosenbrock", "auto"])
def test_step_limit(toy, method):
    times = [1.0, 2.0, 400.0]
    paths = ensemble(toy, [[1.0, 0.0]] * 3, oscillator(), times, method=method, max_steps=40)
    assert paths.status.tolist() == [1, 1, 1]
    assert paths.steps.tolist() == [40, 40, 40]
    assert np.isfinite(paths.y[:, 0]).all()
    assert np.isnan(paths.y[:, 2]).all()


@BOTH
@pytest.mark.parametrize(
    "times", [[0.0], [1e-3], [7.0], [0.0, 7.0], np.linspace(0, 7, 200), [1e-9, 2e-9, 6.999999999, 7.0]]
)
def test_save_points(toy, method, times):
    angles = np.linspace(0, 6, 11)
    starts = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    paths = ensemble(toy, starts, oscillator(), times, rtol=1e-9, atol=1e-10, method=method)
    turned = angles[:, None] + np.asarray(times)
    assert np.abs(paths.y - np.stack([np.cos(turned), np.sin(turned)], axis=-1)).max() < 1e-8
    assert paths.y.shape == (11, len(times), 2)
    assert not paths.status.any()
    if times[0] == 0:
        assert np.array_equal(paths.y[:, 0], starts)


def test_an_ensemble_may_be_empty(toy):
    paths = ensemble(toy, np.empty((0, 2)), oscillator(), [1.0, 2.0], stop_at_equilibrium=True)
    assert paths.y.shape == (0, 2, 2)
    assert paths.status.shape == (0,)
    assert paths.spectrum.shape == (0, 2)


def test_progress_rises_to_one(toy):
    seen = []
    ensemble(toy, np.ones((100, 2)), oscillator(), [1.0], progress=seen.append, threads=2)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) > 2


def test_an_interruption_stops_all_threads(toy):
    """Each trajectory would take some ten minutes; the run ends because the kernels look at the stop flag."""

    def interrupt(fraction):
        raise KeyboardInterrupt

    starts = np.concatenate([np.full((8, 2), np.nan), np.ones((8, 2))])
    options = {"method": "explicit", "max_steps": 10**12, "threads": 2}
    with pytest.raises(KeyboardInterrupt):
        ensemble(toy, starts, oscillator(1e3), [1e7], progress=interrupt, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [2.0, 1.0]}, "times"),
        ({"times": [1.0, 1.0]}, "times"),
        ({"times": [-1.0, 1.0]}, "times"),
        ({"times": []}, "times"),
        ({"times": [np.nan]}, "times"),
        ({"rtol": 1e-15}, "rtol"),
        ({"rtol": np.nan}, "rtol"),
        ({"atol": 0.0}, "atol"),
        ({"method": "euler"}, "method.*auto, explicit, rosenbrock"),
        ({"max_steps": 0}, "max_steps"),
        ({"threads": 0}, "threads"),
        ({"y0": np.ones((3, 5))}, r"states.*\(trajectories, 2\)"),
        ({"p": np.ones(3)}, r"parameters.*\(8,\)"),
    ],
)
def test_arguments_out_of_range_are_refused(toy, change, message):
    arguments = {"y0": np.ones((3, 2)), "p": oscillator(), "times": [1.0]} | change
    with pytest.raises(ValueError, match=message):
        ensemble(toy, **arguments)


def test_paths_that_are_taken_are_those_that_would_be_kept(toy):
    starts, times = np.random.default_rng(3).normal(size=(300, 2)), np.linspace(0.0, 4.0, 5)
    kept = ensemble(toy, starts, van_der_pol(1.0), times)
    found = np.full(kept.y.shape, np.nan)

    def take(block, paths, status):
        assert (status == 0).all()
        found[block] = paths

    taken = ensemble(toy, starts, van_der_pol(1.0), times, take=take, threads=2)
    np.testing.assert_array_equal(found, kept.y)
    np.testing.assert_array_equal(taken.y, kept.y[:, -1:])
