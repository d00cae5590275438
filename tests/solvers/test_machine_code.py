"""The cache of machine code: its folders are named by all that decides the machine code."""

import os
import subprocess
import sys

import pytest

from solvers import machine_code
from solvers.machine_code import package


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MODECOLLAPSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_modules_of_a_package_find_each_other(cache):
    files = (("one", "number = 3\n"), ("two", "from solvers.one import number\ntwice = 2 * number\n"))
    folder, modules = package(files, inside=(("solvers.one", "one"),))
    assert folder.parent == cache
    assert modules["two"].twice == 6
    assert package(files, inside=(("solvers.one", "one"),))[1]["two"] is modules["two"]


def test_the_folder_is_named_by_content(cache, tmp_path):
    """Text, names, and files beside, alone or in a folder: a change of one character of any is another folder."""
    inside, alone = tmp_path / "folder", tmp_path / "alone.py"
    inside.mkdir()
    (inside / "part.py").write_text("part")
    alone.write_text("alone")
    files = [(("one", "number = 3\n"),), (("one", "number = 4\n"),), (("two", "number = 3\n"),)]
    folders = [package(some, beside=(inside, alone))[0] for some in files]
    for path in (inside / "part.py", alone):
        path.write_text(path.read_text() + ".")
        machine_code._digest.cache_clear()  # as in the next process
        folders.append(package(files[0], beside=(inside, alone))[0])
    assert len(set(folders)) == len(folders)


def test_loops_of_particles_are_kept_there_too(cache):
    """In a process of its own: here they may have been loaded by a test with another folder."""
    code = "from solvers.particles import compiled; print(compiled.loops()['estimator'].accumulate.stats.cache_path)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.startswith(os.path.realpath(cache))
