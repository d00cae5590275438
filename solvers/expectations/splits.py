"""A law of n Gaussian logits split into independent ones, a common factor and a rest, and the steps of its sums.

    C = diag(d) + b bᵀ + Δ      modulo C → C + c 1ᵀ + 1 cᵀ, which changes no difference of logits: see factors.py.

Scalars and loops, which numba compiles as they are (lanes/factor.py).
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Any

import numpy as np

from solvers.expectations.gumbel_normal import HALF_CELL, RADIUS

__all__ = ["digits_of_sums", "enough", "error_of_points", "factor_step", "reach", "split", "step_for"]

Array = Any

FINE, COARSE = 2e-5, 1e-4
"""What an error estimate in more than three directions may be: FINE from the default tolerance on, less below it, up
to COARSE for loose ones. Errors are a tenth of it, as a rule; so much a result may jump where splits change."""
SPARE = 3.0
"""D of the sums beyond that of the tolerance."""
EXACT = 1e-13
"""Size of a Δ that is rounding, in units of the largest d."""
LEAST = 0.05
"""Of the variance of a logit, that stays its own."""
TURNS, SWEEPS = 12, 40
"""Products that find the principal axis, and improvements of all coordinates of b."""


def split(cov: Array, factor: bool, d: Array, b: Array, rest: Array) -> None:
    """d ≥ 0, b (n) and rest (n, n) = Δ of a covariance (n, n), n ≥ 3; b = 0 without a factor.

    For given b, c has the least squares of Δ off its diagonal, and d makes the diagonal zero where it can. b starts as
    the principal axis of the differences and is improved coordinate by coordinate.
    """
    n = len(cov)
    b[:] = 0.0
    centred, other = np.empty((n, n)), np.empty(n)
    if factor:
        average = 0.0
        for i in range(n):
            other[i] = 0.0
            for j in range(n):
                other[i] += cov[i, j] / n
            average += other[i] / n
        widest = 0
        for i in range(n):
            for j in range(n):
                centred[i, j] = cov[i, j] - other[i] - other[j] + average
            if centred[i, i] > centred[widest, widest]:
                widest = i
        for i in range(n):
            b[i] = centred[i, widest]
        for _ in range(TURNS):
            square = 0.0
            for i in range(n):
                other[i] = 0.0
                for j in range(n):
                    other[i] += centred[i, j] * b[j]
                square += other[i] * other[i]
            scale = 1.0 / sqrt(square) if square > 0.0 else 0.0
            for i in range(n):
                b[i] = other[i] * scale
        along = 0.0
        for i in range(n):
            for j in range(n):
                along += b[i] * centred[i, j] * b[j]
        for i in range(n):
            b[i] *= sqrt(max(along, 0.0))
    for sweep in range(SWEEPS + 1 if factor else 1):
        total = 0.0
        for i in range(n):
            other[i] = 0.0
            for j in range(n):
                rest[i, j] = cov[i, j] - b[i] * b[j]
                other[i] -= rest[i, j] if i != j else 0.0
            total += other[i]
        for i in range(n):
            other[i] = (other[i] - total / (2 * n - 2)) / (n - 2)
        for i in range(n):
            for j in range(n):
                rest[i, j] += other[i] + other[j]
        if sweep == SWEEPS or not factor:
            break
        for i in range(n):
            product, square = 0.0, 0.0
            for j in range(n):
                if j != i:
                    product += (rest[i, j] + b[i] * b[j]) * b[j]
                    square += b[j] * b[j]
            new = product / square if square > 0.0 else 0.0
            # Something must stay a logit's own: the series bears no negative variance.
            most = sqrt(max(rest[i, i] + b[i] * b[i], 0.0) * (1.0 - LEAST))
            new = min(max(new, -most), most)
            for j in range(n):
                if j != i:
                    rest[i, j] += (b[i] - new) * b[j]
                    rest[j, i] = rest[i, j]
            rest[i, i] += b[i] * b[i] - new * new
            b[i] = new
    for i in range(n):
        d[i] = max(rest[i, i], 0.0)
        rest[i, i] -= d[i]


def step_for(d: Array, D: float) -> float:
    """Of the trapezoidal sum in x: exp(−π²/h), of Gumbel's law, and exp(−½(2π/h)²δ), 1/δ = Σ 1/d, make e^−D.

    At most what the grids of H bear (lanes/gumbel.py).
    """
    inverse, narrowest = 0.0, d[0]
    for i in range(len(d)):
        inverse += 1.0 / max(d[i], 1e-300)
        narrowest = min(narrowest, d[i])
    step = (pi * pi + sqrt(pi**4 + 8 * pi * pi * D / inverse)) / (2 * D)
    return min(step, 2 * HALF_CELL * sqrt(RADIUS[0] ** 2 + RADIUS[1] ** 2 * narrowest))


def reach(d: float, D: float) -> tuple[float, float]:
    """From where to where H differs from 0 and 1 by more than e^−D."""
    left = -sqrt(2.0 * D * d) - log(D)
    right = D + 0.5 * d if d < 2.0 * D else sqrt(2.0 * D * d) + 5.0
    return left, right


def factor_step(d: Array, b: Array, D: float) -> float:
    """Of the trapezoidal sum in z: as in quadrature.py, but what is summed is an average over N(0, d) already.

    At a frequency T = 2π/h the average leaves exp(−½ s t²) of what the summand has at t, 1/s the variance of b with
    weights 1/d, and the half-plane exp(−c t), c = π/(max b − min b); with the normal weight, at T − t, the largest
    term has the exponent −(½ s T² + c T − ½ c²)/(1 + s).
    """
    n, top, bottom = len(d), b[0], b[0]
    total, first, second = 0.0, 0.0, 0.0
    for i in range(n):
        top, bottom = max(top, b[i]), min(bottom, b[i])
        weight = 1.0 / max(d[i], 1e-12)
        total += weight
        first += weight * b[i]
    for i in range(n):
        second += (b[i] - first / total) ** 2 / max(d[i], 1e-12)
    s: float = 1.0 / max(second, 1e-12)
    c: float = pi / max(top - bottom, 0.1)
    # Of the quadratic equation for T the root that stays where s vanishes.
    right = D * (1 + s) + 0.5 * c * c
    T = 2 * right / (sqrt(c * c + 2 * s * right) + c)
    return 2 * pi / max(T, sqrt(2 * D))


def enough(rank: int, tolerance: float, of_points: float) -> float:
    """The estimate of an error that will do in so many directions: up to three the tolerance, which other rules reach;
    where points are the alternative more, since a factor costs twenty times as much as none, but no more than points
    err by."""
    if rank < 4:
        return tolerance
    some = min(max(min(2e5 * tolerance, FINE), 2e3 * tolerance), COARSE)
    return max(tolerance, min(some, of_points))


def digits_of_sums(D: float, bar: float, exact: bool) -> float:
    """D of the sums: that of the tolerance, or a hundredth of what will do, where the series errs anyway."""
    return D + SPARE if exact else min(D + SPARE, log(500.0 / bar))


def error_of_points(square: float) -> float:
    """Of Sobol points, for logits whose differences have at most that variance: see quadrature.halvings."""
    return 0.15 * square * square / (1.0 + square) / 2048.0
