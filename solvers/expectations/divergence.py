"""h(x) = (x − 1 − log x)/2 = KL(N(0, x) ‖ N(0, 1)), exact where x is near 1: then it is d h that counts, at any d."""

from __future__ import annotations

from typing import Any

from solvers.machine.arrays import array_module

__all__ = ["SERIES", "TERMS", "divergence", "near_one"]

#: Where |(x − 1)/(x + 1)| is below SERIES, so many terms of the series leave an error below a rounding of the first.
SERIES, TERMS = 0.2, 12


def divergence(above: Any, below: Any) -> Any:
    """h(above/below) of positive numbers or arrays, to a few roundings of the value itself; 0 where they agree."""
    xp = array_module(above, below)
    e, r = (above - below) / below, (above - below) / (above + below)
    near = abs(r) < SERIES
    return xp.where(near, near_one(e, xp.where(near, r, 0.0)), (e - xp.log(above / below)) / 2)


def near_one(e: Any, r: Any) -> Any:
    """h(1 + e) from e and r = e/(2 + e), |r| ≤ SERIES.

    log(1 + e) = 2 artanh r and e − 2r = e r: e − log(1 + e) = e r − 2 (r³/3 + r⁵/5 + …), in which nothing cancels.
    """
    square = r * r
    series = square / (2 * TERMS + 3)
    for n in range(TERMS, 0, -1):
        series = (series + 1 / (2 * n + 1)) * square
    return r * (e - 2 * series) / 2
