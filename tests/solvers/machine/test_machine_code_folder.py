"""The folder of the cache: whom it must belong to, what happens where there is none, several processes."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from solvers.machine.code import CacheWarning
from solvers.machine.code import folder as folders
from solvers.machine.code.kernels import choose_place_of_kernels
from tests.solvers.machine.machine_code_cases import RIGHT, TEXT, begin, codes, use

OTHER = "# another package\n"  # whose machine code is other files


def test_the_next_process_loads_and_says_nothing(monkeypatch, tmp_path):
    begin(monkeypatch, tmp_path / "a" / "cache")
    assert use() == (RIGHT, False, [])
    begin(monkeypatch)
    assert use() == (RIGHT, True, [])
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "cache")] == [0o700] * 2
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a" / "cache").iterdir()] == [0o600] * 2


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o002, 0o777])
def test_any_umask(monkeypatch, tmp_path, umask):
    begin(monkeypatch, tmp_path / "new" / "cache")
    before = os.umask(umask)
    try:
        assert use() == (RIGHT, False, [])
        begin(monkeypatch)
        assert use() == (RIGHT, True, [])
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["with spaces", "größe 模式", "a\nb\x1b[31m", "x" * 200])
def test_any_name_and_a_link_to_it(monkeypatch, tmp_path, name):
    begin(monkeypatch, tmp_path / name)
    assert use() == (RIGHT, False, [])
    (tmp_path / "link").symlink_to(tmp_path / name)
    begin(monkeypatch, tmp_path / "link")
    assert use() == (RIGHT, True, [])
    (tmp_path / name / "modecollapse-key").write_bytes(b"")  # said with the name on one line
    begin(monkeypatch)
    value, loaded, messages = use()
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)


def test_times_of_files_decide_nothing(monkeypatch, tmp_path):
    begin(monkeypatch, tmp_path / "cache")
    use()
    for when in (0, 1e9, 4e9):
        for path in (tmp_path / "cache").iterdir():
            os.utime(path, (when, when))
        begin(monkeypatch)
        assert use() == (RIGHT, True, [])


def test_a_folder_may_be_moved_and_files_alone_may_not(monkeypatch, tmp_path):
    begin(monkeypatch, tmp_path / "first")
    use()
    (tmp_path / "first").rename(tmp_path / "second")
    begin(monkeypatch, tmp_path / "second")
    assert use() == (RIGHT, True, [])
    begin(monkeypatch, tmp_path / "third")
    use()
    (code,) = codes(tmp_path / "second")
    shutil.copy(code, tmp_path / "third" / code.name)  # the same name and content, but of another key
    begin(monkeypatch)
    value, loaded, messages = use()
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)
    assert "was not made here" in messages[0]


# --- folders that cannot be used ------------------------------------------------------------------------------------


def is_a_file(place, monkeypatch):
    place.write_text("text")


def below_a_file(place, monkeypatch):
    place.write_text("text")
    monkeypatch.setenv("MODECOLLAPSE_CACHE", str(place / "below"))


def in_proc(place, monkeypatch):
    monkeypatch.setenv("MODECOLLAPSE_CACHE", "/proc/xyz")


def empty(place, monkeypatch):
    monkeypatch.setenv("MODECOLLAPSE_CACHE", "")


def dangling(place, monkeypatch):
    place.symlink_to(place.parent / "nowhere")


def too_long(place, monkeypatch):
    monkeypatch.setenv("MODECOLLAPSE_CACHE", str(place / ("x" * 300)))


def no_home(place, monkeypatch):
    monkeypatch.delenv("MODECOLLAPSE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))


def home_is_no_path(place, monkeypatch):
    monkeypatch.delenv("MODECOLLAPSE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "")


def all_may_write(place, monkeypatch):
    place.mkdir()
    place.chmod(0o777)


def a_group_may_write(place, monkeypatch):
    place.mkdir()
    place.chmod(0o770)
    monkeypatch.setattr(folders, "_group_of_one", lambda number: False)


def all_may_write_above(place, monkeypatch):
    place.mkdir(mode=0o700)
    place.parent.chmod(0o777)


def of_another_user(place, monkeypatch):
    place.mkdir()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)


def inside_what_is_of_another_user(place, monkeypatch):
    """As root with the home of a user: nothing is made there."""
    trusted = folders._trusted_owners() - {place.parent.stat().st_uid}
    monkeypatch.setattr(folders, "_trusted_owners", lambda: trusted)
    monkeypatch.setattr(os, "mkdir", lambda *_, **__: pytest.fail("a folder was made"))


def refuses(code):
    def no_more(*_, **__):
        raise OSError(code, os.strerror(code))

    return no_more


def cannot_be_made(place, monkeypatch):
    monkeypatch.setattr(os, "mkdir", refuses(errno.EACCES))


def read_only(place, monkeypatch):
    monkeypatch.setattr(tempfile, "mkstemp", refuses(errno.EROFS))


def full(place, monkeypatch):
    monkeypatch.setattr(os, "fsync", refuses(errno.ENOSPC))


def over_quota(place, monkeypatch):
    monkeypatch.setattr(os, "replace", refuses(errno.EDQUOT))


UNUSABLE = (
    is_a_file, below_a_file, in_proc, empty, dangling, too_long, no_home, home_is_no_path, all_may_write,
    a_group_may_write, all_may_write_above, of_another_user, inside_what_is_of_another_user, cannot_be_made, read_only,
    full, over_quota,
)  # fmt: skip


@pytest.mark.parametrize("trouble", UNUSABLE)
def test_without_a_folder_it_goes_on_with_one_warning(monkeypatch, tmp_path, trouble):
    place = tmp_path / "above" / "cache"
    place.parent.mkdir(mode=0o700)
    begin(monkeypatch, place)
    trouble(place, monkeypatch)
    value, loaded, messages = use()
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)
    assert messages[0].startswith("machine code is not kept, which costs seconds of compilation each time: ")
    assert use(TEXT + OTHER) == (RIGHT, False, [])
    assert not place.is_dir() or not [path for path in place.iterdir() if path.name != "modecollapse-key"]


def test_control_a_group_of_this_user_only_may_write(monkeypatch, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o770)
    monkeypatch.setattr(folders, "_group_of_one", lambda number: True)
    begin(monkeypatch, tmp_path / "cache")
    assert use() == (RIGHT, False, [])


def test_what_is_there_is_loaded_from_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    begin(monkeypatch, tmp_path / "cache")
    use()
    begin(monkeypatch)
    for function in ("mkdir", "utime", "replace", "unlink", "link"):
        monkeypatch.setattr(os, function, refuses(errno.EROFS))
    read_only(tmp_path, monkeypatch)
    assert use() == (RIGHT, True, [])
    value, loaded, messages = use(TEXT + OTHER)
    assert (value, loaded, len(messages)) == (RIGHT, False, 1)
    assert os.strerror(errno.EROFS) in messages[0]


def test_root_unknown_in_a_container(tmp_path):
    """Then files of root look like those of nobody; where root is known, nobody is a stranger."""
    (tmp_path / "self").mkdir()
    (tmp_path / "sys" / "kernel").mkdir(parents=True)
    (tmp_path / "sys" / "kernel" / "overflowuid").write_text("65534\n")
    for text, expected in (("1000 1000 1\n", {65534}), ("0 0 4294967295\n", set()), ("nonsense\n", set())):
        (tmp_path / "self" / "uid_map").write_text(text)
        assert folders._trusted_owners(tmp_path) == {0, os.geteuid()} | expected


PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:2]
from tests.solvers.machine.machine_code_cases import use
value, loaded, messages = use()
print(value, loaded, len(messages))
"""


