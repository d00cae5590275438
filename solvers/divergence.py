"""h(x) = (x − 1 − log x)/2 = KL(N(0, x) ‖ N(0, 1)), exact where x is near 1: then it is d h that counts, at any d."""

from __future__ import annotations

from typing import Any

from solvers.arrays import array_module

__all__ = ["SERIES", "TERMS", "divergence", "of_excess"]

#: Where |e/(2 + e)| is below SERIES, so many terms of the series leave an error below a rounding of the first.
SERIES, TERMS = 0.2, 12


def divergence(above: Any, below: Any) -> Any:
    """h(above/below) of positive numbers or arrays, to a few roundings of the value itself; 0 where they agree."""
    return of_excess((above - below) / below)


def of_excess(e: Any) -> Any:
    """h(1 + e), e > −1: what a difference of widths leaves, from that difference.

    With r = e/(2 + e), log(1 + e) = 2 artanh r, and e − 2r = e r: e − log(1 + e) = e r − 2 (r³/3 + r⁵/5 + …).
    """
    xp = array_module(e)
    e = xp.asarray(e, dtype=float)
    r = e / (2 + e)
    near = abs(r) < SERIES
    square = xp.where(near, r * r, 0.0)
    series = square / (2 * TERMS + 3)
    for n in range(TERMS, 0, -1):
        series = (series + 1 / (2 * n + 1)) * square
    with_log = e - xp.log1p(xp.where(near, 0.0, e))
    return xp.where(near, r * (e - 2 * series), with_log) / 2
