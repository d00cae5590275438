"""Isotropic Gaussian mixtures in R^d, in array code: density, score, and derivatives of both in their parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bars", "Field", "Mixture"]

Array = NDArray[np.float64]


class Field(NamedTuple):
    """A mixture at points: log_density (path,), responsibilities (path, K), score (path, d), squares |x − μ_k|²."""

    log_density: Array
    responsibilities: Array
    score: Array
    squares: Array


class Bars(NamedTuple):
    """Derivatives in the parameters of a mixture: means (K, d), log_variances like its variances, log_weights (K,)."""

    means: Array
    log_variances: Array
    log_weights: Array


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ_k w_k N(μ_k, v_k I): means (K, d), variances (K,), log_weights (K,) normalised. With covariances that are
    diagonal: diagonal.py."""

    means: Array
    variances: Array
    log_weights: Array

    def noised(self, decay: float) -> Mixture:
        """The law of decay·x + √(1 − decay²) z: the Ornstein–Uhlenbeck noise after time −log decay."""
        return replace(self, means=decay * self.means, variances=1 + (self.variances - 1) * decay**2)

    def spread(self, chosen: NDArray[np.intp]) -> Array:
        """Standard deviations of the components of these paths: (path, 1), or (path, d) of single coordinates."""
        return np.sqrt(self.variances[chosen]).reshape(len(chosen), -1)

    def sharing(self, x: Array, y: Array) -> Array:
        """Products of coordinates of points (path, d), added up over those that share a variance: all of them."""
        return np.asarray(np.einsum("nd,nd->n", x, y))

    def at(self, x: Array) -> Field:
        """Log-density, score and what they are made of, by log-sum-exp."""
        square = np.einsum("nd,nd->n", x, x)[:, None] - 2 * (x @ self.means.T)
        square += np.einsum("kd,kd->k", self.means, self.means)
        terms = self.log_weights - 0.5 * x.shape[1] * np.log(2 * np.pi * self.variances) - square / (2 * self.variances)
        top = terms.max(1, keepdims=True)
        r = np.exp(terms - top)
        total = r.sum(1, keepdims=True)
        r /= total
        pull = r / self.variances
        score = pull @ self.means - pull.sum(1, keepdims=True) * x
        return Field((top + np.log(total))[:, 0], r, score, square)

    def pull_back(self, x: Array, at: Field, g: Array, by_density: Array | float) -> tuple[Array, Bars]:
        """Derivatives of Σ [g·score + by_density·log-density] in x (path, d), and in the parameters, summed over paths.

        With a_k = g·(μ_k − x)/v_k the score contributes Σ_k r_k a_k, whose derivative in the k-th exponent is
        r_k (a_k − Σ_j r_j a_j); that of the log-density is r_k.
        """
        r, v = at.responsibilities, self.variances
        a = (g @ self.means.T - np.einsum("nd,nd->n", g, x)[:, None]) / v
        q = r * (a - (r * a).sum(1, keepdims=True) + np.reshape(by_density, (-1, 1)))
        qv, rv = q / v, r / v
        x_bar = qv @ self.means - qv.sum(1, keepdims=True) * x - rv.sum(1, keepdims=True) * g
        means = rv.T @ g + qv.T @ x - qv.sum(0)[:, None] * self.means
        log_v = (q * (at.squares / (2 * v) - 0.5 * x.shape[1]) - r * a).sum(0)
        return x_bar, Bars(means, log_v, q.sum(0))
