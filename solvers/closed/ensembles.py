"""Closed equations as compiled ensembles, on the CPU (numba) or a GPU (cupy): coordinates, parameters, paths."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import cuda
from solvers.closed import compiled, mobility
from solvers.closed.equations import NOT_TO_REST, Closed, Evaluated, Solved, Task
from solvers.closed.fields import Fields, quick
from solvers.closed.span import TOGETHER, Span
from solvers.expectations.lanes.nodes import LARGEST
from solvers.integrate.singular import shortest
from solvers.integrate.tolerances import of_expectations
from solvers.machine.arrays import backend_module
from solvers.machine.backends import BackendError
from solvers.machine.cores import cores
from solvers.machine.pieces import in_order
from solvers.machine.ranks import DERIVATIVES
from solvers.problem import Problem, Schedule
from solvers.problem.values import show

__all__ = [
    "BACKEND",
    "build",
    "driven",
    "on_cpu",
    "on_gpu",
    "parameters",
    "refused_on_cpu",
    "refused_on_gpu",
    "rest",
]

Array = NDArray[np.float64]

#: Who has compiled systems with Jacobians, which equilibria are found by.
BACKEND = "numba"
#: A state is at an equilibrium if that is closer than so many tolerances of the integrator in every coordinate.
NEAR = 100.0
#: A schedule that has ended so many times before anything is saved is one that has ended: what it did before, at most
#: log 1e100 / rate times the velocity, is less than rounding, and rate·T may not be finite.
LONG_OVER = 1e20


def build(closed: Closed, space: Span) -> compiled.CompiledSystem:
    """The compiled system of a problem in a span.

    Raises  BackendError, naming what is not compiled.
    """
    if reason := refused_on_cpu(Task(closed)):
        raise BackendError(f"{BACKEND}: {reason}")
    return compiled.build(closed.lanes, *_sizes(closed, space))


def refused_on_gpu(task: Task) -> str | None:
    """What the kernels cannot do: what compiled systems cannot, the forward KL, roots of weights."""
    flow = task.problem.flow
    if task.stop_at_equilibrium:
        return NOT_TO_REST
    most = cuda.LARGEST
    if max(task.closed.components, task.closed.modes) > most:
        return f"{task.closed.components} components and {task.closed.modes} modes; allowed: at most {most} of each"
    if reason := refused_on_cpu(task):
        return reason
    if not task.closed.has("cu"):
        return f"flow.objective = {show(flow.objective)} is not among the kernels"
    if any(power % 1 for power in task.closed.powers.values()):
        return f"rates of {flow.metric}, {flow.weights} are no whole powers of w"
    return None


def refused_on_cpu(task: Task) -> str | None:
    """What a compiled system cannot do: other equations than the problem's own, more than LARGEST
    components or modes, variances that differ or are learned, finite batches."""
    closed, flow, K, L = task.closed, task.problem.flow, task.closed.components, task.closed.modes
    if not closed.own:
        return "cannot drop a term"
    if max(K, L) > LARGEST:
        return f"{K} components and {L} modes; allowed: at most {LARGEST} of each"
    if task.problem.own_variances:
        return "variances that differ or are learned"
    if flow.batch is not None:
        return "flow.batch is descent by steps, which is not compiled"
    if not closed.has("numba"):
        return f"flow.objective = {show(flow.objective)} is not compiled"
    return None


def driven(problem: Problem) -> list[float]:
    """States that follow from time alone, at its start: T, where the target is tempered. They come last.

    At temperature 1 there is none, and β is a parameter.
    """
    temperature, times = problem.flow.temperature, problem.time.times
    if isinstance(temperature, Schedule) and temperature.rate * min(times[times > 0], default=0.0) > LONG_OVER:
        return [1.0]
    return [problem.flow.at(0.0)] if temperature != 1 else []


def on_cpu(task: Task) -> Solved | Evaluated:
    """Trajectories by compiled code, in threads; what follows from them too, where laws have at most two logits.

    What is integrated are coordinates of the mean vectors in their span with the modes, R ≤ K + rank(c) of them, θ and,
    where the target is tempered, T; the overlaps are those of these vectors. With stop_at_equilibrium, `rest` of the
    last states.
    """
    closed, (space, y0, p) = task.closed, _begin(task)
    system, times = compiled.build(closed.lanes, *_sizes(closed, space)), task.problem.time.times
    fields = None
    if quick(closed):
        fields = Fields(task, system, p, len(y0), bool(driven(task.problem)))
    found = compiled.ensemble(
        system,
        y0,
        p,
        times,
        rtol=task.rtol,
        atol=task.atol,
        threads=task.threads,
        stop_at_equilibrium=task.stop_at_equilibrium,
        progress=task.progress,
        take=fields.take if fields else None,
    )
    solved = fields.evaluated(found.status) if fields else _solved(closed, space, found)
    if not task.stop_at_equilibrium:
        return solved
    at_end = rest(task.problem, found.y[:, -1], system, p, rtol=task.rtol, atol=task.atol)
    return solved._replace(variables=at_end)


def on_gpu(task: Task) -> Solved:
    """The same trajectories on a GPU. Raises  BackendError if there is none, or too little of its memory."""
    closed, (space, y0, p) = task.closed, _begin(task)
    system = cuda.build(backend_module("cupy"), closed.text("cu"), *_sizes(closed, space))
    times = task.problem.time.times
    found = cuda.ensemble(system, y0, p, times, rtol=task.rtol, atol=task.atol, progress=task.progress)
    return _solved(closed, space, found)


def _begin(task: Task) -> tuple[Span, Array, Array]:
    """The span of the starts with the modes, states (n, N) in its coordinates, parameters."""
    s, m, theta = task.starts()
    space = Span.of(task.problem, s, m)
    at_start = np.tile(driven(task.problem), (len(s), 1))

    def part(n: int) -> Array:
        rows = slice(n * TOGETHER, (n + 1) * TOGETHER)
        return space.coordinates(s[rows], m[rows]).reshape(-1, theta.shape[1] * space.directions)

    x = list(in_order(part, max(1, -(-len(s) // TOGETHER)), cores()))
    y0 = np.concatenate([np.concatenate(x), theta, at_start], axis=1)
    return space, y0, parameters(task.closed, space)


def _sizes(closed: Closed, space: Span) -> tuple[int, int, int, int]:
    """K, L, R and DRIVEN, constants of the compilers."""
    return closed.components, closed.modes, space.directions, len(driven(closed.problem))


def _solved(closed: Closed, space: Span, found: compiled.Paths) -> Solved:
    """What came of the states; those that failed become nan in `found` too."""
    K, y = closed.components, found.y
    y[found.status != 0] = np.nan
    x = y[..., : K * space.directions].reshape(*y.shape[:2], K, space.directions)
    theta = y[..., K * space.directions : K * space.directions + K]
    log_v = np.broadcast_to(np.log(closed.problem.family.variances), theta.shape)
    return Solved(*space.overlaps(x), theta, log_v, found.status, {})


def rest(
    problem: Problem, y: Array, system: compiled.CompiledSystem, p: Array, *, rtol: float, atol: float
) -> dict[str, xr.Variable]:
    """Which of n compiled states y (n, N) are at an equilibrium, and the spectrum there, as variables of RUN.nc.

    Returns
        equilibrium (sample; int8): 1 if Newton's method would move the state by less than NEAR tolerances, 0 if more,
        -1 if the trajectory failed. spectrum (sample, direction): real parts of the eigenvalues of the Jacobian in
        coordinates of the learned means in their span, and θ, largest first; zeros among them are rotations about the
        modes and a constant in θ. nan where the state is at no equilibrium.
    """
    learn, K = problem.family.learn, problem.family.components
    others = len(driven(problem))
    kinds = ["means" in learn, "weights" in learn, False]
    moving = np.repeat(kinds, [system.size - K - others, K, others])
    known = np.asarray(np.isfinite(y).all(-1))
    y = y[known]
    velocity, slope = system.derivatives(y, p, of_expectations(rtol))
    # While a schedule runs nothing is at rest, though T itself has no eigenvalue among those of the flow.
    running = np.abs(velocity[:, system.size - others :]).max(-1, initial=0.0) > NEAR * atol
    velocity, slope = velocity[:, moving], slope[:, moving][:, :, moving]
    newton = shortest(slope, velocity, DERIVATIVES)
    tolerance = atol + rtol * np.abs(y[:, moving])
    # Where the Jacobian is singular, nothing must move either.
    near = (np.maximum(np.abs(newton), np.abs(velocity)) <= NEAR * tolerance).all(-1) & ~running
    equilibrium = np.where(known, 0, -1).astype(np.int8)
    equilibrium[np.flatnonzero(known)[near]] = 1
    spectrum = np.full((len(known), int(moving.sum())), np.nan)
    spectrum[equilibrium == 1] = -np.sort(-np.linalg.eigvals(slope[near]).real, axis=-1)
    about = f"at an equilibrium, to {NEAR:g} tolerances, at the last time: 1 yes, 0 no, -1 unknown"
    rates = "growth rates of small deviations from the equilibrium, largest first"
    return {
        "equilibrium": xr.Variable(("sample",), equilibrium, {"units": "1", "long_name": about}),
        "spectrum": xr.Variable(("sample", "direction"), spectrum, {"units": "1", "long_name": rates}),
    }


def parameters(closed: Closed, space: Span) -> Array:
    """The parameter array of the compiled system, in the order of its text."""
    problem, p, power = closed.problem, closed.parameters(), closed.powers
    learn, temperature, ways = problem.family.learn, problem.flow.temperature, mobility.of(problem.flow)
    # A factor of a rate, which is a number here, is one of the velocity.
    speeds = {group: (group in learn) * ways[group].factor(p["v"], p["d"]) for group in power}
    values = {
        "nu": space.target(),
        "c": p["c"],
        "log_pi": p["log_pi"],
        "pi": problem.target.weights,
        "v": p["v"],
        "u": p["u"],
        "d": p["d"],
        "log_v": np.log(p["v"]),
        "log_u": np.log(p["u"]),
        "learn_means": speeds["means"],
        "learn_weights": speeds["weights"],
        "power_means": power["means"],
        "power_weights": power["weights"],
        "beta": p["beta"],
        **problem.flow.parameters,
        "rate": temperature.rate if isinstance(temperature, Schedule) else 0.0,
    }
    names = re.findall(r"^P_(\w+) = ", closed.lanes, re.MULTILINE)
    return np.concatenate([np.ravel(np.asarray(values[name.lower()], dtype=float)) for name in names])
