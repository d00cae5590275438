"""Stores with a damaged file: opened or resumed, they give the values of before, or one line that says how to mend it.

SWEEP_DAMAGES: how many damages are tried.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter

import numpy as np
import pytest

from solvers import ask, reopen
from solvers.results.errors import ResultError
from solvers.results.output import OutputError
from solvers.sweeps.run import Interrupted, run
from tests.solvers.sweeps.sweep_cases import remembered, same_bits
from tests.solvers.sweeps.sweep_cases import tiny as sweep
from tests.solvers.sweeps.sweep_cases import tiny_options as options

DAMAGES = int(os.environ.get("SWEEP_DAMAGES", "100"))


@pytest.fixture(scope="module")
def solved():
    """Every start is solved once for all: here the files are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ask, "solve", remembered(ask.solve))
        yield


@pytest.fixture(scope="module")
def stores(tmp_path_factory, solved):
    """A finished store, and one with a unit of two."""

    def stop(done, total):
        if done:
            raise KeyboardInterrupt

    folder = tmp_path_factory.mktemp("stores")
    run(sweep(), folder / "whole.zarr", workers=1, options=options())
    with pytest.raises(Interrupted):
        run(sweep(), folder / "half.zarr", workers=1, options=options(), progress=stop)
    return [folder / "whole.zarr", folder / "half.zarr"]


def flip(rng, content: bytes) -> bytes:
    """One bit."""
    place = int(rng.integers(len(content)))
    return content[:place] + bytes([content[place] ^ 1 << int(rng.integers(8))]) + content[place + 1 :]


def overwrite(rng, content: bytes) -> bytes:
    """Some bytes, by any."""
    place = int(rng.integers(len(content)))
    return content[:place] + rng.bytes(8) + content[place + 8 :]


def truncate(rng, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content)))]


def zeros(rng, content: bytes) -> bytes:
    """As a file system leaves a file after a crash."""
    return bytes(len(content))


def longer(rng, content: bytes) -> bytes:
    return content + content


def damage(rng, store) -> str:
    """Damage a file, or two; which, and how, in words."""
    files = sorted(path for path in store.rglob("*") if path.is_file() and path.name != ".lock")
    a, b = (files[i] for i in rng.choice(len(files), 2, replace=False))
    kind = rng.choice(["flip", "overwrite", "truncate", "zeros", "longer", "delete", "swap", "copy", "folder"])
    if kind == "delete":
        a.unlink()
    elif kind == "swap":
        first, second = a.read_bytes(), b.read_bytes()
        a.write_bytes(second)
        b.write_bytes(first)
    elif kind == "copy":
        shutil.copyfile(b, a)
    elif kind == "folder":
        a.unlink()
        a.mkdir()
    else:
        a.write_bytes(globals()[kind](rng, a.read_bytes()))
    return f"{kind} {a.relative_to(store)} {b.relative_to(store)}"


def said(error: Exception, store) -> str:
    message = str(error)
    assert message.startswith(f"{store}: ")
    assert "\n" not in message
    assert len(message.removeprefix(f"{store}: ")) <= 300
    return message


def resumed(store) -> str | None:
    """Resume; the message, where it is refused."""
    try:
        run(sweep(), store, workers=1, options=options(), resumed=True)
    except (ResultError, OutputError) as error:
        return said(error, store)
    return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::solvers.reopen.ResultWarning")  # where it hits the versions it was made with
def test_a_damaged_store_gives_the_same_values_or_one_line(stores, tmp_path) -> None:
    before = [reopen.open(store) for store in stores]
    outcomes: Counter[str] = Counter()
    for case in range(DAMAGES):
        rng = np.random.default_rng([12, case])
        which = case % 2
        store = shutil.copytree(stores[which], tmp_path / f"{case}.zarr")
        what = f"case {case}: {damage(rng, store)}"
        try:
            found = reopen.open(store)
        except ResultError as error:
            said(error, store)
            outcomes["open: refused"] += 1
        else:
            outcomes["open: as before"] += 1
            assert same_bits(before[which], found), what
            assert all(before[which][key].equals(found[key]) for key in before[which].coords), what
        message = resumed(store)
        outcomes["resume: refused" if message else "resume: as undisturbed"] += 1
        for _ in range(2):  # as many files as are damaged at most
            if message and "delete that file" in message:
                victim = store / message.removeprefix(f"{store}: ").partition(" is damaged")[0]
                shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
                message = resumed(store)
                outcomes["mended as told"] += message is None
        if message is None:
            assert same_bits(before[0], reopen.open(store)), what
        else:
            # What says which sweep it is cannot be made again; and a folder may be somebody's.
            identity = "zarr.json is damaged", "cannot be read as Zarr (zarr.json: ", "is not the store of a sweep"
            assert message.removeprefix(f"{store}: ").startswith((*identity, "cannot be written (Is a directory: ")), (
                what
            )
        shutil.rmtree(store)
    print(dict(outcomes))
    # Damage is found, and what can be made again is.
    assert outcomes["open: refused"] > DAMAGES // 4
    assert outcomes["resume: as undisturbed"] + outcomes["mended as told"] > DAMAGES // 2
