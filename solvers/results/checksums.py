"""Damage to result files: a digest of the whole file as its last line, which HDF5 does not read, and of every array.

The digest is compared before HDF5 sees the file, so that neither changed numbers nor changed structure get through.
Beside it every array of numbers has HDF5's own checksum (fletcher32), which any program that reads NetCDF-4 verifies.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import Any

import xarray as xr

from solvers.results.errors import ResultError

__all__ = ["ATTRIBUTE", "encoding", "last_line", "verified"]

#: Attribute of files with checksums; its value holds MARK, so that a file which lost its last line is not taken for an
#: older one that never had it.
ATTRIBUTE = "checksums"
MARK = b"modecollapse sha256"
NOTE = f"fletcher32 of every array; {MARK.decode()} of all bytes before the last line in the last line"
_LINE = len(MARK) + 64 + 3  # line feed, mark, space, digest, line feed
_PIECE = 2**22


def encoding(ds: xr.Dataset) -> dict[Any, dict[str, Any]]:
    """How the variables are written: those that HDF5 can give checksums, with them."""
    summed = {name: bool(v.ndim and v.size and v.dtype.kind in "biuf") for name, v in ds.variables.items()}
    return {name: {"fletcher32": True} if yes else {} for name, yes in summed.items()}


def last_line(content: bytes | memoryview) -> bytes:
    """What comes behind the content of a file."""
    return _line(hashlib.sha256(content).hexdigest())


def verified(path: Path, name: str) -> bool:
    """Whether a file is as it was written; False if it was written without checksums.

    Raises  ResultError, calling the file `name`, if it is damaged; OSError if it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _LINE, 0))
        if (last := file.read()).startswith(b"\n" + MARK):
            digest, left = hashlib.sha256(), size - _LINE
            file.seek(0)
            while left > 0 and (piece := file.read(min(left, _PIECE))):
                digest.update(piece)
                left -= len(piece)
            if last == _line(digest.hexdigest()):
                return True
            raise ResultError(f"{name}: is damaged (its checksum does not fit); must be as it was written")
        if size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if content.find(MARK) >= 0:
                    raise ResultError(
                        f"{name}: is damaged, or was changed by another program (its checksum is not at its end); "
                        "must be as it was written"
                    )
    return False


def _line(digest: str) -> bytes:
    return b"\n%s %s\n" % (MARK, digest.encode())
