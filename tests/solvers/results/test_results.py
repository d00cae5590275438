"""Result files: what they hold, that they come back, and that they appear whole or not at all."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from solvers import reopen, results
from solvers.closed import systems
from solvers.results.errors import ResultError
from solvers.results.output import OutputError
from tests.solvers.results.result_cases import PROBLEM, TIMES, K, L, fields, run, simulation

DIMENSIONS = {
    "m": ("sample", "time", "component", "mode"),
    "s": ("sample", "time", "component", "component_other"),
    "w": ("sample", "time", "component"),
    "v": ("sample", "time", "component"),
    "objective": ("sample", "time"),
    "mode_mass": ("sample", "time", "mode"),
}
OUTCOMES = dict.fromkeys(("collapsed", "aligned", "vanished", "collapse", "at_rest", "status"), ("sample",)) | {
    "mechanism": ("sample", "mode")
}


def test_a_run_has_the_promised_variables_and_attributes():
    ds = run()
    expected = DIMENSIONS | {"quadrature_error": ("sample", "time"), "recovered_at": ("sample",)} | OUTCOMES
    assert {name: variable.dims for name, variable in ds.data_vars.items()} == expected
    assert {name: ds[name].dtype.name for name in ds.data_vars} == {
        name: "int8" if name in OUTCOMES else "float64" for name in expected
    }
    assert all({"units", "long_name"} <= set(ds[name].attrs) for name in ds.variables)
    assert list(ds.coords) == ["time"]
    np.testing.assert_array_equal(ds["time"], [0, 1, 2, 3])
    np.testing.assert_array_equal(ds["v"], 1.5)
    for name, values in fields().items():
        np.testing.assert_array_equal(ds[name], values)
    versions = json.loads(ds.attrs.pop("versions"))
    assert {"python", "modecollapse", "numpy", "scipy", "xarray"} == set(versions)
    assert ds.attrs == {
        "problem": PROBLEM.text,
        "system": systems.for_problem(PROBLEM).SYSTEM,
        "backend": "numpy",
        "rtol": 1e-8,
        "atol": 1e-10,
        "seed": 2**63 - 1,
        "command": "python -m solvers solve",
    }


def test_a_simulation_adds_standard_errors_and_how_it_was_made():
    ds = simulation()
    errors = {f"{name}_se": dimensions for name, dimensions in DIMENSIONS.items()}
    expected = DIMENSIONS | errors | OUTCOMES | {"recovered_at": ("sample",)}
    assert {name: variable.dims for name, variable in ds.data_vars.items()} == expected
    np.testing.assert_array_equal(ds["m_se"], np.abs(fields(seed=1)["m"]))
    np.testing.assert_array_equal(ds["v_se"], 0)
    assert (ds.attrs["particles"], ds.attrs["replicas"], ds.attrs["step"]) == (256, 32, 0.05)
    assert ds.attrs["system"] == "none"


def test_outcomes_are_those_of_the_last_time():
    w = np.full((2, TIMES, K), 1 / 3)
    mode_mass = np.full((2, TIMES, L), 0.5)
    mode_mass[1, -1] = [0.9, 0.1]
    ds = run(w=w, mode_mass=mode_mass)
    assert (ds["collapsed"].values.tolist(), ds["aligned"].values.tolist()) == ([0, 1], [0, 1])
    assert ds["vanished"].values.tolist() == [0, 0]


def test_failed_samples_hold_nan_and_no_outcome():
    ds = run(status=(0, 1, 2))
    for name in (*DIMENSIONS, "quadrature_error"):
        assert np.all(np.isfinite(ds[name][0]))
        assert np.all(np.isnan(ds[name][1:]))
    assert ds["status"].values.tolist() == [0, 1, 2]
    assert ds["collapsed"].values.tolist()[1:] == [-1, -1]


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"^w has shape \(2, 4\), must have \(2, 4, 3\)$"):
        run(w=np.zeros((2, TIMES)), v=np.zeros((2, TIMES, K)))
    with pytest.raises(ValueError, match=r"^B has shape"):
        run(B=np.zeros((2, L, K)))


@pytest.mark.parametrize("make", [run, simulation])
def test_files_come_back_as_they_were(make, tmp_path):
    path = tmp_path / "result.nc"
    results.write(make(), path)
    found = reopen.open(path)
    xr.testing.assert_identical(found, make())
    path.unlink()  # in memory: the file is no longer needed
    assert float(found["m"].sum()) == float(make()["m"].sum())
    assert reopen.problem_of(found).text == PROBLEM.text


def test_the_same_result_gives_the_same_bytes(tmp_path):
    for name in ("a.nc", "b.nc"):
        results.write(run(), tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def interrupted(*_):
    raise KeyboardInterrupt


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(("failure", "error"), [(interrupted, KeyboardInterrupt), (full, OutputError)])
@pytest.mark.parametrize("before", [None, b"an older result"])
def test_a_failure_on_the_way_leaves_nothing_and_spares_what_was_there(
    call, failure, error, before, tmp_path, monkeypatch
):
    path = tmp_path / "run.nc"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(os, call, failure)
    with pytest.raises(error):
        results.write(run(), path)
    assert [file.name for file in tmp_path.iterdir()] == ([] if before is None else ["run.nc"])
    assert before is None or path.read_bytes() == before


@pytest.mark.slow
def test_a_full_disk(tmp_path):
    """A real short write: the system lets a file grow to 4 kB only."""
    pytest.importorskip("resource")
    path = tmp_path / "run.nc"
    path.write_bytes(b"an older result")
    script = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from tests.solvers.results.result_cases import run
from solvers import results
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    results.write(run(), sys.argv[1])
except results.OutputError as error:
    print(error)
"""
    command = [sys.executable, "-B", "-c", script, str(path), str(Path(__file__).parents[3])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: cannot be written (File too large); nothing was left\n"
    assert [file.name for file in tmp_path.iterdir()] == ["run.nc"]
    assert path.read_bytes() == b"an older result"


def test_outputs_that_cannot_be_are_refused_before_the_work(tmp_path):
    results.check_output(tmp_path / "run.nc")
    with pytest.raises(OutputError, match=r"none/run\.nc: folder .*none does not exist; must be an existing folder"):
        results.check_output(tmp_path / "none" / "run.nc")
    with pytest.raises(OutputError, match="is a folder; must be the name of a file"):
        results.check_output(tmp_path)
    with pytest.raises(OutputError, match="does not exist"):
        results.write(run(), tmp_path / "none" / "run.nc")


def test_an_unwritable_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written to; must be a writable folder"):
        results.check_output(tmp_path / "run.nc")


def test_files_of_others_are_refused(tmp_path):
    with pytest.raises(ResultError, match=r"none\.nc: does not exist; must be a result file"):
        reopen.open(tmp_path / "none.nc")
    text = tmp_path / "text.nc"
    text.write_text(PROBLEM.text)
    with pytest.raises(ResultError, match=r"text\.nc: cannot be read as NetCDF-4"):
        reopen.open(text)
    other = tmp_path / "other.nc"
    xr.Dataset({"m": ("x", [1.0])}).to_netcdf(other, engine="h5netcdf")
    with pytest.raises(ResultError, match=r"other\.nc: lacks s, w, v, .*problem; must be written by"):
        reopen.open(other)
    with pytest.raises(ResultError, match="has no attribute problem"):
        reopen.problem_of(xr.Dataset())
    with pytest.raises(ResultError, match="problem of the result: dimension: missing"):
        reopen.problem_of(run().assign_attrs(problem=""))


def test_devices_pipes_and_links_are_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(results.OutputError, match="is a device or pipe; must be the name of a regular file"):
        results.write_bytes(b"x", pipe)
    (tmp_path / "there.nc").write_bytes(b"old")
    (tmp_path / "link.nc").symlink_to(tmp_path / "there.nc")
    results.write_bytes(b"new", tmp_path / "link.nc")
    assert (tmp_path / "link.nc").is_symlink()
    assert (tmp_path / "there.nc").read_bytes() == b"new"
