"""Solvers that take turns, each in a process of its own on the same cores: what two benchmarks have in common."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.benchmarks.worker import available_cores

Row = dict[str, Any]
Run = Callable[[int], Any]
Speeds = dict[str, list[tuple[float, float]]]

_ready: tuple[Run, int, int] | None = None


def take_turns(
    solvers: Mapping[str, str],
    blas_threads: Mapping[str, int],
    cores: int,
    rounds: int,
    prepare: Callable[..., Any],
    arguments: tuple[Any, ...],
    say: Callable[[str], None],
) -> tuple[Speeds, dict[str, Any]]:
    """Speeds of each solver, by wall clock and by processor time, a round after the other, and what `prepare` gave.

    prepare(key, *arguments), in the process of the solver, calls `ready`. One whose packages are missing is left out.
    """
    speeds: Speeds = {}
    prepared: dict[str, Any] = {}
    pools = {key: _pool(cores, blas_threads.get(key, cores)) for key in solvers}
    try:
        for key in list(pools):
            try:
                prepared[key] = pools[key].submit(prepare, key, *arguments).result()
            except ImportError as error:
                say(f"{solvers[key]}: not available: {error}")
                pools.pop(key).shutdown()
        for _ in range(rounds):
            for key, pool in pools.items():
                speeds.setdefault(key, []).append(pool.submit(_time).result())
    finally:
        for pool in pools.values():
            pool.shutdown()
    return speeds, prepared


def compared(speeds: Speeds, key: str) -> Row:
    """Median throughput of a solver, and how many times faster "this" one is, by wall clock and (_cpu) processor time.

    faster: the median over rounds of the ratio within a round; faster_range: its extremes.
    """
    row: Row = {}
    for i, kind in enumerate(("", "_cpu")):
        ratios = [mine[i] / other[i] for mine, other in zip(speeds["this"], speeds[key], strict=True)]
        row |= {
            f"throughput{kind}": statistics.median(speed[i] for speed in speeds[key]),
            f"faster{kind}": statistics.median(ratios),
            f"faster_range{kind}": [min(ratios), max(ratios)],
        }
    return row


def ready(run: Run, unit: int, seconds: float, work: int) -> None:
    """Time from now on `run` of so many multiples of `unit` as fill the time; `work` is what one of run(1) does."""
    global _ready
    run(unit)
    begin = time.perf_counter()
    run(unit)
    count = unit * max(1, round(seconds / (time.perf_counter() - begin)))
    _ready = run, count, count * work


def _time() -> tuple[float, float]:
    """Work a second, and a second of processor time."""
    assert _ready is not None
    run, count, work = _ready
    wall, cpu = time.perf_counter(), time.process_time()
    run(count)
    return work / (time.perf_counter() - wall), work / (time.process_time() - cpu)


def _pool(cores: int, blas_threads: int) -> ProcessPoolExecutor:
    os.environ |= {f"{name}_NUM_THREADS": str(blas_threads) for name in ("OPENBLAS", "OMP", "MKL")}
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_hold, initargs=(cores,))
    pool.submit(os.getpid).result()  # started now, with this environment
    return pool


def _hold(cores: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, available_cores()[:cores])
