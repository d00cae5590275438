"""What gaussian_softmax will do about some laws of logits, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from solvers.expectations import gaussian_softmax
from solvers.expectations.quadrature import TIGHTEST, directions

__all__ = ["describe"]

_RULES = {
    0: "no average",
    1: "trapezoidal rule in a direction",
    2: "trapezoidal rule in two directions",
    3: "lattice in three directions",
}


def describe(
    mean: Any, cov: Any, tolerance: float = TIGHTEST, average: Callable[..., Any] = gaussian_softmax
) -> tuple[str, float]:
    """By which rule logits of these laws are averaged, and the largest of the error estimates.

    Takes  mean (..., n), cov (..., n, n) and tolerance as gaussian_softmax does, of NumPy; average: who does.
    Returns  the rules of all these laws in words, that of the most directions last; error, in units of max(1, |value|).
    """
    error = float(np.max(average(mean, cov, error=True, tolerance=tolerance)[-1], initial=0.0))
    n = mean.shape[-1]
    if n < 3:
        return ("no average", "special functions")[n - 1], error
    across = cov[..., :-1, -1]
    spread = cov[..., :-1, :-1] - across[..., :, None] - across[..., None, :] + cov[..., -1:, -1:]
    found = np.unique(directions(np.linalg.eigvalsh(spread))).tolist()
    return ", ".join(_rule(rank, n) for rank in found), error


def _rule(rank: int, n: int) -> str:
    if rank > 3:
        return f"independent logits, or given a factor, else Sobol points, in {rank} directions"
    return f"independent logits, else {_RULES[rank]}" if rank == n - 1 >= 2 else _RULES[rank]
