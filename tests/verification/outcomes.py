"""Outcomes of full simulations against the closed equations, from many random starts, as the dimension grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from solvers.problem import Problem
from solvers.verdict.outcomes import compare_outcomes, tally

# Modes four widths from the origin: all outcomes occur.
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
LENGTH_ONE = "d^(−1/2)"  # starts of length about 1: ever less of it lies along the modes
SAME_SCALE = "0.3"  # the part along the modes is the same in all dimensions
CASES = (("softmax", LENGTH_ONE), ("fisher-rao", LENGTH_ONE), ("fisher-rao", SAME_SCALE))


def case(d: int, weights: str, samples: int, scale: str = LENGTH_ONE) -> Problem:
    number = f"{d**-0.5:.6f}" if scale == LENGTH_ONE else scale
    return Problem.parse(TEXT.format(d=d, weights=weights, samples=samples, scale=number))


def measure(
    say: Callable[[str], None],
    *,
    dimensions: tuple[int, ...] = (10, 100, 1000),
    samples: int = 200,
    particles: int = 128,
    step: float = 0.05,
) -> dict[str, Any]:
    rows = []
    for weights, scale in CASES:
        for d in dimensions:
            say(f"outcomes: {weights}, scale {scale}, d = {d}, {samples} starts")
            found = tally(compare_outcomes(case(d, weights, samples, scale), particles=particles, step=step))
            rows += [{"weights": weights, "scale": scale, "d": d, "outcome": name, **of} for name, of in found.items()]
    return {"particles": particles, "step": step, "samples": samples, "rows": rows}
