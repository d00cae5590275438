"""Attributes of a stored result: whether they are of the form that they were written in."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any, NoReturn

import xarray as xr

from solvers.results.errors import ResultError

__all__ = ["check_attributes", "short"]

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
        raise ResultError(f"{name}: attribute {key}: is {short(ds.attrs[key])}; must be {must}")

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


def short(value: object) -> str:
    """A value of an attribute on one line, cut short."""
    text = ascii(getattr(value, "tolist", lambda: value)())
    return text if len(text) <= 60 else text[:56] + " ..."
