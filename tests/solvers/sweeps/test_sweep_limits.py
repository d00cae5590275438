"""What a sweep cannot do is one line before anything is computed; a point that cannot be computed is counted."""

from __future__ import annotations

import os
import threading
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest

import solvers
from solvers import ask, reopen
from solvers.problem import ProblemError
from solvers.results.errors import ResultError, ResultWarning
from solvers.results.output import OutputError
from solvers.sweeps import executors, prepare, store, work
from solvers.sweeps import run as running
from solvers.sweeps.executors import SchedulerError, WorkerError
from solvers.sweeps.plan import Sweep
from solvers.sweeps.run import run
from solvers.sweeps.store import difference
from tests.solvers.sweeps.sweep_cases import TINY, remembered, same_bits, sweep, tiny, tiny_options

FORBIDDEN = "nothing may be computed"


@pytest.fixture
def nothing_computed(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError(FORBIDDEN)

    monkeypatch.setattr(ask, "solve", refuse)


# names of stores -----------------------------------------------------------------------------------------------------


NAMES = {
    "": r'--out: is ""; must be the name of a new folder',
    "  ": r'--out: is "  "; must be the name of a new folder',
    "self": "exists as a link that leads nowhere; must be a new name",
    "dangling": "exists as a link that leads nowhere; must be a new name",
    "file": "exists; must be a new name, or the store of this sweep with --resume",
    "file/": "cannot be used|exists; must be a new name",
    "file/out.zarr": r"cannot be used \(Not a directory\)",
    ".": "exists; must be a new name",
    "none/out.zarr": "folder .*none does not exist; must be an existing folder",
    "n" * 256: r"cannot be used \(File name too long\); must be the name of a new folder",
    "null\0byte": "cannot be used .*null.*; must be the name of a new folder",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:12]))
def test_names_are_checked_before_anything_is_computed(tmp_path, monkeypatch, nothing_computed, name) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink("self", "self")
    os.symlink("nowhere", "dangling")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=NAMES[name]) as error:
        run(tiny(), name, workers=1, options=tiny_options())
    assert "\n" not in str(error.value)
    assert sorted(os.listdir()) == ["dangling", "file", "self"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["n" * 242, "n" * 255, "ü" * 127, "new/"], ids=["242", "255", "254 bytes", "slash"])
