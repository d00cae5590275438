"""How often the comparison is wrong: false alarms under the truth, and power against a term that is off by a little.

*False alarms.* The true theory is compared with simulations of independent seeds. Two things are counted.

    verdict       a part is rejected, as `decide` does it but at a level of 5 % or 1 % instead of 1e-6. Bonferroni's
                  correction and the allowances make this a bound: the rate must not exceed it.
    t test        |mean − theory| beyond the t quantile of a single entry. Here the rate must be the level: this is
                  where estimates that are biased, not normal or not independent would show.

*Power.* The rate of the means, or of the weights, or the objective is multiplied by 1 + ε, the wrong theory is solved
and compared as the door does it, at its level of 1e-6 for each part: how often is it rejected? Beside it stands the ε
from which the report says that it would be, with probability POWER.
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
from solvers.verdict.comparison import Comparison
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
    points, *_ = one.points([0], resolve=1.0)
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


#: What is multiplied: the beginnings of the terms, or the text, that make a rate; and the quantities that show it.
RATES = {"means": ("ds.", "dm."), "weights": ("dtheta.",), "objective": ()}
SHOWN = {"means": ("ds/dt", "dm/dt"), "weights": ("dw/dt",), "objective": ("objective",)}
# The two parts of the objective, of each of which there is one.
_VALUE = ("return d * (", "+ xp.sum(F * w, axis=-1)\n")


def wrong(rate: str, factor: float) -> ModuleType:
    """The equations with one of RATES multiplied."""
    source = systems.read(SYSTEM)
    if rate == "objective":
        for old, new in zip(
            _VALUE, (f"return {factor!r} * d * (", f"+ {factor!r} * xp.sum(F * w, axis=-1)\n"), strict=True
        ):
            if source.count(old) != 1:
                raise ValueError(f"the generated source does not contain {old!r} once")
            source = source.replace(old, new)
        return systems.load(source)
    return systems.load(source, scale={term: factor for term in systems.terms(source) if term.startswith(RATES[rate])})


def power(
    problem: Problem,
    rate: str,
    factor: float,
    seeds: Sequence[int],
    *,
    particles: int,
    step: float,
    simulated: dict[int, Any],
) -> dict[str, Any]:
    """How often each part rejects the theory with one rate multiplied by a factor, and the least error that the
    right-hand side said it would, in each repetition.

    simulated: runs of each seed, which know nothing of the theory; filled here.
    """
    one = comparison(problem, wrong(rate, factor), particles=particles, step=step)
    rejected: dict[str, Any] = dict.fromkeys(PARTS, 0)
    said = []
    for seed in seeds:
        again = replace(one, problem=seeded(problem, seed))
        if seed not in simulated:
            simulated[seed] = again.runs(0)
        parts = again.points([0], resolve=None)[0], again.path(0, simulated[seed])[0]
        decided = [decide(name, found, ALPHA) for name, found in zip(PARTS, parts, strict=True)]
        for part in decided:
            rejected[part.name] += not part.agrees
        resolves = decided[0].resolves()
        said.append(min(resolves[name].relative for name in SHOWN[rate]))
    return rejected | {"said": said}


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
    factors: Sequence[float] = (1.003, 1.01, 1.03),
    particles: Sequence[int] = (256,),
    d: int = 8,
    step: float = 0.1,
) -> dict[str, Any]:
    problem, rows = case(d), []
    for count in particles:
        simulated: dict[int, Any] = {}
        for rate in RATES:
            for factor in factors:
                say(f"power: {count} particles, the rate of the {rate} times {factor}")
                found = power(
                    problem, rate, factor, range(1, repetitions + 1), particles=count, step=step, simulated=simulated
                )
                said = found.pop("said")
                rows.append(
                    {
                        "particles": count, "rate": rate, "factor": factor, "rejected": found,
                        "said": [min(said), float(np.median(said)), max(said)],
                    }
                )  # fmt: skip
    return {"d": d, "step": step, "replicas": FEWEST_REPLICAS, "repetitions": repetitions, "level": ALPHA, "rows": rows}
