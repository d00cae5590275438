"""Damaged and planted files in the cache: nothing of them is executed, and every result is the undamaged one.

A hundred and fifty random damages at the layer that verifies, and some of every kind through numba to the result. A
planted pickle would call `planted` when loaded; that it would is the control.
"""

import hashlib
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from solvers.machine.code import CacheWarning
from solvers.machine.code.store import _HEAD, Store
from tests.solvers.machine.machine_code_cases import RIGHT, TEXT, begin, codes, use

RAN: list[str] = []


def planted():
    RAN.append("planted")


class Trap:
    """Its pickle is a call of `planted`."""

    def __reduce__(self):
        return (planted, ())


TRAP = pickle.dumps(Trap())


@pytest.fixture(autouse=True)
def nothing_planted_runs():
    RAN.clear()
    yield
    assert RAN == []


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def flip_in_the_head(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.integers(60)] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def truncate(path, rng):
    os.truncate(path, int(rng.integers(path.stat().st_size)))


def leave_nothing(path, rng):
    os.truncate(path, 0)


def zero_a_block(path, rng):
    data = bytearray(path.read_bytes())
    first = int(rng.integers(len(data)))
    assert any(data[first : first + 512])
    data[first : first + 512] = bytes(len(data[first : first + 512]))
    path.write_bytes(data)


def add_a_line(path, rng):
    path.write_bytes(path.read_bytes() + b"import os\n" * int(rng.integers(1, 4)))


def swap_with_another(path, rng):
    other = next(found for found in codes(path.parent) if found != path)
    path.rename(path.parent / "aside")
    other.rename(path)
    (path.parent / "aside").rename(other)


def plant_a_pickle(path, rng):
    path.write_bytes(TRAP)


def plant_a_pickle_behind_the_head(path, rng):
    path.write_bytes(path.read_bytes()[:60] + TRAP)


def plant_a_pickle_with_a_digest(path, rng):
    """As one who knows the format, and not the key, would."""
    end = len(_HEAD)
    forged = Store(path.parent, bytes(32), 1)._digest(path.name, TRAP)
    plain = hashlib.blake2b(TRAP, digest_size=32).digest()
    path.write_bytes(path.read_bytes()[:end] + (forged, plain)[int(rng.integers(2))] + TRAP)


def put_a_link(path, rng):
    path.rename(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


def put_a_folder(path, rng):
    path.unlink()
    path.mkdir()
    (path / "__init__.py").write_text("raise SystemExit")


def put_a_pipe(path, rng):
    path.unlink()
    os.mkfifo(path)


def open_to_all(path, rng):
    path.chmod(0o666)


def grow(path, rng):
    os.truncate(path, 2**40)  # takes no room; must not be read into memory


DAMAGES = (
    flip, flip_in_the_head, truncate, leave_nothing, zero_a_block, add_a_line, swap_with_another,
    plant_a_pickle, plant_a_pickle_behind_the_head, plant_a_pickle_with_a_digest,
    put_a_link, put_a_folder, put_a_pipe, open_to_all, grow,
)  # fmt: skip


def remove(path, rng):
    path.unlink()


def leave(path, rng):
    """Control: nothing is done."""


def add_files(path, rng):
    for name in (
        "__init__.py",
        "sitecustomize.py",
        "system.py",
        f"{path.stem}.nbi",
        "0" * 64 + ".code",
        ".modecollapse-new-x",
        "x.pyc",
    ):
        (path.parent / name).write_bytes(TRAP)


def change_all_times(path, rng):
    for found in path.parent.iterdir():
        os.utime(found, (1e9, 1e9))


HARMLESS = (leave, add_files, change_all_times)


def test_control_the_trap_would_run_if_it_were_loaded():
    pickle.loads(TRAP)
    assert RAN == ["planted"]
    RAN.clear()


def test_random_damages_are_found_before_anything_is_interpreted(monkeypatch, tmp_path):
    """The undamaged content, or nothing and one warning; then it is saved again and is there."""
    begin(monkeypatch)
    rng, key = np.random.default_rng(20261128), bytes(range(32))
    contents = {f"{n:064x}.code": rng.bytes(int(rng.integers(600, 4000))) for n in range(3)}
    for name, content in contents.items():
        Store(tmp_path, key, 10**6).save(name, content)
    undamaged, found = codes(tmp_path), 0
    for n, damage in enumerate(itertools.chain.from_iterable([DAMAGES] * 10)):
        store = Store(tmp_path / str(n), key, 10**6)
        store.folder.mkdir()
        for path in undamaged:
            shutil.copy(path, store.folder)
        name = list(contents)[int(rng.integers(3))]
        damage(store.folder / name, rng)
        with pytest.warns(CacheWarning, match="made again") as caught:
            loaded = {other: store.load(other) for other in contents}
        assert len(caught) == 1
        assert loaded[name] is None, damage
        assert all(value in (None, contents[other]) for other, value in loaded.items())
        found += 1
        for other, value in loaded.items():
            if value is None:
                store.save(other, contents[other])
        assert {other: store.load(other) for other in contents} == contents
        shutil.rmtree(store.folder)
    assert found == 150


@pytest.mark.parametrize("damage", [*DAMAGES, remove, *HARMLESS])
def test_results_are_those_of_the_undamaged(monkeypatch, tmp_path, damage):
    begin(monkeypatch, tmp_path / "cache")
    use()
    if damage is swap_with_another:
        use(TEXT.replace("(i + 1)", "(i + 2)"))
    for path in codes(tmp_path / "cache"):
        damage(path, np.random.default_rng(5))
        break
    for expected in ([damage in DAMAGES, damage in HARMLESS], [False, True]):
        begin(monkeypatch)
        value, loaded, messages = use()
        assert value == RIGHT
        if damage is swap_with_another:  # both are found, when they are asked for
            assert use(TEXT.replace("(i + 1)", "(i + 2)"))[0] == RIGHT + float(sum([0.5, -1.25, 3.0]))
        assert [len(messages) == 1, loaded] == expected


@pytest.mark.parametrize("damage", [flip, truncate, plant_a_pickle, put_a_link, open_to_all])
def test_another_key_makes_all_of_it_anew(monkeypatch, tmp_path, damage):
    """Also one that others could have read. A bit of the key flipped is another key, and not seen as damage of it."""
    begin(monkeypatch, tmp_path / "cache")
    use()
    key = (tmp_path / "cache" / "modecollapse-key").read_bytes()
    damage(tmp_path / "cache" / "modecollapse-key", np.random.default_rng(6))
    begin(monkeypatch)
    value, loaded, messages = use()
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)
    assert (tmp_path / "cache" / "modecollapse-key").read_bytes() != key
    begin(monkeypatch)
    assert use() == (RIGHT, True, [])


