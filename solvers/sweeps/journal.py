"""The journal of a sweep: one file a unit of work, there whole or not at all, with a checksum of all.

A file is the SHA-256 of its store, its place and its numbers, and then these, float64 in little-endian order.
So a file that was changed, cut, moved to another unit's place or brought from another sweep is not taken for its own.
Units are named as Zarr names the chunks of an array (*points, part, quantity, moment): c/0/3/1/0/0.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from solvers.results.errors import ResultError
from solvers.sweeps.dataset import Layout
from solvers.sweeps.variables import put

__all__ = ["JOURNAL", "Journal", "common"]

Array = NDArray[np.float64]
Index = tuple[int, ...]
Region = tuple[slice, ...]

JOURNAL = "journal/moments"
SEAL = hashlib.sha256().digest_size  # bytes


class Journal:
    """The units of one store. seal: what its files are bound to, the checksum of the store's attributes."""

    def __init__(self, path: Path, layout: Layout, seal: str) -> None:
        self.path, self.layout, self.seal = path, layout, seal

    @cached_property
    def _there(self) -> set[str]:
        """Names of the files, "c/0/3/1/0/0", so that a large grid with few of them is read in the time of those few."""
        root = self.path / JOURNAL
        found: set[str] = set()

        def refuse(error: OSError) -> None:
            raise ResultError(f"{self.path}: {JOURNAL} cannot be read ({error.strerror or error}); must be readable")

        for folder, _, names in os.walk(root, onerror=refuse):
            here = Path(folder).relative_to(root).as_posix()
            found.update(f"{here}/{name}" for name in names)
        return found

    def read(self, window: Region) -> Array:
        """Sums of the points in a box, (*box, parts, Q + 1, 3); nan where nothing is entered yet.

        Raises  ResultError for a file that is damaged, not in its place, or of another sweep.
        """
        rows = self.layout.columns.count
        out = np.full((*(s.stop - s.start for s in window), self.layout.parts, rows, 3), np.nan)
        for unit in self._units(window):
            region = self._region(unit)
            for part in range(self.layout.parts):
                if _name(unit, part) in self._there:
                    here, there = common(window, region)
                    out[..., part, :, :][here] = self._unit(unit, part)[there]
        return out

    def write(self, corner: Index, part: int, sums: Array) -> Region:
        """Enter the sums (*block, Q + 1, 3) of the unit with this first point; on disk, whole, when this returns.

        Returns  the box of its points. Raises  OSError.
        """
        unit = tuple(i // b for i, b in zip(corner, self.layout.block, strict=True))
        name, content = _name(unit, part), np.ascontiguousarray(sums, dtype="<f8").tobytes()
        put(self.path / JOURNAL / name, self._checksum(name, content) + content, lasting=True)
        self._there.add(name)
        return self._region(unit)

    def missing(self, window: Region, expected: NDArray[np.bool_]) -> str | None:
        """The first file that is not there although one of its points (of the box) is expected to be known."""
        for unit in self._units(window):
            here, _ = common(window, self._region(unit))
            for part in range(self.layout.parts):
                if expected[here].any() and _name(unit, part) not in self._there:
                    return f"{JOURNAL}/{_name(unit, part)}"
        return None

    def _unit(self, unit: Index, part: int) -> Array:
        name = _name(unit, part)
        shape = (*(s.stop - s.start for s in self._region(unit)), self.layout.columns.count, 3)
        try:
            found = (self.path / JOURNAL / name).read_bytes()
        except OSError as error:
            raise self._damaged(name, error.strerror or str(error)) from None
        seal, content = found[:SEAL], found[SEAL:]
        if len(content) != 8 * int(np.prod(shape)):
            raise self._damaged(name, f"{len(found)} bytes instead of {SEAL + 8 * int(np.prod(shape))}")
        if seal != self._checksum(name, content):
            raise self._damaged(name, "its checksum is not that of this unit of this sweep")
        return np.frombuffer(content, dtype="<f8").astype(np.float64).reshape(shape)

    def _checksum(self, name: str, content: bytes) -> bytes:
        return hashlib.sha256(f"{self.seal} {name}\n".encode() + content).digest()

    def _damaged(self, name: str, reason: str) -> ResultError:
        return ResultError(
            f"{self.path}: {JOURNAL}/{name} is damaged ({reason}); must be as it was written: delete that file to have "
            "its points computed again by --resume"
        )

    def _units(self, window: Region) -> Iterator[Index]:
        """Those with points in a box."""
        sides = zip(window, self.layout.block, strict=True)
        yield from itertools.product(*[range(s.start // b, (s.stop - 1) // b + 1) for s, b in sides])

    def _region(self, unit: Index) -> Region:
        sides = zip(unit, self.layout.block, self.layout.shape, strict=True)
        return tuple(slice(i * b, min((i + 1) * b, n)) for i, b, n in sides)


def _name(unit: Index, part: int) -> str:
    return f"c/{'/'.join(map(str, unit))}/{part}/0/0"


def common(a: Region, b: Region) -> tuple[Region, Region]:
    """The points that are in both boxes, as places in either."""
    both = [(max(x.start, y.start), min(x.stop, y.stop)) for x, y in zip(a, b, strict=True)]
    return tuple(slice(i - x.start, j - x.start) for (i, j), x in zip(both, a, strict=True)), tuple(
        slice(i - y.start, j - y.start) for (i, j), y in zip(both, b, strict=True)
    )
