"""Sweeps on a Dask cluster of real processes: the numbers of the local run, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from solvers import reopen
from solvers.sweeps import executors
from solvers.sweeps.executors import SchedulerError
from solvers.sweeps.run import run
from tests.limits import HANG
from tests.solvers.sweeps.sweep_cases import ROOT, SMALL, same_bits, sweep, swept

CLUSTER = """
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, *[worker.pid for worker in cluster.workers.values()], flush=True)
        input()
"""


@pytest.fixture
def cluster(tmp_path):
    """Address and process ids of the workers; a process of its own, as anywhere else."""
    pytest.importorskip("distributed")
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=tmp_path,
    ) as running:
        address, *workers = running.stdout.readline().split()
        yield address, [int(worker) for worker in workers]
        running.communicate("\n", timeout=HANG)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of dask itself
def test_a_worker_that_dies_loses_nothing(cluster, tmp_path) -> None:
    address, workers = cluster
    whole = swept(tmp_path, SMALL, name="whole.zarr")
    killed = threading.Event()

    def kill(done: int, total: int) -> None:
        if done and not killed.is_set():
            killed.set()
            os.kill(workers[0], signal.SIGKILL)

    run(sweep(), tmp_path / "out.zarr", scheduler=address, progress=kill)
    assert killed.is_set()
    assert same_bits(whole, reopen.open(tmp_path / "out.zarr"))


def test_no_scheduler_is_one_message(tmp_path, monkeypatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "PATIENCE", 0.5)
    with pytest.raises(
        SchedulerError, match=r"--scheduler: tcp://127\.0\.0\.1:1 does not answer .*; must be host:port"
    ):
        run(sweep(), tmp_path / "out.zarr", scheduler="tcp://127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []
