"""The Zarr store of a sweep: a journal of sums, one file a unit of work, and the dataset that follows from it.

The journal decides. A unit is in it whole or not at all (zarr renames complete files into place), with a checksum; the
dataset's variables are computed from it and written now and then, so they may lag behind after a kill, never lead.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import xarray as xr
import zarr
import zarr.codecs
from numpy.typing import NDArray

from solvers.reopen import ResultError
from solvers.results import OutputError
from solvers.sweeps import moments
from solvers.sweeps.dataset import VIEW, Layout, summaries, template

__all__ = ["FORMAT", "Store", "create", "resume"]

Array = NDArray[np.float64]
Index = tuple[int, ...]

FORMAT = "modecollapse sweep 1"
JOURNAL = "journal/moments"
KEPT = 2**26  # bytes of the journal that are kept in memory at most


class Store:
    """An open store, which holds its lock until release. versions: those it was begun with, where it is resumed."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self._lock = filelock.FileLock(path / JOURNAL / ".lock")
        self.versions: dict[str, str] = {}
        self._dirty: set[Index] = set()
        self._known: dict[Index, Array] = {}  # windows of the journal as they are on disk, the last ones asked for

    @cached_property
    def _journal(self) -> zarr.Array[Any]:
        return zarr.open_array(self.path / JOURNAL, mode="r+")

    def take(self) -> None:
        """Become the only writer. Raises OutputError, naming the other one."""
        note = self.path / JOURNAL / ".lock"
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            holder = note.read_text(encoding="utf-8").strip() or "another process"
            raise OutputError(f"{self.path}: is being written by {holder}; must have one writer at a time") from None
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be locked ({error.strerror or error}); must be lockable") from None
        note.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")

    def release(self) -> None:
        """Let the next writer in. A killed writer needs no clean-up: its lock ends with its process."""
        if self._lock.is_locked:
            (self.path / JOURNAL / ".lock").write_text("", encoding="utf-8")
            self._lock.release()

    def write(self, corner: Index, part: int, sums: Array) -> None:
        """Enter the sums (*block, Q + 1, 3) of the unit with this first point; on disk, whole, when this returns."""
        region = tuple(slice(i, i + n) for i, n in zip(corner, sums.shape[:-2], strict=True))
        try:
            self._journal[(*region, slice(part, part + 1))] = sums[..., None, :, :]
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        for index in itertools.product(*[range(s.start // VIEW, (s.stop - 1) // VIEW + 1) for s in region]):
            self._dirty.add(index)
            if index in self._known:
                here, there = _common(self._window(index), region)
                self._known[index][..., part, :, :][here] = sums[there]

    def finished(self) -> NDArray[np.bool_]:
        """(*shape, parts): which are in the journal.

        Raises  ResultError for a file of it that is damaged.
        """
        found = np.zeros((*self.layout.shape, self.layout.parts), dtype=bool)
        for index in self._indices():
            found[self._window(index)] = ~np.isnan(self._sums(index)[..., -1, moments.COUNT])
        return found

    def sums(self) -> Array:
        """The journal, (*shape, parts, Q + 1, 3); nan where nothing is entered yet."""
        out = np.empty(self._journal.shape)
        for index in self._indices():
            out[self._window(index)] = self._sums(index)
        return out

    def _sums(self, index: Index) -> Array:
        """The same of one window; not to be changed."""
        if index in self._known:
            return self._known[index]
        found = self._known[index] = self._read(self._window(index))
        while sum(array.nbytes for array in self._known.values()) > KEPT:
            self._known.pop(next(iter(self._known)))
        return found

    def _read(self, window: tuple[slice, ...]) -> Array:
        try:
            return np.array(self._journal[window])
        except Exception as error:
            # Whatever a codec says of a damaged file.
            reason = " ".join(str(error).split())
            bad = self._damaged()
            raise ResultError(
                f"{self.path}: {bad or JOURNAL} is damaged ({reason}); must be as it was written: delete that file "
                "to have its points computed again"
            ) from None

    def totals(self) -> tuple[int, int]:
        """Starts solved, and how many of them failed."""
        counts = np.zeros(2)
        for index in self._indices():
            counts += np.nansum(self._sums(index)[..., -1, : moments.SUM + 1].reshape(-1, 2), axis=0)
        return int(counts[0]), int(counts[1])

    def _damaged(self) -> str | None:
        journal, block = self._journal, (*self.layout.block, 1)
        counts = [-(-n // b) for n, b in zip((*self.layout.shape, self.layout.parts), block, strict=True)]
        for chunk in np.ndindex(*counts):
            try:
                journal[tuple(slice(i * b, (i + 1) * b) for i, b in zip(chunk, block, strict=True))]
            except Exception:
                return f"{JOURNAL}/c/{'/'.join(map(str, chunk))}/0/0"
        return None

    def publish(self, *, everything: bool = False) -> None:
        """Bring the dataset up to date with the journal."""
        group = zarr.open_group(self.path, mode="r+")
        for index in self._indices() if everything else sorted(self._dirty):
            for name, values in summaries(self._sums(index), self.layout.quantities).items():
                array = group[name]
                assert isinstance(array, zarr.Array)
                array[self._window(index)] = values
        self._dirty.clear()

    def _window(self, index: Index) -> tuple[slice, ...]:
        return tuple(slice(i * VIEW, min((i + 1) * VIEW, n)) for i, n in zip(index, self.layout.shape, strict=True))

    def _indices(self) -> Iterator[Index]:
        """Of the windows, VIEW points along each key, that make up the grid."""
        yield from np.ndindex(*[-(-n // VIEW) for n in self.layout.shape])

    def annotate(self, **attributes: str) -> None:
        """Change attributes of the dataset."""
        zarr.open_group(self.path, mode="r+").attrs.update(attributes)


def _common(a: tuple[slice, ...], b: tuple[slice, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The points that are in both regions, as places in either."""
    both = [(max(x.start, y.start), min(x.stop, y.stop)) for x, y in zip(a, b, strict=True)]
    return tuple(slice(i - x.start, j - x.start) for (i, j), x in zip(both, a, strict=True)), tuple(
        slice(i - y.start, j - y.start) for (i, j), y in zip(both, b, strict=True)
    )


def create(path: str | os.PathLike[str], layout: Layout, attributes: dict[str, Any]) -> Store:
    """A new store, there complete or not at all, and locked.

    Raises  OutputError if something is at `path` already or it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise OutputError(f"{path}: exists; must be a new name, or the store of this sweep with --resume")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: folder {path.parent} does not exist; must be an existing folder")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    store = Store(unfinished, layout)
    try:
        template(layout, attributes).to_zarr(unfinished, zarr_format=3, consolidated=False, mode="w-")
        zarr.create_group(unfinished / "journal")
        # Checksums in every file, so that damage is found, not averaged.
        journal = zarr.create_array(
            unfinished / JOURNAL,
            shape=(*layout.shape, layout.parts, len(layout.quantities) + 1, 3),
            chunks=(*layout.block, 1, len(layout.quantities) + 1, 3),
            dtype="float64",
            fill_value=np.nan,
            compressors=(zarr.codecs.ZstdCodec(level=1, checksum=True),),
        )
        journal.attrs["meaning"] = "count, sum and sum of squared deviations of each quantity, and of failed samples"
        # The lock is on the file, not its name: it is held before anybody can see the store.
        store.take()
        if path.exists():
            raise OutputError(f"{path}: exists; must be a new name")
        unfinished.rename(path)
    except BaseException as error:
        store.release()
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError):
            raise OutputError(f"{path}: cannot be written ({error.strerror or error}); nothing was left") from error
        raise
    store.path = path
    return store


def resume(path: str | os.PathLike[str], plan: dict[str, Any]) -> Store:
    """The store of an interrupted sweep, locked.

    plan: what makes its numbers what they are, by name; must be that of the store.
    Raises  ResultError if it is not one, is damaged, or is that of another sweep; OutputError if it has a writer.
    """
    path = Path(path)
    attributes = attributes_of(path)
    begun = json.loads(attributes["plan"])
    for name, value in plan.items():
        if begun.get(name) != value:
            raise ResultError(
                f"{path}: was begun with {name} = {_short(begun.get(name))}, here it is {_short(value)}; must be the "
                "same sweep: resume with what it was begun with, or choose a new name"
            )
    try:
        journal = zarr.open_array(path / JOURNAL, mode="r")
        ds = xr.open_zarr(path, consolidated=False, chunks=None)
        coordinates = {str(name): ds[name].values for name in json.loads(attributes["grid"])}
    except Exception as error:
        raise ResultError(f"{path}: is damaged ({' '.join(str(error).split())}); must be as it was written") from None
    dimensions = len(coordinates)
    layout = Layout(coordinates, journal.chunks[:dimensions], journal.shape[dimensions], tuple(begun["quantities"]))
    store = Store(path, layout)
    store.take()
    for left in path.rglob("*.partial"):  # files that a killed writer had not finished
        with suppress(OSError):
            left.unlink()
    store.versions = json.loads(attributes["versions"])
    return store


def attributes_of(path: Path) -> dict[str, Any]:
    """Attributes of a sweep store. Raises ResultError if there is none."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise ResultError(f"{path}: {what}; must be the store of a sweep")
    try:
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    except Exception as error:
        raise ResultError(
            f"{path}: cannot be read as Zarr ({' '.join(str(error).split()) or type(error).__name__}); "
            "must be written by `python -m solvers sweep`"
        ) from None
    if attributes.get("format") != FORMAT or not all(
        key in attributes for key in ("plan", "grid", "problem", "versions")
    ):
        raise ResultError(f"{path}: is not the store of a sweep; must be written by `python -m solvers sweep`")
    return attributes


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:76] + " ..."
