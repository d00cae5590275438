"""The Zarr store of a sweep: a journal of sums, one file a unit of work, and the dataset that follows from it.

The journal decides. The dataset's variables are computed from it and written now and then, so they may lag behind after
a kill, never lead. Whatever cannot be written, the store can be resumed from what the journal has.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from solvers.problem.schema import show
from solvers.results.errors import ResultError
from solvers.results.output import OutputError
from solvers.sweeps import moments
from solvers.sweeps.dataset import VIEW, Layout, summaries
from solvers.sweeps.journal import JOURNAL, Journal, common
from solvers.sweeps.reading import FORMAT, attributes_of, checksum, layout_of
from solvers.sweeps.variables import Variables, put

__all__ = ["FORMAT", "Store", "attributes_of", "check_new", "create", "resume"]

Array = NDArray[np.float64]
Index = tuple[int, ...]

KEPT = 2**26  # bytes of the journal that are kept in memory at most


class Store:
    """An open store, which holds its lock until release. attributes: those it was begun with."""

    def __init__(self, path: Path, layout: Layout, attributes: dict[str, Any] | None = None) -> None:
        self.path, self.layout, self.attributes = path, layout, attributes or {}
        self._lock = filelock.FileLock(path / JOURNAL / ".lock")
        self._journal = Journal(path, layout, self.attributes.get("checksum", ""))
        self._variables = Variables(path, layout)
        self._dirty: set[Index] = set()
        self._known: dict[Index, Array] = {}  # windows of the journal as they are on disk, the last ones asked for

    def take(self) -> None:
        """Become the only writer. Raises OutputError, naming the other one."""
        note = self.path / JOURNAL / ".lock"
        try:
            self._lock.acquire(timeout=0)
            note.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        except filelock.Timeout:
            holder = "another process"
            with suppress(OSError, ValueError):
                holder = note.read_text(encoding="utf-8").strip() or holder
            raise OutputError(f"{self.path}: is being written by {holder}; must have one writer at a time") from None
        except OSError as error:
            self.release()
            raise OutputError(f"{self.path}: cannot be locked ({error.strerror or error}); must be lockable") from None

    def release(self) -> None:
        """Let the next writer in. A killed writer needs no clean-up: its lock ends with its process."""
        with suppress(OSError):  # there is nothing to be lost any more
            self._lock.release()

    def write(self, corner: Index, part: int, sums: Array) -> None:
        """Enter the sums (*block, Q + 1, 3) of the unit with this first point; on disk, whole, when this returns."""
        with _written(self.path):
            region = self._journal.write(corner, part, sums)
        for index in itertools.product(*[range(s.start // VIEW, (s.stop - 1) // VIEW + 1) for s in region]):
            self._dirty.add(index)
            if index in self._known:
                here, there = common(self._window(index), region)
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
        out = np.empty((*self.layout.shape, self.layout.parts, self.layout.columns.count, 3))
        for index in self._indices():
            out[self._window(index)] = self._sums(index)
        return out

    def _sums(self, index: Index) -> Array:
        """The same of one window; not to be changed."""
        if index in self._known:
            return self._known[index]
        found = self._known[index] = self._journal.read(self._window(index))
        while sum(array.nbytes for array in self._known.values()) > KEPT:
            self._known.pop(next(iter(self._known)))
        return found

    def totals(self) -> tuple[int, int]:
        """Starts solved, and how many of them failed."""
        counts = np.zeros(2)
        for index in self._indices():
            counts += np.nansum(self._sums(index)[..., -1, : moments.SUM + 1].reshape(-1, 2), axis=0)
        return int(counts[0]), int(counts[1])

    def publish(self) -> None:
        """Bring the dataset up to date with what was entered. Raises OutputError."""
        with _written(self.path):
            for index in sorted(self._dirty):
                values = summaries(self._sums(index), self.layout.columns)
                self._variables.write(self._window(index), values)
                self._dirty.discard(index)

    def mend(self) -> None:
        """Write the whole dataset again from the journal. Raises ResultError if what is there is not of the plan."""
        with _written(self.path):
            self._variables.make()
            self._variables.verify()
        self._dirty.update(self._indices())
        self.publish()

    def _window(self, index: Index) -> tuple[slice, ...]:
        return tuple(slice(i * VIEW, min((i + 1) * VIEW, n)) for i, n in zip(index, self.layout.shape, strict=True))

    def _indices(self) -> Iterator[Index]:
        """Of the windows, VIEW points along each key, that make up the grid."""
        yield from np.ndindex(*[-(-n // VIEW) for n in self.layout.shape])

    def annotate(self, **attributes: str) -> None:
        """Change attributes of the dataset. Raises OutputError."""
        with _written(self.path):
            content = json.loads((self.path / "zarr.json").read_text(encoding="utf-8"))
            content["attributes"] |= attributes
            put(self.path / "zarr.json", json.dumps(content, indent=2).encode())


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """One message where the disk is full, or fails otherwise."""
    try:
        yield
    except OSError as error:
        # The second name is that of a file in the store, where something else is in its place.
        where = f": {Path(error.filename2).relative_to(path)}" if error.filename2 else ""
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}{where}); what is done is kept, --resume continues"
        ) from error


def check_new(path: str | os.PathLike[str]) -> None:
    """Refuse the name of a new store that could not be made, before anything is computed.

    Raises  OutputError if something is there already, even a link that leads nowhere, or if the folder is not there or
    cannot be written to, or if the name is none.
    """
    name, path = os.fspath(path), Path(path)
    if not name.strip():
        raise OutputError(f'--out: is {show(name)}; must be the name of a new folder, such as "out.zarr"')
    try:
        there = path.lstat()
    except FileNotFoundError:
        there = None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: cannot be used ({reason}); must be the name of a new folder") from None
    if there:
        dangling = " as a link that leads nowhere" if not os.path.exists(path) else ""
        raise OutputError(f"{path}: exists{dangling}; must be a new name, or the store of this sweep with --resume")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: folder {path.parent} does not exist; must be an existing folder")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: folder {path.parent} cannot be written to; must be a writable folder")


def create(path: str | os.PathLike[str], layout: Layout, attributes: dict[str, Any]) -> Store:
    """A new store, there complete or not at all, and locked.

    Raises  OutputError if something is at `path` already or it cannot be written.
    """
    check_new(path)
    path = Path(path)
    units = json.dumps({"block": layout.block, "parts": layout.parts})
    attributes = attributes | {"format": FORMAT, "units": units}
    attributes["checksum"] = checksum(attributes)
    # A short name of its own: one made from that of the store might be too long.
    unfinished = path.with_name(f".sweep.{secrets.token_hex(8)}.tmp")
    store = Store(unfinished, layout, attributes)
    try:
        (unfinished / JOURNAL).mkdir(parents=True)
        store._variables.make(attributes)
        # The lock is on the file, not its name: it is held before anybody can see the store.
        store.take()
        if os.path.lexists(path):
            raise OutputError(f"{path}: exists; must be a new name")
        unfinished.rename(path)
    except BaseException as error:
        store.release()
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError | OutputError) and not str(error).startswith(f"{path}:"):
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"{path}: cannot be written ({reason}); nothing was left") from error
        raise
    store.path = store._journal.path = store._variables.path = path
    return store


def resume(path: str | os.PathLike[str], plan: dict[str, Any]) -> Store:
    """The store of an interrupted sweep, locked, its dataset written again from the journal.

    plan: what makes its numbers what they are, by name; must be that of the store.
    Raises  ResultError if it is not one, is damaged, or is that of another sweep; OutputError if it has a writer.
    """
    path = Path(path)
    attributes = attributes_of(path)
    if differs := difference(json.loads(attributes["plan"]), plan):
        raise ResultError(
            f"{path}: was begun with {differs}; must be the same sweep: resume with what it was begun with, or choose "
            "a new name"
        )
    store = Store(path, layout_of(attributes), attributes)
    store.take()
    try:
        for left in path.rglob("*.partial"):  # files that a killed writer had not finished
            with suppress(OSError):
                left.unlink()
        store.mend()
    except BaseException:
        store.release()
        raise
    return store


def difference(begun: object, here: object, key: str = "") -> str | None:
    """The first key at which two plans differ, with the values of both, in words; None where they are the same."""
    if isinstance(begun, dict) and isinstance(here, dict):
        for name in dict.fromkeys([*here, *begun]):
            inner = f"{key}.{name}" if key else name
            if "." in name:
                inner = f'{key}."{name}"'
            if name not in begun:
                return f"no {inner}, here it is {show(here[name])}"
            if name not in here:
                return f"{inner} = {show(begun[name])}, here there is none"
            if found := difference(begun[name], here[name], inner):
                return found
        return None
    if isinstance(begun, list) and isinstance(here, list) and min(len(begun), len(here)) > 1:
        for i, (a, b) in enumerate(zip(begun, here, strict=False)):
            if found := difference(a, b, f"{key}.{i}"):
                return found
        if len(begun) != len(here):
            return f"{key} of {len(begun)} values, here it is of {len(here)}"
        return None
    if begun == here and isinstance(begun, bool) == isinstance(here, bool):
        return None
    a, b = show(begun), show(here)
    return f"{key} = {a}, here it is {b}" if a != b else f"{key} = {begun!r:.60}, here it is {here!r:.60}"
