"""Compiled ensembles (backend numba) against the NumPy solver: other text, other states, another integrator."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.closed import compiled, ensembles, systems
from solvers.closed.equations import Closed
from solvers.closed.flow import solve, velocity
from solvers.closed.span import Span
from solvers.machine.arrays import BackendError
from solvers.problem import Problem
from solvers.problem.starts import starts
from tests.solvers.closed.decided import assert_same_outcomes

pytestmark = pytest.mark.slow

CASES = {
    "two modes, softmax weights": {},
    "fixed weights": {"learn": '["means"]'},
    "weights only": {"learn": '["weights"]'},
    "nothing learned": {"learn": "[]"},
    "fisher-rao": {"weights": "fisher-rao"},
    "unequal weights, v < u": {"pi": "[0.2, 0.8]", "v": 0.5, "u": 1.5},
    "one component": {"K": 1},
    "the real line": {"d": 1, "v": 0.25},
    "a million dimensions": {"d": 10**6, "scale": 1e-3},
    "R = 20": {"R": 20.0, "scale": 0.5},
}


def problem(
    d: int = 8,
    R: float = 2.5,
    K: int = 2,
    pi: str = "[0.5, 0.5]",
    u: float = 1.0,
    v: float = 1.0,
    learn: str = '["means", "weights"]',
    weights: str = "softmax",
    scale: float = 0.3,
    samples: int = 20,
    end: float = 10.0,
) -> Problem:
    return Problem.parse(
        f"""
        dimension = {d}
        [target]
        separation = {R}
        weights = {pi}
        variances = {u}
        [family]
        components = {K}
        variances = {v}
        learn = {learn}
        [flow]
        weights = "{weights}"
        [init]
        scale = {scale}
        samples = {samples}
        [time]
        end = {end}
        save = 11
        """
    )


@pytest.mark.parametrize("name", CASES)
def test_compiled_and_numpy_trajectories_agree(name: str) -> None:
    """At tolerances a hundredfold below the one tested: saddles magnify the errors of either integrator."""
    case = problem(**CASES[name])
    lanes = solve(case, backend="numba", rtol=1e-11, atol=1e-13)
    numpy = solve(case, backend="numpy", rtol=1e-11, atol=1e-13)
    for variable in ("m", "s", "w", "objective", "mode_mass"):
        a, b = lanes[variable].values, numpy[variable].values
        worst = np.max(np.abs(a - b) / np.maximum(1.0, np.abs(b)))
        assert worst < 1e-6, variable
    assert_same_outcomes(lanes, numpy, case)
    assert lanes.attrs["system"] == numpy.attrs["system"]
    # control: the same comparison sees the other flow of the weights
    if name == "two modes, softmax weights":
        other = solve(problem(weights="fisher-rao"), backend="numba", rtol=1e-11, atol=1e-13)
        assert np.max(np.abs(other.w.values - numpy.w.values)) > 1e-3


def test_overlaps_stay_those_of_vectors() -> None:
    run = solve(problem(d=1, v=0.25, end=50.0), backend="numba")
    s, m = run.s.values, run.m.values
    eigenvalues = np.linalg.eigvalsh(s)
    assert eigenvalues.min() >= -1e-12 * eigenvalues.max()
    # in one dimension s is the outer product of m/R with itself, to rounding
    x = m[..., 0] / 2.5
    np.testing.assert_allclose(s, x[..., :, None] * x[..., None, :], atol=1e-12 * s.max())


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (solve(problem(samples=100), backend="numba") for _ in range(2))
    assert first.m.values.tobytes() == second.m.values.tobytes()


def test_the_smallest_tolerance_is_kept_and_a_smaller_one_refused() -> None:
    """Left is the error of the expectations, 1e-13, along the trajectory. LSODA's limit is 100 roundings, 2.2e-14."""
    ends = [solve(problem(), backend="numba", rtol=rtol, atol=0.01 * rtol) for rtol in (1e-14, 1e-12, 1e-6)]
    assert not ends[0].status.any()
    finest, fine, coarse = (end.m.values for end in ends)
    assert np.abs(finest - fine).max() < 1e-10
    assert np.abs(finest - coarse).max() > 1e-10  # control
    with pytest.raises(ValueError, match=r"^rtol: 9e-15, must be at least 1e-14$"):
        solve(problem(), backend="numba", rtol=9e-15)
    with pytest.raises(BackendError, match=r"^numpy: rtol 1e-14 is less than LSODA .*; allowed: .*, or numba, cupy$"):
        solve(problem(), backend="numpy", rtol=1e-14)


def test_what_is_not_compiled_is_refused() -> None:
    with pytest.raises(BackendError, match="65 components and 2 modes; allowed: at most 64 of each, or numpy"):
        solve(problem(K=65), backend="numba")
    with pytest.raises(BackendError, match="cannot drop a term"):
        solve(problem(), backend="numba", drop="ds.Bm/u")


@pytest.mark.parametrize("weights", ["softmax", "fisher-rao"])
@pytest.mark.parametrize("K", [1, 2])
def test_compiled_velocity_and_jacobian_at_random_points(K: int, weights: str) -> None:
    """The numba text against the NumPy text, and its exact Jacobian against differences of itself; v ≠ u."""
    case = problem(K=K, weights=weights, pi="[0.3, 0.7]", v=0.7, u=1.4)
    s, m, _ = starts(case)
    space = Span.of(case, s, m)
    system = compiled.build(systems.read_compiled(case), K, 2, space.directions)
    p = ensembles.parameters(Closed.of(case), space)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, K, space.directions))
    y = np.concatenate([x.reshape(30, -1), rng.normal(size=(30, K))], axis=1)
    velocities, jacobian = system.derivatives(y, p)
    dx = velocities[:, : x[0].size].reshape(x.shape)
    s, m = space.overlaps(x)
    ds, dm, dtheta = velocity(case, systems.for_problem(case), s, m, y[:, x[0].size :])
    np.testing.assert_allclose(dx @ x.mT + x @ dx.mT, ds, atol=1e-11)
    np.testing.assert_allclose(space.overlaps(dx)[1], dm, atol=1e-11)
    np.testing.assert_allclose(velocities[:, x[0].size :], dtheta, atol=1e-11)
    step = 1e-3
    for column in range(y.shape[1]):
        shifted = [system.derivatives(y + n * step * np.eye(y.shape[1])[column], p)[0] for n in (-2, -1, 1, 2)]
        slope = (shifted[0] - 8 * shifted[1] + 8 * shifted[2] - shifted[3]) / (12 * step)
        # truncation step⁴ times fifth derivatives of order 100
        np.testing.assert_allclose(jacobian[:, :, column], slope, atol=1e-9, rtol=1e-7)
