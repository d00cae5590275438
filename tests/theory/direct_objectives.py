"""Objectives typed in as integrals over R^d, by trapezoidal sums over a grid of x: nothing of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

__all__ = ["Problem", "entropy_of_weights", "forward", "reverse", "second_moment", "slopes", "squares"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Means (K, d), modes (L, d), θ (K,), π (L,), the variances v and u, and numbers of the objective."""

    mu: Array
    nu: Array
    theta: Array
    pi: Array
    v: float
    u: float

    @classmethod
    def random(cls, d: int, seed: int = 3, K: int = 3, L: int = 2) -> Problem:
        """Components that overlap, v ≠ u, unequal weights."""
        rng = np.random.default_rng(seed)
        pi = rng.dirichlet(5 * np.ones(L))
        return cls(0.8 * rng.normal(size=(K, d)), 1.2 * rng.normal(size=(L, d)), 0.4 * rng.normal(size=K), pi, 0.8, 1.3)

    @property
    def w(self) -> Array:
        return np.exp(log_softmax(self.theta))

    def grid(self) -> tuple[Array, float]:
        """Points (n, d) and the volume of each: spacing 0.16 sd of the narrower law, to 8.5 sd outside of all means."""
        d = self.mu.shape[1]
        means, wide = np.concatenate([self.mu, self.nu]), 8.5 * np.sqrt(max(self.v, self.u))
        h = 0.32 * np.sqrt(min(self.v, self.u)) if d > 1 else 0.1
        axes = [np.arange(means[:, a].min() - wide, means[:, a].max() + wide, h) for a in range(d)]
        return np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=-1), h**d

    def log_densities(self) -> tuple[Array, Array, Array, float]:
        """x, log q, log p at the grid, and the volume of a point."""
        x, volume = self.grid()
        found = []
        for means, weights, v in ((self.mu, self.w, self.v), (self.nu, self.pi, self.u)):
            square = np.sum((x[:, None] - means) ** 2, axis=-1)
            found.append(logsumexp(np.log(weights) - square / (2 * v) - x.shape[1] / 2 * np.log(2 * np.pi * v), axis=1))
        return x, found[0], found[1], volume


Objective = Callable[[Problem], float]


def reverse(at: Problem, beta: float = 1.0) -> float:
    """∫ q (log q − β log p)."""
    _, q, p, volume = at.log_densities()
    return float(np.sum(np.exp(q) * (q - beta * p)) * volume)


def forward(at: Problem) -> float:
    """∫ p (log p − log q)."""
    _, q, p, volume = at.log_densities()
    return float(np.sum(np.exp(p) * (p - q)) * volume)


def second_moment(at: Problem) -> float:
    """∫ q |x|²."""
    x, q, _, volume = at.log_densities()
    return float(np.sum(np.exp(q) * np.sum(x**2, axis=1)) * volume)


def squares(at: Problem) -> float:
    """Σ_k w_k |μ_k|²."""
    return float(at.w @ np.sum(at.mu**2, axis=1))


def entropy_of_weights(at: Problem) -> float:
    """Σ_k w_k log w_k."""
    return float(at.w @ np.log(at.w))


def slopes(objective: Objective, at: Problem) -> tuple[Array, Array]:
    """∂D/∂μ_k (K, d) and ∂D/∂θ_k (K,) by central differences of fourth order."""

    def slope(name: str, index: tuple[int, ...], h: float = 4e-3) -> float:
        values = []
        for n in (-2, -1, 1, 2):
            moved = getattr(at, name).copy()
            moved[index] += n * h
            values.append(objective(replace(at, **{name: moved})))
        return float(np.dot([1, -8, 8, -1], values) / (12 * h))

    mu = np.array([[slope("mu", (k, a)) for a in range(at.mu.shape[1])] for k in range(len(at.mu))])
    return mu, np.array([slope("theta", (k,)) for k in range(len(at.theta))])
