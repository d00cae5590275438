"""The stored results behind a figure: which they are, and making those that are missing or stale."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from solvers import equilibria, flow, results, scaling, systems
from solvers.particles.flow import simulate
from solvers.problem import Problem

PROBLEMS = Path(__file__).parent / "problems"

Progress = Callable[[float], None]

#: What results that no command makes say they were made by.
_FUNCTIONS = {"continuation": equilibria.COMMAND, "scaling": scaling.COMMAND}


@dataclass(frozen=True)
class Stored:
    """A result that a figure needs: `python -m solvers COMMAND problem`, or a continuation or scaling, so.

    problem: a file of figures/problems. options: keyword arguments of solvers.flow.solve, of
    solvers.particles.flow.simulate, of solvers.equilibria.continuation, or of solvers.scaling.scaling. quick: the
    options of the quick tier, where they differ.
    """

    command: Literal["solve", "simulate", "continuation", "scaling"]
    problem: str
    options: Mapping[str, Any]
    quick: Mapping[str, Any] = field(default_factory=dict)

    def path(self, folder: Path, label: str, *, quick: bool) -> Path:
        """Where it is stored: LABEL.nc, or LABEL.quick.nc where the quick tier has options of its own."""
        return folder / f"{label}{'.quick' if quick and self.quick else ''}.nc"

    def load(self, path: Path, *, quick: bool) -> xr.Dataset | None:
        """The result at a path; None if there is none, or if it answers another question.

        It does if its problem, its options, its closed system or the version of our code differ.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", results.ResultWarning)  # judged below
                found = self._open(path)
        except results.ResultError:
            return None
        problem = self._problem()
        wanted = {
            "problem": problem.text,
            "command": _FUNCTIONS.get(self.command, f"python -m solvers {self.command}"),
            "system": "none" if self.command == "simulate" else systems.for_problem(problem).SYSTEM,
            **self._options(quick),
        }
        version = json.loads(found.attrs.get("versions", "{}")).get("modecollapse")
        same_code = version == metadata.version("modecollapse")
        same = all(np.array_equal(np.asarray(found.attrs.get(key)), wanted[key]) for key in wanted)
        return found if same_code and same else None

    def make(self, path: Path, *, quick: bool, progress: Progress | None) -> xr.Dataset:
        """Compute it, store it whole or not at all, and read it back.

        Raises  what the solvers raise: ProblemError, OutputError.
        """
        results.check_output(path)
        makers: dict[str, Callable[..., xr.Dataset]] = {
            "solve": flow.solve,
            "simulate": simulate,
            "continuation": equilibria.continuation,
            "scaling": scaling.scaling,
        }
        run = makers[self.command]
        results.write(run(self._problem(), **self._options(quick), progress=progress), path)
        return self._open(path)

    def _open(self, path: Path) -> xr.Dataset:
        opened: dict[str, Callable[[Path], xr.Dataset]] = {
            "continuation": equilibria.open_branches,
            "scaling": scaling.open_scaling,
        }
        return opened.get(self.command, results.open)(path)

    def _problem(self) -> Problem:
        return Problem.load(PROBLEMS / self.problem)

    def _options(self, quick: bool) -> Mapping[str, Any]:
        return (quick and self.quick) or self.options
