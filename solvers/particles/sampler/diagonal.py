"""Mixtures of which every component has a variance in each coordinate, in array code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.particles.sampler.mixtures import Bars, Field, Mixture

__all__ = ["Diagonal"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Diagonal(Mixture):
    """Σ_k w_k N(μ_k, diag v_k): means (K, d), variances (K, d), log_weights (K,) normalised."""

    def sharing(self, x: Array, y: Array) -> Array:
        """Every coordinate has a variance of its own."""
        return x * y

    def at(self, x: Array) -> Field:
        """As of Mixture, but squares are Σ_j (x_j − μ_kj)²/v_kj."""
        precision = 1 / self.variances
        pulls = self.means * precision
        square = x**2 @ precision.T - 2 * (x @ pulls.T) + np.einsum("kd,kd->k", self.means, pulls)
        terms = self.log_weights - 0.5 * (np.log(2 * np.pi * self.variances).sum(1) + square)
        top = terms.max(1, keepdims=True)
        r = np.exp(terms - top)
        total = r.sum(1, keepdims=True)
        r /= total
        return Field((top + np.log(total))[:, 0], r, r @ pulls - (r @ precision) * x, square)

    def pull_back(self, x: Array, at: Field, g: Array, by_density: Array | float) -> tuple[Array, Bars]:
        """As of Mixture, with a_k = Σ_j g_j (μ_kj − x_j)/v_kj, and a derivative for each variance."""
        r, precision = at.responsibilities, 1 / self.variances
        pulls, gx = self.means * precision, g * x
        a = g @ pulls.T - gx @ precision.T
        q = r * (a - (r * a).sum(1, keepdims=True) + np.reshape(by_density, (-1, 1)))
        x_bar = q @ pulls - (q @ precision) * x - (r @ precision) * g
        total, first, second = q.sum(0)[:, None], q.T @ x, q.T @ x**2
        means = precision * (r.T @ g + first - total * self.means)
        squares = second - 2 * first * self.means + total * self.means**2
        log_v = precision * (squares / 2 - self.means * (r.T @ g) + r.T @ gx) - total / 2
        return x_bar, Bars(means, log_v, q.sum(0))
