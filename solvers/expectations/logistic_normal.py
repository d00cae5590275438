"""E σ(a + b z) and E softplus(a + b z), z ~ N(0, 1): the one special function behind two components and two modes.

Two rules, each with nodes that do not depend on (a, b), so that both results are smooth functions of (a, b):

    b < 1.5    trapezoid in z. σ(a + b z) is analytic for |Im z| < π/b, so the error falls like exp(−2π²/(b h)).
    b ≥ 1.5    the step and the ramp are integrated exactly and only what the logistic adds to them is left to a rule,
                   E σ(U)        = Φ(a/b) − ∫₀^∞ σ(−v) [f(v) − f(−v)] dv
                   E softplus(U) = E max(U, 0) + ∫₀^∞ log(1 + e^{−v}) [f(v) + f(−v)] dv
               with f the density of U. The weights decay like e^{−v} and f is smooth on the scale b, so one
               Gauss–Legendre rule serves every b; wide fields are the easy ones.

Both are evaluated at −|a| and reflected, σ(u) = 1 − σ(−u) and softplus(u) = u + softplus(−u), which keeps both
responsibilities of a pair free of cancellation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers.arrays import array_module

ERROR = 1e-13
"""Bound of the error of every result, in units of max(1, |value|), for |a| ≤ 1e4 and 0 ≤ b ≤ 1e3 (measured: 8e-15)."""

_SPLIT = 1.5
_BLOCK = 1 << 17  # numbers in one temporary array: small enough for a core's cache
_ROOT_2PI = float(np.sqrt(2 * np.pi))

# Trapezoid in z. Reaching 10.5 leaves the tails of E σ accurate relative to themselves: the tilted peak is at z = b.
_Z = 0.35 * np.arange(-30, 31)
_Z_WEIGHT = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()

# Gauss–Legendre on 0 ≤ v ≤ 36, where the weights have fallen to e^{−36}; v = 36 (e^x − 1)/(e − 1) crowds nodes at 0.
_X, _X_WEIGHT = np.polynomial.legendre.leggauss(44)
_V = 36 * np.expm1((_X + 1) / 2) / np.expm1(1)
_V_WEIGHT = 18 * np.exp((_X + 1) / 2) / np.expm1(1) * _X_WEIGHT
_STEP_WEIGHT = _V_WEIGHT * np.exp(-_V) / (1 + np.exp(-_V))
_RAMP_WEIGHT = _V_WEIGHT * np.log1p(np.exp(-_V))

# Midpoint rule for the complementary error function, see _normal_tail.
_T = 0.5 * (np.arange(13) + 0.5)
_T_WEIGHT = np.exp(-(_T**2)) / np.pi


def logistic_normal(a: Any, b: Any) -> tuple[Any, Any]:
    """E σ(a + b z) and E softplus(a + b z) for a standard normal z.

    a, b broadcast against each other, b ≥ 0; numpy or cupy. Both results have the broadcast shape.

    Errors
        At most ERROR · max(1, |value|) for |a| ≤ 1e4, b ≤ 1e3. A small E σ keeps 12 digits of itself for b < 1.5, and
        is right to 1e-16 absolutely beyond.
    Source  theory.md, section 4; logistic-normal integral: Crouch and Spiegelman (1990) for the rule in z.
    """
    xp = array_module(a, b)
    a, b = xp.broadcast_arrays(xp.asarray(a, dtype=float), xp.asarray(b, dtype=float))
    small, ramp = logistic_normal_tail(xp.abs(a), b)
    return xp.where(a > 0, 1 - small, small), xp.maximum(a, 0) + ramp


def logistic_normal_tail(alpha: Any, b: Any) -> tuple[Any, Any]:
    """E σ(−α + b z) ≤ ½ and E softplus(−α + b z) for α ≥ 0: what logistic_normal and a pair of responsibilities share.

    alpha, b: arrays of one shape. Blocks of pairs bound the temporary memory whatever that shape is.
    """
    xp = array_module(alpha, b)
    shape = alpha.shape
    alpha, b = alpha.ravel(), b.ravel()
    small, ramp = xp.empty_like(alpha), xp.empty_like(alpha)
    narrow = b < _SPLIT
    for chosen, rule, nodes in ((narrow, _narrow, len(_Z)), (~narrow, _wide, len(_V))):
        index = xp.flatnonzero(chosen)
        size = _BLOCK // nodes
        for start in range(0, len(index), size):
            block = index[start : start + size]
            small[block], ramp[block] = rule(xp, alpha[block], b[block])
    return small.reshape(shape), ramp.reshape(shape)


def _narrow(xp: Any, alpha: Any, b: Any) -> tuple[Any, Any]:
    weight = xp.asarray(_Z_WEIGHT)
    grown = xp.exp(b[:, None] * xp.asarray(_Z) - alpha[:, None])  # at most e^{16}: nothing can overflow
    return (grown / (1 + grown)) @ weight, xp.log1p(grown) @ weight


def _wide(xp: Any, alpha: Any, b: Any) -> tuple[Any, Any]:
    y = alpha / b
    scaled, centre = xp.asarray(_V) / b[:, None], y[:, None]
    right, left = xp.exp(-((scaled - centre) ** 2) / 2), xp.exp(-((scaled + centre) ** 2) / 2)
    tail, density = _normal_tail(xp, y), xp.exp(-y * y / 2) / _ROOT_2PI
    scale = 1 / (_ROOT_2PI * b)
    small = tail + scale * ((right - left) @ xp.asarray(_STEP_WEIGHT))
    ramp = b * xp.maximum(density - y * tail, 0) + scale * ((right + left) @ xp.asarray(_RAMP_WEIGHT))
    return small, ramp


def _normal_tail(xp: Any, y: Any) -> Any:
    """P(z > y) for y ≥ 0, to 1e-15 (1 + y²) of itself; written out because numpy has no error function.

    With x = y/√2: erfc x = (2x e^{−x²}/π) ∫₀^∞ e^{−t²}/(t² + x²) dt by the midpoint rule of step h, plus the residue
    2/(1 + e^{2πx/h}) of the pole t = ix while it lies below π/h (Hunter and Regan 1972); error e^{−π²/h²}.
    """
    x = y / np.sqrt(2)
    total = xp.zeros_like(x)
    for t, weight in zip(_T.tolist(), _T_WEIGHT.tolist(), strict=True):
        total += weight / (t * t + x * x)
    shrunk = xp.exp(-4 * np.pi * x)
    return 0.5 * x * xp.exp(-x * x) * total + xp.where(x < 2 * np.pi, shrunk / (1 + shrunk), 0)
