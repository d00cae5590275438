"""What rounding leaves of a result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvers.machine.short import reduced
from solvers.problem import Problem

__all__ = ["rounding", "usable"]

Array = NDArray[np.float64]

# More of an objective than this lost to the rounding of its own terms, or of expectations uncertain: no result.
UNUSABLE, UNCERTAIN = 1e-3, 0.1


def rounding(problem: Problem, m: Array, s: Array, v: Array) -> Array:
    """What rounding may change an objective by, in nats: half a unit in the last place of each overlap in its logits.

    Takes  m (..., K, L), s (..., K, K), v (..., K).
    Returns  (...): it bounds the error of the logits too, whose largest terms are s/v and m/u, s/u, c/u.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        own, across = (reduced(np.maximum, np.abs(a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1]))) for a in (s, m))
        other = np.maximum(np.maximum(across, np.abs(problem.target.c).max()), own)
        terms = own / reduced(np.minimum, v) + other / problem.target.variances.min()
        return np.asarray(2 * np.finfo(np.float64).eps * terms)


def usable(
    problem: Problem, m: Array, s: Array, v: Array, objective: Array, uncertain: Array | None
) -> NDArray[np.bool_]:
    """Which objectives (n, T) have digits left, of expectations with errors `uncertain` (n, T)."""
    good = np.asarray(rounding(problem, m, s, v) <= UNUSABLE * np.maximum(1.0, np.abs(objective)))
    return good if uncertain is None else good & (uncertain <= UNCERTAIN)
