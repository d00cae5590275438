"""Stored results and the code of today: opening them, the problem inside, and what has changed since.

Above everything that makes results: what a result was made with is asked of the rooms that would make it now.
"""

from __future__ import annotations

import json
import os
import tomllib
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from solvers.closed import systems
from solvers.problem import Problem, ProblemError
from solvers.problem.keys import replaced
from solvers.results import datasets, files, versions
from solvers.results.errors import ResultError, ResultWarning
from solvers.results.forms import check_attributes, short
from solvers.results.output import shown
from solvers.sweeps.plan import Axis

__all__ = ["BRANCHES", "SCALING", "SPECIATION", "current_system", "differences", "open", "open_store", "problem_of"]

#: Variables of kinds of files beside RUN.nc and SIM.nc.
BRANCHES = ("parameter", "kind", "eigenvalue")
SCALING = ("line", "theory", "mean", "spread")
SPECIATION = ("tau", "closed", "reduced", "simulated", "double_well")
_KINDS = (datasets.REQUIRED, BRANCHES, SCALING, SPECIATION)


def open(path: str | os.PathLike[str], *, required: Sequence[str] | None = None) -> xr.Dataset:
    """Read a result into memory: RUN.nc, SIM.nc, a sweep, branches, a scaling or a speciation.

    required: variables it has to have; default those of any of these kinds. problem_of gives the problem behind it.

    Warns  ResultWarning, with the difference, if this version of the code would not reproduce the result, or if it is a
    file of a version that wrote no checksums.
    Raises  ResultError if the file cannot be read, is damaged, or is not a result of this project.
    """
    name = shown(path)
    whole = True
    if Path(path).is_dir():
        ds = open_store(Path(path))
        check_attributes(ds, name)
    else:
        ds, whole = files.read(path)
        kinds = _KINDS if required is None else (required,)
        lacks = min(([variable for variable in kind if variable not in ds] for kind in kinds), key=bool)
        lacks += [] if "problem" in ds.attrs else ["problem"]
        if lacks:
            raise ResultError(f"{name}: lacks {', '.join(lacks)}; must be written by `python -m solvers`")
    found = differences(ds)
    if not whole:
        found.append("a version that wrote no checksums, so that damage would not show")
    if found:
        warnings.warn(f"{name}: was made with {'; '.join(found)}", ResultWarning, stacklevel=2)
    return ds


def open_store(path: Path) -> xr.Dataset:
    """The dataset of a sweep, in memory. Raises ResultError if it is not one, or is damaged."""
    from solvers.sweeps.reading import opened  # zarr is slow to import, and few results need it

    return opened(path)


def problem_of(ds: xr.Dataset) -> Problem:
    """The problem of a result; of a sweep at a point, `ds.sel({...})`, that of the point, its text in .text.

    Keys of the grid along which no point is chosen keep the value of the base problem.
    Raises  ResultError if the dataset holds no problem that this version understands.
    """
    name = "problem of the result"
    if "problem" not in ds.attrs:
        raise ResultError("the dataset has no attribute problem; must be a result of `python -m solvers`")
    check_attributes(ds, "the dataset")
    text = str(ds.attrs["problem"])
    try:
        if "grid" not in ds.attrs:
            return Problem.parse(text, name)
        axes = [Axis(key, tuple(values)) for key, values in json.loads(ds.attrs["grid"]).items()]
        chosen = {}
        for axis in axes:
            if axis.key in ds.coords and ds[axis.key].ndim == 0:
                places = np.flatnonzero(axis.coordinate == ds[axis.key].item())
                if not len(places):
                    raise ResultError(
                        f"the dataset: attribute grid: {axis.key} lacks {short(ds[axis.key].item())}; must have the "
                        "values of the coordinates"
                    )
                chosen[axis.key] = axis.values[int(places[0])]
        return Problem.parse(replaced(tomllib.loads(text), chosen, name) if chosen else text, name)
    except (ProblemError, TypeError) as error:  # TypeError: a value that JSON has and TOML has not
        raise ResultError(str(error)) from error


def differences(ds: xr.Dataset) -> list[str]:
    """Why this code would not reproduce a result: another version of it, or other closed equations for its problem.

    Raises  ResultError for attributes that are not of the form that they were written in.
    """
    check_attributes(ds, "the dataset")
    begun = json.loads(str(ds.attrs.get("versions", "{}")))
    found = versions.differences(begun, {"modecollapse": metadata.version("modecollapse")})
    for system, point in _systems(ds).items():
        try:
            now = current_system(problem_of(point))
        except ResultError as error:
            found.append(f"a problem that this version refuses ({error})")
            continue
        if now is not None and now != system:
            found.append(f"closed system {system[:12]}, here {now[:12]}")
    return found


def current_system(problem: Problem) -> str | None:
    """Hash of the closed system this code has for a problem; None for what has none."""
    return str(systems.for_problem(problem).SYSTEM) if problem.sampler is None else None


def _systems(ds: xr.Dataset) -> dict[str, Any]:
    """The systems behind a result, each with the dataset or the point of it that it solved."""
    if "systems" in ds.attrs:
        keys = list(json.loads(ds.attrs["grid"]))
        points = json.loads(ds.attrs["systems"])
        return {system: ds.isel(dict(zip(keys, index, strict=True))) for system, index in points.items()}
    system = str(ds.attrs.get("system", "none"))
    return {} if system == "none" else {system: ds}
