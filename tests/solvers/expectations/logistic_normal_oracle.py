"""J(a, v) and its derivatives by integrals in 30 digits, and points at which a table is most likely wrong."""

from functools import lru_cache
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from solvers.expectations.logistic_normal import FIRST_LEVEL, LEVELS, ROWS, SHIFT, coefficients

Array = NDArray[np.float64]


def exact(a: float, variance: float) -> list[mpf]:
    """J, J', J'', J''' to 1e-27 by trapezoidal sums: in z while the logistic is wide, in its own variable otherwise."""
    with mp.workdps(32):
        a, b = mpf(float(a)), mp.sqrt(mpf(float(variance)))
        if b < 1.5:
            nodes = [(a + b * mpf(i) / 5, mp.exp(-(mpf(i) ** 2) / 50) / 5) for i in range(-60, 61)]
            norm = 1 / mp.sqrt(2 * mp.pi)
            terms = [[norm * weight * f for f in _logistic(u)] for u, weight in nodes]
        else:
            terms = []
            for u, weight in _logistic_nodes():
                y = (a - u) / b
                density, above = mp.npdf(y), mp.ncdf(y)
                parts = (b * density + (a - u) * above, above, density / b, -y * density / b**2)
                terms.append([weight * f for f in parts])
        return [mp.fsum(column) for column in zip(*terms, strict=True)]


def _logistic(u: mpf) -> list[mpf]:
    """softplus, σ, σ', σ''."""
    shrunk = mp.exp(-abs(u))
    small = shrunk / (1 + shrunk)
    sigma = 1 - small if u > 0 else small
    slope = small * (1 - small)
    return [max(u, 0) + mp.log1p(shrunk), sigma, slope, slope * (1 - 2 * sigma)]


@lru_cache(maxsize=1)
def _logistic_nodes() -> list[tuple[mpf, mpf]]:
    step = mpf(3) / 10
    return [(i * step, step * _logistic(i * step)[2]) for i in range(-230, 231)]


def errors(jet: Any, a: Any, variance: Any) -> Array:
    """(derivatives, points): |jet − exact| in units of max(1, |exact|)."""
    wanted = [exact(*point) for point in zip(np.ravel(a), np.ravel(variance), strict=True)]
    got = [np.ravel(part).tolist() for part in jet]
    return np.array(
        [
            [float(abs(mpf(x) - row[m]) / max(1, abs(row[m]))) for x, row in zip(part, wanted, strict=True)]
            for m, part in enumerate(got)
        ]
    )


def geometry() -> tuple[Array, Array, NDArray[np.int64]]:
    """(edges of the levels in v (LEVELS + 1,), H (LEVELS,), patches (LEVELS,)), read from the table."""
    edges = (FIRST_LEVEL + np.arange(LEVELS + 1) << 49).view(np.float64) - SHIFT
    scale, code = coefficients()[:ROWS].reshape(LEVELS, 2).T
    return edges, 1 / scale, code.astype(np.int64) & 63


def corners(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """(α, v) at random edges of patches, just to either side of them: (4 count,) each."""
    edges, half, patches = geometry()
    level = rng.integers(0, LEVELS, count)
    patch = rng.integers(0, patches[level])
    v = edges[level]
    alpha = (2 * patch + 1) * half[level]
    points = [(alpha * (1 + p), np.maximum(0, v * (1 + q))) for p in (-1e-15, 1e-15) for q in (-1e-15, 1e-15)]
    return np.concatenate([p for p, _ in points]), np.concatenate([q for _, q in points])
