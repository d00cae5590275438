"""The dataset of a sweep on disk: variables and coordinates as Zarr arrays, made, written, held against the plan.

Everything here follows from the layout and the journal, so what is lost can be made again; what is damaged is named.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs
import zarr.storage
from numpy.typing import NDArray

from solvers.reopen import ResultError
from solvers.sweeps.dataset import VIEW, Layout, described, summaries

__all__ = ["clear", "make", "read", "verify", "write"]

Region = tuple[slice, ...]

AGAIN = "delete that folder to have it written again by --resume"


def make(path: Path, layout: Layout) -> None:
    """Those arrays that are not there: coordinates whole, variables without a value. Raises OSError."""
    for key, values in layout.coordinates.items():
        if not (path / key / "zarr.json").exists():
            _coordinate(path, key, values)
    for name in described(layout.quantities):
        if not (path / name / "zarr.json").exists():
            _array(path, name, layout)


def verify(path: Path, layout: Layout) -> None:
    """Raises  ResultError naming the array whose metadata or coordinates are not those of the plan, or are missing."""
    for key, values in layout.coordinates.items():
        found = _tried(path, key, lambda key=key: zarr.open_array(path / key, mode="r")[:])  # type: ignore[misc]
        # Bits, so that a zero that has lost its sign is found; strings come back in a type of their own.
        same = found.tobytes() == values.tobytes() if values.dtype != object else found.tolist() == values.tolist()
        if not same or found.shape != values.shape:
            raise ResultError(f"{path}: {key} is damaged (its values are not those of the grid); {AGAIN}")
    for name in described(layout.quantities):
        metadata = _tried(path, name, lambda name=name: zarr.open_array(path / name, mode="r").metadata.to_dict())  # type: ignore[misc]
        wanted = _array(None, name, layout).metadata.to_dict()
        differs = [key for key in sorted({*wanted, *metadata}) if not _equal(wanted.get(key), metadata.get(key))]
        if differs:
            raise ResultError(f"{path}: {name}/zarr.json is damaged ({differs[0]} is not that of the plan); {AGAIN}")


def write(path: Path, window: Region, values: dict[str, NDArray[Any]]) -> None:
    """Enter the values of a box of points. Raises OSError."""
    for name, array in values.items():
        zarr.open_array(path / name, mode="r+")[window] = array


def read(path: Path, name: str, window: Region) -> NDArray[Any]:
    """Values of a variable in a box of points. Raises ResultError for a damaged file."""
    return _tried(path, name, lambda: np.asarray(zarr.open_array(path / name, mode="r")[window]))  # type: ignore[no-any-return]


def clear(path: Path, layout: Layout) -> None:
    """Forget all values, damaged or not: before they are written again. Raises OSError."""
    for name in described(layout.quantities):
        if (path / name / "c").exists():
            shutil.rmtree(path / name / "c")


def _coordinate(path: Path | None, key: str, values: NDArray[Any]) -> zarr.Array[Any]:
    array: zarr.Array[Any] = zarr.create_array(
        zarr.storage.MemoryStore() if path is None else path,
        name=key,
        shape=values.shape,
        dtype=str if values.dtype == object else values.dtype,
        dimension_names=(key,),
        compressors=_compressors(),
    )
    array[:] = values
    return array


def _array(path: Path | None, name: str, layout: Layout) -> zarr.Array[Any]:
    """A variable without values, at `path` or in memory. Of large grids too: nothing but metadata is written."""
    dtype = summaries(np.full((1, len(layout.quantities) + 1, 3), np.nan), layout.quantities)[name].dtype
    return zarr.create_array(
        zarr.storage.MemoryStore() if path is None else path,
        name=name,
        shape=layout.shape,
        chunks=tuple(min(n, VIEW) for n in layout.shape),
        dtype=dtype,
        fill_value=np.nan if dtype == np.float64 else 0,
        dimension_names=tuple(layout.coordinates),
        attributes=dict(described(layout.quantities)[name]),
        compressors=_compressors(),
    )


def _compressors() -> tuple[Any, ...]:
    """With a checksum, so that any reader finds damage."""
    return (zarr.codecs.ZstdCodec(level=1, checksum=True),)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b) or (isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b))


def _tried(path: Path, name: str, attempt: Callable[[], Any]) -> Any:
    if not (path / name / "zarr.json").exists():
        raise ResultError(f"{path}: {name}/zarr.json is missing; must be there: --resume writes it again")
    try:
        return attempt()
    except Exception as error:
        # Whatever a codec says of a damaged file.
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ResultError(f"{path}: {name} is damaged ({reason}); must be as it was written: {AGAIN}") from None
