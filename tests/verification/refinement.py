"""Six modes and six components: a prior that grows beside one that has all its components from the beginning.

Theory and simulation on figures/problems/sampler_growing.toml, and with candidates by MALA in either metric. A start
counts as recovered if no mode has less than half of its mass in samples at the last time. Simulations are counted one
by one, not their means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from solvers import ask
from solvers.particles.sampler.simulation import replica_curves
from solvers.problem import Problem
from solvers.problem.starts import starts
from solvers.results.outcomes import COLLAPSED_BELOW

PROBLEM = Path(__file__).parents[2] / "figures" / "problems" / "sampler_growing.toml"
REPLICAS = 2  # the first counts; the second tells how often chance alone decides
TOLERANCES = {"rtol": 1e-4, "atol": 1e-5}
#: name -> (radius of the circle in that of the file, source of candidates, metric, starts in theory); None: the file's.
SETTINGS: dict[str, tuple[float, str | None, str, int]] = {
    "given points, euclidean, R = 5": (1.0, None, "euclidean", 200),
    "mala, euclidean, R = 5": (1.0, "mala", "euclidean", 50),
    "mala, wasserstein, R = 5": (1.0, "mala", "wasserstein", 50),
    "mala, wasserstein, R = 4": (0.8, "mala", "wasserstein", 50),
}


def case(setting: str, samples: int, *, grows: bool) -> Problem:
    """The problem of a setting with so many starts; `grows` or all components from the beginning."""
    radius, source, metric, _ = SETTINGS[setting]
    problem = Problem.load(PROBLEM)
    target = replace(problem.target, vectors=radius * problem.target.vectors, c=radius**2 * problem.target.c)
    options = problem.sampler
    assert options is not None
    assert options.refine is not None
    refine = replace(options.refine, source=options.refine.source if source is None else source)
    problem = replace(
        problem, target=target, init=replace(problem.init, samples=samples), flow=replace(problem.flow, metric=metric),
        sampler=replace(options, refine=refine),
    )  # fmt: skip
    if grows:
        return problem
    K = refine.until
    family = replace(problem.family, components=K, weights=np.full(K, 1 / K), variances=np.ones(K))
    return replace(problem, family=family, sampler=replace(options, refine=None))


def in_theory(problem: Problem) -> dict[str, Any]:
    """How many starts are recovered, and the coverage."""
    run = ask.solve(problem, runs=1, **TOLERANCES)
    return _counted(problem, run["mode_mass"].values[:, -1], run["coverage"].values[:, -1])


def in_simulation(problem: Problem, *, particles: int, step: float) -> dict[str, Any]:
    """The same of one simulation a start; and in how many starts two of them differ in being recovered."""
    begin = starts(problem)
    runs = [
        replica_curves(problem, begin, i, particles=particles, replicas=REPLICAS, step=step).values
        for i in range(problem.init.samples)
    ]
    mass, coverage = (np.stack([run[name][:, -1] for run in runs]) for name in ("mode_mass", "coverage"))
    both = recovered(problem, mass)
    return {**_counted(problem, mass[:, 0], coverage[:, 0]), "replicas_differ": int((both[:, 0] != both[:, 1]).sum())}


def recovered(problem: Problem, mode_mass: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(...), of mode masses (..., L)."""
    return np.asarray((mode_mass >= COLLAPSED_BELOW * problem.target.weights).all(-1))


def _counted(problem: Problem, mode_mass: NDArray[np.float64], coverage: NDArray[np.float64]) -> dict[str, Any]:
    count, starts_ = int(recovered(problem, mode_mass).sum()), len(mode_mass)
    found = binomtest(count, starts_).proportion_ci(0.95, method="wilson")
    return {
        "starts": starts_,
        "recovered": count,
        "interval": [float(found.low), float(found.high)],
        "coverage": float(coverage.mean()),
        "coverage_se": float(coverage.std(ddof=1) / np.sqrt(starts_)),
    }


def measure(
    say: Callable[[str], None],
    *,
    theory: int | None = None,
    simulation: int = 50,
    particles: int = 192,
    step: float = 0.25,
    settings: Sequence[str] = tuple(SETTINGS),
) -> dict[str, Any]:
    rows = []
    for setting in settings:
        count = theory or SETTINGS[setting][3]
        for grows in (True, False):
            prior = "growing from K = 1" if grows else "K = 6 fixed"
            say(f"refinement: {setting}, {prior}, {count} starts in theory, {simulation} in simulation")
            sides = {
                "theory": in_theory(case(setting, count, grows=grows)),
                "simulation": in_simulation(case(setting, simulation, grows=grows), particles=particles, step=step),
            }
            rows += [{"setting": setting, "prior": prior, "side": side, **found} for side, found in sides.items()]
    return {"dimension": Problem.load(PROBLEM).dimension, "particles": particles, "step": step, "rows": rows}
