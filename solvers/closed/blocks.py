"""Integration of the closed equations on arrays: blocks of trajectories by LSODA, or by steps of a learning rate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.closed import systems
from solvers.closed.equations import NOT_TO_REST, Solved, Task
from solvers.closed.span import Span
from solvers.integrate.tolerances import of_expectations
from solvers.machine.progress import Progress, within
from solvers.problem import Problem, ProblemError, demands

__all__ = ["SMALLEST_RTOL", "TOGETHER", "Integrator", "Point", "refused", "solve", "velocity", "width_unit"]

Array = NDArray[np.float64]
Point = tuple[Array, Array, Array, Array]

#: Trajectories integrated together, as one block-diagonal system: large enough to vectorise, small enough that the
#: step size, which is that of the most demanding one, suits the others.
TOGETHER = 64
MAX_STEPS = 200_000
#: After so many steps, a trajectory not yet at this share of its time will not get there in MAX_STEPS: LSODA multiplies
#: its step by up to ten at a time, so these steps are short because the equations are steep.
FIRST_STEPS, FIRST_SHARE = 5_000, 1e-15
#: Relative tolerances below this LSODA takes for more than rounding allows; SciPy would silently use this one.
SMALLEST_RTOL = float(100 * np.finfo(float).eps)
#: With two digits, so that one may type it.
_SHOWN = f"{math.ceil(SMALLEST_RTOL * 1e15) * 1e-15:.2g}"


def refused(task: Task) -> str | None:
    """What LSODA cannot do."""
    if task.stop_at_equilibrium:
        return NOT_TO_REST
    if task.rtol < SMALLEST_RTOL and task.problem.flow.batch is None:
        return f"rtol {task.rtol:g} is less than LSODA can keep; allowed: from {_SHOWN}"
    return None


def solve(task: Task) -> Solved:
    """Trajectories in blocks of TOGETHER. A block that fails is split until the failing trajectory is alone.

    Raises  ProblemError for an rtol that log-variances in this dimension cannot hold, or if memory is not there.
    """
    problem, batch = task.problem, task.problem.flow.batch
    if problem.time.end > 0 and batch is None:
        demands.check_workspace(problem, TOGETHER)
    if "variances" in problem.family.learn and task.rtol * width_unit(problem.dimension) < SMALLEST_RTOL:
        most = int(2 * ((task.rtol / SMALLEST_RTOL) ** 2 - 1))
        raise ProblemError(
            f"{problem.name}: dimension: is {problem.dimension}; must be at most {most} for variances learned with "
            f"--rtol {task.rtol:g}: it is to hold in units of √(2/d) of log v, and LSODA keeps {_SHOWN}"
        )
    s, m, theta = task.starts()
    first_states = s, m, theta, np.broadcast_to(np.log(problem.family.variances), theta.shape)
    # A theory without one of its terms need not keep overlaps of vectors: it shall be seen as it is. And the noise of
    # finite batches adds directions.
    space = Span.of(problem, s, m) if task.closed.own and batch is None else None
    times, count = problem.time.times, len(s)
    out = tuple(np.full((count, len(times), *a.shape[1:]), np.nan) for a in first_states)
    status = np.zeros(count, dtype=np.int8)
    for first in range(0, count, TOGETHER):
        block = slice(first, min(first + TOGETHER, count))
        progress = within(task.progress, block.start / count, block.stop / count)
        integrator = Integrator(problem, task.closed.module, task.rtol, task.atol, progress, space)
        paths, status[block] = integrator.run(tuple(a[block] for a in first_states))  # type: ignore[arg-type]
        for whole, part in zip(out, paths, strict=True):
            whole[block] = part
    s, m, theta, log_v = out
    return Solved(s, m, theta, log_v, status, {})


def width_unit(d: int) -> float:
    """What tolerances of log-variances are to those of the other states."""
    return float(1 / np.sqrt(1 + d / 2))


@dataclass(frozen=True)
class States:
    """What moves in one trajectory as a flat vector: upper triangle of s, m, theta, log v."""

    components: int
    modes: int
    means: bool
    weights: bool
    variances: bool

    @property
    def size(self) -> int:
        K, L = self.components, self.modes
        return self.means * (K * (K + 1) // 2 + K * L) + (self.weights + self.variances) * K

    def pack(self, s: Any, m: Any, theta: Any, log_v: Any = None) -> Any:
        """(n, size) from s (n, K, K), m (n, K, L), theta (n, K), log v (n, K)."""
        upper = np.triu_indices(self.components)
        parts = [s[:, upper[0], upper[1]], m.reshape(len(m), -1)] if self.means else []
        parts += [theta] * self.weights + [log_v] * self.variances
        return np.concatenate(parts, axis=1)

    def unpack(self, y: Array, start: Point) -> Point:
        """s, m, theta, log v from y (n, ..., size); what does not move is that of the n starts."""
        K, L, lead = self.components, self.modes, y.shape[:-1]
        between = (slice(None), *[None] * (len(lead) - 1))
        s, m, theta, log_v = (np.broadcast_to(a[between], lead + a.shape[1:]) for a in start)
        if self.means:
            upper = np.triu_indices(K)
            s = np.empty((*y.shape[:-1], K, K))
            triangle = len(upper[0])
            s[..., upper[0], upper[1]] = s[..., upper[1], upper[0]] = y[..., :triangle]
            m = y[..., triangle : triangle + K * L].reshape(*y.shape[:-1], K, L)
        after = self.size - (self.weights + self.variances) * K
        if self.weights:
            theta = y[..., after : after + K]
        return s, m, theta, (y[..., self.size - K :] if self.variances else log_v)


def velocity(
    problem: Problem,
    module: ModuleType,
    s: Any,
    m: Any,
    theta: Any,
    log_v: Any = None,
    *,
    time: float = 0.0,
    expect: Callable[..., Any] | None = None,
) -> tuple[Array, ...]:
    """ds/dt (..., K, K), dm/dt (..., K, L), dtheta/dt (..., K); zero for what the problem does not learn.

    log_v (..., K), default that of the start, is for a system with a variance for each component, which has
    d log v/dt (..., K) as a fourth velocity. With flow.batch: their mean change by one step, divided by the step.
    expect: default systems.expectations, as accurate as they can be.
    """
    values = systems.evaluate(problem, module, s, m, theta, log_v, time=time, expect=expect)
    ds, dm, dtheta, *dlog_v = systems.call(module.velocity, values)
    learn, shape = problem.family.learn, values["theta"].shape
    # A system with a term dropped may be left with one number for all components.
    dtheta = np.broadcast_to(dtheta, shape)
    fourth = (np.broadcast_to(a, shape) * ("variances" in learn) for a in dlog_v)
    return ds * ("means" in learn), dm * ("means" in learn), dtheta * ("weights" in learn), *fourth


@dataclass(frozen=True)
class Integrator:
    problem: Problem
    module: ModuleType
    rtol: float
    atol: float
    progress: Progress | None
    space: Span | None

    def run(self, start: Point) -> tuple[Point, NDArray[np.int8]]:
        """Paths of s, m, theta, log v (n, T, ...) and the status (n,) of a block of starts."""
        _, m, theta, _ = start
        learn, count = self.problem.family.learn, len(m)
        states = States(theta.shape[1], m.shape[2], "means" in learn, "weights" in learn, "variances" in learn)
        times = self.problem.time.times
        if not states.size:
            y, status = np.empty((count, len(times), 0)), 0
        else:
            with warnings.catch_warnings():
                # What LSODA says of a trajectory that it gives up is told by the status.
                warnings.filterwarnings("ignore", "lsoda: ", UserWarning)
                y, status = self.integrate(states, start)
        if status and count > 1:
            both = (slice(None, count // 2), slice(count // 2, None))
            halves = [self.run(tuple(a[half] for a in start)) for half in both]  # type: ignore[arg-type]
            paths = tuple(np.concatenate(parts) for parts in zip(halves[0][0], halves[1][0], strict=True))
            return paths, np.concatenate([halves[0][1], halves[1][1]])  # type: ignore[return-value]
        return self.overlaps(states, y, start), np.full(count, status, dtype=np.int8)

    def overlaps(self, states: States, y: Array, start: Point) -> Point:
        """s, m, theta, log v from y (n, ..., size), where s and m are those of vectors in the space."""
        s, m, *others = states.unpack(y, start)
        return *(self.space.nearest(s, m) if self.space and states.means else (s, m)), *others  # type: ignore[return-value]

    def integrate(self, states: States, start: Point) -> tuple[Array, int]:
        """(n, T, size) at the save times, and the status of the block."""
        from scipy.integrate import LSODA  # which takes longer to import than most ensembles to solve

        count, size = len(start[0]), states.size
        times = self.problem.time.times
        out = np.full((count, len(times), size), np.nan)
        y0 = states.pack(*start)
        saved = int(np.searchsorted(times, 0.0, side="right"))
        out[:, :saved] = y0[:, None]
        if saved == len(times):
            return out, 0

        expect = partial(systems.expectations(self.module), tolerance=of_expectations(self.rtol))

        def rhs(time: float, flat: Array) -> Array:
            at = self.overlaps(states, flat.reshape(count, size), start)
            found = velocity(self.problem, self.module, *at, time=time, expect=expect)
            return np.asarray(states.pack(*found)).ravel()

        if self.problem.flow.batch is not None:
            return self.descend(rhs, y0, out)
        # The natural unit of a log-variance is √(2/d), by which the law of |x|² is told from its neighbours.
        finer = np.ones(size)
        finer[size - states.variances * len(start[2][0]) :] = width_unit(self.problem.dimension)
        rtol, atol = (np.tile(tolerance * finer, count) for tolerance in (self.rtol, self.atol))
        # Blocks on the diagonal: a banded Jacobian, so its cost per trajectory does not grow with their number.
        band = size - 1 if count > 1 else None
        solver = LSODA(rhs, 0.0, y0.ravel(), times[-1], rtol=rtol, atol=atol, lband=band, uband=band)
        for step in range(MAX_STEPS):
            solver.step()
            if solver.status == "failed" or not np.all(np.isfinite(solver.y)):
                return out, 2
            reached = int(np.searchsorted(times, solver.t, side="right"))
            if reached > saved:
                values = solver.dense_output()(times[saved:reached])
                out[:, saved:reached] = np.moveaxis(values.reshape(count, size, -1), -1, 1)
                saved = reached
            if solver.status == "finished":
                return out, 0
            if step == FIRST_STEPS and solver.t < FIRST_SHARE * times[-1]:
                break
            if self.progress and step % 16 == 0:
                self.progress(solver.t / times[-1])
        return out, 1

    def descend(self, rhs: Callable[[float, Array], Array], y: Array, out: Array) -> tuple[Array, int]:
        """The same by steps of the learning rate; `out` (n, T, size) holds nan."""
        assert self.problem.flow.batch is not None
        step = self.problem.flow.batch.step
        nearest = np.rint(self.problem.time.times / step).astype(int)
        for n in range(nearest[-1] + 1):
            out[:, nearest == n] = y[:, None]
            if n < nearest[-1]:
                y = y + step * rhs(n * step, y.ravel()).reshape(y.shape)
                if not np.all(np.isfinite(y)):
                    return out, 2
            if self.progress and n % 64 == 0:
                self.progress(n / max(int(nearest[-1]), 1))
        return out, 0
