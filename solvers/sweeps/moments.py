"""Sums over samples that add up piece by piece, and the intervals that follow from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvers.results import intervals
from solvers.results.intervals import CONFIDENCE

Array = NDArray[np.float64]

COUNT, SUM, SQUARES = range(3)


def moments(values: NDArray[np.int8] | NDArray[np.float64]) -> Array:
    """(3,): how many of the values (n,) are known, their sum, and Σ(x − mean)². Unknown: nan, or −1 among outcomes."""
    unknown = values < 0 if values.dtype == np.int8 else np.isnan(values)
    x = values[~unknown].astype(np.float64)
    return np.array([x.size, x.sum(), np.sum((x - x.mean()) ** 2) if x.size else 0.0])


def merged(parts: Array) -> Array:
    """(..., Q, 3) of the union of parts (..., P, Q, 3), added in their order. Source: Chan, Golub, LeVeque (1983)."""
    total = parts[..., 0, :, :]
    for i in range(1, parts.shape[-3]):
        part = parts[..., i, :, :]
        n, k = total[..., COUNT], part[..., COUNT]
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = part[..., SUM] / k - total[..., SUM] / n
            between = np.where((n > 0) & (k > 0), gap**2 * n * k / (n + k), 0.0)
        total = total + part
        total[..., SQUARES] += between
    return np.asarray(total)


def mean(total: Array) -> Array:
    """Means (...,) from moments (..., 3); nan where nothing is known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total[..., SUM] / total[..., COUNT])


def standard_error(total: Array) -> Array:
    """Of the mean; nan for fewer than two samples."""
    n = total[..., COUNT]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(n > 1, np.sqrt(total[..., SQUARES] / (n * (n - 1))), np.nan))


def wilson(total: Array, confidence: float = CONFIDENCE) -> tuple[Array, Array]:
    """Lower and upper end of the score interval of a probability, from moments (..., 3)."""
    return intervals.wilson(mean(total), total[..., COUNT], confidence)