def test_long_names_are_names(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    run(tiny(), name, workers=1, options=tiny_options())
    assert np.isfinite(reopen.open(tmp_path / name).objective).all()
    assert os.listdir() == [name.rstrip("/")]


def test_no_store_is_said_before_anything_is_computed(tmp_path, nothing_computed) -> None:
    with pytest.raises(ResultError, match="does not exist; must be the store of a sweep"):
        run(tiny(), tmp_path / "none.zarr", workers=1, options=tiny_options(), resumed=True)


# places, plans, code -------------------------------------------------------------------------------------------------


def test_a_unit_in_the_place_of_another_is_refused(tmp_path, monkeypatch) -> None:
    """Whole, with its checksum, and wrong."""
    monkeypatch.setattr(ask, "solve", remembered(ask.solve))
    run(tiny(), tmp_path / "a.zarr", workers=1, options=tiny_options())
    run(sweep(TINY, ("end = 1.0", "end = 2.0")), tmp_path / "b.zarr", workers=1, options=tiny_options())
    units = [tmp_path / "a.zarr" / "journal/moments/c" / str(i) / "0/0/0" for i in range(2)]
    kept = units[1].read_bytes()
    for foreign in (units[0], tmp_path / "b.zarr" / "journal/moments/c/1/0/0/0"):
        units[1].write_bytes(foreign.read_bytes())
        for attempt in (
            lambda: reopen.open(tmp_path / "a.zarr"),
            lambda: run(tiny(), tmp_path / "a.zarr", workers=1, options=tiny_options(), resumed=True),
        ):
            with pytest.raises(ResultError, match=r"c/1/0/0/0 is damaged \(its checksum is not that of this unit"):
                attempt()
    # control: as it was
    units[1].write_bytes(kept)
    reopen.open(tmp_path / "a.zarr")


def test_other_code_is_refused_in_a_worker_and_said_at_resume(tmp_path, monkeypatch) -> None:
    run(tiny(), tmp_path / "out.zarr", workers=1, options=tiny_options())
    monkeypatch.setattr(running, "code", lambda: "0" * 64)
    with pytest.warns(
        ResultWarning, match=f"was begun with code {work.code()[:12]}, here 0{{12}}; last bits may differ"
    ):
        run(tiny(), tmp_path / "out.zarr", workers=1, options=tiny_options(), resumed=True)
    with pytest.raises(
        WorkerError, match=rf"a worker runs other code \({work.code()[:12]}\) than this process \(0{{12}}\)"
    ):
        run(tiny(), tmp_path / "other.zarr", workers=1, options=tiny_options())


def test_the_hash_of_the_code_is_of_what_is_in_the_files(tmp_path, monkeypatch) -> None:
    package = tmp_path / "solvers"
    (package / "sub").mkdir(parents=True)
    for name in ("flow.py", "sub/a.py"):
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(solvers, "__file__", str(package / "__init__.py"))
    of_files = work.code.__wrapped__
    first = of_files()
    os.utime(package / "flow.py", (1, 1))
    (package / "notes.txt").write_text("not code")
    assert of_files() == first
    (package / "sub" / "a.py").write_bytes(b"x = 1\r\n")
    assert of_files() == first
    (package / "sub" / "a.py").write_text("x = 2\n")
    assert of_files() != first


def test_the_first_key_that_differs_is_named() -> None:
    plan: dict[str, Any] = {"problem": {"flow": {"weights": "softmax"}}, "grid": {"a.b": [1, 2, 3]}, "rtol": 1e-8}
    assert difference(plan, plan) is None
    for change, message in {
        ("problem", "flow", "weights"): 'problem.flow.weights = "softmax", here it is 0',
        ("grid", "a.b"): 'grid."a.b" = [1, 2, 3], here it is 0',
        ("rtol",): "rtol = 1e-08, here it is 0",
    }.items():
        other = {key: dict(value) if isinstance(value, dict) else value for key, value in plan.items()}
        other["problem"] = {"flow": dict(plan["problem"]["flow"])}
        holder = other
        for key in change[:-1]:
            holder = holder[key]
        holder[change[-1]] = 0
        assert difference(plan, other) == message
    assert difference({"grid": {"a.b": [1, 2]}}, {"grid": {"a.b": [1, 2, 3]}}) == (
        'grid."a.b" of 2 values, here it is of 3'
    )
    assert difference({"x": 0.1}, {"x": 0.1 + 2**-56}) == "x = 0.1, here it is 0.10000000000000002"
    assert difference({}, {"problem": 1}) == "no problem, here it is 1"
    assert difference({"problem": 1}, {}) == "problem = 1, here there is none"
    assert difference({"x": True}, {"x": 1}) == "x = true, here it is 1"


def test_a_store_of_the_first_format_is_one_line(tmp_path) -> None:
    run(tiny(), tmp_path / "out.zarr", workers=1, options=tiny_options())
    path = tmp_path / "out.zarr" / "zarr.json"
    lines = [line for line in path.read_text().splitlines() if '"checksum"' not in line]
    path.write_text("\n".join(lines).replace("sweep 2", "sweep 1").replace('",\n  }', '"\n  }'))
    with pytest.raises(ResultError, match='has the format of an earlier version, "modecollapse sweep 1"; must be'):
        reopen.open(tmp_path / "out.zarr")


# schedulers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", " ", "host", "host:", ":8786", "host:0", "host:70000", "tcp:/h:1", "a b:1", "h:1\n"]
)
def test_what_is_no_address_is_refused(tmp_path, nothing_computed, address) -> None:
    with pytest.raises(SchedulerError, match=r"--scheduler: is .*; must be host:port") as error:
        run(tiny(), tmp_path / "out.zarr", scheduler=address)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("address", ["localhost:8786", "tcp://10.0.0.1:8786", "tls://[::1]:8786", "ucx://node-1.x:1"])
def test_addresses(address) -> None:
    executors.check_address(address)


class Client:
    """Of a scheduler that has so many threads each time it is asked; None: it is gone."""

    def __init__(self, *threads) -> None:
        self._threads = list(threads)

    def nthreads(self):
        found = self._threads.pop(0) if len(self._threads) > 1 else self._threads[0]
        if found is None:
            raise OSError("closed")
        return {"worker": found} if found else {}


def test_a_scheduler_without_workers_says_so_and_waits_a_stated_time(monkeypatch, capsys) -> None:
    from concurrent.futures import Future

    monkeypatch.setattr(executors, "LOOK", 0.01)
    monkeypatch.setattr(executors, "WITHOUT_WORKERS", 0.05)
    running_, done = Future(), Future()
    cluster = executors._Dask(None, Client(0), "h:1")
    with pytest.raises(WorkerError, match=r"h:1 has had no workers for 0\.05 s; must have one: .* --resume continues"):
        cluster.wait([running_])
    assert capsys.readouterr().err == "--scheduler: h:1 has no workers; waits 0.05 s for one\n"
    with pytest.raises(WorkerError, match=r"--scheduler: h:1 is gone; what is done is kept, --resume continues"):
        executors._Dask(None, Client(1, None), "h:1").wait([running_])
    # control: one that comes back
    monkeypatch.setattr(executors, "WITHOUT_WORKERS", 1e9)
    timer = threading.Timer(0.1, lambda: done.set_result(1))
    timer.start()
    assert executors._Dask(None, Client(0, 0, 1), "h:1").wait([running_, done]) == {done}
    assert capsys.readouterr().err.count("\n") == 1


