"""What a sweep will cost, from a small pilot."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from solvers.machine.backends import BACKENDS
from solvers.machine.cores import cores, peak_memory
from solvers.machine.units import duration, size
from solvers.problem import Problem
from solvers.sweeps.dataset import VIEW, summaries
from solvers.sweeps.plan import Sweep
from solvers.sweeps.prepare import check_size, layout, prepare, refined
from solvers.sweeps.refine import Rounds
from solvers.sweeps.work import PIECE, Options, ends

__all__ = ["Estimate", "estimate"]

PILOTS, FEWEST = 48, 3  # points timed; fewer, but not so few, where they take longer than ...
ENOUGH = 3.0  # ... so many seconds together
BLOCK = 4096  # bytes that a file system takes for a file besides what is in it, at most
LONG_ENOUGH = 0.05  # seconds; shorter timings are repeated with more starts


@dataclass(frozen=True)
class Estimate:
    """points, starts: of the whole grid, and of the first round of a refined one (else the same).

    units, files: how the work is cut, files in the store. seconds: of one worker with a core to itself, the mean and
    its 95 % interval over pilot points. workers. memory: bytes one worker had at most so far. store: bytes, at most.
    """

    points: int
    starts: int
    first_points: int
    first_starts: int
    units: int
    files: int
    seconds: tuple[float, float, float]
    workers: int
    memory: float
    store: int

    def __str__(self) -> str:
        rate = self.starts / self.seconds[0]
        mean, low, high = (duration(s / self.workers) for s in self.seconds)
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        lines = [
            f"{self.points} points, {self.starts} starts, in {self.units} units of work",
            f"time: about {mean} ({low} to {high}) on {workers}, each with a core and {rate:.3g} starts a second",
        ]
        if self.first_points < self.points:
            first = duration(self.seconds[0] / self.workers * self.first_starts / self.starts)
            lines.append(
                f"refined: between {self.first_points} points ({first}), the first round, and all of them, "
                "depending on the length of the contour"
            )
        lines.append(f"memory: {size(self.memory)} a worker, whatever the number of points and starts")
        lines.append(f"store: at most {size(self.store)} in {self.files} files")
        return "\n".join(lines)


def estimate(sweep: Sweep, *, workers: int | None = None, options: Options | None = None) -> Estimate:
    """Plan a sweep and time some of its starts, spread over the grid; nothing is written.

    What is timed is the processor, except on a GPU: other work on this machine does not count. The interval is that of
    the mean over the points timed; what it leaves out is that workers may slow each other down, by sharing memory or a
    core.
    """
    options = options or Options()
    check_size(sweep)
    prepare(sweep, options)
    # Multiples of the golden ratio spread over the grid in its order, whatever its shape, and however many there are.
    chosen = dict.fromkeys(int(i * 0.6180339887498949 % 1 * sweep.points) for i in range(PILOTS))
    costs: list[float] = []
    begun = time.perf_counter()
    for flat in chosen:
        if len(costs) >= FEWEST and time.perf_counter() - begun > ENOUGH:
            break
        index = tuple(int(i) for i in np.unravel_index(flat, sweep.shape))
        costs.append(_seconds_a_start(sweep.problem(index), options, sweep.quantities))
    mean = float(np.mean(costs))
    if len(costs) > 1:
        half = float(student.ppf(0.975, len(costs) - 1) * np.std(costs, ddof=1) / np.sqrt(len(costs)))
    else:
        half = 0.0
    plan = layout(sweep)
    views = math.prod(-(-n // VIEW) for n in plan.shape)
    sums, blank = plan.columns.count, summaries(np.full((1, plan.columns.count, 3), np.nan), plan.columns)
    variables, numbers = len(blank), sum(array.size for array in blank.values())
    files = plan.units + variables * (views + 1) + 2 * len(plan.shape) + 4
    first_points, first_starts = sweep.points, sweep.starts
    if sweep.refine is not None:
        knots = Rounds(sweep.shape, refined(sweep), sweep.refine.levels).knots[0]
        first_points = math.prod(len(k) for k in knots)
        # Along keys that do not change the number of starts all points are alike.
        alike = math.prod(len(k) for k, n in zip(knots, sweep.samples.shape, strict=True) if n == 1)
        moving = [k if n > 1 else [0] for k, n in zip(knots, sweep.samples.shape, strict=True)]
        first_starts = int(sweep.samples[np.ix_(*moving)].sum()) * alike
    return Estimate(
        points=sweep.points,
        starts=sweep.starts,
        first_points=first_points,
        first_starts=first_starts,
        units=plan.units,
        files=files,
        seconds=(sweep.starts * mean, sweep.starts * max(mean - half, min(costs)), sweep.starts * (mean + half)),
        workers=max(1, min(workers or cores(), plan.units)),
        memory=peak_memory(),
        store=sweep.points * (plan.parts * sums * 24 + numbers * 8) + files * BLOCK,
    )


def _seconds_a_start(problem: Problem, options: Options, quantities: tuple[str, ...]) -> float:
    elsewhere = options.backend in BACKENDS and BACKENDS[options.backend].device
    clock = time.perf_counter if elsewhere else time.process_time
    count = 1
    while True:
        begun = clock()
        for _ in ends(problem, range(count), options, quantities):  # those that fail take time, too
            pass
        taken = clock() - begun
        if taken >= LONG_ENOUGH or count == min(problem.init.samples, PIECE):
            return taken / count
        count = min(4 * count, problem.init.samples, PIECE)
