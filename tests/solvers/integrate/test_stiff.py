"""Stiff trajectories, saddles, and equilibria."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from solvers.closed.compiled import ensemble
from tests.solvers.integrate.toy_system import grown, saddle, van_der_pol

pytestmark = pytest.mark.slow


def test_stiff_trajectories_are_handed_over(toy):
    mu, times = 1e3, [1.0, 100.0, 3000.0]
    starts = np.random.default_rng(0).normal(size=(9, 2)) * 2
    auto = ensemble(toy, starts, van_der_pol(mu), times, rtol=1e-8, atol=1e-8)
    alone = ensemble(toy, starts, van_der_pol(mu), times, rtol=1e-8, atol=1e-8, method="rosenbrock")
    assert auto.stiff.all()
    assert not auto.status.any()
    assert auto.steps.max() < 5000  # explicit alone would take 900 for every unit of time
    assert np.abs(auto.y - alone.y).max() < 1e-6
    for i in range(2):
        radau = solve_ivp(
            lambda _, y: [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]],
            (0, 3000),
            starts[i],
            "Radau",
            times,
            rtol=1e-9,
            atol=1e-10,
            jac=lambda _, y: [[0, 1], [-2 * mu * y[0] * y[1] - 1, mu * (1 - y[0] ** 2)]],
        )
        assert np.abs(auto.y[i] - radau.y.T).max() < 1e-6


def test_what_is_not_stiff_stays_explicit(toy):
    starts = np.random.default_rng(1).normal(size=(40, 2))
    paths = ensemble(toy, starts, van_der_pol(1.0), [50.0])
    assert not paths.stiff.any()


@pytest.mark.parametrize("method", ["auto", "rosenbrock"])
def test_the_escape_from_a_saddle_takes_its_time_and_the_right_side(toy, method):
    """Without the bound on the step, an L-stable method stays or leaves to either side."""
    size = np.logspace(-14, -1, 14)
    starts = np.stack([np.concatenate([size, -size]), np.full(28, 0.3)], axis=1)
    times = [5.0, 12.0, 1e6]
    paths = ensemble(toy, starts, saddle(1.0, 1e3), times, rtol=1e-9, atol=1e-15, method=method)
    assert paths.stiff.all()
    assert paths.y[:, 2] == pytest.approx(np.stack([np.sign(starts[:, 0]), np.full(28, 2.0)], axis=1), abs=1e-9)
    for i in (0, 1):
        assert paths.y[:, i, 0] == pytest.approx(grown(starts[:, 0], times[i]), rel=1e-4)
    loose = ensemble(toy, starts, saddle(1.0, 1e3), [1e6], rtol=1e-5, atol=1e-5, method=method)
    assert np.array_equal(np.sign(loose.y[:, 0, 0]), np.sign(starts[:, 0]))


def test_a_saddle_met_exactly_is_not_left(toy):
    paths = ensemble(toy, [[0.0, 0.3]], saddle(1.0, 1e3), [1e3, 1e6], stop_at_equilibrium=True)
    assert paths.y[0] == pytest.approx(np.array([[0, 1], [0, 1]]), abs=1e-12)
    assert paths.status.tolist() == [0]
    assert paths.steps[0] < 500
    assert not paths.equilibrium.any()


def test_stable_equilibria_are_recognised_with_their_spectrum(toy):
    starts = np.array([[0.5, 0.3], [np.nan, 0.0], [1e-12, 0.1], [-2.0, 3.0]])
    options = {"rtol": 1e-8, "atol": 1e-10}
    free = ensemble(toy, starts, saddle(1.0, 1e3), [3.0, 1e4, 1e6], **options)
    paths = ensemble(toy, starts, saddle(1.0, 1e3), [3.0, 1e4, 1e6], stop_at_equilibrium=True, **options)
    assert paths.equilibrium.tolist() == [True, False, True, True]
    assert paths.status.tolist() == [0, 2, 0, 0]
    assert np.sort(paths.spectrum.real, axis=1) == pytest.approx(np.array([[-1000.0, -2.0]] * 3), rel=1e-6)
    good = [0, 2, 3]
    assert paths.y[good] == pytest.approx(free.y[good], abs=1e-8)
    assert not free.equilibrium.any()
    assert free.spectrum.shape == (0, 2)


@pytest.mark.parametrize("growth", [1e-3, 1e-5])
def test_a_slow_escape_is_not_an_equilibrium(toy, growth):
    """At a = 1e-12 the velocity is 1e-15 and less, a millionth of the tolerance, for a time of 20/growth."""
    end = 20 / growth
    start = [[1e-12, 1.0]]
    paths = ensemble(toy, start, saddle(growth, 10.0), [end], stop_at_equilibrium=True, rtol=1e-8, atol=1e-9)
    assert not paths.equilibrium.any()
    exact = grown(1e-12, 20)
    assert paths.y[0, 0, 0] == pytest.approx(exact, rel=1e-2)
    later = ensemble(toy, start, saddle(growth, 10.0), [4 * end], stop_at_equilibrium=True, rtol=1e-8, atol=1e-9)
    assert later.y[0, 0] == pytest.approx([1, 2], abs=1e-7)
    assert later.equilibrium.all()


def test_a_slow_approach_is_not_an_arrival(toy):
    """A thousand tolerances from the equilibrium, but slower than a hundredth of a tolerance a step."""
    a, rate, end = 1e-5, 1e-4, 1e4
    paths = ensemble(toy, [[a, 1.0]], saddle(-rate, 1e3), [end], stop_at_equilibrium=True, rtol=1e-8, atol=1e-8)
    assert paths.y[0, 0, 0] == pytest.approx(a * np.exp(-rate * end), abs=1e-8)
    assert not paths.equilibrium.any()
