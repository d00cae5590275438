"""J(a, v) of logistic_normal.py at one variance for all a: a table made at run time, at a fifth of the cost.

The logits of the target's modes have a covariance that no trajectory changes. With v fixed, J is a function of one
variable, and pieces of degree 7 of it fit into the first-level cache. On the piece with centre −α₀ and half-width H

    J(a) ≈ Σ_{n<8} c_n δⁿ,   E σ(a + √v z) = J'(a) ≈ H⁻¹ Σ_{n>0} n c_n δ^{n−1},   δ = (a + α₀)/H.

The polynomial of J' interpolates it at Chebyshev points and is integrated from the J of the centre, so that both are as
accurate as what they interpolate. a > 0 follows from J(a) = a + J(−a), E σ(a) = 1 − E σ(−a).

A table is LINE numbers: first 1/H and the number of the last piece, then rows of TERMS coefficients. The last piece is
zero, for all a beyond it: there J < 1e-16 max(1, √v), and so are the errors of J and J'.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.logistic_normal import softplus_tail

__all__ = ["LINE", "TERMS", "fixed_variance"]

TERMS = 8
"""Coefficients of a piece: one cache line."""
PIECES = 336
"""Room for pieces; 320 are needed at v = 0, 90 in wide fields."""
LINE = TERMS * (1 + PIECES)
"""Numbers of a table."""
ERROR = 1e-13
"""Bound of the errors of J and J', in units of max(1, |value|) (measured: 5e-14)."""


@lru_cache(maxsize=256)
def fixed_variance(variance: float) -> NDArray[np.float64]:
    """The table (LINE,) of J and J' at that variance ≥ 0 of the logit; read-only, for it is kept (20 kB each).

    Errors  at most ERROR · max(1, |value|) for √v ≤ 1e3; beyond, 1e-16 √v for J. nan where v is not finite.
    """
    if not np.isfinite(variance):
        table = fixed_variance(0.0).copy()
        table[TERMS:] = np.nan
        return _kept(table)
    spread = float(np.sqrt(max(variance, 0.0)))
    # What the logistic law, of width 1.8, and the Gaussian leave of structure; the seventh power of H is the error.
    half = 0.06 * float(np.hypot(1.0, 0.85 * spread))
    while 0.5 * half * (1 / half) != 0.5:  # E σ(√v z) = ½ to the last bit: symmetric states stay symmetric
        half = float(np.nextafter(half, 0.0))
    reach = 37.0 + 0.5 * variance if spread < 4 else 8.5 * spread + 10.0
    count = 1 + int(np.ceil((reach + half) / (2 * half)))
    assert count < PIECES
    centres = 2 * half * np.arange(count)
    nodes = np.cos(np.pi * (np.arange(TERMS - 1) + 0.5) / (TERMS - 1))
    # J is even about its asymptote, so the first piece, around a = 0, needs a > 0 too: J'(a) = 1 − J'(−a).
    a = half * nodes - centres[:, None]
    slope = softplus_tail(np.abs(a), np.full(a.shape, variance), order=2)[1]
    slope = np.where(a > 0, 1 - slope, slope)
    table = np.zeros(LINE)
    rows = table[TERMS:].reshape(PIECES, TERMS)
    vandermonde = np.vander(nodes, increasing=True)
    rows[:count, 1:] = half * np.linalg.solve(vandermonde, slope.T).T / np.arange(1, TERMS)
    rows[:count, 0] = softplus_tail(centres, np.full(count, variance), order=1)[0]
    rows[0, 1] = 0.5 * half
    table[:2] = 1 / half, count
    return _kept(table)


def _kept(table: NDArray[np.float64]) -> NDArray[np.float64]:
    table.flags.writeable = False
    return table
