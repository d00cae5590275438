"""Compiled ensembles with more than two components or modes against the NumPy solver, and against themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers.closed import compiled, ensembles, systems
from solvers.closed.equations import Closed, Task
from solvers.closed.flow import solve, velocity
from solvers.closed.span import Span
from solvers.problem import Problem
from solvers.problem.starts import starts
from tests.solvers.closed.decided import assert_same_outcomes

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]


def problem(K: int, nu: Array, mu: Array | None = None, *, samples: int = 3, end: float = 4.0) -> Problem:
    """Modes nu (L, n) of unequal weights, wider than the components, in eight dimensions; starts at mu or at random."""
    pi = np.arange(2.0, 2.0 + len(nu)) / np.arange(2.0, 2.0 + len(nu)).sum()
    init = f"scale = 0.5\nsamples = {samples}" if mu is None else f"means = {json.dumps(mu.tolist())}"
    return Problem.parse(
        f"""
        dimension = 8
        [target]
        means = {json.dumps(nu.tolist())}
        weights = {json.dumps(pi.tolist())}
        variances = 1.4
        [family]
        components = {K}
        variances = 0.7
        weights = {json.dumps((np.arange(1.0, K + 1) / np.arange(1.0, K + 1).sum()).tolist())}
        learn = ["means", "weights"]
        [init]
        {init}
        [time]
        end = {end}
        save = 5
        """
    )


TWO = np.array([[2.5, 0.0], [-2.5, 0.0]])
THREE = np.array([[2.0, 0.0], [-1.0, 2.0], [-1.5, -1.0]])


def test_velocity_and_jacobian_at_random_points() -> None:
    """Four components: the lattice; three modes: the plane. Velocities are those of NumPy to the rounding of 1e5 terms.

    The Jacobian differentiates the integrand (Price), not the lattice sum: it may differ from differences of the
    velocity by the error of the lattice, 1e-6 for these fields.
    """
    case = problem(4, THREE)
    s, m, _ = starts(case)
    space = Span.of(case, s, m)
    system = compiled.build(systems.read_compiled(case), 4, 3, space.directions)
    p, rng = ensembles.parameters(Closed.of(case), space), np.random.default_rng(3)
    x, theta = rng.normal(size=(9, 4, space.directions)), rng.normal(size=(9, 4))
    y = np.concatenate([x.reshape(9, -1), theta], axis=1)
    velocities, jacobian = system.derivatives(y, p)
    dx = velocities[:, : x[0].size].reshape(x.shape)
    ds, dm, dtheta = velocity(case, systems.for_problem(case), *space.overlaps(x), theta)
    np.testing.assert_allclose(dx @ x.mT + x @ dx.mT, ds, atol=1e-11)
    np.testing.assert_allclose(space.overlaps(dx)[1], dm, atol=1e-11)
    np.testing.assert_allclose(velocities[:, x[0].size :], dtheta, atol=1e-11)
    step = 1e-3
    for column in rng.choice(y.shape[1], size=8, replace=False):
        shifted = [system.derivatives(y + n * step * np.eye(y.shape[1])[column], p)[0] for n in (-2, -1, 1, 2)]
        slope = (shifted[0] - 8 * shifted[1] + 8 * shifted[2] - shifted[3]) / (12 * step)
        np.testing.assert_allclose(jacobian[:, :, column], slope, atol=1e-6)
        # control: of the order of the entries themselves
        assert np.abs(jacobian[:, :, column - 1] - slope).max() > 1e-2


@pytest.mark.parametrize(("K", "nu"), [(3, TWO), (3, THREE)], ids=["over-parameterised", "3, 3"])
def test_compiled_and_numpy_trajectories_agree(K: int, nu: Array) -> None:
    """At tolerances a hundredfold below the one tested: saddles magnify the errors of either integrator."""
    case = problem(K, nu)
    lanes, numpy = (solve(case, backend=backend, rtol=1e-9, atol=1e-11) for backend in ("numba", "numpy"))
    for variable in ("m", "s", "w", "objective", "mode_mass"):
        a, b = lanes[variable].values, numpy[variable].values
        assert np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b))) < 1e-6, variable
    assert_same_outcomes(lanes, numpy, case)
    np.testing.assert_allclose(lanes.quadrature_error, numpy.quadrature_error, rtol=0.1, atol=1e-11)
    # control: the comparison sees half a unit of time
    other = solve(problem(K, nu, end=3.5), backend="numba")
    assert np.abs(other.m.values - numpy.m.values).max() > 1e-3


def test_expectations_follow_the_tolerance_and_the_result_says_so() -> None:
    """Two directions: a hundredth of rtol, and estimates up to four times that (test_tolerance.py)."""
    case, ends = problem(3, THREE), {}
    for rtol in (1e-3, 1e-7):
        lanes, numpy = (solve(case, backend=backend, rtol=rtol, atol=1e-2 * rtol) for backend in ("numba", "numpy"))
        for run in (lanes, numpy):
            assert 1e-5 * rtol < run.quadrature_error.values.max() <= 0.04 * rtol
        ends[rtol] = lanes.m.values
    assert 1e-8 < np.abs(ends[1e-3] - ends[1e-7]).max() < 0.1


def test_integrators_use_the_rules_of_their_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control of the wiring: steps of the same tolerance with tight expectations end elsewhere, by less than rtol."""
    case = problem(3, THREE)
    for backend, place in (("numba", "solvers.integrate.ensemble"), ("numpy", "solvers.closed.blocks")):
        loose = solve(case, backend=backend, rtol=1e-3, atol=1e-5)
        with monkeypatch.context() as patch:
            patch.setattr(f"{place}.of_expectations", lambda rtol: 1e-11)
            tight = solve(case, backend=backend, rtol=1e-3, atol=1e-5)
        assert 0 < np.abs(loose.m.values - tight.m.values).max() < 1e-3


