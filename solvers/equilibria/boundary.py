"""The boundary between two basins of attraction, by bisection between two starts, and the edge state that rules it."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from solvers import results
from solvers.closed import compiled, ensembles
from solvers.equilibria.field import Field, NoEquilibrium
from solvers.equilibria.point import Equilibrium
from solvers.machine.progress import Progress
from solvers.problem import Problem, ProblemError
from solvers.problem.starts import starts
from solvers.results.outcomes import outcomes

__all__ = ["basin_boundary"]

Array = NDArray[np.float64]

TOGETHER = 16  # starts tried at a time, equally spaced
RTOL, ATOL = 1e-10, 1e-13
EDGE_TIMES = 400  # geometric, so that an edge state passed early in a long run is seen
CLOSE = 1e-2  # how far two trajectories along the edge may be apart, in units of the largest coordinate


def basin_boundary(
    problem: Problem,
    first: ArrayLike,
    second: ArrayLike,
    *,
    outcome: str = "collapsed",
    resolution: float = 1e-12,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Where on the line between two starts the outcome at problem.time.end changes, and what sits there.

    Takes
        first, second (K, n): means in the first n ≤ d coordinates, in which the modes are problem.target.vectors;
        weights are those of the problem. outcome: a name in results.outcomes.OUTCOMES. resolution: of the position.
    Returns
        Dataset with dimensions side (the last start with the outcome of `first`, the first with that of `second`),
        time, component, component_other, mode, direction: fraction (side), 0 at first and 1 at second; outcome (side);
        s, m, w (side, time) at the save points; and of the edge state, the equilibrium between the basins that both
        trajectories come near, edge_s, edge_m, edge_w, edge_objective (nats), edge_eigenvalue, edge_stability. On a
        line with several changes of the outcome it is one of them.
    Raises
        ProblemError if the starts do not fit the problem or end alike; NoEquilibrium if there is none on the edge that
        the trajectories come near: then give a finer resolution.
    """
    means = [_means(problem, label, given) for label, given in (("first", first), ("second", second))]
    width = max(*(a.shape[1] for a in means), problem.target.vectors.shape[1])
    mu = np.concatenate([np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in means])
    nu = np.pad(problem.target.vectors, ((0, 0), (0, width - problem.target.vectors.shape[1])))
    s, m = (mu @ mu.T)[None], (mu @ nu.T)[None]
    field, K = Field.of(problem, s, m), problem.family.components
    x, theta = field.space.coordinates(s, m)[0], starts(problem, [0]).theta[0]
    ends = [np.concatenate([part.ravel(), theta])[field.moving] for part in (x[:K], x[K:])]

    def line(fractions: Array) -> Array:
        return np.asarray((1 - fractions[:, None]) * ends[0] + fractions[:, None] * ends[1])

    times = problem.time.times
    times = times if times[-1] == problem.time.end else np.append(times, problem.time.end)

    def paths(fractions: Array, times: Array = times) -> Array:
        y0 = field.full(line(fractions))
        found = compiled.ensemble(field.system, y0, field.parameters, times, rtol=RTOL, atol=ATOL)
        if found.status.any():
            raise NoEquilibrium(f"{problem.name}: a trajectory between the starts did not reach t = {times[-1]:g}")
        return found.y[..., field.moving]

    def ended(fractions: Array) -> NDArray[np.int8]:
        z = paths(fractions)[:, -1]
        L = len(problem.target.weights)
        out = field.system.observables(field.full(z), field.parameters)
        B = out[:, 1 + L :].reshape(-1, K, L)
        codes = outcomes(field.overlaps(z)[2], out[:, 1 : 1 + L], B, problem.target.weights)
        if outcome not in codes:
            raise ProblemError(f"outcome: {outcome}: no such outcome; allowed are {', '.join(codes)}")
        return codes[outcome]

    low, high = 0.0, 1.0
    codes = ended(np.array([low, high]))
    if codes[0] == codes[1]:
        raise ProblemError(f"{problem.name}: both starts end with {outcome} = {codes[0]}; must end differently")
    rounds = int(np.ceil(np.log(1 / resolution) / np.log(TOGETHER + 1)))
    for done in range(rounds):
        grid = np.linspace(low, high, TOGETHER + 2)
        inner = np.r_[codes[0], ended(grid[1:-1]), codes[1]]
        change = int(np.argmax(inner != codes[0]))
        low, high = float(grid[change - 1]), float(grid[change])
        if progress:
            progress((done + 1) / rounds)
        if high - low <= max(resolution, 4 * np.finfo(float).eps):
            break
    along = paths(np.array([low, high]))
    # The edge is looked for at times of its own: the problem may save none of the time spent there.
    fine = np.append(0.0, np.geomspace(1e-2 * min(1.0, times[-1]), times[-1], EDGE_TIMES))
    edge = _edge(field, paths(np.array([low, high]), fine))
    s, m, w = field.overlaps(along)
    timed = ("side", "time")
    data = {
        "fraction": (("side",), np.array([low, high])),
        "outcome": (("side",), codes.astype(np.int8)),
        "s": ((*timed, "component", "component_other"), s),
        "m": ((*timed, "component", "mode"), m),
        "w": ((*timed, "component"), w),
        "edge_s": (("component", "component_other"), edge.s),
        "edge_m": (("component", "mode"), edge.m),
        "edge_w": (("component",), edge.w),
        "edge_objective": ((), edge.objective),
        "edge_eigenvalue": (("direction",), edge.eigenvalues),
        "edge_stability": ((), np.int8(edge.stability)),
    }
    about = {"system": field.closed.module.SYSTEM, "outcome": outcome, "resolution": resolution}
    attributes = results.attributes(problem, ensembles.BACKEND, "solvers.equilibria.basin_boundary") | about
    return xr.Dataset(data, coords={"time": ("time", times)}, attrs=attributes)


def _means(problem: Problem, label: str, given: ArrayLike) -> Array:
    means = np.asarray(given, dtype=float)
    K = problem.family.components
    if means.ndim != 2 or len(means) != K or means.shape[1] > problem.dimension or not np.isfinite(means).all():
        raise ProblemError(f"{label}: shape {means.shape}; must be ({K}, n) finite numbers, n ≤ {problem.dimension}")
    return means


def _edge(field: Field, along: Array) -> Equilibrium:
    """The equilibrium near which both trajectories, together, are slowest; along (2, T, n)."""
    apart = np.abs(along[0] - along[1]).max(-1)
    together = apart <= CLOSE * max(1.0, np.abs(along).max())
    together &= np.cumsum(~together) == 0
    speed = np.array([np.abs(field.derivatives(z)[0]).max() for z in along[0]])
    speed[~together] = np.inf
    slowest = along[0, int(np.argmin(speed))]
    s, m, w = field.overlaps(slowest)
    # Its stability is that in all directions, not only in those of the two starts.
    everywhere = Field.of(field.problem)
    found = Equilibrium.of(everywhere, everywhere.newton(everywhere.state(s, m, np.log(w))))
    if found.unstable == 0:
        raise NoEquilibrium(
            f"{field.problem.name}: the trajectories along the edge come near no equilibrium that is unstable; "
            "give a finer resolution, or starts closer to each other"
        )
    return found
