"""What both comparisons are made of: starts, replicas, steps, and the entries that are tested.

flow.py and sampler.py say what is run on either side, and how far a quantity may be off for reasons that are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.particles.plan import SimulationError
from solvers.problem import Problem
from solvers.results.outcomes import STATUS
from solvers.verdict.agreement import Family, Part, decide

__all__ = [
    "ALPHA", "AMPLIFICATION", "FEWEST_REPLICAS", "SCATTER",
    "Entries", "check_replicas", "distinct", "extrapolated", "first_starts", "parts", "unsolved",
]  # fmt: skip

Array = NDArray[np.float64]

ALPHA = 1e-6  # false-alarm probability of each part
FEWEST_REPLICAS = 32
# A small error grows along a trajectory while it leaves a saddle. Integrator tolerance, quadrature error and rounding
# are allowed so many times over.
AMPLIFICATION = 30.0
SCATTER = 0.15  # standard deviation over replicas, in units of the scale, beyond which a trajectory is not compared


def check_replicas(replicas: int) -> None:
    """Raises SimulationError for fewer than FEWEST_REPLICAS."""
    if replicas < FEWEST_REPLICAS:
        raise SimulationError(f"replicas: is {replicas}; must be at least {FEWEST_REPLICAS} for a comparison")


def first_starts(problem: Problem, most: int) -> tuple[Problem, list[str]]:
    """The problem with at most so many of its starts, and a note if it has more."""
    samples = problem.init.samples
    notes = [f"the first {most} of {samples} starts were compared"] if samples > most else []
    return replace(problem, init=replace(problem.init, samples=min(samples, most))), notes


def unsolved(start: int, status: int) -> str:
    """The line of a report on a start from which the theory has no solution."""
    return f"start {start}: the theory has no solution up to the last time ({STATUS[status]})"


def extrapolated(coarse: Array, middle: Array, fine: Array) -> tuple[Array, Array]:
    """Of runs (replica, ...) with steps 4h, 2h, h: E = 2 X(h) − X(2h), and twice what the second order may be (...).

    In each replica E has no error of first order in the step; that of the second is measured, not guessed, from the
    means over replicas: E is off by [X(2h) − X(4h) − 2 (X(h) − X(2h))]/3 + O(h³).
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflowed disagrees
        second = np.abs(((middle - coarse) - 2 * (fine - middle)).mean(0)) / 3
        return 2 * fine - middle, 2 * second


def distinct(name: str, shape: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Every entry of a quantity once: of the symmetric s and ds/dt the upper triangle."""
    for index in np.ndindex(*shape):
        if name not in ("s", "ds/dt") or index[0] <= index[1]:
            yield index


@dataclass
class Entries:
    """Entries of one start at one time, as they are found; see Family."""

    labels: list[str] = field(default_factory=list)
    columns: list[tuple[Any, ...]] = field(default_factory=list)

    def add(
        self, name: str, index: Sequence[int], theory: Any, estimates: Array, *, scale: float, allowance: Any, unit: Any
    ) -> None:
        """One number of the theory, its estimates (replica,), and what Family has of it."""
        self.labels.append(name + (f"[{','.join(map(str, index))}]" if index else ""))
        self.columns.append((theory, estimates, scale, allowance, unit))

    def family(self, start: int, time: float, draws: float) -> Family:
        theory, estimates, scale, allowance, unit = zip(*self.columns, strict=True)
        return Family(
            start=start, time=time, labels=self.labels, theory=np.array(theory),
            estimates=np.stack(estimates, axis=1), allowance=np.array(allowance), scale=np.array(scale),
            unit=np.array(unit), draws=draws,
        )  # fmt: skip


def parts(named: Mapping[str, Sequence[Family]]) -> tuple[Part, ...]:
    """The verdict on each part that has entries, each at ALPHA."""
    return tuple(decide(name, families, ALPHA) for name, families in named.items() if families)
