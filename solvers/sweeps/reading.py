"""Reading the store of a sweep: its attributes, checked, and its dataset, which is what the journal says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.results.errors import ResultError
from solvers.results.mechanisms import LABELS
from solvers.sweeps.dataset import Columns, Layout, described, summaries, windows
from solvers.sweeps.journal import Journal
from solvers.sweeps.plan import Axis
from solvers.sweeps.variables import Variables

__all__ = ["FORMAT", "attributes_of", "checksum", "layout_of", "opened"]

FORMAT = "modecollapse sweep 2"
EARLIER = "modecollapse sweep 1"
#: What the checksum covers; where the code of today has other systems or versions, a warning says so.
COVERED = ("format", "sweep", "problem", "grid", "plan", "units", "backend", "rtol", "atol", "seed", "code", "command")


def checksum(attributes: dict[str, Any]) -> str:
    """Of everything among the attributes that says which numbers are in the store."""
    covered = {key: attributes.get(key) for key in COVERED}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def attributes_of(path: Path) -> dict[str, Any]:
    """Attributes of a sweep store. Raises ResultError if there is none, or they are not as they were written."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ResultError(f"{path}: {what}; must be the store of a sweep")
    try:
        content = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        attributes = dict(content["attributes"])
        group = content["node_type"] == "group" and content["zarr_format"] == 3
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100] or type(error).__name__
        raise ResultError(
            f"{path}: cannot be read as Zarr (zarr.json: {reason}); must be written by `python -m solvers sweep`"
        ) from None
    if attributes.get("format") == EARLIER and "checksum" not in attributes:
        raise ResultError(
            f'{path}: has the format of an earlier version, "{EARLIER}"; must be "{FORMAT}": compute it again under a '
            "new name, or read it by xarray.open_zarr"
        )
    if "checksum" not in attributes and "plan" not in attributes:
        raise ResultError(f"{path}: is not the store of a sweep; must be written by `python -m solvers sweep`")
    damaged = None if group and attributes.get("checksum") == checksum(attributes) else "the checksum differs"
    if problem := damaged or _misplaced(attributes):
        raise ResultError(
            f"{path}: zarr.json is damaged ({problem}); must be as it was written: bring that file back from a copy, "
            "or compute the sweep again under a new name"
        )
    return attributes


def _misplaced(attributes: dict[str, Any]) -> str | None:
    """What is wrong with the attributes that the checksum leaves out."""
    shape = [len(values) for values in json.loads(attributes["grid"]).values()]
    try:
        for name in ("versions", "resumed_with"):
            versions = json.loads(attributes.get(name, attributes["versions"]))
            assert all(isinstance(value, str) for value in versions.values()), name
        for point in json.loads(attributes["systems"]).values():
            assert len(point) == len(shape), "systems"
            assert all(type(i) is int and 0 <= i < n for i, n in zip(point, shape, strict=True)), "systems"
    except Exception:
        return "versions or systems cannot be read"
    return None


def layout_of(attributes: dict[str, Any]) -> Layout:
    """How the store with these attributes is cut into units."""
    plan, units = json.loads(attributes["plan"]), json.loads(attributes["units"])
    coordinates = {key: Axis(key, tuple(values)).coordinate for key, values in json.loads(attributes["grid"]).items()}
    quantities = tuple(plan["quantities"])
    if averaged := [
        quantity for quantity in quantities if quantity in LABELS and quantity not in plan.get("labels", {})
    ]:
        raise ResultError(
            f"the sweep has the mean of codes of {averaged[0]}, as an earlier version wrote it; must have shares of "
            "its labels: compute it again under a new name"
        )
    labels = {quantity: tuple(found) for quantity, found in plan.get("labels", {}).items()}
    columns = Columns(quantities, labels, plan.get("modes", 0))
    return Layout(coordinates, tuple(units["block"]), units["parts"], columns)


def opened(path: Path) -> xr.Dataset:
    """The dataset of a store, in memory, computed from its journal.

    The variables on disk are written from the journal too. They may lag behind; what they have must be the same.
    Raises  ResultError if it is no store, or a file of it is damaged, missing, or not in its place.
    """
    attributes = attributes_of(path)
    layout = layout_of(attributes)
    variables = Variables(path, layout)
    variables.verify()
    journal = Journal(path, layout, attributes["checksum"])
    found: dict[str, NDArray[Any]] = {}
    for window in windows(layout.shape):
        # In this order: a sweep that is running enters in the journal first.
        published = {name: variables.read(name, window) for name in variables.names}
        values = summaries(journal.read(window), layout.columns)
        known = published["samples"] > 0
        if lost := journal.missing(window, known):
            raise ResultError(f"{path}: {lost} is missing; must be there: --resume computes its points again")
        for name, array in values.items():
            blank = published[name] == 0 if name in ("samples", "failed") else np.isnan(published[name])
            if not (blank | (published[name].view(np.int64) == array.view(np.int64))).all():
                raise ResultError(
                    f"{path}: {name} is damaged (it is not what the journal says); must be as it was written: --resume "
                    "writes it again"
                )
            shape = (*layout.shape, *array.shape[len(layout.shape) :])
            found.setdefault(name, np.empty(shape, dtype=array.dtype))[window] = array
    described_ = described(layout.columns)
    dims = tuple(layout.coordinates)
    return xr.Dataset(
        {
            name: xr.Variable((*dims, *layout.columns.dims(name)), values, described_[name])
            for name, values in found.items()
        },
        coords={key: (key, values) for key, values in layout.dimensions.items()},
        attrs=attributes,
    )
