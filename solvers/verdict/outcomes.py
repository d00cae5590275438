"""Where runs end: outcomes of single simulations in R^d against those of the closed equations from the same starts.

A trajectory is compared in standard errors; an outcome is yes or no, and one run is one number. From each start of a
problem the closed equations are solved once and the simulation is run REPLICAS times, and each outcome is compared

    row by row       theory and simulation of the same start
    as proportions   with exact binomial intervals, and by McNemar's exact test, which knows that they are paired
    with itself      two simulations of one start: what the noise of finite particles does alone

Near a separatrix that noise decides where a run ends, and the theory describes neither of two runs. Such starts are
told by the theory: its start is moved PERTURBED times by noise of the covariance that the simulation's steps accumulate
during NOISE_TIME, and if any of these solutions ends otherwise the row is *sensitive*. It counts for the proportions,
and is left out of the row-by-row count, which says how many were. Steps of size h of n particles add h² Cov(ĝ)/n each,
so t h Cov(ĝ)/n in a time t; the covariance is measured at the start. In a direction that grows at rate λ all the noise
of the way amounts to that of the time 1/2λ moving the start, so NOISE_TIME covers rates λ ≥ 1/2. A row that is not
sensitive by so many of them may still be decided by chance, but seldom: two simulations of one start tell how often.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binomtest

from solvers.closed import flow
from solvers.closed.equations import Closed
from solvers.machine.backends import DEFAULT
from solvers.machine.chance import PERTURBATION
from solvers.machine.code import usable
from solvers.machine.progress import Progress
from solvers.particles.plan import plan
from solvers.particles.replicas import replicas_path, velocities
from solvers.problem import Problem
from solvers.problem.starts import Starts, starts, vectors
from solvers.results.outcomes import OUTCOMES, outcomes

__all__ = ["compare_outcomes", "exact_interval", "tally"]

Array = NDArray[np.float64]

REPLICAS = 2
PERTURBED = 32
NOISE_TIME = 1.0


def compare_outcomes(
    problem: Problem,
    *,
    particles: int = 128,
    step: float = 0.05,
    rtol: float = 1e-8,
    backend: str = DEFAULT,
    system: ModuleType | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Outcomes at the last time from every start of a problem, in theory and in simulations of one replica each.

    Takes
        particles, step, backend: of the simulation; rtol: of the theory; system: closed equations to compare instead of
        the problem's own; progress: called with the fraction done, from 0 to 1.
    Returns
        theory (sample, outcome), simulation (sample, replica, outcome), int8: 1 yes, 0 no, −1 the run failed. sensitive
        (sample, outcome): 1 where noise of the simulation's size changes what the theory says.
    Raises
        SimulationError, BackendError, ProblemError.
    """
    end, backend = float(problem.time.end), usable(backend)
    problem = replace(problem, time=replace(problem.time, times=np.array([0.0, end])))
    plan(problem, particles=particles, replicas=REPLICAS, step=step, backend=backend)
    closed = Closed.of(problem)
    begin, count = starts(problem), problem.init.samples
    simulated, moved = [], []
    for i in range(count):
        mu, nu = vectors(begin.s[i], begin.m[i], problem)
        theta = begin.theta[i]
        path = replicas_path(
            problem, mu, theta, particles=particles, replicas=REPLICAS, step=step, key=(i,), backend=backend
        )
        w, B = path.w[:, -1], path.mode_mass[:, -1]
        found = outcomes(w, (w[..., None] * B).sum(1), B, problem.target.weights)
        simulated.append(np.stack([found[name] for name in OUTCOMES], axis=-1))
        # One estimate a perturbation: its deviation from the mean is the noise of one step.
        noise = velocities(
            problem, mu, theta, particles=particles, replicas=PERTURBED, key=(PERTURBATION, i), pairs=False,
            backend=backend,
        )  # fmt: skip
        size = np.sqrt(step * NOISE_TIME * PERTURBED / (PERTURBED - 1))
        near = mu + size * (noise.dmu - noise.dmu.mean(0))
        moved.append((near @ near.mT, near @ nu.T, theta + size * (noise.dtheta - noise.dtheta.mean(0))))
        if progress:
            progress((i + 1) / count)
    own = _codes(flow.solve(problem, rtol=rtol, closed=closed))
    around = Starts(*(np.concatenate(parts) for parts in zip(*moved, strict=True)))
    ends = _codes(flow.solve(problem, rtol=rtol, closed=closed, begin=around)).reshape(count, PERTURBED, len(OUTCOMES))
    sensitive = (ends != own[:, None]).any(1)
    theory = own if system is None else _codes(flow.solve(problem, rtol=rtol, system=system))
    return xr.Dataset(
        {
            "theory": (("sample", "outcome"), theory),
            "simulation": (("sample", "replica", "outcome"), np.stack(simulated)),
            "sensitive": (("sample", "outcome"), sensitive.astype(np.int8)),
        },
        coords={"outcome": list(OUTCOMES)},
        attrs={"problem": problem.text, "particles": particles, "step": step, "rtol": rtol, "end": end},
    )


def tally(found: xr.Dataset, *, confidence: float = 0.95) -> dict[str, dict[str, Any]]:
    """Of each outcome, counted over the starts where neither side failed.

    Returns
        rows; theory, simulation: how many ended so, of the first replicas; their exact intervals at `confidence`;
        only_theory, only_simulation: discordant rows; mcnemar: p value of their being equally likely; sensitive: rows
        left out row by row; decided: the others; differ: of the decided, rows where theory and simulation differ;
        replicas_differ: of all, rows where two simulations do.
    """
    counts = {}
    for name in found["outcome"].values:
        one = found.sel(outcome=name)
        theory, simulated = one["theory"].values, one["simulation"].values
        known = (theory >= 0) & (simulated >= 0).all(1)
        theory, simulated = theory[known] == 1, simulated[known] == 1
        first, decided = simulated[:, 0], one["sensitive"].values[known] == 0
        only_theory, only_simulation = int((theory & ~first).sum()), int((~theory & first).sum())
        discordant = only_theory + only_simulation
        rows, yes_theory, yes_first = len(theory), int(theory.sum()), int(first.sum())
        counts[str(name)] = {
            "rows": rows,
            "theory": yes_theory,
            "simulation": yes_first,
            "theory_interval": exact_interval(yes_theory, rows, confidence),
            "simulation_interval": exact_interval(yes_first, rows, confidence),
            "only_theory": only_theory,
            "only_simulation": only_simulation,
            "mcnemar": float(binomtest(only_theory, discordant).pvalue) if discordant else 1.0,
            "sensitive": int((~decided).sum()),
            "decided": int(decided.sum()),
            "differ": int((theory != first)[decided].sum()),
            "replicas_differ": int((simulated[:, 0] != simulated[:, 1]).sum()),
        }
    return counts


def exact_interval(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's interval of a probability, from `count` successes of `total`; (0, 1) if there were none."""
    if not total:
        return 0.0, 1.0
    found = binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def _codes(run: xr.Dataset) -> NDArray[np.int8]:
    return np.stack([run[name].values for name in OUTCOMES], axis=-1)
