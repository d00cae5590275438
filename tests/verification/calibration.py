"""How often the comparison is wrong: false alarms under the truth, and power against a term that is off by a little.

*False alarms.* The true theory is compared with simulations of independent seeds. Two things are counted.

    verdict       a part is rejected, as `decide` does it but at a level of 5 % or 1 % instead of 1e-6. Bonferroni's
                  correction and the allowances make this a bound: the rate must not exceed it.
    t test        |mean − theory| beyond the t quantile of a single entry. Here the rate must be the level: this is
                  where estimates that are biased, not normal or not independent would show.

*Power.* One term of the theory is multiplied by 1 + ε, the wrong theory is solved, and compared at the level of the
door, 1e-6 for each part: how often is it rejected?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from scipy.stats import t as student

from solvers.closed import flow, systems
from solvers.problem import Problem
from solvers.verdict.agreement import Family, decide
from solvers.verdict.comparison import POINTS, Comparison
from solvers.verdict.entries import ALPHA, FEWEST_REPLICAS
from tests.verification.case import case, seeded
from tests.verification.mutations import SYSTEM

PARTS = ("right-hand side", "trajectory")
LEVELS = (0.05, 0.01)
RTOL = 1e-8

Say = Callable[[str], None]


def comparison(problem: Problem, system: ModuleType | None = None, *, particles: int, step: float) -> Comparison:
    """What `compare` makes of the first start of a problem."""
    theory = flow.solve(problem, rtol=RTOL, system=system)
    assert not theory["status"].any(), "the theory must have a solution"
    module = system or systems.for_problem(problem)
    return Comparison(problem, module, theory, particles, FEWEST_REPLICAS, step, RTOL, "numba")


def families(one: Comparison) -> dict[str, list[Family]]:
    """What the two parts of the comparison test."""
    at = np.unique(np.linspace(0, one.theory.sizes["time"] - 1, POINTS).round().astype(int))
    points = [one.point(0, int(i)) for i in at]
    return dict(zip(PARTS, (points, one.path(0, one.runs(0))[0]), strict=True))


def p_values(family: Family) -> NDArray[np.float64]:
    """Two-sided, of each entry by itself, nothing allowed."""
    mean, replicas = family.estimates.mean(0), len(family.estimates)
    error = family.estimates.std(0, ddof=1) / np.sqrt(replicas)
    return np.asarray(2 * student.sf(np.abs(mean - family.theory) / error, replicas - 1))


def interval(count: int, total: int, confidence: float = 0.99) -> list[float]:
    """Exact binomial (Clopper–Pearson)."""
    found = binomtest(count, total).proportion_ci(confidence, method="exact")
    return [float(found.low), float(found.high)]


def false_alarms(one: Comparison, seeds: Iterable[int]) -> dict[str, Any]:
    """Rejections of the truth: by part, of the verdict and of each entry at the last time, at each of LEVELS."""
    verdicts: dict[str, list[list[bool]]] = {part: [] for part in PARTS}
    single: dict[str, list[NDArray[np.float64]]] = {part: [] for part in PARTS}
    labels: dict[str, list[str]] = {}
    for seed in seeds:
        for part, found in families(replace(one, problem=seeded(one.problem, seed))).items():
            verdicts[part].append([not decide(part, found, level).agrees for level in LEVELS])
            single[part].append(p_values(found[-1]))
            labels[part] = list(found[-1].labels)
    result: dict[str, Any] = {}
    for part in PARTS:
        p = np.array(single[part])
        result[part] = {
            "repetitions": len(p),
            "verdict": {str(level): int(n) for level, n in zip(LEVELS, np.sum(verdicts[part], 0), strict=True)},
            "t test": {
                str(level): dict(zip(labels[part], map(int, (p < level).sum(0)), strict=True)) for level in LEVELS
            },
        }
    return result


def power(
    problem: Problem,
    term: str,
    factor: float,
    seeds: Sequence[int],
    *,
    particles: int,
    step: float,
    simulated: dict[int, Any],
) -> dict[str, int]:
    """How often each part rejects the theory with one term multiplied by a factor.

    simulated: runs of each seed, which know nothing of the theory; filled here.
    """
    system = systems.load(systems.read(SYSTEM), scale={term: factor})
    one = comparison(problem, system, particles=particles, step=step)
    at = np.unique(np.linspace(0, one.theory.sizes["time"] - 1, POINTS).round().astype(int))
    rejected = dict.fromkeys(PARTS, 0)
    for seed in seeds:
        again = replace(one, problem=seeded(problem, seed))
        if seed not in simulated:
            simulated[seed] = again.runs(0)
        parts = [again.point(0, int(i)) for i in at], again.path(0, simulated[seed])[0]
        for name, found in zip(PARTS, parts, strict=True):
            rejected[name] += not decide(name, found, ALPHA).agrees
    return rejected


def measure_false_alarms(
    say: Say, *, repetitions: int, d: int = 8, particles: int = 64, step: float = 0.05
) -> dict[str, Any]:
    say(f"false alarms: {repetitions} repetitions")
    one = comparison(case(d), particles=particles, step=step)
    found = false_alarms(one, range(1, repetitions + 1))
    return {"d": d, "particles": particles, "step": step, "replicas": FEWEST_REPLICAS, "parts": found}


def measure_power(
    say: Say,
    *,
    repetitions: int,
    factors: Sequence[float] = (1.01, 1.03, 1.10),
    particles: Sequence[int] = (256,),
    d: int = 8,
    step: float = 0.1,
) -> dict[str, Any]:
    problem, rows = case(d), []
    for count in particles:
        simulated: dict[int, Any] = {}
        for term in systems.terms(systems.read(SYSTEM)):
            for factor in factors:
                say(f"power: {count} particles, {term} times {factor}")
                rejected = power(
                    problem, term, factor, range(1, repetitions + 1), particles=count, step=step, simulated=simulated
                )
                rows.append({"particles": count, "term": term, "factor": factor, "rejected": rejected})
    return {"d": d, "step": step, "replicas": FEWEST_REPLICAS, "repetitions": repetitions, "level": ALPHA, "rows": rows}