def test_a_lost_key_makes_all_of_it_anew(monkeypatch, tmp_path):
    begin(monkeypatch, tmp_path / "cache")
    use()
    (tmp_path / "cache" / "modecollapse-key").unlink()
    begin(monkeypatch)
    value, loaded, messages = use()
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)


def test_code_of_which_no_function_can_be_made_is_made_again(monkeypatch, tmp_path):
    """Saved by us, and yet not what this process can use: numba may change what it saves without another version."""
    begin(monkeypatch, tmp_path / "cache")
    use()
    (code,) = codes(tmp_path / "cache")
    key = (tmp_path / "cache" / "modecollapse-key").read_bytes()
    Store(code.parent, key, 10**6).save(code.name, pickle.dumps(("not", "a function")))
    begin(monkeypatch)
    value, loaded, messages = use()
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)
    begin(monkeypatch)
    assert use() == (RIGHT, True, [])


@pytest.mark.slow
def test_a_process_with_a_damaged_cache_ends_well(monkeypatch, tmp_path):
    """To the end of a process: nothing aborts, one line is said, the value is right, the next one loads."""
    program = "import sys; sys.path[:0] = sys.argv[1:]; from tests.solvers.machine import machine_code_cases as cases; "
    program += "print(*cases.use())"
    begin(monkeypatch, tmp_path / "cache")
    assert use()[:2] == (RIGHT, False)
    (code,) = codes(tmp_path / "cache")
    truncate(code, np.random.default_rng(7))
    command = [sys.executable, "-c", program, str(Path(__file__).parents[3])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    value, loaded, messages = done.stdout.split(maxsplit=2)
    assert (value, loaded, messages.count("made again")) == (str(RIGHT), "False", 1)
    begin(monkeypatch)
    assert use() == (RIGHT, True, [])


def test_workers_do_not_repeat_what_was_said(monkeypatch, tmp_path):
    from solvers.machine.code import notes

    begin(monkeypatch, tmp_path)
    with pytest.warns(CacheWarning, match="^once$"):
        notes.say("kind", "folder", "once")
    told = notes.said()
    monkeypatch.setattr(notes, "_said", set())  # as in a worker
    notes.take_as_said(told)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes.say("kind", "folder", "twice")
    with pytest.warns(CacheWarning, match="other"):
        notes.say("kind", "another folder", "other")
