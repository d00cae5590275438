"""Sweeps: the numbers are those of solve, whatever the workers and interruptions; one writer, and no foreign stores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

from solvers import ask, reopen, results
from solvers.closed.flow import solve
from solvers.problem import ProblemError
from solvers.results.errors import ResultError
from solvers.results.output import OutputError
from solvers.sweeps import work
from solvers.sweeps.dataset import Columns
from solvers.sweeps.estimate import estimate
from solvers.sweeps.moments import moments
from solvers.sweeps.prepare import layout
from solvers.sweeps.run import Interrupted, run
from tests.limits import HANG
from tests.solvers.sweeps.sweep_cases import ROOT, SMALL, process, same_bits, sweep, swept

JOURNAL = "journal/moments/c"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store that was never interrupted; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    swept(folder)
    return folder / "out.zarr"


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copied.zarr")


def test_points_are_means_over_the_samples_of_solve(whole) -> None:
    ds = reopen.open(whole)
    assert ds.sizes == {"target.separation": 4, "family.learn": 2}
    assert ds["family.learn"].values.tolist() == ['["means"]', '["means", "weights"]']
    np.testing.assert_array_equal(ds["target.separation"], [1.0, 2.0, 3.0, 4.0])
    assert (ds.samples == 40).all()
    assert (ds.failed == 0).all()
    points: tuple[dict[str, Any], ...] = (
        {"target.separation": 3.0, "family.learn": '["means", "weights"]'},
        {"target.separation": 1.0, "family.learn": '["means"]'},
    )
    for point in points:
        here = ds.sel(point)
        problem = reopen.problem_of(here)
        one = solve(problem, backend="numba")
        assert problem.target.c[0, 0] == point["target.separation"] ** 2
        for name in ("collapsed", "aligned", "vanished"):
            assert here[name] == one[name].values.mean()
            assert here[f"{name}_low"] <= here[name] <= here[f"{name}_high"]
        # the same trajectories to the bit, so the same mean
        assert here["objective"] == moments(one.objective.values[:, -1])[1] / 40
        assert json.loads(ds.attrs["systems"]).keys() == {one.attrs["system"]}
    assert ds.collapsed.sel({"target.separation": 4.0}).min() > 0
    assert ds.attrs["seed"] == 0
    assert ds.attrs["backend"] == "numba"
    assert ds.attrs["sweep"] == SMALL
    assert ds.objective.attrs["units"] == "nat"


@pytest.mark.slow
def test_other_workers_give_the_same_bits(whole, tmp_path) -> None:
    run(sweep(), tmp_path / "two.zarr", workers=2)
    assert same_bits(reopen.open(whole), reopen.open(tmp_path / "two.zarr"))
    # control: another seed does not
    assert not same_bits(reopen.open(whole), swept(tmp_path, SMALL, ("samples = 40", "samples = 40\nseed = 1")))


@pytest.mark.slow
def test_starts_in_parts_and_pieces(whole, tmp_path, monkeypatch) -> None:
    """Many starts are summed in parts, computed in pieces; the pieces do not change a bit."""
    monkeypatch.setattr(work, "PIECE", 7)
    assert same_bits(reopen.open(whole), swept(tmp_path))
    monkeypatch.setattr(work, "PART", 16)
    monkeypatch.setattr("solvers.sweeps.prepare.PART", 16)
    parts = swept(tmp_path, name="parts.zarr")
    np.testing.assert_array_equal(parts.collapsed, reopen.open(whole).collapsed)
    np.testing.assert_allclose(parts.objective, reopen.open(whole).objective, rtol=1e-13)
    np.testing.assert_array_equal(parts.samples, 40)


@pytest.mark.parametrize("kept", [0, 2**26])
def test_units_that_reach_into_several_windows(whole, tmp_path, monkeypatch, kept) -> None:
    """The dataset is written a window at a time, from what is kept of the journal or from the disk."""
    monkeypatch.setattr("solvers.sweeps.prepare.FEWEST", 2)
    monkeypatch.setattr("solvers.sweeps.store.VIEW", 3)
    monkeypatch.setattr("solvers.sweeps.dataset.VIEW", 3)
    monkeypatch.setattr("solvers.sweeps.store.KEPT", kept)
    monkeypatch.setattr("solvers.sweeps.run.PUBLISH_EVERY", 0.0)
    assert layout(sweep()).block == (2, 2)
    assert same_bits(reopen.open(whole), swept(tmp_path))


@pytest.mark.slow
def test_systems_and_sample_counts_may_change_along_the_grid(tmp_path) -> None:
    grid = '"flow.objective" = ["reverse-kl", "forward-kl"]\n"init.samples" = [3, 30]\n'
    ds = swept(tmp_path, SMALL, ('"target.separation" = {start = 1.0, stop = 4.0, count = 4}\n', grid))
    assert len(json.loads(ds.attrs["systems"])) == 2
    np.testing.assert_array_equal(ds.samples.isel({"init.samples": 1}), 30)
    two = ds.objective.isel({"init.samples": 1, "family.learn": 1})
    assert two[0] != two[1]


def test_failed_starts_are_counted_and_left_out(tmp_path, monkeypatch) -> None:
    honest = ask.solve

    def failing(problem, **options):
        ds = honest(problem, **options)
        ds["status"][:3] = 1
        for name in ("collapsed", "aligned", "vanished"):
            ds[name][:3] = -1
        ds["objective"][:3] = np.nan
        return ds

    monkeypatch.setattr(ask, "solve", failing)
    done = run(sweep(), tmp_path / "out.zarr", workers=1)
    assert (done.failed, done.starts) == (24, 320)
    ds = reopen.open(tmp_path / "out.zarr")
    np.testing.assert_array_equal(ds.failed, 3)
    assert np.isfinite(ds.objective).all()


def test_interrupted_and_resumed_in_this_process(whole, tmp_path) -> None:
    def interrupt(done, total):
        if done >= 120:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"3 of 8 points are done, continue with: .*sweep.toml --out .* --resume"):
        run(sweep(), tmp_path / "out.zarr", workers=1, progress=interrupt)
    half = reopen.open(tmp_path / "out.zarr")
    assert int((half.samples > 0).sum()) == 3
    assert np.isnan(half.collapsed.values[half.samples == 0]).all()
    seen = []
    run(sweep(), tmp_path / "out.zarr", workers=1, resumed=True, progress=lambda done, total: seen.append(done))
    assert seen[0] == 120
    assert same_bits(reopen.open(whole), reopen.open(tmp_path / "out.zarr"))


#: The command, but stopped in the middle of writing: with file number N whose path contains MARK complete under its
#: temporary name and not yet in place, it says so and waits for its end.
HELD = """
import os, sys, threading
mark, left = sys.argv.pop(1), [None] * int(sys.argv.pop(1))
replace = os.replace
def held(unfinished, target):
    if mark in str(target):
        if not left:
            print("held", flush=True)
            threading.Event().wait()
        left.pop()
    return replace(unfinished, target)
