"""Theory against simulation: do particles in R^d follow the closed equations, at a stated false-alarm rate?

Two parts, each decided by solvers.verdict.agreement at a false-alarm probability of ALPHA.

*Right-hand side.* At points of the theory's own trajectory, vectors of R^d are made that have its overlaps, and the
velocities of s, m and w, the objective and the mode masses are compared with unbiased Monte Carlo estimates. A first
look tells how many particles it takes to notice an error of RESOLVE in each of these rates; if it had too few, fresh
ones are drawn, with other random numbers.

*Trajectory.* s, m and w at every save time. The simulation runs with steps 2h, h and h/2, from independent streams.
Its bias is a series in the step (the Euler error, and the O(h/n) mean effect of the noise of n particles), and in each
replica E = 2 X(h/2) − X(h) is free of the first order. The second order is measured, not guessed: E is off by
[X(h) − X(2h) − 2 (X(h/2) − X(h))]/3 + O(h³), and twice the absolute replica mean of that is allowed.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from solvers.closed import flow
from solvers.closed.equations import Closed
from solvers.machine.backends import DEFAULT
from solvers.machine.code import usable
from solvers.machine.progress import Progress, within
from solvers.particles.plan import SimulationError, plan
from solvers.problem import Problem, ProblemError
from solvers.verdict.agreement import Family, blind
from solvers.verdict.comparison import RESOLVE, Comparison
from solvers.verdict.entries import check_replicas, first_starts, parts, unsolved
from solvers.verdict.power import check_resolve
from solvers.verdict.report import Report

__all__ = ["Report", "compare"]

STARTS = 4  # at most so many of a problem's starts are compared


def compare(
    problem: Problem,
    *,
    particles: int = 256,
    replicas: int = 32,
    step: float = 0.05,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str = DEFAULT,
    drop: str | None = None,
    system: ModuleType | None = None,
    resolve: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare the closed equations of a problem with its simulation, for its first STARTS starts.

    Near a separatrix the noise of a finite number of particles decides where a replica goes: its mean effect is then no
    series in the step, and the theory, which has no noise, need not follow the mean. So trajectories are compared up
    to the time where the replicas scatter by more than SCATTER, and the report notes those cut short; more particles
    carry them further. The right-hand side has no such limit.

    Takes
        particles, replicas, step, backend: of the simulation; rtol, atol: of the integrator of the theory; drop: a term
        of the closed equations to leave out, so that the comparison can be seen to reject; system: closed equations
        to compare instead of the problem's own; resolve: the part of a rate, of overlaps, weights, variances or of the
        objective, by which the theory may be off and be rejected with probability POWER, of (0, 1]: particles at the
        points are chosen for it, and the report says how many; default RESOLVE. At most MOST_ASKED times those
        of the first look are drawn, by default MOST; progress: called with the fraction done, from 0 to 1.
    Returns
        Report; its `agrees` is the verdict.
    Raises
        SimulationError for fewer than FEWEST_REPLICAS replicas, a step above half the smallest variance, or a problem
        that does not fit in memory; ProblemError; BackendError.
    """
    problem.only_flow()
    if problem.flow.batch is not None:
        raise ProblemError(f"{problem.name}: flow.batch: is for `solve` and `simulate` in this version; leave it out")
    check_replicas(replicas)
    smallest = min(problem.family.variances.min(), problem.target.variances.min())
    if not 0 < 2 * step <= smallest:
        raise SimulationError(
            f"step: is {step:.6g}; must be > 0 and at most half the smallest variance, {smallest / 2:.6g}, since a "
            "comparison also runs with twice the step"
        )
    check_resolve(resolve)
    backend = usable(backend)
    plan(problem, particles=particles, replicas=replicas, step=2 * step, backend=backend)
    compared, notes = first_starts(problem, STARTS)
    count = compared.init.samples
    closed = Closed.of(compared, drop=drop, system=system)
    theory = flow.solve(compared, rtol=rtol, atol=atol, closed=closed)
    comparison = Comparison(compared, closed.module, theory, particles, replicas, step, rtol, backend)
    broken = [unsolved(i, status) for i, status in enumerate(theory["status"].values.tolist()) if status]
    solved = np.flatnonzero(theory["status"] == 0).tolist()
    points, times, more = comparison.points(solved, resolve, within(progress, 0, 0.3))
    notes += more
    paths: list[Family] = []
    for n, i in enumerate(solved):
        runs = comparison.runs(i, within(progress, 0.3 + 0.7 * n / len(solved), 0.3 + 0.7 * (n + 1) / len(solved)))
        followed, cut_short = comparison.path(i, runs)
        paths += followed
        notes += cut_short
    found = parts({"right-hand side": points, "trajectory": paths})
    return Report(
        parts=found,
        broken=tuple(broken),
        notes=(*notes, *blind(found)),
        options={
            "particles": particles,
            "point_particles": times * particles,
            "replicas": replicas,
            "step": step,
            "rtol": rtol,
            "atol": atol,
            "backend": backend,
            "drop": drop,
            "resolve": RESOLVE if resolve is None else resolve,
            "starts": count,
        },
        problem=problem.text,
        system=comparison.module.SYSTEM,
    )
