"""Result files: NetCDF-4 with checksums, written whole or not at all, and read again."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from solvers.results import checksums
from solvers.results.errors import ResultError
from solvers.results.forms import check_attributes
from solvers.results.output import shown, write_bytes

__all__ = ["read", "write"]


def write(ds: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a Dataset as NetCDF-4 with checksums, whole or not at all; a file already there survives a failure.

    Raises  OutputError if the file cannot be written, for instance because the disk is full.
    """
    # Built in memory first: HDF5 on a full disk fails at unpredictable places, a plain write does so cleanly.
    marked = ds.assign_attrs({checksums.ATTRIBUTE: checksums.NOTE})
    content = marked.to_netcdf(engine="h5netcdf", encoding=checksums.encoding(ds))
    write_bytes(content, path, checksums.last_line(content))


def read(path: str | os.PathLike[str]) -> tuple[xr.Dataset, bool]:
    """The dataset of a file, in memory, and whether checksums say that it is as it was written.

    Raises  ResultError if it cannot be read, or is damaged.
    """
    name = shown(path)
    try:
        whole = checksums.verified(Path(path), name)
        ds = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
    except ResultError:
        raise
    except FileNotFoundError:
        raise ResultError(f"{name}: does not exist; must be a result file") from None
    except Exception as error:
        # Whatever HDF5 and xarray say of a file that is not theirs, or damaged.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ResultError(f"{name}: cannot be read as NetCDF-4 ({reason}); must be a result file") from None
    if not whole and checksums.ATTRIBUTE in ds.attrs:
        raise ResultError(f"{name}: is damaged (its checksum is gone); must be as it was written")
    ds.attrs.pop(checksums.ATTRIBUTE, None)
    check_attributes(ds, name)
    return ds, whole