os.replace = held
from solvers.__main__ import app
app(sys.argv[1:])
"""
UNITS = f"{JOURNAL}/"


def killed(path, out, mark, number):
    """Whether the sweep was killed there, or else ended; resumed if there is something to resume."""
    resume = ["--resume"] if out.exists() else []
    arguments = [sys.executable, "-c", HELD, mark, str(number), "sweep", str(path), "--out", str(out), *resume]
    with subprocess.Popen([*arguments, "--quiet"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        said = running.stdout.readline()
        running.kill()
    return said == "held\n"


def units_in(out):
    return len(list((out / JOURNAL).glob("*/*/*/0/0")))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_killed_while_it_writes_and_resumed(whole, tmp_path) -> None:
    """SIGKILL in the middle of a file: of the store as it is made, and of the journal; workers end with their parent.

    SWEEP_KILLS=20: and then at twenty files taken at random, of any kind.
    """
    (tmp_path / "sweep.toml").write_text(SMALL)
    out, units = tmp_path / "out.zarr", []
    assert killed(tmp_path / "sweep.toml", out, "zarr.json", 2)
    assert not out.exists()
    for number in (1, 3):
        assert killed(tmp_path / "sweep.toml", out, UNITS, number)
        assert list((out / JOURNAL).rglob("*.partial"))
        units.append(units_in(out))
    assert units == [1, 4]
    rng = np.random.default_rng(int(os.environ.get("SWEEP_KILL_SEED", "0")))
    for _ in range(int(os.environ.get("SWEEP_KILLS", "0"))):
        print(killed(tmp_path / "sweep.toml", out, "", int(rng.integers(40))), units_in(out), "units in the journal")
    done = process(tmp_path / "sweep.toml", "--out", out, "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out}: 8 points, 320 starts\ncollapsed ")
    assert not list(out.rglob("*.partial"))
    assert same_bits(reopen.open(whole), reopen.open(out))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_ctrl_c_exits_130_and_says_how_to_go_on(tmp_path) -> None:
    """Pressed as soon as the store is there, in a sweep of minutes."""
    (tmp_path / "sweep.toml").write_text(SMALL.replace("samples = 40", "samples = 4000000"))
    out = tmp_path / "out.zarr"
    script = """
