"""NUMBA_DISABLE_JIT=1: every command computes with NumPy, says so in one line, and what needs numba is refused."""

import os
import subprocess
import sys
from pathlib import Path

import numba  # before the environment tells it to be off: it would be for all tests of this process
import pytest
from typer.testing import CliRunner

from solvers import reopen
from solvers.__main__ import app
from solvers.closed import compiled, flow
from solvers.machine.arrays import BackendError
from solvers.machine.code import CacheWarning, switch
from tests.solvers.machine.machine_code_cases import begin
from tests.solvers.sweeps.sweep_cases import SMALL

PROBLEM = """
dimension = 4
[target]
separation = 1.5
[family]
components = 2
[init]
means = [[0.9, 0.1], [-0.8, 0.2]]
[time]
end = 0.2
save = [0.0, 0.2]
"""
SAMPLER = PROBLEM.replace("end = 0.2\nsave = [0.0, 0.2]", "end = 0.0\nsave = [0.0]\n[sampler]\nsteps = 4\npaths = 64")
SWEEP = SMALL.replace("count = 4", "count = 2").replace("samples = 40", "samples = 2")
SAID = "NUMBA_DISABLE_JIT is set: numba compiles nothing, the backend is numpy\n"
FEW = ("--particles", "8", "--step", "0.1", "--replicas", "32")


@pytest.fixture(autouse=True)
def switched_off(monkeypatch, tmp_path):
    assert not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
    begin(monkeypatch, tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setattr("solvers.machine.code.modules._processor", lambda: pytest.fail("machine code was asked for"))
    for name, text in (("flow.toml", PROBLEM), ("sampler.toml", SAMPLER), ("sweep.toml", SWEEP)):
        Path(name).write_text(text)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (("solve", "flow.toml"), "out.nc"),
        (("solve", "flow.toml", "--backend", "numba"), "out.nc"),
        (("solve", "sampler.toml"), "out.nc"),
        (("simulate", "flow.toml", *FEW), "out.nc"),
        (("simulate", "sampler.toml", *FEW), "out.nc"),
    ],
)
def test_numpy_instead_and_one_line(arguments, written):
    with pytest.warns(CacheWarning) as caught:
        done = CliRunner().invoke(app, [*arguments, "--out", written, "--quiet"], catch_exceptions=False)
    assert (done.exit_code, done.stderr, [f"{warning.message}\n" for warning in caught]) == (0, "", [SAID])
    assert reopen.open(written).attrs["backend"] == "numpy"
    assert not Path("cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["flow.toml", "sampler.toml"])
def test_compare_goes_through(problem):
    with pytest.warns(CacheWarning) as caught:
        done = CliRunner().invoke(app, ["compare", problem, *FEW, "--quiet"], catch_exceptions=False)
    assert done.exit_code in (0, 1)  # few particles: which of the two is not for this test
    assert (done.stderr, [f"{warning.message}\n" for warning in caught]) == ("", [SAID])


def test_numpy_that_was_asked_for_says_nothing():
    done = CliRunner().invoke(app, ["solve", "flow.toml", "--out", "out.nc", "--backend", "numpy", "--quiet"])
    assert (done.exit_code, done.stderr) == (0, "")


def test_what_needs_numba_is_refused_in_one_line():
    with pytest.raises(BackendError, match="numba: is switched off by NUMBA_DISABLE_JIT"):
        compiled.rules.__wrapped__()  # another test of this process may have made them already
    arguments = ["solve", "flow.toml", "--out", "out.nc", "--stop-at-equilibrium"]
    with pytest.warns(CacheWarning, match="NUMBA_DISABLE_JIT is set"):
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("value", "off"), [("1", True), ("2", True), ("0", False), ("", False), ("yes", False)])
def test_the_switch_is_read_as_numba_reads_it(monkeypatch, value, off):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", value)
    assert switch.switched_off() is off


def test_the_values_are_those_of_the_backend_numpy(monkeypatch):
    from solvers.problem import Problem

    with pytest.warns(CacheWarning, match="NUMBA_DISABLE_JIT is set"):
        found = flow.solve(Problem.parse(PROBLEM))
    monkeypatch.delenv("NUMBA_DISABLE_JIT")
    assert found.drop_attrs().identical(flow.solve(Problem.parse(PROBLEM), backend="numpy").drop_attrs())


@pytest.mark.slow
def test_a_process_of_its_own():
    """Two workers and their parent say it once, on one line."""
    done = subprocess.run(
        [sys.executable, "-m", "solvers", "sweep", "sweep.toml", "--out", "own.zarr", "--workers", "2", "--quiet"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, SAID)
