"""The command that writes the system of an objective: what it writes, that compilers take it, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from derivations import files, objectives
from derivations.__main__ import own
from derivations.catalogue import Entry
from solvers.closed import systems
from solvers.objective.grammar import normal
from tests.derivations.text_cases import accepted, unknown
from theory import BETA, ReverseKL, close, gradient_flow, mixture, target

ROOT = Path(__file__).resolve().parents[2]
JEFFREYS = "0.5 reverse-kl + 0.5 forward-kl"
REGULARISED = "reverse-kl + lam sum(w mu.mu)^2/scale - 0.1 sum(w w' mu.mu') + sum(w log(w))"


def door(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "derivations", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_what_is_written_says_what_it_is(tmp_path: Path) -> None:
    found = objectives.derive(JEFFREYS)
    paths = objectives.write(found, tmp_path / "new")
    assert [path.suffix for path in paths] == [".md", ".numba", ".py"]  # products of responsibilities: no text for GPUs
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    module = systems.load((tmp_path / "new" / f"{found.name}.py").read_text(encoding="utf-8"))
    assert (found.identity, normal(JEFFREYS), found.name) == (module.SYSTEM, module.OBJECTIVE, module.NAME)
    assert found.identity in (tmp_path / "new" / f"{found.name}.md").read_text(encoding="utf-8")
    assert found.identity in (tmp_path / "new" / f"{found.name}.numba").read_text(encoding="utf-8")
    # read alike, the same files: nothing is written anew
    times = [os.stat(path).st_mtime_ns for path in paths]
    again = objectives.derive("(forward-kl + reverse-kl)/2")
    assert again == found
    assert objectives.write(again, tmp_path / "new") == paths
    assert [os.stat(path).st_mtime_ns for path in paths] == times


@pytest.mark.slow
def test_compilers_take_what_a_regulariser_adds() -> None:
    found = objectives.derive(REGULARISED)
    texts = {file.rpartition(".")[2]: text for file, text in found.texts.items()}
    assert set(texts) == {"md", "py", "numba", "cu"}
    assert unknown(texts["numba"]) == set()
    assert accepted({found.name: texts["cu"]}) == ""
    assert "double lam = " in texts["cu"]
    assert "inv_scale" in unknown(texts["numba"].replace("inv_scale = ", "inverse = "))


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    done = door("--objective", "reverse-kl + lam sum(w v)", "--own-variances", "--into", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    written = [Path(line.removeprefix("wrote ")) for line in done.stdout.splitlines()]
    assert sorted(written) == sorted(tmp_path.iterdir())
    module = systems.load(next(path for path in written if path.suffix == ".py").read_text(encoding="utf-8"))
    assert module.PARAMETERS == ("c", "log_pi", "v", "u", "d", "beta", "lam")
    assert systems.has_variances(module)


@pytest.mark.parametrize(
    ("text", "into", "options", "message"),
    [
        ("revers-kl", "", {}, "--into: is missing; must be a folder"),
        ("", "{}", {}, "--objective: is missing; must be an objective"),
        ("reverse-kl +", "{}", {}, "--objective: is 'reverse-kl +': at character 13: 'the end'"),
        ("reverse-kl + E(x.x)/v", "{}", {"own_variances": True}, "v outside of sum( ) is the one variance of q"),
        ("sum(w log(w))", "{}", {}, "--objective: is 'sum(w log(w))': without a divergence"),
        ("forward-kl", "{}", {"more": True}, "stands beside names or --check; must be alone"),
        ("reverse-kl", "{}/file/below", {}, "cannot be written"),
    ],
)
def test_the_command_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, into: str, options: dict[str, bool], message: str
) -> None:
    (tmp_path / "file").write_text("")
    asked = {"own_variances": False, "verify": False, "more": False, "quiet": False} | options
    with pytest.raises(typer.Exit) as ended:
        own(text, Path(into.format(tmp_path)) if into else None, **asked)
    said = capsys.readouterr()
    assert (ended.value.exit_code, said.out) == (2, "")
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_systems_are_not_headed_alike() -> None:
    """β = 2 says so in its heading; one that does not is refused."""

    class Disguised(ReverseKL):
        name = "reverse-kl"

    def entry(name: str, objective: ReverseKL) -> Entry:
        found = close(gradient_flow(objective))
        return Entry(name, SimpleNamespace(system=lambda: found))

    q, p = mixture(), target()
    plain, tempered = entry("plain", ReverseKL(q, p)), entry("tempered", ReverseKL(q, p, BETA))
    fixed, hidden = entry("fixed", ReverseKL(q, p, 2)), entry("hidden", Disguised(q, p, 2))
    assert list(files.ambiguous({"plain": plain, "fixed": fixed, "tempered": tempered})) == []
    (line,) = files.ambiguous({"plain": plain, "hidden": hidden})
    assert "hidden: is headed 'reverse-kl' like plain, and is another system" in line
