"""What a solution will take, before a long one begins: rules and errors of expectations, time, memory, tolerance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.closed.backends import SOLVERS
from solvers.closed.equations import Closed
from solvers.expectations import gaussian_softmax
from solvers.expectations.describe import describe
from solvers.integrate.tolerances import SHARE, of_expectations
from solvers.machine.backends import BACKENDS
from solvers.machine.cores import cores
from solvers.machine.units import duration, size
from solvers.problem import Problem, demands
from solvers.problem.starts import starts

__all__ = ["LONG", "Plan", "plan"]

Array = NDArray[np.float64]

#: Seconds from which on a solution is long.
LONG = 10.0
#: Seconds that finding out may take, or a little more: a pilot that has begun is not left.
ENOUGH = 1.5
#: Starts of the first pilots, and which part of the time they go: longer ones follow until there is no time left.
FEW, SHORTEST = 4, 1 / 1024
#: No larger rtol is told, whatever the errors of expectations.
COARSEST = 1e-3
#: Ratio of the rtols that are tried.
NEXT = 3.0
#: Seconds that nothing is compiled or loaded in.
LOADED = 0.1
#: What pilots of another length, or of fewer starts, may be wrong by.
UNSEEN, NOISE = 2.0, 1.25

#: Solves some starts of a problem.
Run = Callable[[Problem, range], xr.Dataset]


@dataclass(frozen=True)
class Plan:
    """starts, backend. rules: how many logits -> how they are averaged. error: of the expectations, the largest
    estimate of pilots, of starts, and of components on modes, in units of max(1, |value|).
    rtol: asked for; cheapest: the loosest that loses nothing to that error. seconds: on this machine, between which
    they are. memory: bytes, at the least. reached: the part of the flow's time that a pilot went.
    """

    starts: int
    backend: str
    rules: dict[str, str]
    error: float
    rtol: float
    cheapest: float
    seconds: tuple[float, float, float]
    memory: int
    reached: float

    def __str__(self) -> str:
        mean, low, high = (duration(s) for s in self.seconds)
        pilots = "" if self.reached == 1 else f", guessed from the first {self.reached:.2g} of the time"
        lines = [
            f"{self.starts} starts on {self.backend}: about {mean} ({low} to {high}{pilots}), at least "
            f"{size(self.memory)} of memory"
        ]
        rules = "".join(f"{name}: {rule}; " for name, rule in self.rules.items())
        lines.append(f"expectations: {rules}errors up to {self.error:.1g}")
        if self.cheapest > self.rtol:
            lines.append(f"rtol: {self.rtol:g} is finer than these; {self.cheapest:.1g} loses nothing and is cheaper")
        return "\n".join(lines)


def plan(problem: Problem, rtol: float, run: Run, *, long: float = 0.0) -> Plan | None:
    """The plan of a solution; None as soon as it is known to take less than `long` seconds.

    Time is that of pilots, some starts for a part of the time and then more and longer ones. What is timed is the
    processor, except on a GPU: other work on this machine does not count.
    Raises  ProblemError where memory is not there; what `run` raises.
    """
    demands.check_solve(problem, problem.init.samples)
    for backend, seconds, reached, error in _pilots(problem, run):  # noqa: B007
        if seconds[2] < long:
            return None
    if seconds[0] < long:
        return None
    rules, beside = ({}, 0.0) if problem.own_variances else _rules(problem, rtol, backend)
    error = max(error, beside)
    cheapest = max(rtol, min(error / SHARE, COARSEST))
    # Some rules become coarser with the tolerance although they miss it.
    while cheapest > rtol and rules and _rules(problem, cheapest, backend)[1] > error:
        cheapest = max(rtol, cheapest / NEXT)
    starts, memory = problem.init.samples, demands.memory(problem)
    return Plan(starts, backend, rules, error, rtol, cheapest, seconds, memory, reached)


def _pilots(problem: Problem, run: Run) -> Iterator[tuple[str, tuple[float, float, float], float, float]]:
    """Better and better: backend, seconds (mean, low, high) of all starts, part of the time that was seen, error."""
    begun, samples = time.perf_counter(), problem.init.samples
    count, part, before = min(FEW, samples), SHORTEST, 0.0
    error, expected = 0.0, 0.0
    while True:
        taken, ds = _timed(problem, part, run, range(count))
        backend = str(ds.attrs["backend"])
        if taken > max(3 * expected, LOADED):  # machine code was made or loaded, for what had not happened before
            begun = time.perf_counter()
            taken, ds = _timed(problem, part, run, range(count))
        threads = cores() if BACKENDS[backend].instead else 1
        error = float(np.fmax(error, np.nanmax(ds["quadrature_error"].values, initial=0.0)))
        # What was not seen is like what was seen last; at first, like all of it, with what every start takes once.
        late = max(0.0, taken - before) / (0.75 * part) if before else taken / part
        share = samples / count / min(threads, -(-samples // FEW))
        guess, off = (taken + (1 - part) * late) * share, NOISE if part == 1 else UNSEEN
        yield backend, (guess, guess / off, guess * off), part, error
        left = threads * (ENOUGH - (time.perf_counter() - begun))
        if part < 1 and left > 4 * taken:
            part, before, expected = 4 * part, taken, 4 * taken
        elif part == 1 and count < samples and left > 4 * taken:
            count, before, expected = min(4 * count, samples), 0.0, 4 * taken
        else:
            return


def _timed(problem: Problem, part: float, run: Run, samples: range) -> tuple[float, xr.Dataset]:
    """Some starts for a part of the time: seconds, of all processors together where these compute, and the result."""
    times = problem.time.times
    if part < 1:
        end = part * times[-1]
        times = np.append(times[times < end], end)
    cut = replace(problem, time=replace(problem.time, end=float(times[-1]), times=times))
    processor, clock = time.process_time(), time.perf_counter()
    ds = run(cut, samples)
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    return (clock if BACKENDS[str(ds.attrs["backend"])].device else processor), ds


@np.errstate(all="ignore")
def _rules(problem: Problem, rtol: float, backend: str) -> tuple[dict[str, str], float]:
    """How logits are averaged at the first starts and where components are on modes, by the number of logits, and the
    largest error there."""
    closed = Closed.of(problem)
    first = starts(problem, range(min(FEW, problem.init.samples)))
    on = np.arange(closed.components) % closed.modes
    c = problem.target.c
    average = SOLVERS[backend].softmax or gaussian_softmax
    words: dict[int, dict[str, None]] = {}
    errors = [0.0]

    def expect(mean: Any, cov: Any) -> tuple[Any, ...]:
        rule, error = describe(mean, cov, of_expectations(rtol), average)
        if mean.shape[-1] > 1:
            words.setdefault(mean.shape[-1], {})[rule] = None
        errors.append(error)
        batch = np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2])
        return np.zeros((*batch, mean.shape[-1])), np.zeros(batch)  # nobody reads the tables

    for s, m, theta in (first, (c[np.ix_(on, on)][None], c[on][None], first.theta[:1])):
        closed.evaluate(s, m, theta, expect=expect)
    return {f"{n} logits": ", ".join(rules) for n, rules in sorted(words.items())}, max(errors)
