"""Stored results and the code of today: the problem inside, and what has changed since."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import xarray as xr

from solvers.problem import Problem, ProblemError

__all__ = [
    "ResultError",
    "ResultWarning",
    "check_attributes",
    "differences",
    "open_store",
    "problem_at",
    "version_differences",
]


class ResultError(ValueError):
    """A file that is not a result of this project; str() is a one-line message that names it."""


class ResultWarning(UserWarning):
    """A result that this version of the code would not reproduce; str() names the difference."""


def open_store(path: Path) -> xr.Dataset:
    """The dataset of a sweep, in memory. Raises ResultError if it is not one, or is damaged."""
    from solvers.sweeps.reading import opened  # zarr is slow to import, and few results need it

    return opened(path)


#: Attributes that hold JSON: what it must be, in words, and whether a value is.
_JSON: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "versions": ("an object of names and versions", lambda value: isinstance(value, str)),
    "grid": ("an object of keys and lists of values", lambda value: isinstance(value, list) and bool(value)),
    "plan": ("an object", lambda value: True),
    "systems": (
        "an object of hashes and points of the grid",
        lambda value: isinstance(value, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in value),
    ),
}


def check_attributes(ds: xr.Dataset, name: str) -> None:
    """Refuse a result, called `name`, whose attributes are not of the form that they were written in.

    Raises  ResultError that names the attribute, what it is and what it must be.
    """

    def fail(key: str, must: str) -> NoReturn:
        raise ResultError(f"{name}: attribute {key}: is {_short(ds.attrs[key])}; must be {must}")

    for key in ("problem", "system", "command", "backend", *_JSON):
        if key in ds.attrs and not isinstance(ds.attrs[key], str):
            fail(key, "text")
    if "problem" in ds.attrs:
        try:
            tomllib.loads(ds.attrs["problem"])
        except (ValueError, RecursionError):
            fail("problem", "the TOML of a problem")
    for key, (must, accepts) in _JSON.items():
        if key in ds.attrs:
            try:
                content = json.loads(ds.attrs[key])
            except (ValueError, RecursionError):
                fail(key, f"{must}, in JSON")
            if not isinstance(content, dict) or not all(map(accepts, content.values())):
                fail(key, f"{must}, in JSON")
    if "systems" in ds.attrs:
        if "grid" not in ds.attrs:
            raise ResultError(f"{name}: lacks attribute grid; must be written by `python -m solvers sweep`")
        keys = json.loads(ds.attrs["grid"])
        for index in json.loads(ds.attrs["systems"]).values():  # a point of a sweep lacks some of its dimensions
            inside = (0 <= i < ds.sizes.get(key, i + 1) for i, key in zip(index, keys, strict=False))
            if len(index) != len(keys) or not all(inside):
                fail("systems", f"points of a grid of {' × '.join(str(ds.sizes.get(key, 1)) for key in keys)}")


def _short(value: object) -> str:
    """A value of an attribute on one line, cut short."""
    text = ascii(getattr(value, "tolist", lambda: value)())
    return text if len(text) <= 60 else text[:56] + " ..."


def problem_at(ds: xr.Dataset) -> Problem:
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
        from solvers.keys import replaced
        from solvers.sweeps.plan import Axis

        axes = [Axis(key, tuple(values)) for key, values in json.loads(ds.attrs["grid"]).items()]
        chosen = {}
        for axis in axes:
            if axis.key in ds.coords and ds[axis.key].ndim == 0:
                places = np.flatnonzero(axis.coordinate == ds[axis.key].item())
                if not len(places):
                    raise ResultError(
                        f"the dataset: attribute grid: {axis.key} lacks {_short(ds[axis.key].item())}; must have the "
                        "values of the coordinates"
                    )
                chosen[axis.key] = axis.values[int(places[0])]
        return Problem.parse(replaced(tomllib.loads(text), chosen, name) if chosen else text, name)
    except (ProblemError, TypeError) as error:  # TypeError: a value that JSON has and TOML has not
        raise ResultError(str(error)) from error


def version_differences(begun: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two records of versions, in words."""
    both = sorted(begun.keys() & now.keys())
    return [f"{name} {begun[name]}, here {now[name]}" for name in both if begun[name] != now[name]]


def differences(ds: xr.Dataset) -> list[str]:
    """Why this code would not reproduce a result: another version of it, or other closed equations for its problem.

    Raises  ResultError for attributes that are not of the form that they were written in.
    """
    check_attributes(ds, "the dataset")
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
