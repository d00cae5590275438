"""The closed equations of one problem: read once, handed down to whoever needs a text, a size or a number of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.closed import mobility, systems
from solvers.closed.given import check
from solvers.machine.progress import Progress
from solvers.problem import Problem
from solvers.problem.starts import Starts, starts

__all__ = ["NOT_TO_REST", "Closed", "Evaluated", "Solved", "Task"]

Array = NDArray[np.float64]

#: What backends say that cannot.
NOT_TO_REST = "does not stop at equilibria"


@dataclass(frozen=True, eq=False)
class Closed:
    """module: the equations on arrays, see solvers.closed.systems. own: whether they are the problem's, whole, which
    alone there are compiled texts of."""

    problem: Problem
    module: ModuleType
    own: bool = True

    @classmethod
    def of(cls, problem: Problem, *, drop: str | None = None, system: ModuleType | None = None) -> Closed:
        """drop: without this term. system: these equations instead. Raises  ProblemError if none are derived for the
        problem, or these are not its equations (solvers.closed.given); TermError."""
        if system is not None:
            check(problem, system)
        module = systems.for_problem(problem, drop=drop) if system is None else system
        return cls(problem, module, drop is None and system is None)

    @property
    def components(self) -> int:
        return self.problem.family.components

    @property
    def modes(self) -> int:
        return len(self.problem.target.weights)

    def has(self, view: str) -> bool:
        """Whether there is a text for such a backend."""
        return systems.has_compiled(self.problem, view)

    def text(self, view: str) -> str:
        """The text that a backend takes, see Solver.view."""
        return systems.read_compiled(self.problem, view)

    @cached_property
    def lanes(self) -> str:
        """The text for numba."""
        return self.text("numba")

    @cached_property
    def powers(self) -> dict[str, float]:
        """The power of w_k in the rate of each group of states."""
        return mobility.exponents(self.problem.flow, self.module.POWERS)

    def parameters(self, time: float = 0.0) -> dict[str, Any]:
        """Of solvers.closed.systems.parameters."""
        return systems.parameters(self.problem, time)

    def evaluate(
        self, s: Any, m: Any, theta: Any, log_v: Any = None, *, time: float = 0.0, expect: Any = None
    ) -> dict[str, Any]:
        """Of solvers.closed.systems.evaluate."""
        return systems.evaluate(self.problem, self.module, s, m, theta, log_v, time=time, expect=expect)


@dataclass(frozen=True, eq=False)
class Task:
    """What a backend is asked to solve.

    stop_at_equilibrium: leave trajectories where they rest. samples: which starts, None for all; begin: others than the
    problem's. threads: of this machine, None for all cores. progress: hears of the fraction done.
    """

    closed: Closed
    rtol: float = 1e-8
    atol: float = 1e-10
    stop_at_equilibrium: bool = False
    samples: range | None = None
    begin: Starts | None = None
    threads: int | None = None
    progress: Progress | None = field(default=None, repr=False)

    @property
    def problem(self) -> Problem:
        return self.closed.problem

    def starts(self) -> Starts:
        """Made when asked for: a backend refuses before that what takes too much memory."""
        return self.begin or starts(self.problem, self.samples)


class Solved(NamedTuple):
    """Paths s (n, T, K, K), m (n, T, K, L), theta, log_v (n, T, K) of n starts at the save times, and status (n,).

    Rows that failed hold nan. variables: what else there is to say in RUN.nc.
    """

    s: Array
    m: Array
    theta: Array
    log_v: Array
    status: NDArray[np.int8]
    variables: dict[str, xr.Variable]


class Evaluated(NamedTuple):
    """The same with all that follows from the states: the arguments of solvers.results.run_dataset."""

    m: Array
    s: Array
    w: Array
    v: Array
    objective: Array
    mode_mass: Array
    B: Array
    quadrature_error: Array
    status: NDArray[np.int8]
    variables: dict[str, xr.Variable]
