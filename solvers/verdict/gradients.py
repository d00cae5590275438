"""How what a sampler learns begins to move: gradients of the reduced chain against gradients in R^d, at a start.

A gradient has no bias on either side, and an error of a rate shows in it before anything has grown or been forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from solvers.machine.progress import Progress
from solvers.particles.sampler.simulation import plan
from solvers.particles.sampler.velocities import replica_velocities
from solvers.problem import Problem
from solvers.problem.starts import Starts
from solvers.sampler.objectives import LEVEL
from solvers.sampler.runs import sampler_of, velocities
from solvers.verdict.agreement import Family
from solvers.verdict.entries import Entries, distinct
from solvers.verdict.power import sharpened

__all__ = ["beginning", "gradients", "resolved_by_default"]

ROUNDING = 1e-9  # of either side, in units of the scale of an entry
FIRST_LOOK = 8  # times as many paths behind a gradient here, at first, as behind one of the many that learning takes
RESOLVE = 0.15  # part of a rate by which the theory may be off and be noticed; what is spared shows a tenth, mostly
RESOLVE_EXACT = 0.03  # the same with the exact control, whose gradients take no way back and have little noise
GRADIENT = 4  # names repetitions of the theory, beside runs of learning with several numbers of paths


def resolved_by_default(problem: Problem) -> float:
    """The part of a rate that shows unless the caller says otherwise."""
    return RESOLVE_EXACT if problem.sampler is not None and problem.sampler.control == "exact" else RESOLVE


def beginning(
    problem: Problem, begin: Starts, i: int, particles: int, replicas: int, backend: str, drop: str | None,
    resolve: float | None, seed: Callable[[int, int], np.random.SeedSequence],
) -> tuple[list[Family], list[str]]:  # fmt: skip
    """How everything begins to move, from as many times `particles` paths as it takes to see an error of the part
    `resolve` of a rate, and notes on that.

    seed: of a repetition of the theory, by its number and what it repeats. Others: as `gradients`.
    """

    def look(number: int, times: int, _: Progress | None) -> list[Family]:
        seeds = [seed(r, GRADIENT + number) for r in range(replicas)]
        return [gradients(problem, begin, i, times * particles, seeds, backend, drop, number)]

    def refuse(times: int) -> None:
        plan(problem, particles=times * particles, replicas=replicas, step=1e-3, backend=backend)

    found, _, notes = sharpened(
        look, f"gradient of start {i}", particles=particles, first=FIRST_LOOK, usual=resolved_by_default(problem),
        resolve=resolve, refuse=refuse,
    )  # fmt: skip
    return found, notes


def gradients(
    problem: Problem, begin: Starts, i: int, paths: int, seeds: Sequence[np.random.SeedSequence], backend: str,
    drop: str | None, look: int = 0,
) -> Family:  # fmt: skip
    """dm/dt, ds/dt, dtheta/dt and dlog v/dt of every mixture that learns, at start i of `begin`.

    paths: behind each gradient, of a replica of either side. seeds: of the replicas of the theory, of which there are
    as many as of the simulation. backend: of the simulation. drop: of solvers.sampler.solve. look: names the random
    numbers of the simulation.
    """
    simulated = replica_velocities(problem, begin, i, particles=paths, replicas=len(seeds), backend=backend, look=look)
    s, m, theta = (of[i] for of in begin)
    sampler = sampler_of(problem, s, m, theta, problem.family.variances, drop)
    theory = [velocities(problem, sampler, paths, np.random.default_rng(seed), drop) for seed in seeds]
    entries, length = Entries(), max(1.0, float(np.abs(problem.target.c).max()), float(np.abs(s).max()))
    for mixture, rates in simulated.items():
        named = "" if mixture in ("prior", LEVEL) else f"{mixture} "
        for name, estimates in rates.items():
            scale = length if name in ("dm/dt", "ds/dt") else 1.0
            for index in distinct(name, estimates.shape[1:]):
                expected = np.array([one[mixture][name][index] for one in theory])
                value = expected.mean()
                # A pair of replicas, one from either side: its difference has the variances of both.
                pairs = estimates[(slice(None), *index)] - (expected - value)
                entries.add(named + name, index, value, pairs, scale=scale, allowance=ROUNDING * scale, unit=value)
    return entries.family(i, 0.0, paths * len(seeds))
