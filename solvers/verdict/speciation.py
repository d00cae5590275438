"""When the sampler of a problem decides between modes: clones of its paths, in theory and in R^d.

Source: derivations/documents/speciation.md; Biroli, Bonnaire, de Bortoli and Mézard, arXiv 2402.18491 (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from solvers import results
from solvers.machine.backends import DEFAULT, looked_up
from solvers.machine.chance import Stream, generator
from solvers.machine.code import usable
from solvers.machine.progress import Progress
from solvers.particles.sampler import clones as sampler_clones
from solvers.problem import Problem, ProblemError
from solvers.problem.family import only_isotropic
from solvers.problem.starts import starts
from solvers.sampler import clones
from solvers.sampler.backends import WALKERS
from solvers.sampler.runs import sampler_of

__all__ = ["COMMAND", "speciation"]


COMMAND = "solvers.verdict.speciation.speciation"
#: Stream of random numbers, beside those of the starts and of solvers.sampler.solve.

_MEANING = {
    "tau": ("1", "noise time left where the clones part, T − nη"),
    "closed": ("1", "probability that clones end in the same mode, infinitely many steps, by the closed equations"),
    "reduced": ("1", "the same of the reduced chain"),
    "reduced_se": ("1", "standard error of reduced"),
    "simulated": ("1", "the same of the chain in R^d"),
    "simulated_se": ("1", "standard error of simulated"),
    "curvature": ("1/length²", "largest eigenvalue of ∇∇log p_τ at the mean of the noised target"),
    "double_well": ("1", "noise time below which −log p_τ is not convex at the mean"),
    "unstable": ("1", "noise time below which the drift is unstable at the mean"),
    "decided": ("1", "closed at double_well"),
    "covariance": ("1", "half the logarithm of the largest eigenvalue of the target's covariance"),
}


def speciation(
    problem: Problem,
    *,
    splits: Sequence[int],
    paths: int = 4096,
    backend: str = DEFAULT,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Whether clones of a path that part on the way end in the same mode, and the predicted time when they begin to.

    Takes
        problem: with control "exact" and modes of one width; its prior is that of the first start, and not learned;
        splits: after how many of the steps the clones part; paths: pairs behind each, in either chain; backend: of
        both; progress: called with the fraction done, from 0 to 1.
    Returns
        Along the dimension split: tau, closed, reduced and simulated with `_se` over pairs, curvature; and the noise
        times double_well, unstable and covariance, and decided, that is closed at double_well. closed is for
        infinitely many steps from the noised target.
    Raises
        ProblemError for another control, modes of different widths, or splits that are no steps; BackendError.
    """
    options = problem.sampler
    if options is None or options.control != "exact":
        raise ProblemError(f'{problem.name}: sampler.control: must be "exact", for clones of a known law')
    if np.ptp(problem.target.variances) > 0:
        raise ProblemError(f"{problem.name}: target.variances: differ; must be equal, for clones of a known law")
    only_isotropic(problem.name, problem.family)
    if bad := [n for n in splits if not 0 <= n <= options.steps]:
        raise ProblemError(f"{problem.name}: splits: one is {bad[0]}; must be 0 to sampler.steps = {options.steps}")
    if paths < 2:
        raise ProblemError(f"{problem.name}: paths: is {paths}; must be at least 2, for a standard error")
    begin, done = starts(problem, [0]), iter(range(1, 2 * len(splits) + 1))

    def report() -> None:
        if progress:
            progress(next(done) / (2 * len(splits)))

    sampler = sampler_of(problem, begin.s[0], begin.m[0], begin.theta[0], problem.family.variances)
    backend = usable(backend)
    tau = sampler.left[list(splits)]
    rng = generator(problem.init.seed, 0, Stream.CLONES)
    simulated, simulated_se = sampler_clones.same_mode(problem, splits, paths, backend=backend, report=report)
    reduced, reduced_se = clones.same_mode(sampler, splits, paths, rng, report, looked_up(WALKERS, backend))
    values: dict[str, Any] = {
        "tau": tau,
        "closed": [clones.closed_form(sampler, t) for t in tau],
        "reduced": reduced,
        "reduced_se": reduced_se,
        "simulated": simulated,
        "simulated_se": simulated_se,
        "curvature": [clones.slopes(sampler, t)[0] for t in tau],
    }
    variables: dict[str, Any] = {name: ("split", value) for name, value in values.items()}
    known = clones.times(sampler)
    known["decided"] = clones.closed_form(sampler, known["double_well"])
    variables |= {name: ((), value) for name, value in known.items()}
    for name, value in variables.items():
        units, meaning = _MEANING[name]
        variables[name] = (*value, {"units": units, "long_name": meaning})
    origin = results.attributes(problem, backend, COMMAND)
    origin |= {"system": sampler.module.SYSTEM, "paths": paths, "splits": list(splits)}
    return xr.Dataset(variables, attrs=origin)
