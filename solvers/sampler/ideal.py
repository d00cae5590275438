"""The ideal control in continuous time: learning the prior is the gradient flow on the noised target, by quadrature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from solvers import systems
from solvers.problem import Overlaps, Problem, Target

__all__ = ["continuous_time"]


def continuous_time(problem: Problem) -> Problem:
    """The flow that learns the prior of a problem with control "exact" as the number of steps goes to infinity.

    Without a sampler section: the closed equations solve it to the integrator's precision. Its objective is
    KL(φ‖p_T), its target the noised one, p_T, whose overlaps and variances the theory derives; m of its result are
    overlaps with the noised modes, e^{−T} times those with the modes.
    Raises ValueError for a problem with another control.
    Source: derivations/documents/sampler_ideal_control.md.
    """
    options, target, start = problem.sampler, problem.target, problem.init.overlaps
    if options is None or options.control != "exact":
        raise ValueError(f'{problem.name}: sampler.control: must be "exact", for a flow on the noised target')
    decay, m = float(np.exp(-options.horizon)), np.zeros(()) if start is None else start.m
    at = systems.load(systems.read("sampler_ideal_control")).at
    moved = at(s=0.0, m=m, c=target.c, v=problem.family.variances, u=target.variances, decay=decay)
    # The vectors themselves are noised as the overlaps with them are.
    vectors = at(s=0.0, m=target.vectors, c=target.c, v=0.0, u=target.variances, decay=decay)["m"]
    init = problem.init if start is None else replace(problem.init, overlaps=Overlaps(start.s, moved["m"]))
    noised = Target(moved["c"], target.weights, moved["u"], vectors)
    return replace(problem, target=noised, init=init, sampler=None)