import signal, sys
from solvers.sweeps import run
signal.signal(signal.SIGINT, signal.default_int_handler)
create = run.create
def announced(*arguments):
    store = create(*arguments)
    print("begun", flush=True)
    return store
run.create = announced
from solvers.__main__ import app
app(sys.argv[1:])
"""
    arguments = ["sweep", str(tmp_path / "sweep.toml"), "--out", str(out), "--workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout.readline() == "begun\n"
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        stdout, stderr = running.communicate(timeout=HANG)
    assert (running.returncode, stdout) == (130, "")
    assert stderr.startswith("interrupted; 0 of 8 points are done, continue with: python -m solvers sweep ")
    assert stderr.endswith("--resume\n")
    assert stderr.count("\n") == 1


@pytest.mark.slow
def test_two_writers_on_one_store_are_refused(copied) -> None:
    from solvers.sweeps.dataset import Layout
    from solvers.sweeps.store import Store

    first = Store(copied, Layout({}, (), 1, Columns(())))
    first.take()
    with pytest.raises(OutputError, match=f"is being written by process {os.getpid()} on .*; must have one writer"):
        run(sweep(), copied, workers=1, resumed=True)
    done = process_of(copied)
    assert done.returncode == 2
    assert f"is being written by process {os.getpid()}" in done.stderr
    first.release()
    run(sweep(), copied, workers=1, resumed=True)


def process_of(store):
    path = store.parent / "sweep.toml"
    path.write_text(SMALL)
    return process(path, "--out", store, "--resume")


def test_an_existing_or_missing_store(copied, tmp_path) -> None:
    with pytest.raises(OutputError, match="exists; must be a new name, or the store of this sweep with --resume"):
        run(sweep(), copied, workers=1)
    with pytest.raises(ResultError, match=r"none\.zarr: does not exist; must be the store of a sweep"):
        run(sweep(), tmp_path / "none.zarr", workers=1, resumed=True)
    with pytest.raises(OutputError, match=r"folder .*none does not exist"):
        run(sweep(), tmp_path / "none" / "out.zarr", workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied.zarr"]


CHANGES = {
    r"problem\.dimension": ("dimension = 8", "dimension = 9"),
    r'grid\."target\.separation"\.1': ("stop = 4.0", "stop = 5.0"),
    "quantities": ("[grid]", '[output]\nquantities = ["collapsed"]\n[grid]'),
    "refine": ("[grid]", "[refine]\n[grid]"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_store_of_another_sweep_is_refused(copied, name) -> None:
    before = (copied / "zarr.json").read_bytes()
    with pytest.raises(ResultError, match=f"was begun with {name} = .*, here it is .*; must be the same sweep"):
        run(sweep(SMALL, CHANGES[name]), copied, workers=1, resumed=True)
    with pytest.raises(ResultError, match="was begun with rtol = 1e-08, here it is 1e-06"):
        run(sweep(), copied, workers=1, resumed=True, options=work.Options(rtol=1e-6))
    assert (copied / "zarr.json").read_bytes() == before


def test_foreign_and_broken_stores_are_refused(copied, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    xr.Dataset({"x": 1.0}).to_zarr(tmp_path / "foreign.zarr", zarr_format=3, consolidated=False)
    refused = {
        "empty": "cannot be read as Zarr",
        "foreign.zarr": "is not the store of a sweep; must be written by",
    }
    for name, message in refused.items():
        with pytest.raises(ResultError, match=message):
            run(sweep(), tmp_path / name, workers=1, resumed=True)
        with pytest.raises(ResultError, match=message):
            reopen.open(tmp_path / name)
    (copied / "zarr.json").write_text("{")
    with pytest.raises(ResultError, match="cannot be read as Zarr"):
        run(sweep(), copied, workers=1, resumed=True)


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-3] + bytes([b[-3] ^ 1]) + b[-2:]]
)
def test_a_damaged_journal_is_refused_by_name_and_mended_by_deleting_the_file(whole, copied, damage) -> None:
    victim = copied / JOURNAL / "2" / "1" / "0" / "0" / "0"
    victim.write_bytes(damage(victim.read_bytes()))
    with pytest.raises(ResultError, match=r"journal/moments/c/2/1/0/0/0 is damaged .* delete that file"):
        run(sweep(), copied, workers=1, resumed=True)
    victim.unlink()
    run(sweep(), copied, workers=1, resumed=True)
    assert same_bits(reopen.open(whole), reopen.open(copied))


def test_resuming_with_other_versions_warns(copied) -> None:
    path = copied / "zarr.json"
    here = json.loads(path.read_text())
    versions = json.loads(here["attributes"]["versions"]) | {"numpy": "1.0"}
    here["attributes"]["versions"] = json.dumps(versions)
    path.write_text(json.dumps(here))
    with pytest.warns(results.ResultWarning, match=r"was begun with numpy 1\.0, here .*; last bits may differ"):
        run(sweep(), copied, workers=1, resumed=True)


@pytest.mark.slow
def test_what_a_sweep_cannot_average_is_refused_before_anything_is_written(tmp_path) -> None:
    with pytest.raises(ProblemError, match=r"output.quantities: entropy: not known; allowed: objective, .*collapsed"):
        run(sweep(SMALL, ("[grid]", '[output]\nquantities = ["entropy"]\n[grid]')), tmp_path / "out.zarr")
    (tmp_path / "sweep.toml").write_text(SMALL.replace("start = 1.0", "start = -1.0"))
    done = process(tmp_path / "sweep.toml", "--out", tmp_path / "out.zarr")
    assert (done.returncode, done.stdout) == (2, "")
    assert "target.separation: is -1; must be a number >= 0" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.zarr").exists()


def test_a_dry_run_plans_and_writes_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = estimate(sweep(SMALL, ("[grid]", "[refine]\nlevels = 1\n[grid]")), workers=2)
    assert (plan.points, plan.starts, plan.units, plan.workers) == (8, 320, 8, 2)
    assert (plan.first_points, plan.first_starts) == (6, 240)  # separations 1, 3, 4
    low, high = plan.seconds[1:]
    assert 0 < low <= plan.seconds[0] <= high
    text = str(plan)
    assert "8 points, 320 starts, in 8 units of work" in text
    assert "on 2 workers" in text
    assert "refined: between 6 points" in text
    assert list(tmp_path.iterdir()) == []


def test_the_dataset_follows_from_the_journal(whole, copied) -> None:
    """Written now and then, it may lag behind; resuming brings it up to date."""
    shutil.rmtree(copied / "collapsed" / "c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(xr.open_zarr(copied, consolidated=False).collapsed).all()
        # opened by us it is what the journal says
        assert same_bits(reopen.open(whole), reopen.open(copied))
        run(sweep(), copied, workers=1, resumed=True)
        assert np.isfinite(xr.open_zarr(copied, consolidated=False).collapsed).all()
