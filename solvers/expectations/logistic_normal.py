"""J(a, v) = E softplus(a + √v z), z ~ N(0, 1), and its a-derivatives: the special function of two components or modes.

J' = E σ, J'' = E σ', J''' = E σ''. J solves the heat equation ∂J/∂v = J''/2, so these four give every first derivative
of J and of E σ in the mean and in the variance of the logit.

Method. On a patch |α − α₀| ≤ H, |v − v₀| ≤ V of the half-plane α = −a ≥ 0, J is a sum of TERMS polynomials which
themselves solve the heat equation,

    J(a, v) ≈ Σ_n c_n u_n(δ, τ),   δ = (a + α₀)/H,  τ = (v − v₀)/(2H²),
    Σ_n u_n xⁿ = exp(δ x + τ x²)   ⇒   u_n = (δ u_{n−1} + 2τ u_{n−2})/n,  ∂u_n/∂δ = u_{n−1}.

One row of coefficients therefore serves all derivatives, J⁽ᵐ⁾ = H^{−m} Σ_n c_{n+m} u_n, and two variables cost no more
coefficients than one. The table holds c_n/n!. Compiled code sums downwards (Clenshaw), two operations for every
coefficient and derivative:

    S_m[n] = C[n] + δ S_m[n+1] + 2τ(n+1) S_m[n+2],   C = c_n/n! for m = 0, else S_{m−1}[n+1];   J⁽ᵐ⁾ = m! H^{−m} S_m[0].

No exponential is evaluated. Three exact steps bring every argument to a patch:

    a > 0           softplus(a) = a + softplus(−a), so J(a) = a + J(−a).
    α beyond reach  there J < 1e-16 max(1, √v); it is replaced by its leading term exp(−α + v/2), or 0 where v > α.
    v ≥ 2^24        J(a, v) = 2^k J(2^−k a, v') with the scale of the logistic absorbed in v'; error of J 1e-15 √v.

The coefficients are made, and the patches described, by make_coefficients.py; compiled.py and logistic_normal.h are the
same method for numba and for C, C++ and CUDA.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.arrays import array_module

ERROR = 1e-13
"""Bound of the error of J ... J''', in units of max(1, |value|), for |a| ≤ 1e4 and b = √v ≤ 1e3 (measured: 2e-14)."""

TERMS = 24
"""Coefficients of a patch."""
SHIFT = 0.25
"""The level of a patch is read off the leading bits of v + SHIFT: octaves, each in eight equal parts."""
LEVELS = 26 * 8
"""Levels: v + SHIFT from 2^-2 to 2^24."""
FIRST_LEVEL = (1023 - 2) * 8
"""Biased exponent and three bits of the mantissa of 2^-2."""
ROWS = 2 * LEVELS
"""Where rows of coefficients start. Before them, two numbers a level: 1/H, and 64 first_row + number_of_patches."""
LOGISTIC_VARIANCE = float(np.pi**2 / 3)

_PATH = Path(__file__).with_name("coefficients.npy")


@lru_cache(maxsize=1)
def coefficients() -> NDArray[np.float64]:
    """The table, flat, read-only: what compiled code takes as its argument. Layout: see LEVELS, ROWS and TERMS."""
    table: NDArray[np.float64] = np.load(_PATH)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=2)
def _table(xp: Any) -> tuple[Any, Any]:
    """(levels (2, LEVELS), c_n (patches, TERMS)) in the memory of that module."""
    table = xp.asarray(coefficients())
    factorials = xp.asarray([float(factorial(n)) for n in range(TERMS)])
    return xp.ascontiguousarray(table[:ROWS].reshape(LEVELS, 2).T), table[ROWS:].reshape(-1, TERMS) * factorials


def logistic_normal(a: Any, b: Any) -> tuple[Any, Any]:
    """E σ(a + b z) and E softplus(a + b z) for a standard normal z.

    a, b broadcast against each other, b ≥ 0; numpy or cupy. Both results have the broadcast shape.

    Errors
        At most ERROR · max(1, |value|) for |a| ≤ 1e4, b ≤ 1e3. For b < 1.5 a small E σ keeps 10 digits of itself.
    Source  theory.md, section 4.
    """
    xp = array_module(a, b)
    b = xp.asarray(b, dtype=float)
    value, slope = softplus_jet(a, b * b, order=2)
    return slope, value


def softplus_jet(a: Any, variance: Any, *, order: int = 4) -> tuple[Any, ...]:
    """The first `order` ≤ 4 of J, J', J'', J''' at mean a and that variance of the logit.

    a, variance broadcast; numpy or cupy. A negative variance, as rounding in a Gram matrix leaves, counts as zero; nan
    in either argument is nan in every result.

    Errors  at most ERROR · max(1, |value|) for each of the four while v < 2^24; beyond, 1e-15 √v for J.
    Use     ∂J/∂a = J', ∂J/∂variance = J''/2, ∂(E σ)/∂a = J'', ∂(E σ)/∂variance = J'''/2.
    """
    xp = array_module(a, variance)
    a, variance = xp.broadcast_arrays(xp.asarray(a, dtype=float), xp.asarray(variance, dtype=float))
    tail = softplus_tail(xp.abs(a), variance, order=order)
    above = a > 0
    # J(a) − a/2 and J'' are even in a, J' − ½ and J''' odd.
    jet = [xp.maximum(a, 0) + tail[0]]
    if order > 1:
        jet.append(xp.where(above, 1 - tail[1], tail[1]))
    return (*jet, *tail[2:3], *(xp.where(above, -third, third) for third in tail[3:]))


def softplus_tail(alpha: Any, variance: Any, *, order: int = 4) -> tuple[Any, ...]:
    """J, J', J'', J''' at a = −α ≤ 0: what both members of a pair of responsibilities share without cancellation.

    alpha, variance: arrays of one shape. Blocks bound the temporary memory whatever that shape is.
    """
    xp = array_module(alpha, variance)
    shape = alpha.shape
    alpha, variance = alpha.ravel(), variance.ravel()
    out = xp.empty((order, *alpha.shape))
    size = 1 << 11 if xp is np else 1 << 20  # a core's cache; a GPU's appetite
    with np.errstate(invalid="ignore", over="ignore"):  # infinite variance
        for start in range(0, len(alpha), size):
            block = slice(start, start + size)
            _evaluate(xp, alpha[block], variance[block], out[:, block])
    return tuple(part.reshape(shape) for part in out)


def _evaluate(xp: Any, alpha: Any, variance: Any, out: Any) -> None:
    levels, rows = _table(xp)
    # Comparisons are written so that nan passes into δ and τ but never into an index.
    variance = xp.where(variance < 0, 0, variance)
    exponent = xp.maximum((variance.view(np.int64) >> 52) - (1023 + 22) >> 1, 0)
    grown, shrunk = ((1023 + sign * exponent << 52).view(np.float64) for sign in (1, -1))
    alpha = alpha * shrunk
    variance = variance * shrunk**2 - LOGISTIC_VARIANCE * (1 - shrunk**2)

    shifted = variance + SHIFT
    leading = xp.where(shifted < 2.0**24 - 1, shifted, 2.0**24 - 1).view(np.int64) >> 49
    middle = (leading << 49 | 1 << 48).view(np.float64)
    scale, code = (part.take(leading - FIRST_LEVEL) for part in levels)
    code = code.astype(np.int64)
    patches = code & 63
    position = alpha * scale
    beyond = position >= 2 * patches - 1
    position = xp.minimum(position, 2 * patches - 1)
    nearest = (position + 1) / 2
    index = xp.where(nearest < patches - 1, nearest, patches - 1).astype(np.int64)
    delta, tau2 = 2 * index - position, (shifted - middle) * scale**2

    u = xp.empty((TERMS, len(alpha)))
    u[0], u[1] = 1, delta
    for n in range(2, TERMS):
        u[n] = (delta * u[n - 1] + tau2 * u[n - 2]) * (1 / n)
    c = xp.ascontiguousarray(rows.take((code >> 6) + index, axis=0).T)
    exponential = xp.where(alpha < variance, 0, xp.exp(xp.minimum(variance / 2 - alpha, 0)))
    unit = grown
    for m in range(len(out)):
        value = xp.where(beyond, exponential, xp.einsum("ni,ni->i", c[m:], u[: TERMS - m]) * unit)
        out[m] = xp.maximum(value, 0) if m < 2 else value
        unit = unit * (scale * shrunk)
