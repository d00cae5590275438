"""What the screen says of a sweep: how probable each outcome is over the grid, and where it is most."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.results.mechanisms import LABELS
from solvers.sweeps.dataset import EVENTS

__all__ = ["told"]

#: Shares below this are not on the screen.
LEAST = 5e-4


def told(ds: xr.Dataset, out: str) -> Iterator[str]:
    """Lines on the dataset of a sweep in the store `out`; probabilities are those of a start drawn from all."""
    count = ds["samples"].values - ds["failed"].values
    if not count.any():
        return
    for name in ds.data_vars:
        values = ds[name].values
        if name in EVENTS and np.isfinite(values).any():
            most = np.unravel_index(int(np.nanargmax(values)), values.shape)
            yield (
                f"{name:9} {_mean(values, count):.1%} of all starts{_when(ds)}; at a point {np.nanmin(values):.1%} to "
                f"{values[most]:.1%} ({_place(ds, most)})"
            )
        elif name in LABELS:
            shares = values if name != "mechanism" else np.nansum(values, axis=-2)
            each = {word: _mean(shares[..., i], count) for i, word in enumerate(ds["label"].values.tolist())}
            seen = sorted(((share, word) for word, share in each.items() if share >= LEAST), reverse=True)
            what = "modes lost per start" if name == "mechanism" else str(name)
            yield f"{what:9} " + ", ".join(f"{word} {share:.1%}" for share, word in seen if _told(str(name), word))
        elif name in ("objective", "recovered_at") and np.isfinite(values).any():
            unit = " nat" if name == "objective" else f" of {_end(ds)}" if _end(ds) else ""
            low, middle, high = (f"{x:.4g}" for x in np.nanquantile(values, (0, 0.5, 1)))
            yield f"{name:9} median {middle}{unit} over points, from {low} to {high}"
    yield f'next: python -c "import modecollapse as mc; print(mc.open({shlex.quote(out)!r}))"'


def _told(name: str, word: str) -> bool:
    return name == "at_rest" or not word.startswith("none")


def _mean(values: NDArray[Any], count: NDArray[np.int64]) -> float:
    known = np.isfinite(values) & (count > 0)
    return float(np.average(values[known], weights=count[known])) if known.any() else np.nan


def _place(ds: xr.Dataset, index: tuple[Any, ...]) -> str:
    """A point of the grid in words."""
    values = {key: ds[key].values[i] for key, i in zip(_keys(ds), index, strict=True)}
    return ", ".join(f"{key} = {v:.6g}" if ds[key].dtype.kind in "iuf" else f"{key} = {v}" for key, v in values.items())


def _keys(ds: xr.Dataset) -> tuple[str, ...]:
    """Keys of the grid, in their order."""
    return tuple(str(key) for key in ds["samples"].dims)


def _end(ds: xr.Dataset) -> str:
    """The last time, where it is that of all points."""
    varied = any(key.partition(".")[0] == "time" for key in _keys(ds))
    return "" if varied else f"{tomllib.loads(str(ds.attrs['problem']))['time']['end']:g}"


def _when(ds: xr.Dataset) -> str:
    return f" at t = {_end(ds)}" if _end(ds) else " at their last times"
