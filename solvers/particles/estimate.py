"""The estimator: draw particles from each component, evaluate log q and log p and their scores there, average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import array_module
from solvers.particles.streams import Fill


@dataclass(frozen=True)
class Surroundings:
    """What does not move: the target Σ_l π_l N(ν_l, u_l I) and the variances of q.

    nu (L, d), log_pi (L,), u (L,), v (K,), arrays of one module, float64.
    """

    nu: Any
    log_pi: Any
    u: Any
    v: Any


@dataclass(frozen=True)
class Estimates:
    """Means over the particles, one row a replica; unbiased.

    gradient (replica, K, d): E_k[∇log q − ∇log p]; log_ratio (replica, K): E_k[log q − log p], nats;
    mode_mass (replica, K, L): E_k[ρ_l], the mass component k gives to each mode.
    """

    gradient: Any
    log_ratio: Any
    mode_mass: Any


def estimate(mu: Any, log_w: Any, around: Surroundings, fill: Fill, *, particles: int, block: int) -> Estimates:
    """Gradients of the reverse KL and the averages beside them, from fresh particles x ~ N(μ_k, v_k I) in R^d.

    Plain: x is drawn, the log-densities and scores of both mixtures are evaluated at x, in log space, and averaged.
    Nothing here depends on variances being equal.

    Takes
        mu (replica, K, d), log_w (replica, K): log-weights, normalised; fill: writes standard normals;
        particles: drawn from each component for each replica; block: how many of them are held at a time.
    Returns
        Estimates; the block size changes them by rounding only.
    """
    xp = array_module(mu)
    replicas, K, d = mu.shape
    means = xp.concatenate([mu, xp.broadcast_to(around.nu, (replicas, *around.nu.shape))], axis=1)
    variances = xp.concatenate([around.v, around.u])
    log_weights = xp.concatenate([log_w, xp.broadcast_to(around.log_pi, (replicas, len(around.log_pi)))], axis=1)
    # log(weight · N(x; mean, variance I)) = (x·mean − |x|²/2)/variance + constant; (2π·variance)^(−d/2) could be 0.0
    constant = (
        log_weights - d / 2 * xp.log(2 * np.pi * variances) - xp.einsum("gad,gad->ga", means, means) / (2 * variances)
    )
    gradient = xp.zeros_like(mu)
    log_ratio = xp.zeros_like(log_w)
    responsibility = xp.zeros((replicas, K, means.shape[1]))
    buffer = xp.empty(replicas * block * d)
    for k in range(K):
        for first in range(0, particles, block):
            count = min(block, particles - first)
            x = buffer[: replicas * count * d].reshape(replicas, count, d)
            fill(x)
            x *= xp.sqrt(around.v[k])
            x += mu[:, k, None, :]
            log_terms = means @ x.transpose(0, 2, 1)
            log_terms -= xp.einsum("gnd,gnd->gn", x, x)[:, None] / 2
            log_terms /= variances[:, None]
            log_terms += constant[:, :, None]
            log_q = _normalise(log_terms[:, :K])
            log_p = _normalise(log_terms[:, K:])
            # Now log_terms holds r_j(x), ρ_l(x), and ∇log q − ∇log p = slope·x + Σ_j r_j μ_j/v_j − Σ_l ρ_l ν_l/u_l.
            slope = (log_terms[:, K:] / around.u[:, None]).sum(1) - (log_terms[:, :K] / around.v[:, None]).sum(1)
            gradient[:, k] += (slope[:, None] @ x)[:, 0]
            log_ratio[:, k] += (log_q - log_p).sum(-1)
            responsibility[:, k] += log_terms.sum(-1)
    responsibility /= particles
    pull = responsibility / variances
    pull[..., K:] *= -1
    return Estimates(gradient / particles + pull @ means, log_ratio / particles, responsibility[..., K:])


def _normalise(log_terms: Any) -> Any:
    """log Σ exp over axis 1 of (replica, term, particle); the terms become exp(term − that) in place."""
    xp = array_module(log_terms)
    top = log_terms.max(1)
    log_terms -= top[:, None]
    xp.exp(log_terms, out=log_terms)
    total = log_terms.sum(1)
    log_terms /= total[:, None]
    return top + xp.log(total)
