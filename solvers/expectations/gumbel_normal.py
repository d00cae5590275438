"""H(y, δ) = E exp(−e^{−(y − √δ z)}), z ~ N(0, 1), and its y-derivatives: the special function of many logits.

H is the distribution function of a Gumbel variable plus a normal one of variance δ. With independent Gumbel variables
G_j, softmax_j(u) is the probability that u_j + G_j is the largest and log-sum-exp the mean of the largest, less Euler's
constant; so expectations over independent Gaussian logits are integrals of products of H over one variable.

Method. As in logistic_normal.py: H solves the heat equation ∂H/∂δ = H''/2, and on a patch |y − y₀| ≤ R, |δ − δ₀| ≤ V

    H(y, δ) ≈ Σ_{n<TERMS} c_n u_n(x, τ),   x = (y − y₀)/R,  τ = (δ − δ₀)/(2R²),   H⁽ᵐ⁾ = R^{−m} Σ_n c_{n+m} u_n.

H is entire, but grows beyond |Im y| = π/2, so patches are half as wide as those of the logistic function.
Their centres are SPACING R apart, less than R: what is left is the room for cells of a grid around its points
(lanes/gumbel.py). Where patches end:

    on the left     H < 1e-21, and 0 is returned;
    on the right    H = 1 − Σ_k (−1)^{k+1} e^{−ky + k²δ/2}/k!, the first terms (0 to TAIL) of an alternating series; by
                    then the next one is below 1e-15, in all derivatives, and it bounds the error.

The coefficients are made, and the patches described, by make_gumbel_coefficients.py; gumbel_normal.h is the same for C,
C++ and CUDA.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.logistic_normal import TERMS
from solvers.machine.arrays import array_module

__all__ = ["ERROR", "HIGHEST", "gumbel_coefficients", "gumbel_normal"]

ERROR = 1e-13
"""Bound of the error of H ... H'''."""
SHIFT = 0.0625
"""The level of a patch is read off the leading bits of δ + SHIFT: octaves, each in eight equal parts."""
LEVELS = 14 * 8
"""Levels: δ + SHIFT from 2^-4 to 2^10."""
FIRST_LEVEL = (1023 - 4) * 8
"""Biased exponent and three bits of the mantissa of 2^-4."""
HIGHEST = 1023.0
"""The largest δ: where the table ends, less SHIFT and rounding."""
RADIUS = (0.375, 0.79)
"""R = √(RADIUS[0]² + RADIUS[1]² δ) at the lower edge of a level: as far as TERMS coefficients reach."""
SPACING = 0.6
"""Distance of the centres of patches, in R."""
HALF_CELL = 0.8
"""Half of the largest step of a grid, in R: within SPACING/2 + HALF_CELL the polynomial of a patch is still good."""
TAIL = 4
"""Most terms of the tail on the right."""
HEADER = 8
"""Numbers before all rows that describe a level: first centre, 1/R, patches, terms of the tail, first row, 0, 0, 0."""

_PATH = Path(__file__).with_name("gumbel_coefficients.npy")


@lru_cache(maxsize=1)
def gumbel_coefficients() -> NDArray[np.float64]:
    """The table, flat, read-only: what compiled code takes as its argument. Layout: see LEVELS, HEADER and TERMS."""
    table: NDArray[np.float64] = np.load(_PATH)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=2)
def _table(xp: Any) -> tuple[Any, Any]:
    """(headers (HEADER, LEVELS), c_n (patches, TERMS)) in the memory of that module."""
    table = xp.asarray(gumbel_coefficients())
    factorials = xp.asarray([float(factorial(n)) for n in range(TERMS)])
    head = table[: LEVELS * HEADER].reshape(LEVELS, HEADER)
    return xp.ascontiguousarray(head.T), table[LEVELS * HEADER :].reshape(-1, TERMS) * factorials


def gumbel_normal(y: Any, delta: Any, *, order: int = 4) -> tuple[Any, ...]:
    """The first `order` ≤ 4 of H, H', H'', H''' at y, for that variance 0 ≤ δ ≤ HIGHEST of the normal part.

    y, delta broadcast; numpy or cupy. A negative variance, as rounding leaves, counts as zero; nan in either argument,
    and a variance beyond HIGHEST, is nan in every result.

    Errors  at most ERROR for each of the four. On the left H and H'/H keep eight digits where H > 1e-10, six where
            H > 1e-12.
    Use     ∂H/∂y = H', ∂H/∂δ = H''/2, ∂H'/∂δ = H'''/2.
    """
    xp = array_module(y, delta)
    y, delta = xp.broadcast_arrays(xp.asarray(y, dtype=float), xp.asarray(delta, dtype=float))
    shape = y.shape
    y, delta = y.ravel(), delta.ravel()
    out = xp.empty((order, *y.shape))
    size = 1 << 11 if xp is np else 1 << 20  # a core's cache; a GPU's appetite
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(y), size):
            block = slice(start, start + size)
            _evaluate(xp, y[block], delta[block], out[:, block])
    return tuple(part.reshape(shape) for part in out)


def _evaluate(xp: Any, y: Any, delta: Any, out: Any) -> None:
    headers, rows = _table(xp)
    # Comparisons are written so that nan passes into x and τ but never into an index.
    delta = xp.where(delta < 0, 0, delta)
    delta = xp.where(delta > HIGHEST, xp.nan, delta)
    shifted = delta + SHIFT
    leading = xp.where(shifted < HIGHEST, shifted, HIGHEST).view(np.int64) >> 49
    middle = (leading << 49 | 1 << 48).view(np.float64)
    first, scale, patches, terms, row = (part.take(leading - FIRST_LEVEL) for part in headers[:5])
    position = (y - first) * scale
    nearest = position * (1 / SPACING) + 0.5
    below, above = nearest < 0, nearest >= patches
    inside = xp.where(nearest < patches, xp.where(nearest > 0, nearest, 0), patches - 1)
    index = inside.astype(np.int64)
    position = xp.where(below | above, 0 * position, position - SPACING * index)
    tau2 = (shifted - middle) * scale**2

    u = xp.empty((TERMS, len(y)))
    u[0], u[1] = 1, position
    for n in range(2, TERMS):
        u[n] = (position * u[n - 1] + tau2 * u[n - 2]) * (1 / n)
    c = xp.ascontiguousarray(rows.take(((row - LEVELS * HEADER) / TERMS).astype(np.int64) + index, axis=0).T)
    unit = 1.0
    for m in range(len(out)):
        value = xp.einsum("ni,ni->i", c[m:], u[: TERMS - m]) * unit
        value = xp.where(below, 0, value)
        tail = xp.full_like(y, 1.0 if m == 0 else 0.0)
        for k in range(1, TAIL + 1):
            exponent = xp.where(above & (terms >= k), k * k * delta / 2 - k * y, -xp.inf)
            tail += (-1.0) ** (k + m) * k**m / factorial(k) * xp.exp(exponent)
        value = xp.where(above, tail, value)
        if m < 2:
            value = xp.maximum(value, 0)
        out[m] = (value if m else xp.minimum(value, 1)) + 0 * delta  # nan also beyond the patches
        unit = unit * scale
