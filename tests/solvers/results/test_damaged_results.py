"""Damaged result files: what is read is what was written, or one line says that the file is damaged.

MODECOLLAPSE_DAMAGES: how many random damages of each file, instead of 100. A damage that crashed HDF5 would end the
whole run of the tests, since files are read in this process: damage is to be found before HDF5 sees it.
"""

from __future__ import annotations

import json
import os
import warnings

import h5py
import numpy as np
import pytest
import xarray as xr

from solvers import reopen, results
from solvers.ask import simulate, solve
from solvers.problem import Problem
from solvers.results.checksums import MARK
from solvers.results.errors import ResultError, ResultWarning
from solvers.results.forms import check_attributes

COUNT = int(os.environ.get("MODECOLLAPSE_DAMAGES", "100"))
FLOW = """
dimension = 3
[target]
separation = 1.5
[family]
components = 2
[init]
scale = 0.1
samples = 4
[time]
end = 1.0
save = 5
"""
SAMPLER = FLOW.replace("samples = 4", "samples = 1") + "[sampler]\nsteps = 4\npaths = 32\n"
MADE = {
    "run": lambda: solve(Problem.parse(FLOW), backend="numpy"),
    "sim": lambda: simulate(Problem.parse(FLOW), particles=4, replicas=2, step=0.5, backend="numpy"),
    "sampler": lambda: solve(Problem.parse(SAMPLER), backend="numpy"),
}


