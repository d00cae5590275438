"""How processor time and memory of `sweep` grow with points and with starts, over a hundredfold of each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

Row = dict[str, Any]

TEXT = """
[problem]
dimension = 64
[problem.target]
separation = 3.0
[problem.family]
components = 2
learn = ["means", "weights"]
[problem.init]
scale = 0.1
samples = {starts}
[problem.time]
end = 100.0
[grid]
"target.separation" = {{start = 1.0, stop = 6.0, count = {points}}}
"""
FEWEST_POINTS, FEWEST_STARTS = 20, 200


def measure(*, quick: bool, say: Callable[[str], None]) -> dict[str, list[Row]]:
    """Tables `points` and `starts`: {points, starts, cpu_seconds, cpu_a_start, peak_gib}.

    A row is a process of its own, one worker, that has swept a few points before the clock starts.
    """
    factors = (1, 10) if quick else (1, 10, 100)
    cases = {
        "points": [(FEWEST_POINTS * factor, FEWEST_STARTS) for factor in factors],
        "starts": [(FEWEST_POINTS, FEWEST_STARTS * factor) for factor in factors],
    }
    tables: dict[str, list[Row]] = {}
    for table, rows in cases.items():
        tables[table] = []
        for points, starts in rows:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                row = pool.submit(_row, points, starts).result()
            say(
                f"{points} points of {starts} starts: {row['cpu_seconds']:.2f} s of processor time, "
                f"{1e6 * row['cpu_a_start']:.1f} µs a start, {row['peak_gib']:.3f} GiB"
            )
            tables[table].append(row)
    return tables


def _row(points: int, starts: int) -> Row:
    from solvers.machine.cores import peak_memory
    from solvers.sweeps.plan import Sweep
    from solvers.sweeps.run import run

    with tempfile.TemporaryDirectory() as folder:
        run(Sweep.parse(TEXT.format(points=2, starts=FEWEST_STARTS)), Path(folder) / "first.zarr", workers=1)
        begin = time.process_time()
        done = run(Sweep.parse(TEXT.format(points=points, starts=starts)), Path(folder) / "out.zarr", workers=1)
        seconds = time.process_time() - begin
    assert (done.points, done.starts, done.failed) == (points, points * starts, 0)
    return {
        "points": points,
        "starts": starts,
        "cpu_seconds": seconds,
        "cpu_a_start": seconds / (points * starts),
        "peak_gib": peak_memory() / 2**30,
    }
