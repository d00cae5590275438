"""What a worker does: solve a few grid points to the end and hand back sums over their samples."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers import ask
from solvers.outcomes import mode_mass_distance
from solvers.problem import Problem, ProblemError, Time
from solvers.sweeps.moments import moments

__all__ = ["PART", "End", "Options", "Result", "Unit", "compute", "end_state", "kind", "versions"]

Array = NDArray[np.float64]

#: Starts of a point that are summed together. Part of the definition of the numbers: sums round differently otherwise.
PART = 16384
#: Starts in memory at a time.
PIECE = 4096


@dataclass(frozen=True)
class Options:
    """How to solve: tolerances of the integrator, and the backend or "auto" for the fastest one here."""

    rtol: float = 1e-8
    atol: float = 1e-10
    backend: str = "auto"


@dataclass(frozen=True)
class Unit:
    """Points as (message name, TOML text), and which part of their starts."""

    points: tuple[tuple[str, str], ...]
    part: int
    quantities: tuple[str, ...]
    options: Options


@dataclass(frozen=True)
class Result:
    """moments (points, quantities + 1, 3), the last the failed samples; systems met; versions of the worker."""

    moments: Array
    systems: frozenset[str]
    versions: str


def compute(unit: Unit) -> Result:
    """Sums over the samples PART · part, … of every point.

    Raises ProblemError for a quantity that a point does not have.
    """
    found, systems = [], set()
    for name, text in unit.points:
        problem = Problem.parse(text, name)
        first = PART * unit.part
        last = min(first + PART, problem.init.samples)
        pieces: dict[str, list[NDArray[Any]]] = {quantity: [] for quantity in (*unit.quantities, "failed")}
        for start in range(first, last, PIECE):
            end = end_state(problem, range(start, min(start + PIECE, last)), unit.options)
            systems.add(end.system)
            for quantity, values in pieces.items():
                values.append(end.of(quantity, name))
        found.append([moments(np.concatenate(values)) if values else np.zeros(3) for values in pieces.values()])
    return Result(np.array(found), frozenset(systems), versions())


@dataclass(frozen=True)
class End:
    """Everything that is one number a sample, at the last time; outcomes and failed are int8, the rest float64."""

    values: dict[str, NDArray[Any]]
    system: str
    backend: str

    def of(self, quantity: str, name: str) -> NDArray[Any]:
        """Raises ProblemError, calling the problem `name`, for a quantity that there is not."""
        if quantity not in self.values:
            known = ", ".join(other for other in self.values if other != "failed")
            raise ProblemError(f"{name}: output.quantities: {quantity}: not known; allowed: {known}")
        return self.values[quantity]


def end_state(problem: Problem, samples: range, options: Options) -> End:
    """Solve a problem from these of its starts to the last time."""
    ends = replace(problem, time=Time(problem.time.end, problem.time.times[-1:]))
    backend = None if options.backend == "auto" else options.backend
    ds = ask.solve(ends, rtol=options.rtol, atol=options.atol, backend=backend, samples=samples, threads=1)
    # Arrays, not the dataset: a few starts take no longer than a dataset does.
    values: dict[str, NDArray[Any]] = {}
    for name, variable in ds.variables.items():
        if variable.dims in (("sample",), ("sample", "time")):
            values[str(name)] = variable.values.reshape(len(samples), -1)[:, -1]
    values["failed"] = (values.pop("status") != 0).astype(np.int8)
    values["mode_mass_distance"] = mode_mass_distance(ds.variables["mode_mass"].values[:, -1], problem.target.weights)
    return End(values, str(ds.attrs["system"]), str(ds.attrs["backend"]))


def kind(problem: Problem) -> tuple[Any, ...]:
    """Problems of one kind share a system, and its machine code."""
    K, L = problem.family.components, len(problem.target.weights)
    return K, L, min(problem.dimension, K + L), repr(problem.flow), problem.family.learn, problem.sampler is None


@cache
def versions() -> str:
    """Of everything whose version may change the last bits of a number, as JSON."""
    packages = ("modecollapse", "numpy", "scipy", "numba")
    return json.dumps({"python": platform.python_version()} | {name: metadata.version(name) for name in packages})
