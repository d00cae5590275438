"""Outcomes of full simulations against the closed equations, from many random starts, as the dimension grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from solvers.outcome_agreement import compare_outcomes, tally
from solvers.problem import Problem

# Modes four widths from the origin, starts of length about 1 in every dimension: all outcomes occur.
TEXT = """
dimension = {d}
[target]
separation = 4.0
[family]
components = 2
learn = ["means", "weights"]
[flow]
weights = "{weights}"
[init]
scale = {scale}
samples = {samples}
seed = 7
[time]
end = 20.0
"""
WEIGHTS = ("softmax", "fisher-rao")


def case(d: int, weights: str, samples: int) -> Problem:
    return Problem.parse(TEXT.format(d=d, weights=weights, samples=samples, scale=f"{d**-0.5:.6f}"))


def measure(
    say: Callable[[str], None],
    *,
    dimensions: tuple[int, ...] = (10, 100, 1000),
    samples: int = 200,
    particles: int = 128,
    step: float = 0.05,
) -> dict[str, Any]:
    rows = []
    for weights in WEIGHTS:
        for d in dimensions:
            say(f"outcomes: {weights}, d = {d}, {samples} starts")
            found = tally(compare_outcomes(case(d, weights, samples), particles=particles, step=step))
            rows += [{"weights": weights, "d": d, "outcome": name, **counts} for name, counts in found.items()]
    return {"particles": particles, "step": step, "samples": samples, "rows": rows}
