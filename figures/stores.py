"""Further kinds of stored results: sweeps, samplers with the prior of their ideal, clones of paths, benchmarks."""

from __future__ import annotations

import json
import shutil
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import xarray as xr

from figures.stored import Run, Simulate, Solve, Stored, Table
from solvers import reopen, results
from solvers.ask import simulate, solve
from solvers.equilibria import predicted_lifetimes
from solvers.machine.progress import Progress
from solvers.problem import Problem
from solvers.sampler.ideal import continuous_time, learned
from solvers.sampler.model import chain_module
from solvers.sweeps import plan, store
from solvers.sweeps.prepare import tolerances
from solvers.sweeps.run import run as run_sweep
from solvers.sweeps.work import Options
from solvers.verdict import speciation

SWEEPS = Path(__file__).parent / "sweeps"
BENCHMARKS = Path(__file__).parents[1] / "tests" / "benchmarks" / "results"


@dataclass(frozen=True)
class Swept(Stored):
    """`python -m solvers sweep`.

    file: of figures/sweeps. changes: to the sweep, table in table, where it is not that of the file, None for what is
    left out. quick: further ones of the quick tier. options: of solvers.sweeps.work.Options.
    """

    file: str
    quick: Table = field(default_factory=dict)
    changes: Table = field(default_factory=dict)
    options: Table = field(default_factory=dict)

    suffix = ".zarr"
    command = "sweep"

    @property
    def tiers(self) -> bool:
        return bool(self.quick)

    def load(self, path: Path, *, quick: bool) -> xr.Dataset | None:
        """As for any result; None too if it was interrupted, or is refined, which only resuming it can tell."""
        found = super().load(path, quick=quick)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", results.ResultWarning)
            whole = found is not None and bool((found["samples"] > 0).all()) and not reopen.differences(found)
        return found if whole else None

    def make(self, path: Path, *, quick: bool, progress: Progress | None) -> xr.Dataset:
        """As for any result; an interrupted sweep goes on, the store of another one makes way."""
        sweep = self._sweep(quick)
        resumed = path.exists()
        if resumed:
            try:
                attributes, wanted = store.attributes_of(path), self.wanted(quick)
                other = any(attributes.get(key) != wanted[key] for key in wanted)
                if other or reopen.differences(reopen.open_store(path)):
                    shutil.rmtree(path)  # the store of a sweep, by its attributes
                    resumed = False
            except results.ResultError as error:
                raise results.OutputError(f"{error}; is in the way: remove it, or choose another --out") from error
        share = progress and partial(_share_of, progress)
        run_sweep(sweep, path, resumed=resumed, options=Options(**self.options), progress=share)
        return self.read(path)

    def wanted(self, quick: bool) -> Table:
        sweep, options = self._sweep(quick), Options(**self.options)
        return {"sweep": sweep.text, **self.options, **tolerances(sweep, options.rtol, options.atol)}

    def _sweep(self, quick: bool) -> plan.Sweep:
        path = SWEEPS / self.file
        quicker = self.quick if quick else {}
        if not (self.changes or quicker):
            return plan.Sweep.load(path)
        changed = _merged(_merged(tomllib.loads(path.read_text(encoding="utf-8")), self.changes), quicker)
        return plan.Sweep.parse(tomli_w.dumps(changed), self.file, SWEEPS)


@dataclass(frozen=True)
class Lifetimes(Solve):
    """Solve, and from the states at `time` alone when dying weights turn round and modes are recovered."""

    @staticmethod
    def compute(problem: Problem, **options: Any) -> xr.Dataset:
        time = options.pop("time")
        run = solve(problem, rest=False, **options)
        return predicted_lifetimes(run, time=time).assign_attrs(run.attrs | {"time": time})


