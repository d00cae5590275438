"""How long the steps of a sampler are, and how fast it anneals: sampler.schedule and sampler.annealing.

Drift and noise of step n scale with the one number η_n, so a schedule of steps is a schedule of the noise as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from solvers.problem.values import numbers, refuse, show

__all__ = ["annealing_of", "given_annealing", "given_schedule", "shares_of"]

Array = NDArray[np.float64]
Fail = Callable[[str, str], NoReturn]

CONSTANT, COSINE, LINEAR = "constant", "cosine", "linear"
#: How far the cosine is from its zero at the last step. Source: Nichol, Dhariwal, arXiv 2102.09672 (2021), eq. 17.
OFFSET = 0.008
ROUNDING = 1e-9  # by which a sum may differ from the horizon, relative to it


def given_schedule(value: object) -> str | list[float]:
    """The name of a schedule, or its steps."""
    if not isinstance(value, list):
        return _named(value, (CONSTANT, COSINE), "steps")
    steps = numbers(value, "every step must be a number > 0", lambda x: x > 0)
    if not 0 < sum(steps) < math.inf:
        raise refuse(f"is {show(value)}; must hold at least one step, and a finite sum")
    return steps


def given_annealing(value: object) -> str | list[float]:
    """The name of a path, or its points from 0 to 1."""
    if not isinstance(value, list):
        return _named(value, (LINEAR,), "points from 0 to 1")
    points = numbers(value, "every point must be a number from 0 to 1", lambda x: 0 <= x <= 1)
    if len(points) < 2 or points[0] != 0 or points[-1] != 1:
        raise refuse(f"is {show(value)}; must begin with 0 and end with 1")
    for before, after in itertools.pairwise(points):
        if not before < after:
            raise refuse(f"has {show(before)} before {show(after)}; points must increase")
    return points


def _named(value: object, names: tuple[str, ...], what: str) -> str:
    if isinstance(value, str) and value in names:
        return value
    raise refuse(f"is {show(value)}; allowed: {', '.join(map(show, names))}, or a list of {what}")


def shares_of(section: Any, fail: Fail) -> tuple[int, float, Array | None]:
    """Number of steps, horizon, and of each step its share of the horizon (N,), None where all have the same, of a
    SamplerSection. Steps that are listed say how many they are and what they sum to."""
    given, steps, horizon = section.schedule, section.steps, section.horizon
    if isinstance(given, list):
        total, count = math.fsum(given), len(given)
        if "steps" in section.model_fields_set and steps != count:
            fail("sampler.steps", f"is {steps}; sampler.schedule lists {count}: must be {count}, or left out")
        if "horizon" in section.model_fields_set and abs(horizon - total) > ROUNDING * total:
            fail(
                "sampler.horizon",
                f"is {show(horizon)}; the steps of sampler.schedule sum to {total:.10g}: must be that, or left out",
            )
        return count, total, _fixed(np.array(given) / total)
    if given == CONSTANT or steps == 0:
        return steps, horizon, None
    shares = np.cos(0.5 * np.pi * (np.arange(steps) / steps + OFFSET) / (1 + OFFSET)) ** 2
    return steps, horizon, _fixed(shares / shares.sum())


def annealing_of(section: Any, reference: str, steps: int, fail: Fail) -> Array | None:
    """The inverse temperatures β_n (N + 1,) of an annealed reference, None for n/N, of a SamplerSection."""
    given = section.annealing
    if "annealing" in section.model_fields_set and reference != "annealed":
        fail("sampler.annealing", f'is {show(given)}; is for reference = "annealed", here {show(reference)}')
    if isinstance(given, str):
        return None
    if steps == 0:
        fail("sampler.annealing", f"is {show(given)}; must be left out with sampler.steps = 0")
    if len(given) != steps + 1:
        fail("sampler.annealing", f"has {len(given)} points; must have {steps + 1}, one more than sampler.steps")
    return _fixed(np.array(given))


def _fixed(array: Array) -> Array:
    array.setflags(write=False)
    return array
