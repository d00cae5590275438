"""What a worker does: solve a few grid points to the end and hand back sums over their samples."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import solvers
from solvers import ask
from solvers.problem import Problem, ProblemError, Time
from solvers.problem.sampler_section import RUNS
from solvers.results.mechanisms import LABELS
from solvers.results.outcomes import UNKNOWN, mode_mass_distance
from solvers.results.versions import versions as versions_of
from solvers.sweeps.dataset import Columns
from solvers.sweeps.moments import moments

__all__ = [
    "PART",
    "End",
    "Options",
    "Result",
    "Unit",
    "code",
    "compute",
    "end_state",
    "ends",
    "kind",
    "numerical",
    "versions",
]

Array = NDArray[np.float64]

#: Starts of a point that are summed together. Part of the definition of the numbers: sums round differently otherwise.
PART = 16384
#: Starts in memory at a time.
PIECE = 4096


@dataclass(frozen=True)
class Options:
    """How to solve: tolerances of the integrator, the backend or "auto" for the fastest one here, and whether to leave
    trajectories where they rest, which asking for equilibrium does too."""

    rtol: float = 1e-8
    atol: float = 1e-10
    backend: str = "auto"
    stop_at_equilibrium: bool = False


@dataclass(frozen=True)
class Unit:
    """Points as (message name, TOML text), and which part of their starts."""

    points: tuple[tuple[str, str], ...]
    part: int
    columns: Columns
    options: Options


@dataclass(frozen=True)
class Result:
    """moments (points, columns, 3), the last the failed ones; systems met; versions and code of the worker."""

    moments: Array
    systems: frozenset[str]
    versions: str
    code: str


def compute(unit: Unit) -> Result:
    """Sums over the samples PART · part, … of every point.

    Raises ProblemError for a quantity that a point does not have.
    """
    found, systems = [], set()
    for name, text in unit.points:
        problem = Problem.parse(text, name)
        first = PART * unit.part
        last = min(first + PART, problem.init.samples)
        wanted, pieces = unit.columns.quantities, []
        for start in range(first, last, PIECE):
            for end in ends(problem, range(start, min(start + PIECE, last)), unit.options, wanted):
                systems.update({end.system} - {""})
                pieces.append(end.columns(unit.columns, name))
        values = np.concatenate(pieces) if pieces else np.empty((0, unit.columns.count))
        found.append([moments(column) for column in np.ascontiguousarray(values.T)])
    return Result(np.array(found), frozenset(systems), versions(), code())


@dataclass(frozen=True)
class End:
    """Everything that is one number a sample, at the last time, (samples,); nan where it is not known.

    words: codes of LABELS, (samples,) or (samples, modes). Of samples that no number came of, `values` has `failed`
    only, and system and backend are empty.
    """

    values: dict[str, Array]
    words: dict[str, NDArray[np.int8]]
    system: str
    backend: str

    def columns(self, columns: Columns, name: str) -> Array:
        """(samples, columns): numbers, and for every word 1 where it is the one, 0 where it is not.

        Raises  ProblemError, calling the problem `name`, for a quantity that there is not.
        """
        found = [self._of(quantity, columns, name) for quantity in columns.quantities]
        return np.concatenate([*found, self.values["failed"][:, None]], axis=1)

    def _of(self, quantity: str, columns: Columns, name: str) -> Array:
        shape, count = columns.shape(quantity), len(self.values["failed"])
        if not self.system:
            return np.full((count, math.prod(shape)), np.nan)
        if shape:
            codes = self.words[quantity]
            places = {word: code for code, word in LABELS[quantity].names.items()}
            hit = codes[..., None] == np.array([places[word] for word in columns.labels[quantity]])
            out = np.full((count, *shape), np.nan)  # of modes that this point has not
            out[:, : codes.shape[-1] if codes.ndim > 1 else None] = np.where(codes[..., None] == UNKNOWN, np.nan, hit)
            return out.reshape(count, -1)
        if quantity not in self.values:
            known = ", ".join([*(other for other in self.values if other != "failed"), *LABELS])
            raise ProblemError(f"{name}: output.quantities: {quantity}: not known; allowed: {known}")
        return self.values[quantity][:, None]


def numerical(error: Exception) -> bool:
    """Whether a solver gave up on the numbers that it met, and not on the problem or on itself."""
    if isinstance(error, ProblemError):
        return False
    words = isinstance(error, ValueError) and re.search(r"\b(nans?|infs?|infinity|finite)\b", str(error), re.IGNORECASE)
    return isinstance(error, ArithmeticError | np.linalg.LinAlgError) or bool(words)


def ends(problem: Problem, samples: range, options: Options, quantities: tuple[str, ...] = ()) -> Iterator[End]:
    """The same as end_state, in parts. A start that the solver gives up on fails alone."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is counted
            end = end_state(problem, samples, options, quantities)
    except Exception as error:
        if not numerical(error):
            raise
        if len(samples) == 1:
            yield End({"failed": np.ones(1)}, {}, "", "")
            return
        half = len(samples) // 2
        for part in (samples[:half], samples[half:]):
            yield from ends(problem, part, options, quantities)
    else:
        yield end


