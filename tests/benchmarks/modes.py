"""Many components and many modes: trajectories a second of processor time and their errors, beside an earlier checkout.

    python -m tests.benchmarks.modes [OTHER_CHECKOUT] [--quick]

K components and L modes of norm 2.5 in 64 dimensions, in random directions, orthogonal, or two opposite ones; starts of
scale .125, learned weights, t ≤ 20, one thread. Every case is integrated at several tolerances; an error is the largest
|y − y_ref| / max(1, |y_ref|) over m, s and θ at five save times, and over all trajectories. References are of this
checkout at REFERENCE, where more than three directions are summed with a common factor, and so with errors some ten
times smaller; they say nothing of errors that both have. Beside each stands the simulation by particles in R^d: what
one takes, and how far m and s, means of two, are from the reference. Writes results/modes.json and its table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import machine, tables

HERE = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).parent / "results" / "modes.json"
REFERENCE = 1e-10
#: K, L, how the modes lie, starts, starts with a reference, tolerances.
CASES: tuple[tuple[int, int, str, int, int, tuple[float, ...]], ...] = (
    (3, 3, "random", 256, 64, (1e-8, 1e-7)),
    (4, 4, "random", 128, 32, (1e-7, 1e-5)),
    (6, 6, "random", 96, 8, (1e-6, 1e-5)),
    (8, 8, "random", 64, 4, (1e-6, 1e-5)),
    (16, 16, "random", 16, 1, (1e-5, 1e-4)),
    (8, 8, "orthogonal", 64, 8, (1e-6, 1e-5)),
    (3, 2, "opposite", 256, 64, (1e-7, 1e-6)),
    (4, 2, "opposite", 64, 16, (1e-7, 1e-5)),
    (8, 2, "opposite", 32, 4, (1e-6, 1e-5)),
)
#: A simulation's particles for each component, and its step.
PARTICLES, STEP = 1024, 0.1


def text(K: int, L: int, shape: str, samples: int) -> str:
    """The problem file."""
    directions = np.random.default_rng(0).standard_normal((L, 64))
    if shape == "orthogonal":
        directions = np.eye(L)
    if shape == "opposite":
        directions = np.array([[1.0], [-1.0]])
    directions *= 2.5 / np.linalg.norm(directions, axis=1, keepdims=True)
    return f"""
dimension = 64
[target]
overlaps = {(directions @ directions.T).tolist()}
[family]
components = {K}
learn = ["means", "weights"]
[init]
scale = 0.125
samples = {samples}
[time]
end = 20.0
save = 5
"""


def serve() -> None:
    """In a checkout: answers one line of JSON with another; trajectories go to a file."""
    from solvers.closed import compiled, ensembles
    from solvers.closed.equations import Closed, Task
    from solvers.problem import Problem

    asked = json.loads(sys.stdin.readline())
    problem, rtol = Problem.parse(asked["text"], name="benchmark"), asked["rtol"]
    closed = Closed.of(problem)
    task = Task(closed, rtol, rtol / 100, False, range(asked["starts"]), None, 1, None)
    space, y, p = ensembles._begin(task)
    system = compiled.build(closed.lanes, *ensembles._sizes(closed, space))
    options = {"rtol": rtol, "atol": rtol / 100, "threads": 1}
    compiled.ensemble(system, y[:1], p, problem.time.times, **options)
    begin = time.process_time()
    found = compiled.ensemble(system, y, p, problem.time.times, **options)
    seconds = time.process_time() - begin
    solved = ensembles._solved(closed, space, found)
    theta = solved.theta - solved.theta.mean(axis=-1, keepdims=True)
    np.savez(asked["to"], m=solved.m, s=solved.s, theta=theta)
    print(json.dumps({"a second": asked["starts"] / seconds, "evaluations": float(found.evaluations.mean())}))


def run(root: Path, case: str, starts: int, rtol: float, to: str) -> dict[str, float]:
    """Trajectories by a checkout, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from tests.benchmarks.modes import serve; serve()"]
    asked = json.dumps({"text": case, "starts": starts, "rtol": rtol, "to": to})
    # What is imported from `tests` is this file, in both: the other checkout need not have it.
    if root != HERE:
        command[2] = f"import runpy; runpy.run_path({str(Path(__file__))!r})['serve']()"
    done = subprocess.run(
        command, input=asked + "\n", env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def distance(found: Any, reference: Any, names: tuple[str, ...] = ("m", "s", "theta")) -> float:
    """The largest error over the trajectories that both have."""
    count = min(len(found["m"]), len(reference["m"]))
    return max(
        float((np.abs(found[n][:count] - reference[n][:count]) / np.maximum(1, np.abs(reference[n][:count]))).max())
        for n in names
    )


def simulated(case: str) -> tuple[float, Any]:
    """Processor seconds of one simulation, and m and s, means of two: there must be two."""
    from solvers import ask
    from solvers.problem import Problem

    problem = Problem.parse(case, name="benchmark")
    ask.simulate(problem, particles=16, replicas=2, step=1.0)  # what is to be compiled
    begin = time.process_time()
    run = ask.simulate(problem, particles=PARTICLES, replicas=2, step=STEP)
    seconds = (time.process_time() - begin) / 2
    return seconds, {"m": run.m.values, "s": run.s.values}


def measure(other: Path | None, quick: bool) -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        to, reference = f"{folder}/found.npz", f"{folder}/reference.npz"
        for K, L, shape, starts, known, tolerances in CASES[:2] if quick else CASES:
            if quick:
                starts, known = 8, 2
            case = text(K, L, shape, starts)
            run(HERE, case, known, REFERENCE, reference)
            true = dict(np.load(reference))
            seconds, paths = simulated(text(K, L, shape, 1))
            row: dict[str, Any] = {"K": K, "L": L, "shape": shape, "starts": starts, "known": known, "runs": []}
            row["simulation"] = {"seconds": seconds, "error": distance(paths, true, ("m", "s"))}
            for rtol in tolerances:
                for name, root in (("this", HERE), ("other", other)):
                    if root:
                        found = run(root, case, starts, rtol, to)
                        error = distance(dict(np.load(to)), true)
                        row["runs"].append({"solver": name, "rtol": rtol, "error": error} | found)
                        print(K, L, shape, row["runs"][-1], flush=True)
            rows.append(row)
    return {"machine": machine.description(), "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.modes", description=__doc__)
    parser.add_argument("other", nargs="?", type=Path, metavar="OTHER_CHECKOUT", help="measured beside this one")
    parser.add_argument("--quick", action="store_true", help="two cases of eight starts: prints, stores nothing")
    options = parser.parse_args()
    result = measure(options.other and options.other.resolve(), options.quick)
    print(tables.modes(result))
    if not options.quick:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        tables.write_modes(result)


if __name__ == "__main__":
    main()