# points that fail, grids that are too large --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken", [ZeroDivisionError("x"), np.linalg.LinAlgError("x"), ValueError("cannot convert NaN")]
)
def test_a_point_whose_solve_gives_up_is_counted(tmp_path, monkeypatch, broken) -> None:
    """The first start of three at the first point; the other two, and the other point, have the bits of ever."""
    run(tiny(), tmp_path / "whole.zarr", workers=1, options=tiny_options())
    whole, honest = reopen.open(tmp_path / "whole.zarr"), ask.solve

    def solve(problem, **options):
        if problem.target.c[0, 0] == 1.0 and 0 in options["samples"]:
            raise broken
        return honest(problem, **options)

    monkeypatch.setattr(ask, "solve", solve)
    done = run(tiny(), tmp_path / "out.zarr", workers=1, options=tiny_options())
    ds = reopen.open(tmp_path / "out.zarr")
    assert (done.failed, done.starts) == (1, 6)
    assert ds.failed.values.tolist() == [1, 0]
    assert ds.samples.values.tolist() == [3, 3]
    assert np.isfinite(ds.objective).all()
    assert ds.objective[1] == whole.objective[1]
    monkeypatch.setattr(ask, "solve", lambda problem, **options: (_ for _ in ()).throw(broken))
    with pytest.raises(ProblemError, match=r"cannot be solved, nor at other points \(.*\); must have points"):
        run(tiny(), tmp_path / "none.zarr", workers=1, options=tiny_options())


def test_an_error_of_ours_is_not_a_failed_start(tmp_path, monkeypatch) -> None:
    for error in (ValueError("m has shape (2,), must have (3,)"), KeyError("nan"), ProblemError("x: must be finite")):
        assert not work.numerical(error)


def test_variances_beyond_the_numbers_are_a_point_that_fails(tmp_path) -> None:
    text = TINY.replace("components = 2", "components = 2\nvariances = [1.0, 1.0]")
    text = text.replace('"target.separation" = [1.0, 2.0]', '"family.variances" = [[1e160, 1.0], [1.0, 1.5]]')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = run(sweep(text), tmp_path / "out.zarr", workers=1, options=tiny_options())
    ds = reopen.open(tmp_path / "out.zarr")
    assert (done.failed, ds.failed.values.tolist()) == (3, [3, 0])
    assert np.isfinite(ds.objective.values[1])


SIDE = "{start = 0.5, stop = 1.0, count = 10000}"
HUGE = f'"target.separation" = {SIDE}\n"init.scale" = {SIDE}'


def test_a_large_grid_is_planned_without_being_built(monkeypatch) -> None:
    """10⁸ points: what is kept is the values of each key."""
    from solvers.sweeps.estimate import estimate

    monkeypatch.setattr("solvers.sweeps.plan.CHECKED", 20)
    monkeypatch.setattr("solvers.sweeps.estimate._seconds_a_start", lambda problem, options, quantities: 1e-3)
    tracemalloc.start()
    try:
        plan = sweep(TINY.replace('"target.separation" = [1.0, 2.0]', HUGE))
        found = estimate(plan, workers=1, options=tiny_options())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found.points, found.starts) == (10**8, 3 * 10**8)
    assert "GB in " in str(found)
    assert peak < 10**8  # a byte a point would be more


def test_a_grid_that_does_not_fit_is_refused_with_its_size(tmp_path, monkeypatch, nothing_computed) -> None:
    monkeypatch.setattr("solvers.sweeps.plan.CHECKED", 20)
    monkeypatch.setattr(prepare, "available_memory", lambda: 1e8)
    with pytest.raises(
        ProblemError, match=r"grid: has 100000000 points, .*: takes 0\.2 GB of memory; must fit in the 0\.1"
    ):
        run(sweep(TINY.replace('"target.separation" = [1.0, 2.0]', HUGE)), tmp_path / "out.zarr", workers=1)
    with pytest.raises(
        ProblemError, match=r'grid\."init\.scale"\.count: is 100000000; must be an integer from 2 to 1000000'
    ):
        sweep(
            TINY.replace(
                '"target.separation" = [1.0, 2.0]', '"init.scale" = {start = 0.1, stop = 1.0, count = 100000000}'
            )
        )
    assert not list(tmp_path.iterdir())


def test_long_lists_are_looked_through_once() -> None:
    values = ", ".join(map(str, range(1, 100_000)))
    text = TINY.replace("[1.0, 2.0]", f"[{values}]")
    with pytest.raises(ProblemError, match=r'grid."target.separation": has 7 twice; values must differ'):
        Sweep.parse(text.replace("99999]", "7]"))
    for one, other in (("[1.0, 1]", "1"), ("[[1, 2], [1.0, 2.0]]", r"\[1, 2\]"), ("[{a = 1}, {a = 1.0}]", "{a = 1}")):
        with pytest.raises(ProblemError, match=f"has {other} twice"):
            Sweep.parse(TINY.replace("[1.0, 2.0]", one))


def test_stores_that_are_alike(tmp_path) -> None:
    """Control of everything here: undisturbed, two sweeps have the same bits, and say nothing."""
    for name in ("a.zarr", "b.zarr"):
        run(tiny(), tmp_path / name, workers=1, options=tiny_options())
        run(tiny(), tmp_path / name, workers=1, options=tiny_options(), resumed=True)
    assert same_bits(reopen.open(tmp_path / "a.zarr"), reopen.open(tmp_path / "b.zarr"))
    assert store.attributes_of(tmp_path / "a.zarr")["code"] == work.code()
