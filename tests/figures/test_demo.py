"""make demo: every step on one problem, and a verdict that is the conjunction of theirs."""

import json
import subprocess
from contextlib import redirect_stdout
from io import StringIO

import pytest
from typer.testing import CliRunner

from figures import demo as module
from figures.demo import demo
from tests.figures.figure_results import TINY

SMALL = ("--particles", "16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """tiny.toml, and an empty folder out."""
    made = tmp_path_factory.mktemp("demo")
    (made / "tiny.toml").write_text(TINY.replace("samples = 2", "samples = 1").replace("save = 5", "save = 2"))
    (made / "out").mkdir()
    return made


@pytest.fixture(scope="module")
def first(folder):
    """What the demo returns and prints when every step is really run; its files stay in out."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as shown:
        patch.chdir(folder)
        return demo(
            folder / "tiny.toml", folder / "out", simulate=SMALL, compare=(*SMALL, "--resolve", "1.0")
        ), shown.getvalue()


@pytest.mark.slow
def test_every_step_agrees(first, folder):
    agree, shown = first
    assert agree
    assert "[1/5] python -m derivations --check\n" in shown
    assert f"[3/5] python -m solvers simulate tiny.toml --out {folder / 'out' / 'sim.nc'} --particles 16\n" in shown
    last = shown[shown.index("Done in") :].splitlines()
    assert len(last) <= 24
    assert max(map(len, last)) <= 120
    assert last[-1] == "verdict: everything agrees"
    assert "generated files: agree with the derivations" in last
    assert any(line.startswith("trajectory: agrees; the most deviating of ") for line in last)
    figures = {f"overlap_trajectories.{form}" for form in ("pdf", "png", "txt", "json")}
    assert {path.name for path in (folder / "out").iterdir()} == {"run.nc", "sim.nc", "report.json"} | figures


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "status", "last"),
    [
        ("derivations", 1, "verdict: NOT everything agrees"),
        ("compare", 1, "verdict: NOT everything agrees"),
        ("derivations", 2, "stopped, for derivations failed"),
        ("solve", 1, "stopped, for solve failed"),
        ("simulate", 130, "stopped, for simulate failed"),
        ("compare", -9, "stopped, for compare failed"),
    ],
)
def test_one_failure_is_the_verdict(step, status, last, first, folder, monkeypatch, capsys):
    def run(command, **_):
        """All files are there already."""
        return subprocess.CompletedProcess(command, status if step in command else 0, f"said by {command[-1]}\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert not demo(folder / "tiny.toml", folder / "out")
    shown = capsys.readouterr().out
    assert shown.endswith(f"{last}\n")
    assert shown.count("said by") == 1
    assert ("generated files: DISAGREE" in shown) == ((step, status) == ("derivations", 1))


@pytest.mark.parametrize(("agree", "status"), [(True, 0), (False, 1)])
def test_exit_status(agree, status, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "demo", lambda *_, **__: agree)
    assert CliRunner().invoke(module.app, ["--out", str(tmp_path / "new")]).exit_code == status
    assert (tmp_path / "new").is_dir()
    (tmp_path / "file").write_text("")
    refused = CliRunner().invoke(module.app, ["--out", str(tmp_path / "file")])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "must be a folder" in refused.stderr


def test_what_a_report_says_of_each_part():
    part = {"name": "trajectory", "agrees": False, "limit": 8.04, "entries": [{"deviation": None}]}
    report = json.loads(json.dumps({"parts": [part], "broken": ["start 1: no solution"], "notes": ["little power"]}))
    assert list(module._verdict(report)) == [
        "trajectory: DISAGREES; the most deviating of 1 numbers by ∞ of the 8.0 standard errors allowed",
        "start 1: no solution",
        "note: little power",
    ]
