"""Outputs: names that cannot be are refused before the work, files appear whole or not at all, whatever fails."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from figures.__main__ import app as figures
from solvers.__main__ import app
from solvers.particles import flow as particles
from solvers.results.output import OutputError, check_folder, check_output, shown, write_bytes

PROBLEM = """
dimension = 2
[target]
separation = 1.0
[family]
components = 1
[init]
means = [[0.1]]
[time]
end = 0.0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with a problem, links that lead nowhere and things in the way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "problem.toml").write_text(PROBLEM)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    (tmp_path / "dangling").symlink_to("nowhere/run.nc")
    (tmp_path / "there").mkdir()
    (tmp_path / "to_folder").symlink_to("there")
    (tmp_path / "file").write_bytes(b"x")
    return tmp_path


def call(app, *arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


REFUSED = {
    "": '--out: is ""; must be the name of a file',
    ".": ".: is a folder; must be the name of a file",
    "..": "..: is a folder; must be the name of a file",
    "there": "there: is a folder; must be the name of a file",
    "there/": "there/: is a folder; must be the name of a file",
    "to_folder": "to_folder: is a folder; must be the name of a file",
    "new/": "new/: ends as a folder does; must be the name of a file",
    "file/": "file/: ends as a folder does; must be the name of a file",
    "file/run.nc": "file/run.nc: folder file is no folder; must be an existing folder",
    "none/run.nc": "none/run.nc: folder none does not exist; must be an existing folder",
    "no\nne/\x1b[2J": r"no\nne/\x1b[2J: folder no\nne does not exist; must be an existing folder",
    "self": "self: cannot be written (Too many levels of symbolic links); must be the name of a file",
    "one": "one: cannot be written (Too many levels of symbolic links); must be the name of a file",
    "a" * 256: f"{'a' * 50} ... {'a' * 145}: cannot be written (File name too long); must be the name of a file",
    "dangling": "dangling: is a link to {}/nowhere/run.nc, whose folder {}/nowhere does not exist; must be an existing "
    "folder",
}
WORK = [
    ("solve", "problem.toml"),
    ("simulate", "problem.toml", "--particles", "4", "--replicas", "2"),
    ("compare", "problem.toml"),
]


@pytest.mark.parametrize("name", REFUSED)
def test_names_are_checked_before_the_work(name, folder, monkeypatch) -> None:
    before = sorted(os.listdir(folder))
    monkeypatch.setattr("solvers.closed.flow.solve", None)  # would fail if it were called
    monkeypatch.setattr(particles, "simulate", None)
    monkeypatch.setattr("solvers.verdict.flow.compare", None)
    for command in WORK:
        done = call(app, *command, "--out", name)
        message = REFUSED[name].format(*[os.path.realpath(folder)] * 2)
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"{message}\n"), command
    assert sorted(os.listdir(folder)) == before


FOLDERS = {
    "": '--out: is ""; must be the name of a folder',
    "file": "file: File exists; must be a folder, or the name of a new one",
    "self": "self: cannot be written (Too many levels of symbolic links); must be the name of a folder",
    "dangling": "dangling: is a link that leads nowhere; must be a folder, or the name of a new one",
    "file/a/b": "{}/file is no folder; must be a folder, or the name of a new one",
    "a" * 256: "(File name too long); must be the name of a folder",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_names_of_folders_are_checked_before_the_work(name, folder, monkeypatch) -> None:
    before = sorted(os.listdir(folder))
    monkeypatch.setattr("figures.__main__.stored_results", None)
    done = call(figures, "overlap_trajectories", "--out", name)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.endswith(f"{FOLDERS[name].format(folder)}\n")
    assert sorted(os.listdir(folder)) == before


def test_files_of_a_figure_are_checked_before_the_work(folder, monkeypatch) -> None:
    monkeypatch.setattr("figures.__main__.stored_results", None)
    (folder / "new" / "overlap_trajectories.png").mkdir(parents=True)
    done = call(figures, "overlap_trajectories", "--out", "new/")
    expected = "new/overlap_trajectories.png: is a folder; must be the name of a file\n"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b" * 242, "c" * 255, "é" * 127, "two\nlines.nc", os.fsdecode(b"\xff.nc"), " "])
def test_names_that_can_be_are_written(name, folder) -> None:
    """Up to the longest that the file system takes; and those that do not print are told on one line."""
    done = call(app, "solve", "problem.toml", "--out", name, "--backend", "numpy")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{shown(name)}: 1 sample, 1 times")
    assert shown(name).isprintable()
    assert os.path.isfile(name)
    assert not [left for left in os.listdir(folder) if left.endswith(".tmp")]


def test_a_link_to_nothing_in_a_folder_is_written_through(folder) -> None:
    (folder / "link").symlink_to("there/new.nc")
    check_output("link")
    write_bytes(b"x", "link")
    assert (folder / "there" / "new.nc").read_bytes() == b"x"
    assert (folder / "link").is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o777])
