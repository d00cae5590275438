"""python -m figures: what it lists, draws, reuses and refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from figures import overlap_trajectories
from figures import stored as stored_module
from figures.__main__ import app
from figures.catalogue import catalogue
from figures.stored import Run, Simulate, Solve
from tests.figures.figure_results import TINY

ROOT = Path(__file__).parents[2]
NAME = "overlap_trajectories"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder; the figure asks for results of a tiny problem."""
    (tmp_path / "problems").mkdir()
    (tmp_path / "problems" / "tiny.toml").write_text(TINY)
    monkeypatch.setattr(stored_module, "PROBLEMS", tmp_path / "problems")
    tiny = {"particles": 8, "replicas": 4, "step": 0.25}
    asked = {
        "theory": Solve("tiny.toml", {}),
        "simulation": Simulate("tiny.toml", tiny, quick=tiny | {"particles": 4}),
    }
    monkeypatch.setattr(overlap_trajectories, "RESULTS", asked)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_list(folder):
    done = call("--list")
    assert done.exit_code == 0
    assert f"\n{NAME}  Overlaps, weights, mode masses" in "\n" + done.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_draws_stores_and_reuses(folder, monkeypatch):
    done = call(NAME)
    assert (done.exit_code, done.stderr) == (0, "")
    made = [f"{NAME}.{end}" for end in ("theory.nc", "simulation.nc", "pdf", "png", "txt", "json")]
    assert done.stdout.split() == [f"outputs/{name}" for name in made]
    assert sorted(path.name for path in (folder / "outputs").iterdir()) == sorted(made)
    pictures = {name: (folder / "outputs" / name).read_bytes() for name in made}
    monkeypatch.setattr(Run, "make", None)  # would fail if it were called
    again = call(NAME, "--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")
    assert {name: (folder / "outputs" / name).read_bytes() for name in made} == pictures


@pytest.mark.slow
def test_quick_and_another_folder(folder):
    done = call(NAME, "--quick", "--out", "a/b", "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert (folder / "a" / "b" / f"{NAME}.simulation.quick.nc").exists()
    assert "4 fresh particles" in (folder / "a" / "b" / f"{NAME}.txt").read_text()


def test_bad_input_is_one_message(folder):
    (folder / "file").write_text("")
    refused = {
        ("overlaps",): f"overlaps: no such figure; allowed are {', '.join(catalogue())}\n",
        (NAME, "--out", "file"): "--out: file: File exists; must be a folder, or the name of a new one\n",
    }
    for arguments, message in refused.items():
        done = call(*arguments)
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", message)
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_help_has_an_example_and_does_not_wait_for_matplotlib():
    done = call("--help")
    assert done.exit_code == 0
    assert f"Example: python -m figures {NAME} --quick" in " ".join(done.stdout.split())
    script = "import sys, figures.__main__; print(sorted({'xarray', 'matplotlib', 'scipy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert shown.stdout == "[]\n"
