"""Problems as compiled ensembles: coordinates, parameters and paths of solvers.compiled (backend "numba")."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from solvers import systems
from solvers.arrays import BackendError
from solvers.problem import Problem, Schedule
from solvers.span import Span
from solvers.starts import Starts

__all__ = ["parameters", "paths"]

Array = NDArray[np.float64]


def paths(
    problem: Problem, starts: Starts, *, rtol: float, atol: float, progress: Callable[[float], None] | None = None
) -> tuple[Array, Array, Array, NDArray[np.int8]]:
    """Trajectories from n starts at the T save times: s (n, T, K, K), m (n, T, K, L), theta (n, T, K), status (n,).

    What is integrated are coordinates of the mean vectors in their span with the modes, R ≤ K + rank(c) of them, θ and,
    where the target is tempered, β; the overlaps are those of these vectors. Rows that failed hold nan.
    Raises  BackendError for more than two components or modes, and for equations with expectations of pairs.
    """
    from solvers import compiled
    from solvers.integrate.expectations import LARGEST

    K, L = problem.family.components, len(problem.target.weights)
    if max(K, L) > LARGEST:
        raise BackendError(f"numba: {K} components and {L} modes; allowed: at most {LARGEST} of each, or numpy")
    s, m, theta = starts
    space = Span.of(problem, s, m)
    text = systems.read_compiled(problem)
    if "expect_pair(" in text:
        raise BackendError(f"numba: {_what(problem)} needs expectations that are not compiled; allowed: numpy, cupy")
    system = compiled.build(text, K, L, space.directions)
    driven = [np.full((len(s), 1), problem.flow.beta(0.0))] if problem.flow.temperature != 1 else []
    y0 = np.concatenate([space.coordinates(s, m).reshape(len(s), -1), theta, *driven], axis=1)
    found = compiled.ensemble(
        system, y0, parameters(problem, space), problem.time.times, rtol=rtol, atol=atol, progress=progress
    )
    y = found.y
    y[found.status != 0] = np.nan
    x = y[..., : K * space.directions].reshape(*y.shape[:2], K, space.directions)
    return *space.overlaps(x), y[..., K * space.directions : K * space.directions + K], found.status


def _what(problem: Problem) -> str:
    flow = problem.flow
    return "flow.batch" if flow.batch else f"flow.objective = {flow.objective!r}"


def parameters(problem: Problem, space: Span) -> Array:
    """The parameter array of the compiled system, in the order of its header."""
    p = systems.parameters(problem)
    learn = problem.family.learn
    scalars = [p["v"], p["u"], p["d"], np.log(p["v"]), np.log(p["u"]), "means" in learn, "weights" in learn]
    temperature = problem.flow.temperature
    if temperature != 1:
        scalars.append(temperature.rate if isinstance(temperature, Schedule) else 0.0)
    return np.concatenate([space.target().ravel(), p["c"].ravel(), p["log_pi"], np.array(scalars, dtype=float)])
