"""Stored results: reused only if they answer the same question."""

import shutil
from functools import partial

import pytest

from figures import stored as module
from figures import stores
from figures.stored import Along, Simulate, Solve
from figures.stores import Benchmark, Swept
from solvers import reopen, results
from solvers.sweeps.run import run as run_sweep
from tests.figures.figure_results import TINY

SOLVE = Solve("tiny.toml", {"rtol": 1e-6, "atol": 1e-8})
SIMULATE = Simulate(
    "tiny.toml",
    {"particles": 8, "replicas": 4, "step": 0.25},
    quick={"particles": 4, "replicas": 3, "step": 0.25},
)


@pytest.fixture(autouse=True)
def problems(tmp_path, monkeypatch):
    folder = tmp_path / "problems"
    folder.mkdir()
    (folder / "tiny.toml").write_text(TINY)
    monkeypatch.setattr(module, "PROBLEMS", folder)
    return folder


@pytest.mark.parametrize("stored", [SOLVE, SIMULATE], ids=["solve", "simulate"])
def test_made_once_and_read_again(stored, tmp_path):
    path = stored.path(tmp_path, "name.role", quick=False)
    assert path.name == "name.role.nc"
    assert stored.load(path, quick=False) is None
    steps = []
    made = stored.make(path, quick=False, progress=steps.append)
    assert steps
    assert made.attrs["command"] == f"python -m solvers {stored.command}"
    assert stored.load(path, quick=False).identical(made)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["name.role.nc"]


def test_the_quick_tier_is_stored_beside_the_full_one(tmp_path):
    quick, full = (SIMULATE.path(tmp_path, "a", quick=quick) for quick in (True, False))
    assert (quick.name, full.name) == ("a.quick.nc", "a.nc")
    assert SIMULATE.make(quick, quick=True, progress=None).attrs["replicas"] == 3
    assert SIMULATE.load(quick, quick=False) is None
    assert SOLVE.path(tmp_path, "a", quick=True).name == "a.nc"


@pytest.mark.parametrize(
    "change",
    [
        {"rtol": 1e-5},
        {"system": "another"},
        {"problem": TINY + "\n"},
        {"versions": '{"modecollapse": "0"}'},
        {"command": ""},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_answer_to_another_question_is_stale(change, tmp_path):
    path = tmp_path / "a.nc"
    made = SOLVE.make(path, quick=False, progress=None)
    results.write(made.assign_attrs(change), path)
    assert SOLVE.load(path, quick=False) is None


def test_an_edited_problem_makes_a_result_stale(problems, tmp_path):
    path = tmp_path / "a.nc"
    SOLVE.make(path, quick=False, progress=None)
    (problems / "tiny.toml").write_text(TINY.replace("seed = 3", "seed = 4"))
    assert SOLVE.load(path, quick=False) is None


def test_what_is_not_a_result_is_made_anew(tmp_path):
    path = tmp_path / "a.nc"
    path.write_text("not NetCDF")
    assert SOLVE.load(path, quick=False) is None


ALONG = Along(SIMULATE, grid={"target.separation": [1.0, 2.0], "dimension": [3]}, quick={"dimension": [4]})


def test_a_grid_of_simulations(tmp_path):
    path = ALONG.path(tmp_path, "a", quick=False)
    steps = []
    made = ALONG.make(path, quick=False, progress=steps.append)
    assert steps[-1] == 1.0
    assert made["collapsed"].dims == ("target.separation", "dimension", "sample")
    assert ALONG.load(path, quick=False).identical(made)
    assert ALONG.load(path, quick=True) is None
    assert reopen.problem_of(made.sel({"target.separation": 1.0, "dimension": 3})).target.c[0, 0] == 1.0
    other = Along(SIMULATE, grid={"target.separation": [1.0, 3.0], "dimension": [3]}, quick={})
    assert other.load(path, quick=False) is None
    alone = Simulate("tiny.toml", SIMULATE.options, changes={"target.separation": 1.0})
    one = alone.make(tmp_path / "b.nc", quick=False, progress=None)
    assert (one["collapsed"].values == made["collapsed"].values[0, 0]).all()


SWEEP = """
base = "../problems/tiny.toml"
[grid]
"target.separation" = [1.0, 2.0]
"""


def test_a_sweep_is_made_resumed_and_makes_way(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "tiny.toml").write_text(SWEEP)
    monkeypatch.setattr(stores, "SWEEPS", tmp_path / "sweeps")
    monkeypatch.setattr(stores, "run_sweep", partial(run_sweep, workers=1))  # processes are for other tests
    kind = Swept("tiny.toml", quick={"grid": {"target.separation": [3.0]}})
    full, quick = (kind.path(tmp_path, "a", quick=q) for q in (False, True))
    assert (full.name, quick.name) == ("a.zarr", "a.quick.zarr")
    steps = []
    made = kind.make(full, quick=False, progress=steps.append)
    assert steps[-1] == 1.0
    assert kind.load(full, quick=False).identical(made)
    assert kind.load(full, quick=True) is None
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", None)  # going on with what is there removes nothing
        assert kind.make(full, quick=False, progress=None).equals(made)
    changed = kind.make(full, quick=True, progress=None)  # the store of another sweep
    assert changed["target.separation"].values.tolist() == [3.0]
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "mine").write_text("kept")
    with pytest.raises(results.OutputError, match="is in the way"):
        kind.make(tmp_path / "b.zarr", quick=False, progress=None)
    assert (tmp_path / "b.zarr" / "mine").read_text() == "kept"


def test_a_benchmark_is_read_and_never_made(tmp_path, monkeypatch):
    kind = Benchmark("cpu.json", "work_precision")
    assert {"name", "cpu", "error_max"} <= set(kind.load(kind.path(tmp_path, "a", quick=True), quick=True))
    monkeypatch.setattr(stores, "BENCHMARKS", tmp_path)
    path = kind.path(tmp_path, "a", quick=False)
    for content in (None, "{", "[]", "{}"):
        if content is not None:
            path.write_text(content)
        assert kind.load(path, quick=False) is None
        with pytest.raises(results.ResultError, match="`make bench`"):
            kind.make(path, quick=False, progress=None)
