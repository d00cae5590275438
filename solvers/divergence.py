"""h(x) = (x − 1 − log x)/2 = KL(N(0, x) ‖ N(0, 1)), exact where x is near 1: then it is d h that counts, at any d."""

from __future__ import annotations

from typing import Any

from solvers.arrays import array_module

__all__ = ["SERIES", "TERMS", "divergence"]

#: Where |(x − 1)/(x + 1)| is below SERIES, so many terms of the series leave an error below a rounding of the first.
SERIES, TERMS = 0.2, 12


def divergence(above: Any, below: Any) -> Any:
    """h(above/below) of positive numbers or arrays, to a few roundings of the value itself; 0 where they agree.

    With e = x − 1 and r = e/(2 + e), log x = 2 artanh r, and e − 2r = e r: e − log x = e r − 2 (r³/3 + r⁵/5 + …).
    """
    xp = array_module(above, below)
    e, r = (above - below) / below, (above - below) / (above + below)
    near = abs(r) < SERIES
    square = xp.where(near, r * r, 0.0)
    series = square / (2 * TERMS + 3)
    for n in range(TERMS, 0, -1):
        series = (series + 1 / (2 * n + 1)) * square
    return xp.where(near, r * (e - 2 * series), e - xp.log(above / below)) / 2
