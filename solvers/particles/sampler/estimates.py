"""Estimates from the log-weights (path,) and the target's responsibilities (path, L) of a sampler's paths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, xlogy

__all__ = ["by_halves", "emc", "ess", "ess_forward", "log_z"]

Array = NDArray[np.float64]


def by_halves(estimate: Callable[[Array], float], of: Array) -> float:
    """2 f(all) − [f(first half) + f(second half)]/2, free of the bias of first order in 1/paths."""
    half = len(of) // 2
    return 2 * estimate(of) - (estimate(of[:half]) + estimate(of[half:])) / 2


def log_z(log_w: Array) -> float:
    return float(logsumexp(log_w)) - float(np.log(len(log_w)))


def ess(log_w: Array) -> float:
    return float(np.exp(2 * logsumexp(log_w) - np.log(len(log_w)) - logsumexp(2 * log_w)))


def ess_forward(log_w: Array) -> float:
    return float(np.exp(2 * np.log(len(log_w)) - logsumexp(log_w) - logsumexp(-log_w)))


def emc(modes: Array) -> float:
    mass = modes.mean(0)
    return float(-xlogy(mass, mass).sum() / np.log(len(mass)))