def end_state(problem: Problem, samples: range, options: Options, quantities: tuple[str, ...] = ()) -> End:
    """Solve a problem from these of its starts to the last time. quantities: what will be asked for."""
    if "recovered_at" not in quantities:  # which is between save times
        problem = replace(problem, time=Time(problem.time.end, problem.time.times[-1:]))
    backend = None if options.backend == "auto" else options.backend
    # Starts are the repetitions of a point where there are enough of them; else each is learned several times.
    runs = -(-RUNS // problem.init.samples)
    ds = ask.solve(
        problem, rtol=options.rtol, atol=options.atol, backend=backend, samples=samples, threads=1,
        stop_at_equilibrium=options.stop_at_equilibrium or "equilibrium" in quantities,
        rest=not LABELS.keys().isdisjoint(quantities), runs=runs,
    )  # fmt: skip
    # Arrays, not the dataset: a few starts take no longer than a dataset does.
    values: dict[str, Array] = {}
    for name, variable in ds.variables.items():
        if variable.dims in (("sample",), ("sample", "time")) and name not in LABELS:  # words have no mean
            last = variable.values.reshape(len(samples), -1)[:, -1]
            unknown = (last < 0) & (last.dtype == np.int8)  # -1 among outcomes
            values[str(name)] = np.where(unknown, np.nan, last.astype(np.float64))
    values["mode_mass_distance"] = mode_mass_distance(ds.variables["mode_mass"].values[:, -1], problem.target.weights)
    # Not recovered yet: as long as it was looked at. The mean is then of min(recovered_at, last time), of all alike.
    late = values["recovered_at"]
    values["recovered_at"] = np.where(np.isnan(late), problem.time.times[-1], late)
    # A mean must not be infinite for one start, nor may that start count in the others.
    failed = (values.pop("status") != 0) | np.isinf(values["objective"])
    values = {name: np.where(failed, np.nan, array) for name, array in values.items()}
    values["failed"] = failed.astype(np.float64)
    words = {name: np.array(ds.variables[name].values) for name in LABELS}
    for codes in words.values():
        codes[failed] = UNKNOWN
    return End(values, words, str(ds.attrs["system"]), str(ds.attrs["backend"]))


def kind(problem: Problem) -> tuple[Any, ...]:
    """Problems of one kind share a system, and its machine code."""
    K, L = problem.family.components, len(problem.target.weights)
    return K, L, min(problem.dimension, K + L), repr(problem.flow), problem.family.learn, problem.sampler is None


def versions() -> str:
    """Of everything whose version may change the last bits of a number, as JSON."""
    return versions_of("modecollapse", "numpy", "scipy", "numba")


@cache
def code() -> str:
    """Of the source this process runs: a hash of every Python file of this package, by name and content.

    Read once, when first asked for; not the version, which stays the same while code is written.
    """
    package = Path(solvers.__file__).parent
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        found.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()
