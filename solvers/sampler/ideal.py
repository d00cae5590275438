"""The ideal control in continuous time: learning the prior is the gradient flow on the noised target, by quadrature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from solvers.closed import flow, systems
from solvers.problem import Overlaps, Problem, Target, Time
from solvers.problem.family import only_isotropic

__all__ = ["continuous_time", "learned"]


def continuous_time(problem: Problem) -> Problem:
    """The flow that learns the prior of a problem with control "exact" as the number of steps goes to infinity.

    Without a sampler section: the closed equations solve it to the integrator's precision. Its objective is
    KL(φ‖p_T), its target the noised one, p_T, whose overlaps and variances the theory derives; m of its result are
    overlaps with the noised modes, e^{−T} times those with the modes.
    Raises ValueError for a problem with another control, or with an objective on other paths than the sampler's own; on
    those the gradient in the prior is the same for all objectives. ProblemError for one with diagonal covariances.
    Source: derivations/documents/sampler_ideal_control.md.
    """
    options, target, start = problem.sampler, problem.target, problem.init.overlaps
    if options is None or options.control != "exact":
        raise ValueError(f'{problem.name}: sampler.control: must be "exact", for a flow on the noised target')
    only_isotropic(problem.name, problem.family)
    if options.explore != 1:
        must = "must be 1, for a flow on the noised target"
        raise ValueError(f"{problem.name}: sampler.explore: is {options.explore:g}; {must}")
    decay, m = float(np.exp(-options.horizon)), np.zeros(()) if start is None else start.m
    at = systems.load(systems.read("sampler_ideal_control")).at
    moved = at(s=0.0, m=m, c=target.c, v=problem.family.variances, u=target.variances, decay=decay)
    # The vectors themselves are noised as the overlaps with them are.
    vectors = at(s=0.0, m=target.vectors, c=target.c, v=0.0, u=target.variances, decay=decay)["m"]
    init = problem.init if start is None else replace(problem.init, overlaps=Overlaps(start.s, moved["m"]))
    noised = Target(moved["c"], target.weights, moved["u"], vectors)
    return replace(problem, target=noised, init=init, sampler=None, learning=None)


def learned(problem: Problem, rtol: float = 1e-8, atol: float = 1e-10) -> Problem:
    """A problem whose prior is what that flow has learned at time.end, from the first start; no more is learned.

    What the sampler of finitely many steps makes of it can then be evaluated or simulated.
    Raises ValueError for another control, or if the flow does not reach the end.
    """
    # A single trajectory: not worth compiling for.
    run = flow.solve(continuous_time(problem), rtol=rtol, atol=atol, backend="numpy", samples=range(1))
    run = run.isel(sample=0, time=-1)
    if int(run.status):
        raise ValueError(f"{problem.name}: time.end: is not reached by the flow that learns the prior")
    assert problem.sampler is not None
    overlaps = Overlaps(run.s.values, run.m.values * float(np.exp(problem.sampler.horizon)))
    return replace(
        problem,
        family=replace(problem.family, weights=run.w.values, variances=run.v.values, learn=()),
        init=replace(problem.init, scale=None, means=None, overlaps=overlaps, samples=1),
        time=Time(0.0, np.zeros(1)),
        learning=None,
    )
