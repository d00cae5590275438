"""The share of the directions orthogonal to all means, in closed form, where a(x) depends on the step only.

There x_⊥ consists of d − R independent Gaussian chains, and the log-weight of each is quadratic in its path
y = (x_0, …, x_N): log W = c − ½ y·M y with y ~ N(0, P⁻¹) under the sampler, so E W^m = e^{mc} √(det P / det(P + mM)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.model import Mixture, Sampler

__all__ = ["Share", "depends_on_step_only", "share"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """What `directions` orthogonal directions add: elbo and eubo (E log W under the sampler and under the target's
    path measure), variance of log W, and log E W², infinite where it does not exist. They add 0 to log Z."""

    directions: int
    elbo: float
    eubo: float
    variance: float
    log_second_moment: float


def depends_on_step_only(sampler: Sampler) -> bool:
    """Whether prior, target and every mixture of the drifts have one variance each."""
    return all(mixture.one_variance for mixture in sampler.mixtures.values())


def share(sampler: Sampler) -> Share | None:
    """The orthogonal share of a sampler, or None where it has no closed form."""
    if not depends_on_step_only(sampler):
        return None
    forms = _forms(sampler)
    count = sampler.dimension - sampler.directions
    (_, mean, variance), (_, tilted, _), (second, *_) = (cumulants(*forms, m) for m in (0.0, 1.0, 2.0))
    return Share(count, *(count * x if count else 0.0 for x in (mean, tilted, variance, second)))


def cumulants(precision: Array, quadratic: Array, constant: float, m: float) -> tuple[float, float, float]:
    """f(m) = log E W^m of one direction and its first two derivatives; +inf where the integral diverges.

    f' is E log W at m = 0 and the same under the target's path measure at m = 1, f'' at 0 the variance of log W.
    precision, quadratic (2, N + 1): diagonals and off-diagonals (the last 0) of P and M. The pivots of a tridiagonal
    matrix follow a recursion, which is differentiated along with it: the cost is that of N steps.
    """
    values = []
    for at in (0.0, m):
        total, pivot, off = np.zeros(3), np.array([1.0, 0.0, 0.0]), np.zeros(3)
        for a, b, da, db in zip(*precision, *quadratic, strict=True):
            ratio = _quotient(off, pivot)
            pivot = np.array([a + at * da, da, 0.0]) - ratio
            if not pivot[0] > 0:
                return float("inf"), float("inf"), float("inf")
            slope = pivot[1] / pivot[0]
            total += [np.log(pivot[0]), slope, pivot[2] / pivot[0] - slope**2]
            o = b + at * db
            off = np.array([o * o, 2 * o * db, 2 * db * db])
        values.append(total)
    plain, tilted = values
    return (
        m * constant - 0.5 * float(tilted[0] - plain[0]),
        constant - 0.5 * float(tilted[1]),
        -0.5 * float(tilted[2]),
    )


def _quotient(u: Array, w: Array) -> Array:
    """u/w and its first two derivatives, from those of u and w."""
    value = u[0] / w[0]
    first = (u[1] - value * w[1]) / w[0]
    return np.array([value, first, (u[2] - 2 * first * w[1] - value * w[2]) / w[0]])


def _forms(sampler: Sampler) -> tuple[Array, Array, float]:
    """P and M of one direction, each as (diagonal, off-diagonal), and c."""
    v, u = (float(np.exp(sampler.mixtures[name].log_var[0])) for name in ("prior", "target"))
    N, eta = sampler.steps, sampler.eta
    precision, quadratic = np.zeros((2, N + 1)), np.zeros((2, N + 1))
    precision[0, 0] = 1 / v
    quadratic[0, 0] -= 1 / v
    quadratic[0, N] += 1 / u
    for n in range(N):
        grow, gain = 1 + eta * _shrink(sampler, n)[0], 1 + eta * _shrink(sampler, n + 1)[1]
        # squares of x_{n+1} − grow x_n and of x_n − gain x_{n+1}: coefficients of x_n², x_{n+1}² and x_n x_{n+1}
        forward, backward = np.array([grow**2, 1.0, -grow]), np.array([1.0, gain**2, -gain])
        for matrix, square in ((precision, forward), (quadratic, backward - forward)):
            matrix[0, n] += square[0] / (2 * eta)
            matrix[0, n + 1] += square[1] / (2 * eta)
            matrix[1, n] += square[2] / (2 * eta)
    return precision, quadratic, 0.5 * float(np.log(v / u))


def _shrink(sampler: Sampler, n: int) -> tuple[float, float]:
    """a of the forward and of the backward drift at step n."""
    out = []
    for side in sampler.coefficients(n):
        total = side.get("x", 0.0)
        for name, c in side.items():
            if name == "x":
                continue
            mixture: Mixture = sampler.mixtures[sampler.origin(name)]
            log_var, decay = mixture.log_var, sampler.decay(n, name)
            if decay is not None:
                log_var = sampler.module.noise(mixture.mean, log_var, decay)["log_var_t"]
            total -= c * float(np.exp(-log_var[0]))
        out.append(total)
    return out[0], out[1]
