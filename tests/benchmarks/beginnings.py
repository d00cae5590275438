"""How long one waits for something: for the imports, for a first result with nothing compiled, and for the next one."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.case import problem_text

Row = dict[str, Any]


def measure(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows of wall and processor time, medians of `runs`, each in a process of its own, whose start is included."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.toml"
        problem.write_text(problem_text(samples=64), encoding="utf-8")
        solve = ["-m", "solvers", "solve", str(problem), "--quiet", "--out"]
        for what, arguments, emptied, runs in (
            ("Python alone", ["-c", "pass"], False, 5),
            ("import solvers.closed.flow", ["-c", "import solvers.closed.flow"], False, 5),
            ("first `solve`, machine code to be made", solve, True, 1 if quick else 3),
            ("next `solve`", solve, False, 5),
        ):
            times = []
            for run in range(runs):
                cache = Path(folder) / (f"cache{run}" if emptied else "cache0")
                out = [str(Path(folder) / f"{len(rows)}_{run}.nc")] if arguments is solve else []
                times.append(_run([*arguments, *out], cache))
            wall, cpu = (statistics.median(found) for found in zip(*times, strict=True))
            rows.append({"what": what, "wall": wall, "cpu": cpu, "runs": runs})
            say(f"{what}: {wall:.2f} s, {cpu:.2f} s of processor time")
    return rows


def _run(arguments: list[str], cache: Path) -> tuple[float, float]:
    used, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"MODECOLLAPSE_CACHE": str(cache)}
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
