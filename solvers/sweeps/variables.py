"""The dataset of a sweep on disk: variables and coordinates as Zarr arrays, made, written, held against the plan.

Everything here follows from the layout and the journal, so what is lost can be made again; what is damaged is named.
Zarr makes the files in memory; they are written here, one after the other, each there whole or not at all.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.codecs
import zarr.storage
from numpy.typing import NDArray

from solvers.results.errors import ResultError
from solvers.sweeps.dataset import VIEW, Layout, described, summaries

__all__ = ["Variables", "put"]

Region = tuple[slice, ...]


class Variables:
    """Those of one store. What is changed here is on disk when a method returns."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self.names = tuple(described(layout.columns))

    def make(self, attributes: dict[str, Any] | None = None) -> None:
        """Write metadata and coordinates that are not there; with attributes, the group too. Raises OSError."""
        for key, content in self._files.items():
            if not (self.path / key).exists() and (attributes is not None or key != "zarr.json"):
                if key == "zarr.json":
                    content = json.dumps(json.loads(content) | {"attributes": attributes}, indent=2).encode()
                put(self.path / key, content)

    def verify(self) -> None:
        """Raises ResultError for the first file that is missing, or is not what the plan says."""
        for key, content in self._files.items():
            if key.endswith("zarr.json") and key != "zarr.json":
                found = self._tried(key, lambda file: json.loads(file.read_text(encoding="utf-8")))
                if found != json.loads(content):
                    raise self._damaged(key, f"{_differs(found, json.loads(content))} is not that of the plan")
        for name, values in self.layout.dimensions.items():
            key = f"{name}/c/0"
            read = self._tried(key, lambda _, name=name: self._values(name, ...))  # type: ignore[misc]
            # Bits, so that a zero that has lost its sign is found; strings come back in a type of their own.
            same = read.tobytes() == values.tobytes() if values.dtype != object else read.tolist() == values.tolist()
            if not same:
                raise self._damaged(key, "its values are not those of the grid")

    def write(self, window: Region, values: dict[str, NDArray[Any]]) -> None:
        """Enter the values of a box of points, a chunk. Raises OSError."""
        for name, array in values.items():
            self._group[name][(*window, *[slice(None)] * (array.ndim - len(window)))] = array  # type: ignore[index]
            key = self._chunk(name, window)
            content = self._memory.pop(key, None)
            if content is not None:
                put(self.path / key, content.to_bytes())
            else:  # of nothing but the fill value
                (self.path / key).unlink(missing_ok=True)

    def read(self, name: str, window: Region) -> NDArray[Any]:
        """Values of a variable in a box of points. Raises ResultError for a damaged file."""
        found: NDArray[Any] = self._tried(self._chunk(name, window), lambda _: self._values(name, window), needed=False)
        return found

    def _values(self, name: str, window: Any) -> NDArray[Any]:
        return np.asarray(zarr.open_array(self.path / name, mode="r")[window])

    @cached_property
    def _memory(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _group(self) -> zarr.Group:
        """The dataset without values, in memory. Of large grids too: nothing but metadata is made."""
        group = zarr.create_group(zarr.storage.MemoryStore(self._memory))
        layout, columns = self.layout, self.layout.columns
        # With a checksum, so that any reader finds damage.
        compressors = (zarr.codecs.ZstdCodec(level=1, checksum=True),)
        blank = summaries(np.full((1, columns.count, 3), np.nan), columns)
        for name, about in described(columns).items():
            more = blank[name].shape
            group.create_array(
                name,
                shape=(*layout.shape, *more),
                chunks=(*[min(n, VIEW) for n in layout.shape], *more),
                dtype=blank[name].dtype,
                fill_value=np.nan if blank[name].dtype == np.float64 else 0,
                dimension_names=(*layout.coordinates, *columns.dims(name)),
                attributes=dict(about),
                compressors=compressors,
            )
        for key, values in layout.dimensions.items():
            group.create_array(
                key,
                shape=values.shape,
                chunks=values.shape,
                dtype=str if values.dtype == object else values.dtype,
                dimension_names=(key,),
                compressors=compressors,
                config={"write_empty_chunks": True},
            )[:] = values
        group.create_group("journal")  # so that readers do not wonder about that folder
        return group

    @cached_property
    def _files(self) -> dict[str, bytes]:
        """Metadata and coordinates by the names of their files; those of the group last, for then there is one."""
        assert self._group is not None
        files = {key: buffer.to_bytes() for key, buffer in self._memory.items()}
        return {key: files[key] for key in sorted(files, key=lambda key: (key == "zarr.json", key))}

    def _chunk(self, name: str, window: Region) -> str:
        places = [str(s.start // VIEW) for s in window] + ["0"] * len(self.layout.columns.dims(name))
        return f"{name}/c/{'/'.join(places)}"

    def _tried(self, key: str, attempt: Callable[[Path], Any], *, needed: bool = True) -> Any:
        if needed and not (self.path / key).exists():
            raise ResultError(f"{self.path}: {key} is missing; must be there: --resume writes it again")
        try:
            return attempt(self.path / key)
        except Exception as error:
            # Whatever a codec says of a damaged file.
            raise self._damaged(key, " ".join(str(error).split())[:100] or type(error).__name__) from None

    def _damaged(self, key: str, reason: str) -> ResultError:
        return ResultError(
            f"{self.path}: {key} is damaged ({reason}); must be as it was written: delete that file to have it written "
            "again by --resume"
        )


def _differs(found: object, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "the content"
    return next(str(key) for key in [*wanted, *found] if found.get(key) != wanted.get(key))


def put(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Write a file, there whole or not at all; if lasting, on the disk itself when this returns. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{secrets.token_hex(8)}.partial")
    try:
        with unfinished.open("xb") as out:
            out.write(content)
            if lasting:
                out.flush()
                os.fsync(out.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
