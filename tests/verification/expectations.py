"""How often the error of an expectation is within its estimate: laws of 3 to 16 logits against sums over many points.

The reference is independent of all rules: logits from scrambled Sobol points through the inverse normal distribution,
in the span of the means, REPLICATES times, with antipodes. An error that the reference cannot tell from zero counts as
within; what it could tell is said beside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from solvers.expectations import gaussian_softmax

REPLICATES = 4
BLOCK = 1 << 16
#: Errors of the reference that count as its noise: with REPLICATES of them, Student's t at 1e-3 on both sides.
NOISE = 12.9
LOGITS = (3, 4, 5, 6, 8, 12, 16)
NORMS = (0.5, 1.0, 2.5, 4.0)
GEOMETRIES = ("random", "crowded", "orthogonal", "pairs", "bunches")
WEIGHTS = ("equal", "uneven", "dying")


def draw(rng: np.random.Generator, n: int, geometry: str, norm: float, weights: str) -> tuple[Any, Any]:
    """Means and covariance of the logits log w_j N(x; μ_j, 1), x ~ N(μ_0, 1)."""
    directions = rng.standard_normal((n, {"crowded": n}.get(geometry, 64)))
    if geometry == "orthogonal":
        directions = np.eye(n)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if geometry == "pairs":
        directions[1] = directions[0] + 0.1 * directions[1]
    if geometry == "bunches":
        directions = directions[np.arange(n) % 2] + 0.3 * directions
    mu = norm * directions
    spread = {"equal": 0.0, "uneven": 1.0, "dying": 6.0}[weights]
    log_w = spread * rng.standard_normal(n)
    log_w -= np.log(np.exp(log_w).sum())
    cov = mu @ mu.T
    return log_w + cov[0] - np.diag(cov) / 2, cov


@numba.njit
def _add(mean: Any, factor: Any, z: Any, total: Any) -> None:
    n = len(mean)
    u = np.empty(n)
    for p in range(len(z)):
        for sign in (1.0, -1.0):
            top = -np.inf
            for i in range(n):
                u[i] = mean[i]
                for a in range(factor.shape[1]):
                    u[i] += sign * factor[i, a] * z[p, a]
                top = max(top, u[i])
            norm = 0.0
            for i in range(n):
                u[i] = np.exp(u[i] - top)
                norm += u[i]
            for i in range(n):
                total[i] += u[i] / norm
            total[n] += top + np.log(norm)


def reference(mean: Any, cov: Any, points: int, seed: int) -> tuple[Any, Any]:
    """(softmax, logsumexp) and their standard errors, (n + 1) each, from so many points."""
    n = len(mean)
    centre = np.eye(n) - 1 / n  # what all logits have in common is no difference
    variances, axes = np.linalg.eigh(centre @ cov @ centre)
    wide = variances > 1e-12 * variances[-1]
    factor = np.ascontiguousarray((axes * np.sqrt(np.maximum(variances, 0)))[:, wide])
    found = []
    for replicate in range(REPLICATES):
        sobol = qmc.Sobol(factor.shape[1], rng=np.random.default_rng([seed, replicate]), bits=32)
        total, each = np.zeros(n + 1), points // (2 * REPLICATES)
        for first in range(0, each, BLOCK):
            z = ndtri(np.clip(sobol.random(min(BLOCK, each - first)), 1e-12, 1 - 1e-12))
            _add(mean, factor, z, total)
        found.append(total / (2 * each))
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(REPLICATES)


def measure(say: Callable[[str], None], laws: int = 500, points: int = 1 << 24, seed: int = 1) -> dict[str, Any]:
    """For each law: n, its kind; estimate, error and what the reference can tell, in units of max(1, |value|)."""
    rng, rows = np.random.default_rng(seed), []
    for law in range(laws):
        n = LOGITS[law % len(LOGITS)]
        geometry, weights = str(rng.choice(GEOMETRIES)), str(rng.choice(WEIGHTS))
        norm = float(rng.choice(NORMS))
        mean, cov = draw(rng, n, geometry, norm, weights)
        softmax, logsumexp, estimate = gaussian_softmax(mean, cov, error=True, tolerance=1e-10)
        value = np.append(softmax, logsumexp)
        known, deviation = reference(mean, cov, points, law)
        unit = np.maximum(1.0, np.abs(known))
        rows.append(
            {
                "n": n,
                "geometry": geometry,
                "norm": norm,
                "weights": weights,
                "estimate": float(estimate),
                "error": float((np.abs(value - known) / unit).max()),
                "noise": float((NOISE * deviation / unit).max()),
            }
        )
        if law % 20 == 0:
            say(f"{law} of {laws} laws")
    return {"points": points, "laws": rows}