def test_the_order_of_components_and_the_method_do_not_matter() -> None:
    """The last component is the reference of the logits, so another order is another integral; atol of the method."""
    rng = np.random.default_rng(5)
    mu, order = rng.normal(size=(3, 8)), [2, 0, 1]
    case = problem(3, THREE, mu)
    s, m, theta = starts(case)
    moved = type(starts(case))(s[:, order][:, :, order], m[:, order], theta[:, order])
    space = Span.of(case, s, m)
    system = compiled.build(systems.read_compiled(case), 3, 3, space.directions)
    p = ensembles.parameters(Closed.of(case), space)

    def end(given: tuple[Array, Array, Array], method: str) -> tuple[Array, Array]:
        y = np.concatenate([space.coordinates(*given[:2]).reshape(1, -1), given[2]], axis=1)
        found = compiled.ensemble(system, y, p, np.array([4.0]), rtol=1e-9, atol=1e-11, method=method).y[0, 0]
        return space.overlaps(found[:-3].reshape(3, space.directions))[1], found[-3:]

    m_end, theta_end = end((s, m, theta), "explicit")
    for method in ("explicit", "rosenbrock"):
        m_moved, theta_moved = end(moved, method)
        np.testing.assert_allclose(m_moved, m_end[order], atol=1e-6)
        np.testing.assert_allclose(theta_moved, theta_end[order], atol=1e-6)
        assert np.abs(m_moved - m_end).max() > 1e-2  # control


def test_the_default_is_compiled_where_it_can_be() -> None:
    case = problem(3, TWO, samples=1, end=0.1)
    assert solve(case).attrs["backend"] == "numba"
    assert solve(case, drop="ds.Bm/u").attrs["backend"] == "numpy"
    assert ensembles.refused_on_cpu(Task(Closed.of(problem(64, TWO)))) is None
    assert ensembles.refused_on_cpu(Task(Closed.of(problem(65, TWO)))) is not None
