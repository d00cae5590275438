"""Two checkouts side by side: the ensembles of the throughput tables, and the trajectories of problem files.

    python -m tests.benchmarks.against OTHER_CHECKOUT [--rounds 7] [--seconds 2] [--cores 1]

Each checkout computes in a process of its own, this interpreter's, on as many cores; they take turns, the first of a
round first in the next as the second. Ratios are within a round.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[2]
#: Ensembles by the tolerances that the tables chose, and `solve` by the number of components, of two modes; with `rest`
#: it says on what runs rest, where a checkout knows of that.
CASES: dict[str, dict[str, Any]] = {
    "integrate, rtol 8e-10": {"rtol": 8e-10},
    "integrate, rtol 3e-8": {"rtol": 3e-8},
    "solve without at_rest, K = 2": {"components": 2, "rest": False},
    "solve without at_rest, K = 3": {"components": 3, "rest": False},
    "solve, K = 2": {"components": 2, "rest": True},
}
PROBLEMS = ("two_modes", "three_modes", "unequal_weights", "more_components", "one_component")
COMPARED = ("m", "s", "w", "objective", "mode_mass")


def serve() -> None:
    """In a checkout: answers lines of JSON with lines of JSON."""
    from solvers.ask import solve
    from solvers.problem import Problem
    from tests.benchmarks.case import problem_text
    from tests.benchmarks.this_solver import ThisSolver
    from tests.benchmarks.throughput import Starts

    first, runs = Starts(), {}

    def timed(case: dict[str, Any], count: int, cores: int) -> dict[str, float]:
        y: Any
        if "rtol" in case:
            if case["rtol"] not in runs:
                runs[case["rtol"]] = ThisSolver("cpu").prepare(case, cores)
            y, run = first(count), runs[case["rtol"]]
        else:
            text = problem_text(samples=count, components=case["components"], end=20.0, save=2)
            y = Problem.parse(text, name="benchmark")
            told = {"rest": case["rest"]} if "rest" in inspect.signature(solve).parameters else {}

            def run(problem: Any) -> Any:
                return solve(problem, threads=cores, **told)

        wall, cpu = time.perf_counter(), time.process_time()
        run(y)
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def written(text: str, name: str, to: str, rtol: float) -> dict[str, float]:
        ds = solve(Problem.parse(text, name), rtol=rtol, atol=rtol / 100)
        np.savez(to, **{name: ds[name].values for name in COMPARED})
        return {}

    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(written(**asked) if "to" in asked else timed(**asked)), flush=True)


class Checkout:
    """A process that computes in a checkout."""

    def __init__(self, root: Path, cores: int) -> None:
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), "--serve"],
            cwd=root, env=os.environ | threads | {"PYTHONPATH": str(root)}, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self.cores = cores

    def ask(self, **question: Any) -> dict[str, float]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        if not (answer := stdout.readline()):
            raise SystemExit("a checkout gave up; its message is above")
        return dict(json.loads(answer))

    def time(self, case: dict[str, Any], count: int) -> dict[str, float]:
        return self.ask(case=case, count=count, cores=self.cores)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def ratios(
    here: Checkout, other: Checkout, case: dict[str, Any], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Time of the other over time of this one, by wall clock and processor time, a round each."""
    count = 64
    for checkout in (here, other):
        checkout.time(case, count)  # machine code
    while (wall := max(checkout.time(case, count)["wall"] for checkout in (here, other))) < seconds:
        count *= max(2, round(1.2 * seconds / wall))
    found: dict[str, list[float]] = {"wall": [], "cpu": []}
    for number in range(rounds):
        order = (here, other) if number % 2 else (other, here)
        took = {checkout: checkout.time(case, count) for checkout in order}
        for kind, of in found.items():
            of.append(took[other][kind] / took[here][kind])
    return found | {"count": [count]}


def difference(here: Checkout, other: Checkout, problem: Path, rtol: float) -> float:
    """The largest |a − b| / max(1, |b|) over all results of a problem."""
    with tempfile.TemporaryDirectory() as folder:
        read = []
        for name, checkout in (("here", here), ("other", other)):
            to = str(Path(folder) / f"{name}.npz")
            checkout.ask(text=problem.read_text(encoding="utf-8"), name=problem.name, to=to, rtol=rtol)
            with np.load(to) as arrays:
                read.append(dict(arrays))
        a, b = read
        return max(float(np.nanmax(np.abs(a[name] - b[name]) / np.maximum(1, np.abs(b[name])))) for name in COMPARED)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.against", description=__doc__)
    parser.add_argument("other", type=Path, help="root of another checkout of this project")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="shortest time of one turn")
    parser.add_argument("--cores", type=int, default=1)
    options = parser.parse_args()
    if not (options.other / "solvers").is_dir():
        parser.error(f"{options.other}: is no checkout; must be the root of one")
    here, other = (Checkout(root, options.cores) for root in (HERE, options.other.resolve()))
    try:
        for name, case in CASES.items():
            found = ratios(here, other, case, options.rounds, options.seconds)
            told = [
                f"{kind} {statistics.median(found[kind]):.3f} ({min(found[kind]):.3f} to {max(found[kind]):.3f})"
                for kind in ("wall", "cpu")
            ]
            print(f"{name}: {found['count'][0]} trajectories; other/this {', '.join(told)}", flush=True)
        for problem in PROBLEMS:
            path = HERE / "figures" / "problems" / f"{problem}.toml"
            far = [f"{rtol:g}: {difference(here, other, path, rtol):.1e}" for rtol in (1e-8, 1e-11)]
            print(f"{problem}: largest difference at rtol {', '.join(far)}", flush=True)
    finally:
        for checkout in (here, other):
            checkout.close()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
