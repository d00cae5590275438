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
    precision, quadratic, constant = _forms(sampler)
    count = sampler.dimension - sampler.directions
    under_q = np.linalg.solve(precision, quadratic)
    under_p = np.linalg.solve(precision + quadratic, quadratic)
    return Share(
        count,
        count * (constant - 0.5 * float(np.trace(under_q))),
        count * (constant - 0.5 * float(np.trace(under_p))),
        count * 0.5 * float(np.sum(under_q * under_q.T)),
        count * log_moment(precision, quadratic, constant, 2.0),
    )


def log_moment(precision: Array, quadratic: Array, constant: float, m: float) -> float:
    """log E W^m of one direction; +inf where the integral diverges."""
    eigenvalues = np.linalg.eigvalsh(precision + m * quadratic)
    if eigenvalues[0] <= 0:
        return float("inf")
    return m * constant + 0.5 * float(np.linalg.slogdet(precision)[1] - np.sum(np.log(eigenvalues)))


def _forms(sampler: Sampler) -> tuple[Array, Array, float]:
    """P, M and c of one direction."""
    v, u = (float(np.exp(sampler.mixtures[name].log_var[0])) for name in ("prior", "target"))
    N, eta = sampler.steps, sampler.eta
    precision, quadratic = np.zeros((N + 1, N + 1)), np.zeros((N + 1, N + 1))
    precision[0, 0] += 1 / v
    quadratic[0, 0] -= 1 / v
    quadratic[N, N] += 1 / u
    for n in range(N):
        grow, gain = 1 + eta * _shrink(sampler, n)[0], 1 + eta * _shrink(sampler, n + 1)[1]
        forward, backward = np.zeros(N + 1), np.zeros(N + 1)
        forward[n], forward[n + 1] = -grow, 1.0
        backward[n], backward[n + 1] = 1.0, -gain
        precision += np.outer(forward, forward) / (2 * eta)
        quadratic += (np.outer(backward, backward) - np.outer(forward, forward)) / (2 * eta)
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
