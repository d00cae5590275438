"""A random configuration of the problem in R^d, as numbers: means, weights, variances, and one or many points x."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from sympy import Expr, Indexed, Integer

from theory.mixtures import Mixture
from theory.parameters import RATES
from theory.vectors import Mean, Point

__all__ = ["Array", "Configuration", "inner", "position"]

Array = npt.NDArray[np.float64]


def position(expr: Expr, at: Configuration) -> int:
    """Zero-based value of an index expression."""
    if isinstance(expr, Integer):
        return int(expr) - 1
    if str(expr) in at.indices:
        return at.indices[str(expr)] - 1
    return int(at.symbols[str(expr)]) - 1  # the size itself: the last component


def inner(a: Array, b: Array) -> Array:
    """Inner products over the last axis, which is so short that sums along the others are several times as fast."""
    return np.asarray(sum(a[..., n] * b[..., n] for n in range(a.shape[-1])))


@dataclass(frozen=True)
class Configuration:
    """A random point of the problem: K mean vectors and L modes in R^d, weights, variances."""

    means: dict[str, Array]
    weights: dict[str, Array]
    symbols: dict[str, float]
    operators: dict[str, Array] = field(default_factory=dict)
    indices: dict[str, int] = field(default_factory=dict)
    x: Array | None = None
    #: One more coordinate of x, in which every mean is zero; 0 outside of `Raised`.
    beyond: float = 0.0
    #: Averages, gradients and densities that were evaluated at this point and these x, by node and indices.
    known: dict[Any, Array] = field(default_factory=dict, compare=False, repr=False)

    #: Fourth-order central differences and 24 Gauss–Hermite nodes leave about 1e-9; a wrong rule leaves O(1).
    TOLERANCE: ClassVar[float] = 1e-7
    STEP: ClassVar[float] = 2e-3
    NODES: ClassVar[int] = 24

    @classmethod
    def random(cls, seed: int = 7, d: int = 3, K: int = 3, L: int = 2) -> Configuration:
        """Means of norm about 1 in general position, unequal weights, v ≠ u."""
        rng = np.random.default_rng(seed)
        factor = rng.normal(size=(d, d))
        return cls(
            # dmu: any vectors, for identities that hold whatever the velocities of the means are.
            means={name: 0.5 * rng.normal(size=(n, d)) for name, n in (("mu", K), ("nu", L), ("dmu", K))},
            weights={
                "w": rng.dirichlet(4 * np.ones(K)),
                "pi": rng.dirichlet(4 * np.ones(L)),
                # Not much wider than one another: logits are steeper in wide components, and need more nodes.
                "v": np.linspace(0.7, 1.0, K),
                "u": np.linspace(1.3, 1.1, L),
                # Any rates, for identities that hold in every metric.
                **{f"rate_{group}": np.linspace(0.7 + n, 1.4, K) for n, group in enumerate(RATES)},
            },
            symbols={"v": 0.8, "u": 1.3, "beta": 0.6, "step": 0.3, "size": 5.0, "d": d, "K": K, "L": L},
            operators={"S": np.eye(d) / 1.3 + 0.05 * (factor + factor.T)},
            x=0.5 * rng.normal(size=(1, d)),  # for fields outside of expectations
        )

    def gram(self) -> Array:
        """Gram matrix of (mu, nu)."""
        vectors = np.concatenate([self.means["mu"], self.means["nu"]])
        return np.asarray(vectors @ vectors.T)

    def table(self, name: str) -> Array:
        """Value of an indexed symbol: weights, overlaps, log-weights, or the pseudo-inverse of the Gram matrix."""
        K = len(self.means["mu"])
        gram = self.gram()
        tables = {
            **self.weights,
            "theta": np.log(self.weights["w"]),
            "log_w": np.log(self.weights["w"]),
            "log_pi": np.log(self.weights["pi"]),
            "s": gram[:K, :K],
            "m": gram[:K, K:],
            "c": gram[K:, K:],
            "gamma": self.means["dmu"] @ self.means["mu"].T,
            "dm": self.means["dmu"] @ self.means["nu"].T,
        }
        if name == "Gplus":
            return np.asarray(np.linalg.pinv(gram, rcond=1e-10))
        return np.asarray(tables[name])

    def variances(self, mixture: Mixture) -> Array:
        """Variances of the components (components,), or of all of them ()."""
        name = str(mixture.args[4])
        return np.asarray(self.weights[name] if mixture.own_variances else self.symbols[name])

    def logits(self, mixture: Mixture) -> Array:
        """log(weight) + log N at the points x, (n, components)."""
        assert self.x is not None
        if mixture in self.known:
            return self.known[mixture]
        # Points may have coordinates beyond the d of the problem (`Raised`); means are zero there.
        mean, d = self.means[mixture.mean_name], self.symbols["d"]
        delta = self.x[:, None, :] - np.pad(mean, ((0, 0), (0, self.x.shape[1] - mean.shape[1])))
        if mixture.precision:
            s = self.operators[mixture.precision]
            quadratic = np.einsum("nkd,de,nke->nk", delta, s, delta)
            log_norm = -0.5 * d * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(s)[1]
        else:
            v = self.variances(mixture)
            quadratic, log_norm = inner(delta, delta) / v, -0.5 * d * np.log(2 * np.pi * v)
        self.known[mixture] = np.log(self.weights[str(mixture.weights)]) + log_norm - 0.5 * quadratic
        return self.known[mixture]

    def shares(self, mixture: Mixture) -> Array:
        """Responsibilities of the components at the points x, (n, components)."""
        key = mixture, "shares"
        if key not in self.known:
            self.known[key] = np.exp(log_softmax(self.logits(mixture), axis=1))
        return self.known[key]

    def number(self, index: Expr) -> int:
        """Value of an index expression, from one."""
        return position(index, self) + 1

    def shifted(self, y: Expr, coordinate: int, h: float) -> Configuration:
        """The same point with one coordinate of y moved by h."""
        return replace(self._shifted(y, coordinate, h), known={})

    def _shifted(self, y: Expr, coordinate: int, h: float) -> Configuration:
        if isinstance(y, Point):
            assert self.x is not None
            return replace(self, x=self.x + h * np.eye(self.x.shape[1])[coordinate])
        if isinstance(y, Indexed) and str(y.base) == "theta":
            theta = self.table("theta").copy()
            theta[position(y.indices[0], self)] += h
            return replace(self, weights={**self.weights, "w": np.exp(log_softmax(theta))})
        group, name = (self.means, y.name) if isinstance(y, Mean) else (self.weights, str(y.base))
        index = position(y.index if isinstance(y, Mean) else y.indices[0], self)
        array = group[name].copy()
        array[(index, coordinate) if isinstance(y, Mean) else index] += h
        moved = {**group, name: array}
        return replace(self, means=moved) if isinstance(y, Mean) else replace(self, weights=moved)
