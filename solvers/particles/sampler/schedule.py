"""Derivatives in the schedule of a sampler in R^d: in the lengths of its steps, and in its annealing.

    η_n is in the move      x' = x + η F + √(2η) ξ                        x̄'·(F + ξ/√(2η))
    and in the residual     e = x − x' − η G of  |e|²/4η = −log B_n      −[|e|²/2η + e·G]/2η
    and in the noise times  τ_m = Σ_{n≥m} η_n of scores noised for them,

β_n in the drifts of step n, by the target's score less the prior's. Coordinates of learning are log η_n and logits a of
the increments of β, β_n = Σ_{m<n} softmax(a)_m.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Schedule", "by_time", "in_coordinates", "lengths"]

Array = NDArray[np.float64]


class Schedule(NamedTuple):
    """Where derivatives in the lengths of steps η_n (N,) and in β_n (N+1,) are added, those between the ends alone; or
    numbers in log η_n (N,) and in logits of the increments of β (N,)."""

    steps: Array
    annealing: Array


def lengths(steps: int, horizon: float, shares: Array | None) -> Array:
    """η_n (N,) by the shares of the steps in their sum, equal by default. Raises  ValueError for another number."""
    if shares is None:
        return np.full(steps, horizon / max(steps, 1))
    if len(shares) != steps:
        raise ValueError(f"{len(shares)} shares of the horizon, for {steps} steps")
    return np.asarray(horizon * shares)


def by_time(decay: float, means: Array, variances: Array, of_means: Array, of_log_variances: Array) -> float:
    """The derivative in the noise time of a mixture (K, d), (K,), from those in what e^{−τ} = decay makes of it."""
    spread = 2 * decay**2 * (variances - 1) / (1 + (variances - 1) * decay**2)
    return -float(decay * np.sum(of_means * means) + of_log_variances @ spread)


def in_coordinates(eta: Array, beta: Array, of: Schedule) -> Schedule:
    """Derivatives in log η and in the logits, from those in η and β."""
    parts = np.diff(beta)
    later = np.array([of.annealing[m + 1 :].sum() for m in range(len(eta))])  # the m-th increment is in all β after it
    return Schedule(eta * of.steps, parts * (later - parts @ later))
