"""How the time of `solve` grows: with trajectories, with components, with the time integrated over."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from tests.benchmarks.case import R, problem_text

Row = dict[str, Any]


def measure(backend: str, *, quick: bool, say: Callable[[str], None]) -> dict[str, list[Row]]:
    """Tables `trajectories`, `components`, `time`. Each row has a process of its own, where eight starts come first."""
    counts = (10**3, 10**4) if quick else (10**3, 10**4, 10**5, 10**6)
    components = {2: 1024, 4: 64} if quick else {2: 16384, 3: 1024, 4: 1024, 6: 256, 8: 256, 12: 64, 16: 64}
    ends = (50.0, 1e3) if quick else (50.0, 1e3, 1e4, 1e5, 1e6)
    cases: dict[str, list[dict[str, Any]]] = {
        "trajectories": [{"samples": count} for count in counts],
        "components": [{"components": K, "samples": count, "end": 20.0} for K, count in components.items()],
        "time": [{"separation": sep, "end": end, "samples": 1024} for sep in (R, 6.0) for end in ends],
    }
    tables: dict[str, list[Row]] = {}
    for table, rows in cases.items():
        tables[table] = []
        for case in rows:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                row = pool.submit(_row, case, backend).result()
            what = f"K = {row['components']}, R = {row['separation']:g}, t ≤ {row['end']:g}, {row['samples']} starts"
            say(f"{what}: {row['seconds']:.2f} s, {row['peak_gib']:.2f} GiB, {row['failed']} failed")
            tables[table].append(row)
    return tables


def _row(case: dict[str, Any], backend: str) -> Row:
    from solvers.closed.flow import solve
    from solvers.problem import Problem

    case = {"components": 2, "separation": R, "end": 50.0, "save": 2} | case

    def run(samples: int) -> tuple[Any, float]:
        problem = Problem.parse(problem_text(**case | {"samples": samples}), name="benchmark")
        begin = time.perf_counter()
        return solve(problem, backend=backend), time.perf_counter() - begin

    _, first = run(8)
    dataset, seconds = run(case["samples"])
    return case | {
        "seconds": seconds,
        "throughput": case["samples"] / seconds,
        "first_seconds": first,
        "failed": int(np.sum(dataset["status"].values != 0)),
        "quadrature_error": float(np.nanmax(dataset["quadrature_error"].values)),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
