"""A disk that is full, fails or refuses, at every step of a sweep in turn: one line, and resumed to the same bits."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import warnings
from functools import partial

import pytest

from solvers import ask, reopen
from solvers.results.errors import ResultWarning
from solvers.results.output import OutputError
from solvers.sweeps.run import Interrupted, run
from tests.solvers.sweeps.sweep_cases import remembered, same_bits
from tests.solvers.sweeps.sweep_cases import tiny as sweep
from tests.solvers.sweeps.sweep_cases import tiny_options as options

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
CALLS = ("mkdir", "rename", "replace", "fsync")
#: (fails once, or from then on; while it is begun, or resumed). SWEEP_FAULTS=all: every combination.
CASES = {"from then on, begun": (10**9, False), "once, resumed": (1, True)}
if os.environ.get("SWEEP_FAULTS") == "all":
    CASES |= {"once, begun": (1, False), "from then on, resumed": (10**9, True)}


class Disk:
    """Counts what is written below a folder; from the step `first` on, for `steps` of them, it fails."""

    def __init__(self, monkeypatch, folder, first=None, steps=1, code=errno.ENOSPC) -> None:
        self.folder, self.first, self.steps, self.code, self.count = os.fspath(folder), first, steps, code, 0
        for name in CALLS:
            monkeypatch.setattr(os, name, partial(self._call, getattr(os, name)))
        self._open, self._os_open = io.open, os.open
        monkeypatch.setattr(io, "open", self.open)
        monkeypatch.setattr(os, "open", self.os_open)

    def step(self) -> None:
        here, self.count = self.count, self.count + 1
        if self.first is not None and self.first <= here < self.first + self.steps:
            raise OSError(self.code, os.strerror(self.code))

    def _call(self, call, path, *arguments, **options):
        there = call.__name__ == "mkdir" and os.path.isdir(path)  # where nothing is made, nothing can fail
        if isinstance(path, int) or (os.fspath(path).startswith(self.folder) and not there):
            self.step()
        return call(path, *arguments, **options)

    def open(self, file, mode="r", *arguments, **options):
        found = self._open(file, mode, *arguments, **options)
        if set(mode) & set("wxa+") and not isinstance(file, int) and os.fspath(file).startswith(self.folder):
            return Failing(found, self)
        return found

    def os_open(self, path, flags, *arguments, **options):
        if flags & os.O_CREAT and os.fspath(path).startswith(self.folder):
            self.step()
        return self._os_open(path, flags, *arguments, **options)


class Failing:
    """An open file of such a disk."""

    def __init__(self, file, disk) -> None:
        self._file, self._disk = file, disk

    def write(self, content):
        self._disk.step()
        return self._file.write(content)

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()


@pytest.fixture(autouse=True)
def solved_once(monkeypatch):
    """Every start is solved once for all: here the disk is looked at."""
    monkeypatch.setattr(ask, "solve", remembered(ask.solve))


def begin(out):
    return run(sweep(), out, workers=1, options=options(), resumed=out.exists())


def interrupted(out):
    """One unit of two is in the journal, and it was begun with another numpy, which resuming notes."""

    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(sweep(), out, workers=1, options=options(), progress=stop)
    content = json.loads((out / "zarr.json").read_text())
    versions = json.loads(content["attributes"]["versions"]) | {"numpy": "1.0"}
    content["attributes"]["versions"] = json.dumps(versions)
    (out / "zarr.json").write_text(json.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_disk_that_fails_at_any_step(tmp_path, monkeypatch, case) -> None:
    steps, resumed = CASES[case]
    begin(tmp_path / "whole.zarr")
    whole = reopen.open(tmp_path / "whole.zarr")
    if resumed:
        interrupted(tmp_path / "half.zarr")

    def attempt(name, first=None, code=0):
        """A sweep on such a disk; what it said, and how many steps there were."""
        folder = tmp_path / name
        folder.mkdir()
        if resumed:
            shutil.copytree(tmp_path / "half.zarr", folder / "out.zarr")
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResultWarning)
            disk = Disk(patch, folder, first, steps, code)
            try:
                begin(folder / "out.zarr")
                message = None
            except OutputError as error:
                message = str(error)
        return message, disk.count

    _, count = attempt("counted")
    assert count > 20
    said = 0
    for first in range(count):
        code = ERRORS[first % len(ERRORS)]
        message, _ = attempt(f"{first}", first, code)
        out = tmp_path / f"{first}" / "out.zarr"
        if message is not None:
            said += 1
            assert "\n" not in message
            assert message.startswith(f"{out}: cannot be ")
            assert os.strerror(code) in message
            # a store is there, to be resumed, or nothing is
            assert out.exists() or not list(out.parent.iterdir())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResultWarning)
            begin(out)
        assert same_bits(whole, reopen.open(out)), first
        shutil.rmtree(out.parent)
    assert said == count
