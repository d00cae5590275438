"""Intervals of probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

__all__ = ["CONFIDENCE", "wilson"]

Array = NDArray[np.float64]

CONFIDENCE = 0.95


def wilson(share: ArrayLike, count: ArrayLike, confidence: float = CONFIDENCE) -> tuple[Array, Array]:
    """Lower and upper end of the score interval of a probability, (...) of a share p̂ (...) of `count` independent runs.

    The p with |p̂ − p| ≤ z √(p(1−p)/n): unlike p̂ ± z·SE it keeps its level, and its width, at p̂ = 0 and 1. nan where
    the share is. Source: Wilson (1927).
    """
    p, n, z = np.asarray(share, dtype=float), np.asarray(count, dtype=float), float(ndtri((1 + confidence) / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # At p̂ = 0 and 1 the ends are exactly 0 and 1; rounding would put them beside.
    low, high = np.where(p == 0, 0.0, centre - half), np.where(p == 1, 1.0, centre + half)
    return np.where(np.isnan(p), np.nan, low), np.where(np.isnan(p), np.nan, high)
