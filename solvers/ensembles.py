"""Problems as compiled ensembles, on the CPU (backend "numba") or a GPU ("cupy"): coordinates, parameters, paths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from solvers import systems
from solvers.arrays import BackendError, backend_module
from solvers.problem import Problem
from solvers.span import Span
from solvers.starts import Starts

__all__ = ["parameters", "paths"]

Array = NDArray[np.float64]


def paths(
    problem: Problem,
    starts: Starts,
    *,
    rtol: float,
    atol: float,
    backend: str = "numba",
    progress: Callable[[float], None] | None = None,
) -> tuple[Array, Array, Array, NDArray[np.int8]]:
    """Trajectories from n starts at the T save times: s (n, T, K, K), m (n, T, K, L), theta (n, T, K), status (n,).

    What is integrated are coordinates of the mean vectors in their span with the modes, R ≤ K + rank(c) of them, and θ;
    the overlaps are those of these vectors. Rows that failed hold nan.
    Raises  BackendError for more components or modes than the backend can do.
    """
    K, L = problem.family.components, len(problem.target.weights)
    if backend == "cupy":
        from solvers.cuda.source import LARGEST as most
    else:
        from solvers.integrate.expectations import LARGEST as most
    if max(K, L) > most:
        raise BackendError(f"{backend}: {K} components and {L} modes; allowed: at most {most} of each, or numpy")
    s, m, theta = starts
    space = Span.of(problem, s, m)
    y0 = np.concatenate([space.coordinates(s, m).reshape(len(s), -1), theta], axis=1)
    p, times = parameters(problem, space), problem.time.times
    text, sizes = systems.read_compiled(problem, backend), (K, L, space.directions)
    if backend == "cupy":
        from solvers import cuda

        gpu = cuda.build(backend_module(backend), text, *sizes)
        found = cuda.ensemble(gpu, y0, p, times, rtol=rtol, atol=atol, progress=progress)
    else:
        from solvers import compiled

        found = compiled.ensemble(compiled.build(text, *sizes), y0, p, times, rtol=rtol, atol=atol, progress=progress)
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