def test_a_file_that_is_replaced_leaves_its_mode(mode, folder) -> None:
    path = folder / "run.nc"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_bytes(b"new", path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


def test_a_new_file_has_the_mode_that_the_umask_leaves(folder) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(b"new", folder / "new.nc")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "new.nc").stat().st_mode) == 0o640


def test_owner_and_group_are_kept_where_the_system_allows(folder, monkeypatch) -> None:
    given = []
    monkeypatch.setattr(os, "fchown", lambda file, *owner: given.append(owner))
    write_bytes(b"new", folder / "file")
    assert given == [(os.getuid(), os.getgid())]

    def forbidden(*_):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "fchown", forbidden)
    write_bytes(b"newer", folder / "file")
    assert (folder / "file").read_bytes() == b"newer"


def test_that_a_file_is_replaced_is_said(folder) -> None:
    for command in WORK[:1]:
        assert call(app, *command, "--out", "out").stderr == ""
        assert call(app, *command, "--out", "out").stderr == "out: exists; will be replaced\n"
        assert call(app, *command, "--out", "out", "--quiet").stderr == ""


CALLS = ("open", "write", "flush", "fsync", "close", "replace")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("at", CALLS)
@pytest.mark.parametrize("before", [None, b"an older result"])
def test_an_error_at_any_call_leaves_nothing_and_is_one_line(at, number, before, folder, monkeypatch) -> None:
    path = folder / "there" / "run.nc"
    if before is not None:
        path.write_bytes(before)
    failing(monkeypatch, at, number)
    with pytest.raises(OutputError, match=r"cannot be written \(.*\); nothing was left") as caught:
        write_bytes(b"new", path, b"more")
    monkeypatch.undo()
    assert os.strerror(number) in str(caught.value)
    assert os.listdir(folder / "there") == ([] if before is None else ["run.nc"])
    assert before is None or path.read_bytes() == before
    write_bytes(b"new", path, b"more")  # control: without the error the same call writes
    assert path.read_bytes() == b"newmore"


def test_a_rest_that_cannot_be_removed_is_told(folder, monkeypatch) -> None:
    failing(monkeypatch, "fsync", errno.EIO)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: fail(errno.EIO))
    with pytest.raises(OutputError, match=r"cannot be written \(Input/output error\); .*there/\..*\.tmp was left"):
        write_bytes(b"new", folder / "there" / "run.nc")


def fail(number):
    raise OSError(number, os.strerror(number))


def failing(monkeypatch, at: str, number: int) -> None:
    """Let one of the calls on the way to a file fail; an error at close comes after the file is closed."""

    class Failing(io.FileIO):
        def write(self, *arguments):
            return fail(number) if at == "write" else super().write(*arguments)

        def flush(self):
            return fail(number) if at == "flush" and not self.closed else super().flush()

        def close(self):
            was = self.closed
            super().close()
            if at == "close" and not was:
                fail(number)

    def opened(path, mode="r", *_, **__):
        if at == "open":
            fail(number)
        return Failing(path, mode.replace("b", ""))

    if at in ("fsync", "replace"):
        monkeypatch.setattr(os, at, lambda *_: fail(number))
    else:
        monkeypatch.setattr(Path, "open", opened)


def test_a_folder_that_takes_no_files_is_refused_before_the_work(folder, monkeypatch) -> None:
    failing(monkeypatch, "open", errno.EROFS)
    for check in (check_output, check_folder):
        with pytest.raises(OutputError, match=r"takes no new file \(Read-only file system\); must be writable"):
            check(folder / "there" / "new")