@pytest.fixture(scope="module", params=MADE)
def written(request, tmp_path_factory):
    """A result, and its file."""
    path = tmp_path_factory.mktemp("whole") / f"{request.param}.nc"
    ds = MADE[request.param]()
    results.write(ds, path)
    return ds, path


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three damages, of the kinds that disks, networks and interrupted copies make."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind, size = rng.integers(6), max(len(data), 1)
        first, length = int(rng.integers(size)), int(2 ** rng.uniform(0, 12))
        part = slice(first, first + length)
        if kind == 0 and data:
            data[min(first, len(data) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[first:]
        elif kind == 2:
            data[part] = bytes(len(data[part]))
        elif kind == 3:  # two blocks change places
            other = int(rng.integers(size))
            a, b = bytes(data[part]), bytes(data[other : other + length])
            if abs(first - other) >= length and len(a) == len(b):
                data[part], data[other : other + length] = b, a
        elif kind == 4:
            data[part] = rng.bytes(len(data[part]))
        else:  # lost, and the rest moved up
            del data[part]
    return bytes(data)


def read(path) -> xr.Dataset | str:
    """The result, or what is said of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultWarning)
        try:
            return reopen.open(path)
        except ResultError as error:
            return str(error)


@pytest.mark.slow
def test_damage_is_found_or_harmless(written, tmp_path) -> None:
    ds, path = written
    content, victim, refused = path.read_bytes(), tmp_path / "damaged.nc", 0
    for seed in range(COUNT):
        victim.write_bytes(damaged(content, np.random.default_rng(seed)))
        found = read(victim)
        if isinstance(found, str):
            assert found.startswith(f"{victim}: ")
            assert found.isprintable()
            refused += 1
        else:
            xr.testing.assert_identical(found, ds)
    assert refused > 0.9 * COUNT


def test_files_cut_anywhere_are_refused(written, tmp_path) -> None:
    content, victim = written[1].read_bytes(), tmp_path / "cut.nc"
    for length in (*range(0, len(content), len(content) // 40), *range(len(content) - 120, len(content))):
        victim.write_bytes(content[:length])
        with pytest.raises(ResultError, match=r"cut\.nc: "):
            reopen.open(victim)


def test_plain_xarray_reads_them_and_finds_damage_of_arrays(written, tmp_path) -> None:
    """fletcher32, without anything of ours: a number of the objective with one bit changed."""
    ds, path = written
    plain = xr.load_dataset(path)
    assert MARK.decode() in plain.attrs.pop("checksums")
    xr.testing.assert_identical(plain, ds)
    with h5py.File(path) as file:
        arrays = [array for array in file.values() if array.shape and array.dtype.kind in "fi" and array.chunks]
        # HDF5 has no checksum for strings, which are the names of labels; the last line of the file covers them.
        numbers = {name for name in ds.variables if ds[name].dtype.kind in "fi"}
        assert numbers == set(ds.variables) - {"label"}
        assert {array.name[1:] for array in arrays} >= numbers
        assert all(file[name].fletcher32 for name in numbers)
        place = file["objective"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 6] ^= 1
    victim = tmp_path / "victim.nc"
    victim.write_bytes(data)
    with pytest.raises(OSError, match="Can't"):
        xr.load_dataset(victim)


def test_files_without_checksums_open_with_a_warning(written, tmp_path) -> None:
    """As version 0.1.0 wrote them at first."""
    ds, _ = written
    ds.to_netcdf(tmp_path / "old.nc", engine="h5netcdf")
    with pytest.warns(ResultWarning, match=r"old\.nc: was made with a version that wrote no checksums, so that damage"):
        found = reopen.open(tmp_path / "old.nc")
    xr.testing.assert_identical(found, ds)


def test_what_another_program_made_of_a_file_is_not_taken_for_it(written, tmp_path) -> None:
    xr.load_dataset(written[1]).isel(time=[0, -1]).drop_encoding().to_netcdf(tmp_path / "part.nc", engine="h5netcdf")
    with pytest.raises(ResultError, match=r"part\.nc: is damaged, or was changed by another program"):
        reopen.open(tmp_path / "part.nc")


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return MADE["run"]()[["m", "s", "w", "v", "objective", "mode_mass", "collapsed", "aligned", "vanished", "status"]]


POINTS = '{"a1b2": [0]}'
BROKEN = {
    "problem": [3, "no TOML", "[" * 5000, [1.0, 2.0]],
    "versions": [1.5, "{", "[]", "{}}", '{"modecollapse": 1}', "[" * 100_000, "\x1b\n", [1, 2]],
    "grid": ["", "3", '{"init.scale": 1}', '{"init.scale": []}', "null", 7],
    "plan": ["", "[1]", 0.5],
    "systems": ["{", "[]", '{"a1b2": 3}', '{"a1b2": [true]}', POINTS, 1],
    "system": [1, [1, 2]],
}


@pytest.mark.parametrize("key", BROKEN)
def test_a_broken_attribute_is_one_line(key, small, tmp_path) -> None:
    ds = small
    path = tmp_path / "broken.nc"
    results.write(ds.assign_attrs({key: BROKEN[key][0]}), path)
    with pytest.raises(ResultError, match=rf"broken\.nc: attribute {key}: is .*; must be "):
        reopen.open(path)
    for value in BROKEN[key]:
        with pytest.raises(ResultError) as caught:
            check_attributes(ds.assign_attrs({key: value}), "broken.nc")
        said = str(caught.value)
        # Points of a grid, in a file without one: it is the grid that is not there.
        assert f"broken.nc: {'lacks attribute grid' if value == POINTS else f'attribute {key}: is '}" in said
        assert said.isprintable()
        assert len(said) < 300
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # control: the same file with the attributes as they are
        results.write(ds, tmp_path / "whole.nc")
        reopen.open(tmp_path / "whole.nc")


def test_a_grid_that_is_not_that_of_the_coordinates_is_refused(small) -> None:
    ds = small.assign_attrs(grid=json.dumps({"init.scale": [0.1, 0.2]}))
    point = ds.assign_coords({"init.scale": 0.3})
    with pytest.raises(ResultError, match=r"attribute grid: init\.scale lacks 0\.3; must have the values"):
        reopen.problem_of(point)
    assert reopen.problem_of(ds.assign_coords({"init.scale": 0.2})).init.scale == 0.2  # control
    with pytest.raises(ResultError):
        reopen.problem_of(ds.assign_attrs(grid='{"init.scale": [null]}').assign_coords({"init.scale": None}))
