"""The stored results behind a figure: which they are, and making those that are missing or stale.

A kind of result is a class: a problem solved, simulated or continued, a scaling, either of the first two along a grid;
in stores.py a sweep, a benchmark. Each has a full tier and may have a quick one, which is stored beside it.
"""

from __future__ import annotations

import itertools
import json
import tomllib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from solvers import ask, equilibria, reopen, results
from solvers.ask import simulate
from solvers.closed import systems
from solvers.machine.progress import Progress, part
from solvers.problem import Problem
from solvers.problem.keys import replaced
from solvers.sampler.model import chain_module
from solvers.sweeps.plan import Axis
from solvers.verdict import scaling

PROBLEMS = Path(__file__).parent / "problems"

Table = Mapping[str, Any]


class Stored(ABC):
    """A result that a figure needs, in a full and a quick tier."""

    suffix: ClassVar[str] = ".nc"

    @property
    @abstractmethod
    def command(self) -> str:
        """What makes it, for the progress bar."""

    @property
    @abstractmethod
    def tiers(self) -> bool:
        """Whether the quick tier is another result than the full one."""

    def path(self, folder: Path, label: str, *, quick: bool) -> Path:
        """Where it is stored: LABEL.nc, or LABEL.quick.nc where the quick tier is another result."""
        return folder / f"{label}{'.quick' if quick and self.tiers else ''}{self.suffix}"

    def load(self, path: Path, *, quick: bool) -> xr.Dataset | None:
        """The result at a path; None if there is none, or if it answers another question.

        It does if its problem, its options, its closed system or the version of our code differ.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", results.ResultWarning)  # asked below
                found = self.read(path)
        except results.ResultError:
            return None
        wanted = self.wanted(quick)
        version = json.loads(found.attrs.get("versions", "{}")).get("modecollapse")
        same_code = version == metadata.version("modecollapse")
        same = all(np.array_equal(np.asarray(found.attrs.get(key)), wanted[key]) for key in wanted)
        return found if same_code and same else None

    @abstractmethod
    def make(self, path: Path, *, quick: bool, progress: Progress | None) -> xr.Dataset:
        """Compute it, store it whole or not at all, and read it back.

        Raises  what the solvers raise: ProblemError, OutputError, ResultError.
        """

    def read(self, path: Path) -> xr.Dataset:
        """The result at a path, whatever it is of. Raises ResultError if there is none."""
        return reopen.open(path)

    @abstractmethod
    def wanted(self, quick: bool) -> Table:
        """The attributes that say which question a result answers."""


@dataclass(frozen=True)
class Run(Stored):
    """One problem and one computation of it, in a NetCDF file.

    problem: a file of figures/problems. options: keyword arguments of `compute`. quick: those of the quick tier, where
    they differ. changes: dotted keys of the problem and their values, where they are not those of the file.
    """

    problem: str
    options: Table = field(default_factory=dict)
    quick: Table = field(default_factory=dict)
    changes: Table = field(default_factory=dict)

    compute: ClassVar[Callable[..., xr.Dataset]]

    @property
    def tiers(self) -> bool:
        return bool(self.quick)

    def wanted(self, quick: bool) -> Table:
        problem = self.load_problem()
        return {"problem": problem.text, **self.origin(problem), **self.chosen(quick)}

    def make(self, path: Path, *, quick: bool, progress: Progress | None) -> xr.Dataset:
        results.check_output(path)
        results.write(type(self).compute(self.load_problem(), **self.chosen(quick), progress=progress), path)
        return self.read(path)

    def origin(self, problem: Problem) -> Table:
        """The attributes that say how it was computed."""
        return {"command": f"python -m solvers {self.command}", "system": _system(problem)}

    def load_problem(self) -> Problem:
        """The problem of the file, with the changes."""
        problem = Problem.load(PROBLEMS / self.problem)
        if not self.changes:
            return problem
        return Problem.parse(replaced(tomllib.loads(problem.text), self.changes, self.problem), self.problem)

    def chosen(self, quick: bool) -> Table:
        """The options of a tier."""
        return (quick and self.quick) or self.options


@dataclass(frozen=True)
class Solve(Run):
    """`python -m solvers solve`; options: those of solvers.ask.solve."""

    command = "solve"
    compute = staticmethod(ask.solve)


@dataclass(frozen=True)
class Simulate(Run):
    """`python -m solvers simulate`; options: those of solvers.ask.simulate."""

    command = "simulate"
    compute = staticmethod(simulate)

    def origin(self, problem: Problem) -> Table:
        return {"command": "python -m solvers simulate", "system": "none"}


@dataclass(frozen=True)
class Continuation(Run):
    """Branches of equilibria; options: those of solvers.equilibria.continuation."""

    command = "continuation"
    compute = staticmethod(equilibria.continuation)

    def origin(self, problem: Problem) -> Table:
        return {"command": equilibria.COMMAND, "system": systems.for_problem(problem).SYSTEM}

    def read(self, path: Path) -> xr.Dataset:
        return reopen.open(path, required=reopen.BRANCHES)


@dataclass(frozen=True)
class Scaling(Run):
    """How theory and simulation approach each other; options: those of solvers.verdict.scaling.scaling."""

    command = "scaling"
    compute = staticmethod(scaling.scaling)

    def origin(self, problem: Problem) -> Table:
        return {"command": scaling.COMMAND, "system": systems.for_problem(problem).SYSTEM}

    def read(self, path: Path) -> xr.Dataset:
        return reopen.open(path, required=reopen.SCALING)


@dataclass(frozen=True)
class Along(Stored):
    """A problem solved or simulated at every point of a product grid, samples kept, in one NetCDF file.

    For what a sweep does not do: simulations, and curves in time.

    of: what is done at a point. grid: dotted keys of the problem and their values, each a dimension of the result.
    quick: the grid of the quick tier. keep: variables of the result.
    """

    of: Solve | Simulate
    grid: Mapping[str, Sequence[Any]]
    quick: Mapping[str, Sequence[Any]]
    keep: Sequence[str] = ("collapsed", "status")

    @property
    def command(self) -> str:
        return self.of.command

    @property
    def tiers(self) -> bool:
        return True

    def wanted(self, quick: bool) -> Table:
        grid = json.dumps(self.quick if quick else self.grid)
        return {**self.of.wanted(quick), "grid": grid, "keep": json.dumps(self.keep)}

    def make(self, path: Path, *, quick: bool, progress: Progress | None) -> xr.Dataset:
        results.check_output(path)
        grid, base = self.quick if quick else self.grid, tomllib.loads(self.of.load_problem().text)
        points = list(itertools.product(*grid.values()))
        found = []
        for i, values in enumerate(points):
            text = replaced(base, dict(zip(grid, values, strict=True)), self.of.problem)
            problem = Problem.parse(text, self.of.problem)
            share = part(progress, i, len(points))
            found.append(type(self.of).compute(problem, **self.of.chosen(quick), progress=share))
        shape = tuple(map(len, grid.values()))
        variables = {}
        for name in self.keep:
            every = np.stack([ds[name].values for ds in found])
            every = every.reshape(*shape, *every.shape[1:])
            variables[name] = xr.Variable((*grid, *found[0][name].dims), every, found[0][name].attrs)
        coordinates = {key: Axis(key, tuple(values)).coordinate for key, values in grid.items()}
        if any("time" in variable.dims for variable in variables.values()):
            coordinates["time"] = found[0]["time"].values
        attributes = found[0].attrs | dict(self.wanted(quick))
        results.write(xr.Dataset(variables, coordinates, attributes), path)
        return self.read(path)

    def read(self, path: Path) -> xr.Dataset:
        return reopen.open(path, required=self.keep)


def _system(problem: Problem) -> str:
    return str((systems.for_problem(problem) if problem.sampler is None else chain_module(None)).SYSTEM)
