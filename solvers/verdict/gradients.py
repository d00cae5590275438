"""How what a sampler learns begins to move: gradients of the reduced chain against gradients in R^d, at a start.

A gradient has no bias on either side, and an error of a rate shows in it before anything has grown or been forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from solvers.particles.sampler.velocities import replica_velocities
from solvers.problem import Problem
from solvers.problem.starts import Starts
from solvers.sampler.runs import sampler_of, velocities
from solvers.verdict.agreement import Family
from solvers.verdict.entries import Entries, distinct

__all__ = ["gradients"]

ROUNDING = 1e-9  # of either side, in units of the scale of an entry


def gradients(
    problem: Problem, begin: Starts, i: int, paths: int, seeds: Sequence[np.random.SeedSequence], backend: str,
    drop: str | None,
) -> Family:  # fmt: skip
    """dm/dt, ds/dt, dtheta/dt and dlog v/dt of every mixture that learns, at start i of `begin`.

    paths: behind each gradient, of a replica of either side. seeds: of the replicas of the theory, of which there are
    as many as of the simulation. backend: of the simulation. drop: of solvers.sampler.solve.
    """
    simulated = replica_velocities(problem, begin, i, particles=paths, replicas=len(seeds), backend=backend)
    s, m, theta = (of[i] for of in begin)
    sampler = sampler_of(problem, s, m, theta, problem.family.variances, drop)
    theory = [velocities(problem, sampler, paths, np.random.default_rng(seed)) for seed in seeds]
    entries, length = Entries(), max(1.0, float(np.abs(problem.target.c).max()), float(np.abs(s).max()))
    for mixture, rates in simulated.items():
        named = "" if mixture == "prior" else f"{mixture} "
        for name, estimates in rates.items():
            scale = length if name in ("dm/dt", "ds/dt") else 1.0
            for index in distinct(name, estimates.shape[1:]):
                expected = np.array([one[mixture][name][index] for one in theory])
                value = expected.mean()
                # A pair of replicas, one from either side: its difference has the variances of both.
                pairs = estimates[(slice(None), *index)] - (expected - value)
                entries.add(named + name, index, value, pairs, scale=scale, allowance=ROUNDING * scale, unit=value)
    return entries.family(i, 0.0, paths * len(seeds))
