"""Problems as compiled ensembles: coordinates, parameters and paths of solvers.compiled (backend "numba")."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from solvers import compiled, systems
from solvers.arrays import BackendError
from solvers.integrate.nodes import LARGEST
from solvers.problem import Problem
from solvers.span import Span
from solvers.starts import Starts

__all__ = ["parameters", "paths", "possible"]

Array = NDArray[np.float64]


def possible(problem: Problem) -> bool:
    """Whether `paths` can do the problem."""
    return max(problem.family.components, len(problem.target.weights)) <= LARGEST


def paths(
    problem: Problem,
    starts: Starts,
    *,
    rtol: float,
    atol: float,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[Array, Array, Array, NDArray[np.int8]]:
    """Trajectories from n starts at the T save times: s (n, T, K, K), m (n, T, K, L), theta (n, T, K), status (n,).

    What is integrated are coordinates of the mean vectors in their span with the modes, R ≤ K + rank(c) of them, and θ;
    the overlaps are those of these vectors. Rows that failed hold nan.
    Raises  BackendError for more than LARGEST components or modes.
    """
    K, L = problem.family.components, len(problem.target.weights)
    if not possible(problem):
        raise BackendError(f"numba: {K} components and {L} modes; allowed: at most {LARGEST} of each, or numpy")
    s, m, theta = starts
    space = Span.of(problem, s, m)
    system = compiled.build(systems.read_compiled(problem), K, L, space.directions)
    y0 = np.concatenate([space.coordinates(s, m).reshape(len(s), -1), theta], axis=1)
    found = compiled.ensemble(
        system,
        y0,
        parameters(problem, space),
        problem.time.times,
        rtol=rtol,
        atol=atol,
        threads=threads,
        progress=progress,
    )
    y = found.y
    y[found.status != 0] = np.nan
    x = y[..., : K * space.directions].reshape(*y.shape[:2], K, space.directions)
    return *space.overlaps(x), y[..., K * space.directions :], found.status


def parameters(problem: Problem, space: Span) -> Array:
    """The parameter array of the compiled system, in the order of its header."""
    p = systems.parameters(problem)
    learn = problem.family.learn
    scalars = [p["v"], p["u"], p["d"], np.log(p["v"]), np.log(p["u"]), "means" in learn, "weights" in learn]
    return np.concatenate([space.target().ravel(), p["c"].ravel(), p["log_pi"], np.array(scalars, dtype=float)])