@dataclass(frozen=True)
class IdealFlow(Solve):
    """The flow that learns the prior of a sampler with infinitely many steps."""

    @staticmethod
    def compute(problem: Problem, **options: Any) -> xr.Dataset:
        options.setdefault("backend", "numpy")
        return solve(continuous_time(problem), **options)

    def origin(self, problem: Problem) -> Table:
        ideal = replace(problem, sampler=None)
        return {**super().origin(ideal), "prior": "solvers.sampler.ideal.continuous_time"}


@dataclass(frozen=True)
class SolveIdeal(Solve):
    """Solve of a sampler whose prior the closed equations learned, as with infinitely many steps."""

    @staticmethod
    def compute(problem: Problem, **options: Any) -> xr.Dataset:
        return solve(learned(problem), **options)

    def origin(self, problem: Problem) -> Table:
        return {**super().origin(problem), "prior": "solvers.sampler.ideal.learned"}


@dataclass(frozen=True)
class SimulateIdeal(Simulate):
    """Simulate of the same."""

    @staticmethod
    def compute(problem: Problem, **options: Any) -> xr.Dataset:
        return simulate(learned(problem), **options)

    def origin(self, problem: Problem) -> Table:
        return {**super().origin(problem), "prior": "solvers.sampler.ideal.learned"}


@dataclass(frozen=True)
class Clones(Run):
    """When a sampler decides between modes; options: those of solvers.verdict.speciation.speciation."""

    command = "speciation"
    compute = staticmethod(speciation.speciation)

    def origin(self, problem: Problem) -> Table:
        return {"command": speciation.COMMAND, "system": str(chain_module(None).SYSTEM)}

    def read(self, path: Path) -> xr.Dataset:
        return reopen.open(path, required=reopen.SPECIATION)


@dataclass(frozen=True)
class Benchmark(Stored):
    """A result of `make bench`, committed as tests/benchmarks/results/FILE. table: which list of rows in it.

    As a dataset: one variable a number of a row, numbers in a table of it named TABLE_NAME; dimension row.
    """

    file: str
    table: str

    command = "make bench"
    tiers = False

    def path(self, folder: Path, label: str, *, quick: bool) -> Path:
        return BENCHMARKS / self.file

    def load(self, path: Path, *, quick: bool) -> xr.Dataset | None:
        """None if there is none. A benchmark of an earlier version is one too: its figure says when it was run."""
        try:
            return self.read(path)
        except results.ResultError:
            return None

    def make(self, path: Path, *, quick: bool, progress: Progress | None) -> xr.Dataset:
        """Benchmarks are run by hand. Raises ResultError that says how."""
        raise results.ResultError(f"{path}: is not there, or lacks {self.table}; must be written by `make bench`")

    def read(self, path: Path) -> xr.Dataset:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            rows = [_flat(row) for row in content[self.table]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise results.ResultError(f"{path}: {error}; must be written by `make bench`") from None
        names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
        variables = {name: ("row", np.array([row[name] for row in rows])) for name in names}
        about = {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}
        kept = ("date", "machine", "versions", "problem", "error")
        return xr.Dataset(variables, attrs={"command": self.command} | {key: about[key] for key in kept})

    def wanted(self, quick: bool) -> Table:
        return {}


def check_grid(swept: Mapping[str, xr.Dataset], *keys: str) -> None:
    """Raise ResultError unless all these sweeps, by their roles, were over these keys."""
    for role, ds in swept.items():
        if missing := [key for key in keys if key not in ds.dims]:
            raise results.ResultError(f"{role}: must have the key {missing[0]} on its grid")


def _share_of(progress: Progress, done: int, total: int) -> None:
    progress(done / max(total, 1))


def _merged(table: Table, changes: Table) -> dict[str, Any]:
    """A table with the values of another in their places, table in table; without those that are None there."""
    out = dict(table)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else value
    return {key: value for key, value in out.items() if value is not None}


def _flat(row: Table) -> dict[str, Any]:
    """Numbers and strings of a row; of tables in it, too."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            out |= {f"{key}_{name}": inner for name, inner in _flat(value).items()}
        elif isinstance(value, str | int | float):
            out[key] = value
    return out
