"""Sweeps small enough to run in a moment, and what the tests ask of their stores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from solvers import reopen
from solvers.problem import Problem
from solvers.sweeps.plan import Sweep
from solvers.sweeps.run import run
from solvers.sweeps.work import Options
from tests.limits import HANG

ROOT = Path(__file__).parents[3]

SMALL = """
[problem]
dimension = 8
[problem.target]
separation = 3.0
[problem.family]
components = 2
[problem.init]
scale = 0.5
samples = 40
[problem.time]
end = 20.0
[grid]
"target.separation" = {start = 1.0, stop = 4.0, count = 4}
"family.learn" = [["means"], ["means", "weights"]]
"""


def sweep(text: str = SMALL, *edits: tuple[str, str], name: str = "sweep.toml") -> Sweep:
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return Sweep.parse(text, name)


def swept(folder: Path, text: str = SMALL, *edits: tuple[str, str], name: str = "out.zarr") -> xr.Dataset:
    """The dataset of a sweep run in this process."""
    run(sweep(text, *edits), folder / name, workers=1)
    return reopen.open(folder / name)


def same_bits(a: xr.Dataset, b: xr.Dataset) -> bool:
    return set(a.variables) == set(b.variables) and all(
        a[name].values.tobytes() == b[name].values.tobytes() for name in a.data_vars
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "solvers", "sweep", *map(str, arguments)]


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT, env=environment, timeout=HANG)


TINY = """
[problem]
dimension = 4
[problem.target]
separation = 3.0
[problem.family]
components = 2
[problem.init]
scale = 0.5
samples = 3
[problem.time]
end = 1.0
[grid]
"target.separation" = [1.0, 2.0]
[output]
quantities = ["objective"]
"""


def tiny() -> Sweep:
    """Two units of work and few files."""
    return sweep(TINY)


def tiny_options() -> Options:
    """Without machine code."""
    return Options(backend="numpy")


def remembered(solve: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """The same, but what was solved once is not solved again: for tests of everything else."""
    kept: dict[object, xr.Dataset] = {}

    def once(problem: Problem, **given: Any) -> xr.Dataset:
        key = problem.text, tuple(given["samples"])
        if key not in kept:
            kept[key] = solve(problem, **given)
        return kept[key]

    return once
