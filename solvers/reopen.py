"""Stored results and the code of today: the problem inside, and what has changed since."""

from __future__ import annotations

import json
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from solvers.problem import Problem, ProblemError

__all__ = ["ResultError", "ResultWarning", "differences", "open_store", "problem_at", "version_differences"]


class ResultError(ValueError):
    """A file that is not a result of this project; str() is a one-line message that names it."""


class ResultWarning(UserWarning):
    """A result that this version of the code would not reproduce; str() names the difference."""


def open_store(path: Path) -> xr.Dataset:
    """The dataset of a sweep, in memory. Raises ResultError if it is not one, or is damaged."""
    from solvers.sweeps.reading import opened  # zarr is slow to import, and few results need it

    return opened(path)


def problem_at(ds: xr.Dataset) -> Problem:
    """The problem of a result; of a sweep at a point, `ds.sel({...})`, that of the point, its text in .text.

    Keys of the grid along which no point is chosen keep the value of the base problem.
    Raises  ResultError if the dataset holds no problem that this version understands.
    """
    name = "problem of the result"
    try:
        text = str(ds.attrs["problem"])
    except KeyError:
        raise ResultError("the dataset has no attribute problem; must be a result of `python -m solvers`") from None
    try:
        if "grid" not in ds.attrs:
            return Problem.parse(text, name)
        from solvers.keys import replaced
        from solvers.sweeps.plan import Axis

        axes = [Axis(key, tuple(values)) for key, values in json.loads(ds.attrs["grid"]).items()]
        chosen = {}
        for axis in axes:
            if axis.key in ds.coords and ds[axis.key].ndim == 0:
                position = int(np.flatnonzero(axis.coordinate == ds[axis.key].item())[0])
                chosen[axis.key] = axis.values[position]
        return Problem.parse(replaced(tomllib.loads(text), chosen, name) if chosen else text, name)
    except ProblemError as error:
        raise ResultError(str(error)) from error


def version_differences(begun: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two records of versions, in words."""
    both = sorted(begun.keys() & now.keys())
    return [f"{name} {begun[name]}, here {now[name]}" for name in both if begun[name] != now[name]]


def differences(ds: xr.Dataset) -> list[str]:
    """Why this code would not reproduce a result: another version of it, or other closed equations for its problem."""
    begun = json.loads(str(ds.attrs.get("versions", "{}")))
    found = version_differences(begun, {"modecollapse": metadata.version("modecollapse")})
    for system, point in _systems(ds).items():
        try:
            now = current_system(problem_at(point))
        except ResultError as error:
            found.append(f"a problem that this version refuses ({error})")
            continue
        if now is not None and now != system:
            found.append(f"closed system {system[:12]}, here {now[:12]}")
    return found


def current_system(problem: Problem) -> str | None:
    """Hash of the closed system this code has for a problem; None for what has none."""
    from solvers import systems

    return str(systems.for_problem(problem).SYSTEM) if problem.sampler is None else None


def _systems(ds: xr.Dataset) -> dict[str, Any]:
    """The systems behind a result, each with the dataset or the point of it that it solved."""
    if "systems" in ds.attrs:
        keys = list(json.loads(ds.attrs["grid"]))
        points = json.loads(ds.attrs["systems"])
        return {system: ds.isel(dict(zip(keys, index, strict=True))) for system, index in points.items()}
    system = str(ds.attrs.get("system", "none"))
    return {} if system == "none" else {system: ds}
