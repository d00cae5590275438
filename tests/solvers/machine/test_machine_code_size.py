"""How much machine code is kept: what was used longest ago goes first, and nobody who runs misses it."""

import os
import shutil

import pytest

from solvers.machine.code import package
from solvers.machine.code import store as stores
from solvers.machine.code.store import Store
from tests.solvers.machine.machine_code_cases import RIGHT, TEXT, X, begin, codes, use


def names(store):
    return {path.name[0] for path in codes(store.folder)}


def test_what_was_used_longest_ago_is_removed(tmp_path):
    store = Store(tmp_path, bytes(32), size=3500)
    (tmp_path / "notes.txt").write_text("not of the cache")
    for n, letter in enumerate("abc"):
        store.save(letter * 64 + ".code", bytes(1000))
        os.utime(tmp_path / (letter * 64 + ".code"), (n, n))
    assert store.load("a" * 64 + ".code") == bytes(1000)  # used now
    store.save("d" * 64 + ".code", bytes(1000))
    assert names(store) == set("acd")
    assert (tmp_path / "notes.txt").exists()
    store.save("e" * 64 + ".code", bytes(4000))  # more than fits
    assert names(store) == set("acd")


def test_a_time_in_the_future_is_set_to_now(tmp_path):
    """Else a file from a wrong clock would stay for ever."""
    store = Store(tmp_path, bytes(32), size=3500)
    store.save("a" * 64 + ".code", bytes(1000))
    ahead = (tmp_path / ("a" * 64 + ".code")).stat().st_mtime + 10 * 365 * 86400
    os.utime(tmp_path / ("a" * 64 + ".code"), (ahead, ahead))
    store.save("b" * 64 + ".code", bytes(1000))
    now = (tmp_path / ("b" * 64 + ".code")).stat().st_mtime
    assert (tmp_path / ("a" * 64 + ".code")).stat().st_mtime < now + 1e6


def test_files_left_half_written_are_removed_when_old(tmp_path):
    store = Store(tmp_path, bytes(32), size=3500)
    for name, age in ((".modecollapse-new-old", 2 * 86400), (".modecollapse-new-young", 0)):
        (tmp_path / name).write_bytes(b"half")
        if age:
            os.utime(tmp_path / name, (1e9, 1e9))
    store.save("a" * 64 + ".code", bytes(10))
    assert not (tmp_path / ".modecollapse-new-old").exists()
    assert (tmp_path / ".modecollapse-new-young").exists()  # another process may be writing it


def test_a_process_goes_on_when_what_it_uses_is_removed(monkeypatch, tmp_path):
    begin(monkeypatch, tmp_path / "cache")
    use()
    begin(monkeypatch)
    function = package((("tiny", TEXT),))["tiny"].ready()
    assert function(X) == RIGHT
    shutil.rmtree(tmp_path / "cache")
    assert function(X) == RIGHT


@pytest.mark.parametrize(("given", "size"), [("1", 10**6), ("20000", 2 * 10**10), ("0", 0)])
def test_the_size_is_set_in_megabytes(monkeypatch, tmp_path, given, size):
    begin(monkeypatch, tmp_path / "cache")
    monkeypatch.setenv("MODECOLLAPSE_CACHE_SIZE", given)
    store = stores.opened()
    assert (store.size if store else 0) == size
    assert use() == (RIGHT, False, [])
    assert (tmp_path / "cache").exists() == bool(size)  # 0: nothing is kept, and nothing said


@pytest.mark.parametrize("given", ["", "-1", "1e3", "1.5", "nan", "٣", "9" * 400, "1 GB\x1b[0m"])
def test_no_number_for_the_size_is_said_once(monkeypatch, tmp_path, given):
    begin(monkeypatch, tmp_path / "cache")
    monkeypatch.setenv("MODECOLLAPSE_CACHE_SIZE", given)
    value, loaded, messages = use()
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)
    assert messages[0].startswith("MODECOLLAPSE_CACHE_SIZE is ")
    assert stores.opened().size == stores.DEFAULT_SIZE
