"""What the three doors say and with which status they end, whatever becomes of their output and of their work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from solvers.door import LONGEST

ROOT = Path(__file__).parents[1]

#: A door with a stand-in behind it, so that no process waits for numbers or symbols.
STAND_IN = r"""
import errno, os, sys, typer
from solvers.door import enter, say
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
@app.command()
def work(what: str = "", size: int = 1) -> None:
    "Works. \u03a3 \u03bc\xb7\u03bd \u2264 \xe9"
    exec(what)
enter(app, sys.argv[1:], name="door")
"""
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def process(*arguments: str, env: dict[str, str] | None = None, **options: Any):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONIO", "LC_", "LANG"))}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | (env or {})
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, "timeout": 600, **options}
    return subprocess.run([sys.executable, *arguments], env=environment, **options)


def door(*arguments: str, **options):
    return process("-c", STAND_IN, *arguments, **options)


def line(done) -> str:
    """The one line on standard error."""
    text = done.stderr.decode()
    assert text.endswith("\n")
    assert text[:-1].isprintable(), text
    assert len(text) <= LONGEST + 1
    return text[:-1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["--what", "print('x' * 10**6)"], ["--what", "print(1)"]])
def test_a_full_output_is_one_line_and_2(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = door(*arguments, stdout=full)
    assert (done.returncode, line(done)) == (2, "standard output: cannot be written (No space left on device)")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", [["--help"], ["--what", "print('x' * 10**6)"], ["--what", "raise typer.Exit(1)"]])
def test_a_closed_pipe_is_quiet_and_141(arguments: list[str]) -> None:
    """As of a program that SIGPIPE ended; a verdict that went nowhere is still one if nothing was to be printed."""
    read, write = os.pipe()
    os.close(read)
    done = door(*arguments, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (1 if "Exit" in arguments[-1] else 141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_standard_error_leaves_the_status(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        assert door("--what", "say('bad input'); raise typer.Exit(2)", stderr=full).returncode == 2
        assert door("--what", "1 / 0", stderr=full, env={"TMPDIR": str(tmp_path)}).returncode == 70


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, C_LOCALE], ids=str)
def test_an_output_that_is_not_utf8_gets_escapes(env: dict[str, str]) -> None:
    done = door("--what", r"print('\u03bc_k\xb7\u03bd_l \u2264 \u6f22 \udcff')", env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.replace(b"\xb7", b"\\xb7") == rb"\u03bc_k\xb7\u03bd_l \u2264 \u6f22 \udcff" + b"\n"
    helped = door("--help", env=env)
    assert (helped.returncode, helped.stderr) == (0, b"")
    assert b"Works" in helped.stdout
    said = door("--what", r"say('\u03bc \u2264 \x1b[31m')", env=env)
    assert (said.returncode, said.stderr) == (0, b"\\u03bc \\u2264 \\x1b[31m\n")


def test_what_is_not_expected_is_70_and_its_traceback_is_in_a_file(tmp_path: Path) -> None:
    done = door(
        "--what", "raise ValueError('shapes\\n\\x1b do ' + 'not ' * 200 + 'match')", env={"TMPDIR": str(tmp_path)}
    )
    (file,) = tmp_path.iterdir()
    assert done.returncode == 70
    assert re.fullmatch(
        r"unexpected ValueError: shapes\\n\\x1b do not .* match; a mistake of the program, not of its input; "
        rf"the traceback is in {re.escape(str(file))}",
        line(done),
    )
    text = file.read_text()
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.count("not " * 200) == 1
    assert file.stat().st_mode & 0o077 == 0


def test_a_traceback_that_no_folder_takes_is_on_standard_error(monkeypatch, capsys) -> None:
    from solvers import door as here

    def fail(**_: object) -> None:
        raise FileNotFoundError(2, "no usable temporary folder")

    monkeypatch.setattr(tempfile, "mkstemp", fail)
    assert here._unexpected(BrokenPipeError(32, "of a worker")) == 70
    *trace, last = capsys.readouterr().err.splitlines()
    assert trace == ["BrokenPipeError: [Errno 32] of a worker"]
    assert last.endswith("a mistake of the program, not of its input; the traceback is above")


@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        ("raise KeyboardInterrupt", 130, ""),
        ("raise MemoryError('8 EiB')", 2, "not enough memory: 8 EiB"),
        ("sys.exit(3)", 3, ""),
        ("raise typer.Abort", 130, "interrupted"),
        ("import warnings; warnings.warn('two\\nlines')", 0, r"two\nlines"),
        ("import numpy as np; np.float64(1e300) * 1e300", 0, ""),
        ("raise OSError(errno.EPIPE, 'a socket')", 1, ""),  # typer's; console.one_message lets none of these out
    ],
)
def test_other_ends(what: str, status: int, message: str) -> None:
    done = door("--what", what)
    assert done.returncode == status
    assert (line(done) if message else done.stderr.decode()) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "9" * 5000], "Invalid value for '--size': "),
        (["--size", "\u202ex\x1b"], "Invalid value for '--size': "),
        (["--sise", "1"], "No such option: --sise"),
        (["extra\n"], r"Got unexpected extra argument"),
    ],
)
def test_arguments_that_are_none_are_one_line(arguments: list[str], message: str) -> None:
    done = door(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert line(done).startswith(message)
    assert line(done).endswith("; --help shows what is allowed")


# --- and the doors themselves ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["solvers --help", "derivations show --help", "figures --list"])
def test_the_three_doors_are_such(command: str) -> None:
    """Each is asked under a locale without letters of ours, for an output that is full."""
    with open("/dev/full", "wb") as full:
        done = process("-m", *command.split(), stdout=full, env=C_LOCALE)
    assert (done.returncode, line(done)) == (2, "standard output: cannot be written (No space left on device)")


def test_a_pipe_that_breaks_inside_a_command_is_not_disagreement() -> None:
    """typer makes exit status 1 of a broken pipe, which would be a verdict of `compare`."""
    from solvers.console import one_message

    with pytest.raises(RuntimeError, match="a pipe of this process was closed") as told, one_message():
        raise BrokenPipeError(32, "Broken pipe")
    assert isinstance(told.value.__cause__, BrokenPipeError)


@pytest.mark.slow
def test_derivations_of_an_installed_package_are_one_line(tmp_path: Path) -> None:
    """The packages as pip lays them, where no document is beside them, but perhaps the README of somebody else."""
    for package in ("derivations", "theory", "solvers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    env = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"} | C_LOCALE
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    for option in ("--check", "--quiet"):
        done = process("-m", "derivations", option, "reverse_kl", cwd=tmp_path, env=env)
        assert (done.returncode, done.stdout) == (2, b"")
        told = f"{tmp_path}: has no README.md with a notation table; must be a checkout of the source"
        assert line(done) == told
        assert {path: path.stat().st_mtime_ns for path in before} == before
        (tmp_path / "README.md").write_text("Another package.\n")
