"""Two other ways to J(a, v) and its derivatives: integrals in 30 digits, and the quadrature that the table replaced."""

from functools import lru_cache

import mpmath
import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

Array = NDArray[np.float64]


def exact(a: float, variance: float) -> list[mpf]:
    """J, J', J'', J''' to 1e-27 by trapezoidal sums: in z while the logistic is wide, in its own variable otherwise."""
    with mp.workdps(32):
        a, b = mpf(a), mp.sqrt(mpf(variance))
        if b < 1.5:
            nodes = [
                (a + b * mpf(i) / 5, mp.exp(-(mpf(i) ** 2) / 50) / (5 * mp.sqrt(2 * mp.pi))) for i in range(-60, 61)
            ]
            terms = [[weight * f for f in logistic(u)] for u, weight in nodes]
        else:
            terms = []
            for u, weight in _logistic_nodes():
                y = (a - u) / b
                density, above = mp.exp(-y * y / 2) / mp.sqrt(2 * mp.pi), mp.erfc(-y / mp.sqrt(2)) / 2
                parts = (b * density + (a - u) * above, above, density / b, -y * density / b**2)
                terms.append([weight * f for f in parts])
        return [mp.fsum(column) for column in zip(*terms, strict=True)]


def logistic(u: mpf) -> list[mpf]:
    """softplus, σ, σ', σ''."""
    small = mp.exp(-abs(u)) / (1 + mp.exp(-abs(u)))
    sigma = 1 - small if u > 0 else small
    slope = small * (1 - small)
    return [max(u, 0) + mp.log1p(mp.exp(-abs(u))), sigma, slope, slope * (1 - 2 * sigma)]


@lru_cache(maxsize=1)
def _logistic_nodes() -> list[tuple[mpf, mpf]]:
    step = mpf(3) / 10
    return [(i * step, step * logistic(i * step)[2]) for i in range(-230, 231)]


def error(got: object, variance: float, wanted: list[mpf]) -> list[float]:
    """|got − wanted| in units of max(1, |wanted|)."""
    return [float(abs(mpf(float(x)) - y) / max(1, abs(y))) for x, y in zip(got, wanted, strict=False)]  # type: ignore[call-overload]
