"""Comparing samplers past the addition of components: what is laid down, and what each replica would have added.

Which candidate is added is a matter of chance where two are nearly as good, and after that replicas are no longer
samples of one law. So a pilot run of the theory says which points are added, at the fixed times of rule = "interval",
and every replica of either side adds these. Then components correspond by number, and everything is compared as before.
Points that the pilot drew, and did not find given, are known in the reduced chain by their coordinates x_∥ and ϱ; any
vectors of R^d with these coordinates do.

Where points are given, what decides is tested too: just before an addition, the margins by which the point added beats
the others in log p − log φ, in every replica, as any other quantity. And the choices: in how many replicas the point
added is the best one. The two sides have different noise, which makes different shares where the margin is no larger
than the noise, so shares are tested, by Fisher's exact test, where the mean margin is DECIDED times the scatter of
either side over replicas; there, under the truth, less than one replica in 700 chooses otherwise for each rival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact, norm

from solvers.machine.ranks import VECTORS
from solvers.problem import Problem, ProblemError
from solvers.sampler.model import Sampler
from solvers.verdict.agreement import Entry, Part

__all__ = ["Choices", "addition_times", "choice_part", "comparable", "in_space", "margins"]

Array = NDArray[np.float64]

DECIDED = 3.0


def addition_times(problem: Problem) -> Array:
    """When components are added by rule = "interval", before the last time."""
    refine = problem.sampler.refine if problem.sampler else None
    if refine is None:
        return np.empty(0)
    times = refine.every * np.arange(1, refine.until - problem.family.components + 1)
    return np.asarray(times[times < problem.time.times[-1]])


def comparable(problem: Problem) -> tuple[Problem, str]:
    """The problem as far as it can be compared, and a note on that.

    With rule = "interval" all of it, with the times of additions among the save times; else up to the first possible
    addition, without refinement. Raises ProblemError if no save time is left.
    """
    options, time = problem.sampler, problem.time
    assert options is not None
    assert options.refine is not None
    if options.refine.rule == "interval":
        times = np.union1d(time.times, addition_times(problem))
        given = not isinstance(options.refine.source, str)
        note = "compared with the additions of one run of the theory; what replicas would have added is "
        note += "tested apart" if given else "not tested"
        return replace(problem, time=replace(time, times=times)), note
    times = time.times[time.times <= options.refine.every]
    if len(times) == 0:
        raise ProblemError(f"{problem.name}: time.save: has no time up to the first addition, to be compared")
    until = replace(time, end=float(times[-1]), times=times)
    note = f'compared up to the first addition, time {options.refine.every:g}; past it only with rule = "interval"'
    return replace(problem, time=until, sampler=replace(options, refine=None)), note


def in_space(start: Sampler, mu: Array, nu: Array, added: Sequence[tuple[Array, float]]) -> Array:
    """Vectors of R^d (addition, d) for what was added to a sampler, by their coordinates x_∥ and ϱ.

    start: in whose coordinates they are, with one more for each that left the span of those before. mu (K, d), nu
    (L, d): its means in R^d.
    """
    coordinates = np.concatenate([start.mixtures["target"].mean, start.mixtures["prior"].mean])
    # Orthonormal rows, the directions of the span in R^d.
    frame = np.linalg.pinv(coordinates, rcond=VECTORS) @ np.concatenate([nu, mu])
    points = []
    for x, rho in added:
        point = x @ frame
        if rho > 0:
            # Of one unit vector more than there are directions, some leave the span.
            left = np.eye(len(frame) + 1, frame.shape[1])
            left -= left @ frame.T @ frame
            new = left[np.argmax(np.linalg.norm(left, axis=1))]
            frame = np.vstack([frame, new / np.linalg.norm(new)])
            point = point + np.sqrt(rho) * frame[-1]
        points.append(point)
    return np.array(points)


def margins(scores: Array, order: tuple[int, ...]) -> Array:
    """By how much the points laid down beat the others: (..., addition, n − 1), of scores (..., addition, n)."""
    found = [scores[..., a, row, None] - np.delete(scores[..., a, :], row, -1) for a, row in enumerate(order)]
    return np.stack(found, axis=-2)


@dataclass(frozen=True, eq=False)
class Choices:
    """Of one start: order, the points added; theory, simulation (replica, addition, n − 1): margins over the others."""

    start: int
    times: Array
    order: tuple[int, ...]
    theory: Array
    simulation: Array

    def counts(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Replicas of either side in which the point added was the best one, (addition,)."""
        theory, simulation = ((side > 0).all(-1).sum(0) for side in (self.theory, self.simulation))
        return theory, simulation

    def decided(self) -> NDArray[np.bool_]:
        """(addition,): the theory's mean margin over every other point is well above the scatter of either side."""
        scatter = np.maximum(self.theory.std(0, ddof=1), self.simulation.std(0, ddof=1))
        return np.asarray((self.theory.mean(0) > DECIDED * scatter).all(-1))

    def note(self) -> str:
        """Which points were added, and how many replicas would have."""
        theory, simulation = (", ".join(map(str, counts)) for counts in self.counts())
        points = ", ".join(map(str, self.order))
        open_ = ", ".join(f"{time:g}" for time in self.times[~self.decided()])
        note = (
            f"start {self.start}: rows {points} (from 0) of the given points added; of {len(self.theory)} replicas so "
            f"many would have added them: theory {theory}; simulation {simulation}"
        )
        return note + (f"; a matter of chance, and not tested, at time {open_}" if open_ else "")


def choice_part(starts: list[Choices], alpha: float) -> Part | None:
    """The test of shares, None if no addition is decided. Deviations are normal quantiles of exact p values."""
    entries = []
    for start in starts:
        n = len(start.theory)  # as many on either side
        for a in np.flatnonzero(start.decided()):
            theory, simulation = (int(side[a]) for side in start.counts())
            p = float(fisher_exact(np.array([[theory, n - theory], [simulation, n - simulation]])).pvalue)
            both = (theory + simulation) / (2 * n)
            entries.append(
                Entry(
                    start=start.start, time=float(start.times[a]), quantity=f"share[{start.order[a]}]",
                    theory=theory / n, simulation=simulation / n,
                    standard_error=float(np.sqrt(2 * both * (1 - both) / n)), allowance=0.0,
                    deviation=float(max(norm.isf(p / 2), 0.0)), scale=1.0, resolved=1.0, relative=np.inf,
                )
            )  # fmt: skip
    if not entries:
        return None
    limit = float(norm.isf(alpha / (2 * len(entries))))
    return Part("choice", alpha, limit, tuple(sorted(entries, key=lambda entry: -entry.deviation)))
