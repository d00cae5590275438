"""Stored results: reused only if they answer the same question."""

import pytest
from figure_results import TINY

from figures import stored as module
from figures.stored import Simulate, Solve
from solvers import results

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
