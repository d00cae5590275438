"""Work against precision for every solver, then throughput at equal achieved error, all in one run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np

from solvers.problem.starts import starts
from tests.benchmarks.case import Array, errors, problem, reduced
from tests.benchmarks.peers import Setting
from tests.benchmarks.reference import reference, summary
from tests.benchmarks.worker import SOLVERS, SolverFailed, Timing, Worker

Row = dict[str, Any]
Say = Callable[[str], None]

WARM = 64
TARGETS = (1e-8, 1e-6)
CRITERIA = ("max", "p99")


class Starts:
    """The first n starts of one sequence, for any n; grown as needed."""

    def __init__(self) -> None:
        self._known = np.empty((0, 6))

    def __call__(self, count: int) -> Array:
        known = len(self._known)
        if count > known:
            more = starts(problem(count), range(known, count))
            self._known = np.concatenate([self._known, reduced(more.s, more.m, more.theta)])
        return self._known[:count]


def measure(
    keys: Iterable[str], cores: int, device: str, *, measured: int, rounds: int, seconds: float, say: Say
) -> dict[str, Any]:
    """Everything about throughput.

    Takes
        measured: how many starts the errors are measured on, the same for all solvers
        rounds: repetitions of the final timing; every round times all solvers one after another
        seconds: shortest time of one timing; fast solvers are given more starts of the same sequence to fill it
    Returns
        reference, versions, unavailable, work_precision, throughput; see the rows below.
    """
    first = Starts()
    say(f"reference solution of {measured} starts")
    exact, disagreement = reference(first(measured), cores)
    result: dict[str, Any] = {
        "reference": {"starts": measured, "disagreement": disagreement},
        "versions": {},
        "unavailable": {},
        "work_precision": [],
    }
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for key in keys:
            worker = stack.enter_context(Worker(key, cores, device))
            try:
                result["versions"] |= worker.versions()
                for setting in SOLVERS[key].ladder:
                    result["work_precision"].append(_precision(worker, setting, first, exact, seconds / 2, say))
                workers[key] = worker
            except SolverFailed as failure:
                say(f"{SOLVERS[key].name}: not available: {failure}")
                result["unavailable"][key] = str(failure)
        chosen = {
            (key, criterion, target): row
            for key in workers
            for criterion in CRITERIA
            for target in TARGETS
            if (row := _fastest(result["work_precision"], key, criterion, target))
        }
        timings = _rounds(workers, chosen.values(), first, rounds, seconds, say)
    result["throughput"] = _compare(chosen, timings, cores)
    if cores > 1:
        strict = {at: row for at, row in chosen.items() if at[1:] == (CRITERIA[0], TARGETS[0])}
        with ExitStack() as stack:
            workers = {key: stack.enter_context(Worker(key, 1, device)) for key, _, _ in strict}
            timings = _rounds(workers, strict.values(), first, rounds, seconds, say)
        result["throughput"] += _compare(strict, timings, 1)
    return result


def _precision(worker: Worker, setting: Setting, first: Starts, exact: Array, seconds: float, say: Say) -> Row:
    """One point of the work-precision diagram: a solver at one setting."""
    prepare = worker.prepare(setting, first(WARM))
    paths, timing = worker.run(first(len(exact)))
    if timing.wall < seconds:
        timing = worker.time(first(_enough(timing, seconds)))
    row: dict[str, Any] = {
        "solver": worker.key,
        "name": SOLVERS[worker.key].name,
        "setting": setting,
        "cores": worker.cores,
        "error": summary(errors(paths, exact)),
        "prepare_seconds": prepare,
        **timing.as_dict(),
    }
    say(
        f"{row['name']}: {_words(setting)}: error {row['error']['max']:.1e} (99 %: {row['error']['p99']:.1e}), "
        f"{timing.throughput:.0f} trajectories/s"
    )
    return row


def _enough(timing: Timing, seconds: float) -> int:
    """How many starts fill `seconds`: a power of two times those timed."""
    return timing.trajectories * 2 ** max(0, math.ceil(math.log2(seconds / timing.wall)))


def _fastest(rows: list[Row], key: str, criterion: str, target: float) -> Row | None:
    """The fastest setting of a solver whose achieved error is at most the target."""
    fitting = [row for row in rows if row["solver"] == key and row["error"][criterion] <= target]
    return min(fitting, key=lambda row: row["wall"] / row["trajectories"], default=None)


def _rounds(
    workers: dict[str, Worker], rows: Iterable[Row], first: Starts, rounds: int, seconds: float, say: Say
) -> dict[str, list[Timing]]:
    """Timings of each setting in `rows`; solvers alternate, so that a busy spell of the machine meets all of them."""
    settings = {_label(row): row for row in rows}
    counts: dict[str, int] = {}
    timings: dict[str, list[Timing]] = {label: [] for label in settings}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds} on {max(w.cores for w in workers.values())} core(s)")
        for label, row in settings.items():
            worker = workers[row["solver"]]
            worker.prepare(row["setting"], first(WARM))
            if label not in counts:
                share = worker.cores / row["cores"]
                guess = Timing(row["trajectories"], row["wall"] / share, row["cpu"])
                counts[label] = _enough(guess, seconds) if guess.wall < seconds else _fewer(guess, seconds)
            timings[label].append(worker.time(first(counts[label])))
    return timings


def _fewer(timing: Timing, seconds: float) -> int:
    """As `_enough`, for a solver slower than that; 256 starts at least, so that the sample means the same."""
    return max(256, timing.trajectories // 2 ** int(math.log2(timing.wall / seconds)))


def _label(row: Row) -> str:
    return f"{row['solver']} {row['setting']}"


def _words(setting: Setting) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in setting.items())


def _compare(chosen: dict[tuple[str, str, float], Row], timings: dict[str, list[Timing]], cores: int) -> list[Row]:
    """One row for each solver, criterion and target: median throughput, and how many times faster this solver is.

    `faster` is the median over rounds of the ratio within a round, `faster_range` its extremes.
    """
    out = []
    for (key, criterion, target), row in chosen.items():
        runs = timings[_label(row)]
        entry = {
            "solver": key,
            "name": row["name"],
            "criterion": criterion,
            "target": target,
            "cores": cores,
            "setting": row["setting"],
            "error": row["error"],
            "throughput": statistics.median(run.throughput for run in runs),
            "throughput_cpu": statistics.median(run.trajectories / run.cpu for run in runs),
            "runs": [run.as_dict() for run in runs],
        }
        if ours := chosen.get(("this", criterion, target)):
            ratios = [mine.throughput / run.throughput for mine, run in zip(timings[_label(ours)], runs, strict=True)]
            entry |= {"faster": statistics.median(ratios), "faster_range": [min(ratios), max(ratios)]}
        out.append(entry)
    return out