def started(cache, **options):
    here = str(Path(__file__).parents[3])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, here], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"MODECOLLAPSE_CACHE": str(cache)}, **options,
    )  # fmt: skip


def finished(process):
    out, error = process.communicate()
    assert (process.returncode, error) == (0, "")
    return out.split()


@pytest.mark.slow
def test_files_that_cannot_grow(tmp_path):
    """The kernel itself refuses to write, in a process of its own: more than a key does not fit."""

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    assert finished(started(tmp_path / "cache", preexec_fn=small)) == [str(RIGHT), "False", "1"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["modecollapse-key"]


@pytest.mark.slow
def test_processes_at_once_share_a_key_and_the_code(monkeypatch, tmp_path):
    together = [started(tmp_path / "cache") for _ in range(2)]
    assert all(finished(process)[::2] == [str(RIGHT), "0"] for process in together)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    begin(monkeypatch, tmp_path / "cache")
    assert use() == (RIGHT, True, [])


def test_kernels_of_cupy_stay_in_memory_where_its_folder_cannot_be_used(monkeypatch, tmp_path):
    """cupy itself stops with a traceback there."""
    begin(monkeypatch)
    monkeypatch.delenv("CUPY_CACHE_IN_MEMORY", raising=False)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kernels"))
    choose_place_of_kernels()
    assert "CUPY_CACHE_IN_MEMORY" not in os.environ
    (tmp_path / "file").write_text("text")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(os, "environ", dict(os.environ))  # what the function sets stays here
    with pytest.warns(CacheWarning, match=r"CUDA kernels are not kept.*is not a folder"):
        choose_place_of_kernels()
    assert os.environ["CUPY_CACHE_IN_MEMORY"] == "1"
