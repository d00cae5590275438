"""Packages of texts: their names are those of all that decides the machine code, and nothing of them is on disk."""

import os
import subprocess
import sys
from operator import attrgetter

import pytest
from llvmlite.binding import Linkage
from numba import njit

from solvers.machine.code import modules, package
from solvers.machine.code.entries import entry


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MODECOLLAPSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_modules_of_a_package_find_each_other(cache):
    files = (("one", "number = 3\n"), ("two", "from solvers.one import number\ntwice = 2 * number\n"))
    found = package(files, inside=(("solvers.one", "one"),))
    assert found["two"].twice == 6
    assert package(files, inside=(("solvers.one", "one"),))["two"] is found["two"]
    assert not cache.exists()  # source is executed from memory


def test_packages_are_named_by_content(cache, tmp_path):
    """Text, names, and files beside, alone or in a folder: a change of one character of any is another package."""
    inside, alone = tmp_path / "folder", tmp_path / "alone.py"
    inside.mkdir()
    (inside / "part.py").write_text("part")
    alone.write_text("alone")
    files = [(("one", "number = 3\n"),), (("one", "number = 4\n"),), (("two", "number = 3\n"),)]
    found = [package(some, beside=(inside, alone)) for some in files]
    for path in (inside / "part.py", alone):
        path.write_text(path.read_text() + ".")
        modules._digest.cache_clear()  # as in the next process
        found.append(package(files[0], beside=(inside, alone)))
    names = {module.__name__.partition(".")[0] for some in found for module in some.values()}
    assert len(names) == len(found)
    assert all(name.startswith(modules.PREFIX) for name in names)


def test_tracebacks_show_lines_of_texts(cache):
    broken = package((("one", "def fail():\n    raise ValueError('here')  # this line\n"),))["one"]
    with pytest.raises(ValueError, match="here") as caught:
        broken.fail()
    assert "# this line" in str(caught.traceback[-1].statement)


def test_loops_of_particles_are_kept_there_too(cache):
    """In a process of its own: here they may have been loaded by a test with another folder."""
    code = "from solvers.particles import compiled; print(compiled.loops()['estimator'].accumulate.stats.cache_path)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == os.path.realpath(cache)


def test_machine_code_is_closed_in_itself(cache):
    """What a function calls has no name that other code of the process could answer to: else a process that compiles
    would run another copy than one that loads, with other last bits. Beside it, what numba makes by default."""
    text = """
from numba import njit
from solvers.machine.code.entries import entry

@njit
def inner(x):
LINES
    return x

def made(compiled):
    @compiled
    def outer(x):
        return inner(x) + inner(x + 1) + inner(x + 2)
    assert outer(3) == inner(3) + inner(4) + inner(5)
    return outer.overloads[outer.signatures[0]]
"""
    text = text.replace("LINES", "    x = (x * x + 1) % 1009 - x // 7\n" * 60)  # too long to be put in each place
    tiny, code_of = package((("tiny", text),))["tiny"], attrgetter("library._final_module")

    def shared(overload):
        symbols = [f for f in code_of(overload).functions if "5inner" in f.name and not f.is_declaration]
        assert symbols
        return [f.name for f in symbols if f.linkage != Linkage.internal]

    assert not shared(tiny.made(entry(error_model="numpy")))
    assert shared(tiny.made(njit))
