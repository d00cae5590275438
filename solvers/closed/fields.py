"""What follows from the states of compiled trajectories: put into the arrays of a result as they are done, in threads.

For laws of at most two logits, whose expectations are special functions, this is compiled code at all save points and
costs little beside the trajectories. For more logits an error estimate takes other nodes: solvers.closed.flow.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from solvers import results
from solvers.closed.compiled import CompiledSystem
from solvers.closed.equations import Closed, Evaluated, Task
from solvers.expectations.logistic_normal import ERROR
from solvers.integrate.tolerances import of_expectations
from solvers.machine.pieces import PerThread

__all__ = ["Fields", "quick"]

Array = NDArray[np.float64]

#: States that are evaluated at a time: their numbers stay in the second cache.
TOGETHER = 4096


def quick(closed: Closed) -> bool:
    """Whether all laws of a problem have two logits at most."""
    return max(closed.components, closed.modes) <= 2


class Fields:
    """m, s, w, objective, mode_mass and quadrature_error of n trajectories at T times, B at the last of them.

    take: what solvers.integrate.ensemble gives paths to. driven: whether the last state is the temperature, which is
    known at all times.
    """

    def __init__(self, task: Task, system: CompiledSystem, p: Array, count: int, driven: bool) -> None:
        tolerance = of_expectations(task.rtol)
        self.task, self.system, self.completed = task, system, system.completed(p, tolerance)
        flow, times = task.problem.flow, task.problem.time.times
        self.temperature = np.array([flow.at(time) for time in times]) if driven else None
        closed = task.closed
        n, T, K, L = count, len(times), closed.components, closed.modes
        self.m, self.s, self.w = np.empty((n, T, K, L)), np.empty((n, T, K, K)), np.empty((n, T, K))
        self.v = np.empty((n, T, K))
        self.objective, self.mode_mass = np.empty((n, T)), np.empty((n, T, L))
        self.B, self.quadrature_error = np.empty((n, K, L)), np.empty((n, T))
        text = system.modules["system"]
        # Columns of observables, and after them rows of the scratch that they are made in.
        columns, rows = {"objective": 0, "mode_mass": 1}, {"s": text.R_S, "m": text.R_M, "w": text.R_W}
        self.places = columns | {name: text.OUT + row for name, row in rows.items()}
        self.at_B = 1 + L
        self.work = PerThread(lambda: system.work(p, tolerance))
        self.error = ERROR if max(text.LOGITS) == 2 else 0.0

    def take(self, block: slice, paths: Array, status: NDArray[np.int8]) -> None:
        """Paths (n, T, N) of these trajectories; those that failed become nan."""
        paths[status != 0] = np.nan
        if self.temperature is not None:
            paths[..., -1] = self.temperature
        size, variances = max(1, TOGETHER // paths.shape[1]), self.task.problem.family.variances
        for first in range(0, len(paths), size):
            part = paths[first : first + size]
            at = slice(block.start + first, block.start + first + len(part))
            here = {name: getattr(self, name)[at] for name in self.places}
            states, B = part.reshape(-1, paths.shape[2]), np.empty((*part.shape[:2], *self.B.shape[1:]))
            outs = {self.places[name]: a.reshape(len(states), math.prod(a.shape[2:])) for name, a in here.items()}
            self.system.observed(
                states, self.completed, self.work(), outs | {self.at_B: B.reshape(len(states), math.prod(B.shape[2:]))}
            )
            self.B[at] = B[:, -1]
            self.v[at] = variances
            lost = results.rounding(self.task.problem, here["m"], here["s"], variances)
            self.quadrature_error[at] = self.error + lost / np.maximum(1.0, np.abs(here["objective"]))

    def evaluated(self, status: NDArray[np.int8]) -> Evaluated:
        """All of it, once every trajectory was taken."""
        return Evaluated(
            self.m, self.s, self.w, self.v, self.objective, self.mode_mass, self.B, self.quadrature_error, status, {}
        )
