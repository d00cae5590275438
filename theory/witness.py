"""Numbers for expressions of the engine, in d dimensions, independent of every rule.

Expectations are tensor Gauss–Hermite sums over R^d, gradients are central differences, log-densities are evaluated from
their definition. This is how a derivation step is checked; solvers never see it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp
from sympy import Add, Expr, Function, Indexed, Integer, KroneckerDelta, Mul, Pow, Symbol

from theory.expectations import Expectation, Gradient, LogitExpectation, LogSumExp, PairExpectation, Softmax
from theory.mixtures import LogDensity, Mixture, Responsibility
from theory.parameters import RATES
from theory.radial_witness import NODES, evaluate_radial
from theory.sums import LETTERS, Sigma
from theory.vectors import Dot, Image, Mean, Point, is_vector

__all__ = ["Witness", "evaluate", "residual"]

Array = npt.NDArray[np.float64]


@cache
def _gauss(dimension: int, nodes: int) -> tuple[Array, Array]:
    """Nodes (n^d, d) and weights (n^d, 1) of the standard normal in R^d."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    grid = np.stack([g.ravel() for g in np.meshgrid(*[x] * dimension, indexing="ij")], axis=-1)
    weights = np.prod(np.stack([g.ravel() for g in np.meshgrid(*[w] * dimension, indexing="ij")], axis=-1), axis=-1)
    keep = weights > 1e-20
    return grid[keep], weights[keep, None]


@dataclass(frozen=True)
class Witness:
    """A random point of the problem: K mean vectors and L modes in R^d, weights, variances."""

    means: dict[str, Array]
    weights: dict[str, Array]
    symbols: dict[str, float]
    operators: dict[str, Array] = field(default_factory=dict)
    indices: dict[str, int] = field(default_factory=dict)
    x: Array | None = None
    #: One more coordinate of x, in which every mean is zero; 0 outside of `Raised`.
    beyond: float = 0.0
    #: Averages `Raised` that were evaluated at this point, by node and indices.
    averages: dict[Any, Array] = field(default_factory=dict, compare=False, repr=False)

    #: Fourth-order central differences and 24 Gauss–Hermite nodes leave about 1e-9; a wrong rule leaves O(1).
    TOLERANCE: ClassVar[float] = 1e-7
    STEP: ClassVar[float] = 2e-3
    NODES: ClassVar[int] = 24

    @classmethod
    def random(cls, seed: int = 7, d: int = 3, K: int = 3, L: int = 2) -> Witness:
        """Means of norm about 1 in general position, unequal weights, v ≠ u."""
        rng = np.random.default_rng(seed)
        factor = rng.normal(size=(d, d))
        return cls(
            # dmu: any vectors, for identities that hold whatever the velocities of the means are.
            means={name: 0.5 * rng.normal(size=(n, d)) for name, n in (("mu", K), ("nu", L), ("dmu", K))},
            weights={
                "w": rng.dirichlet(4 * np.ones(K)),
                "pi": rng.dirichlet(4 * np.ones(L)),
                "v": np.linspace(0.6, 1.0, K),
                "u": np.linspace(1.5, 1.1, L),
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
        # Points may have coordinates beyond the d of the problem (`Raised`); means are zero there.
        mean, d = self.means[mixture.mean_name], self.symbols["d"]
        delta = self.x[:, None, :] - np.pad(mean, ((0, 0), (0, self.x.shape[1] - mean.shape[1])))
        if mixture.precision:
            s = self.operators[mixture.precision]
            quadratic = np.einsum("nkd,de,nke->nk", delta, s, delta)
            log_norm = -0.5 * d * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(s)[1]
        else:
            v = self.variances(mixture)
            quadratic, log_norm = np.sum(delta**2, axis=-1) / v, -0.5 * d * np.log(2 * np.pi * v)
        return np.asarray(np.log(self.weights[str(mixture.weights)]) + log_norm - 0.5 * quadratic)

    def number(self, index: Expr) -> int:
        """Value of an index expression, from one."""
        return _index(index, self) + 1

    def shifted(self, y: Expr, coordinate: int, h: float) -> Witness:
        """The same point with one coordinate of y moved by h."""
        return replace(self._shifted(y, coordinate, h), averages={})

    def _shifted(self, y: Expr, coordinate: int, h: float) -> Witness:
        if isinstance(y, Point):
            assert self.x is not None
            return replace(self, x=self.x + h * np.eye(self.x.shape[1])[coordinate])
        if isinstance(y, Indexed) and str(y.base) == "theta":
            theta = self.table("theta").copy()
            theta[_index(y.indices[0], self)] += h
            return replace(self, weights={**self.weights, "w": np.exp(log_softmax(theta))})
        group, name = (self.means, y.name) if isinstance(y, Mean) else (self.weights, str(y.base))
        index = _index(y.index if isinstance(y, Mean) else y.indices[0], self)
        array = group[name].copy()
        array[(index, coordinate) if isinstance(y, Mean) else index] += h
        moved = {**group, name: array}
        return replace(self, means=moved) if isinstance(y, Mean) else replace(self, weights=moved)


def _index(expr: Expr, at: Witness) -> int:
    """Zero-based value of an index expression."""
    if isinstance(expr, Integer):
        return int(expr) - 1
    if str(expr) in at.indices:
        return at.indices[str(expr)] - 1
    return int(at.symbols[str(expr)]) - 1  # the size itself: the last component


def _difference(node: Gradient, at: Witness) -> Array:
    """∂f/∂y by fourth-order central differences."""

    def slope(coordinate: int) -> Array:
        h = at.STEP
        f = [evaluate(node.f, at.shifted(node.y, coordinate, n * h)) for n in (-2, -1, 1, 2)]
        return np.asarray((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h))

    if not is_vector(node):
        return slope(0)
    return np.concatenate([slope(i) for i in range(int(at.symbols["d"]))], axis=1)


def _logit_expectation(node: LogitExpectation, at: Witness) -> Array:
    """E of the softmax or log-sum-exp of Gaussian logits, by quadrature over their own directions."""
    size = int(at.symbols[str(node.size)])
    mean = np.array([evaluate(node.mean(Integer(j + 1)), at).item() for j in range(size)])
    cov = np.array(
        [[evaluate(node.cov(Integer(i + 1), Integer(j + 1)), at).item() for j in range(size)] for i in range(size)]
    )
    values, vectors = np.linalg.eigh(cov[:-1, :-1])
    z, weight = _gauss(size - 1, at.NODES + 16)
    u = mean + np.pad(z @ (vectors * np.sqrt(np.clip(values, 0, None))).T, ((0, 0), (0, 1)))
    if node.kind == "logsumexp":
        return np.asarray(weight.T @ logsumexp(u, axis=1, keepdims=True))
    return np.asarray(weight.T @ np.exp(log_softmax(u, axis=1)))[:, [_index(node.entry, at)]]


def _pair_expectation(node: PairExpectation, at: Witness) -> Array:
    """E of the product of two softmax of jointly Gaussian logits, over the directions that they have together."""
    parts = (node.first, node.second)
    sizes = [int(at.symbols[str(part.size)]) for part in parts]
    labels = [[Integer(n + 1) for n in range(size)] for size in sizes]

    def block(f: Any, rows: list[Integer], columns: list[Integer]) -> Array:
        return np.array([[evaluate(f(n, h), at).item() for h in columns] for n in rows])

    mean = np.array([evaluate(p.mean(n), at).item() for p, of in zip(parts, labels, strict=True) for n in of])
    cross = block(node.cross, *labels)
    own = [block(p.cov, of, of) for p, of in zip(parts, labels, strict=True)]
    values, vectors = np.linalg.eigh(np.block([[own[0], cross], [cross.T, own[1]]]))
    moving = values > 1e-12 * values[-1]
    z, weight = _gauss(int(moving.sum()), at.NODES + 16)
    u = mean + z @ (vectors[:, moving] * np.sqrt(values[moving])).T
    first, second = (np.exp(log_softmax(part, axis=1)) for part in (u[:, : sizes[0]], u[:, sizes[0] :]))
    entries = [_index(part.entry, at) for part in parts]
    return np.asarray(weight.T @ (first[:, [entries[0]]] * second[:, [entries[1]]]))


def evaluate(expr: Expr, at: Witness) -> Array:
    """Value of an expression at a point: scalars (n, 1), vectors (n, d), with n points x or n = 1."""
    value: Any
    if isinstance(expr, Add):
        return np.asarray(sum(evaluate(a, at) for a in expr.args))
    if isinstance(expr, Mul):
        out = np.ones((1, 1))
        for a in expr.args:
            out = out * evaluate(a, at)
        return out
    if isinstance(expr, Pow):
        return np.asarray(evaluate(expr.base, at) ** evaluate(expr.exp, at))
    if isinstance(expr, Sigma):
        k, indices = expr.index, range(1, int(evaluate(expr.size, at).item()) + 1)
        return np.asarray(sum(evaluate(expr.function, replace(at, indices={**at.indices, str(k): i})) for i in indices))
    if isinstance(expr, Expectation):
        mixture, d = expr.mixture, int(at.symbols["d"])
        z, weight = _gauss(d, at.NODES)
        mean = at.means[mixture.mean_name][_index(expr.component, at)]
        if mixture.precision:
            z = z @ np.linalg.cholesky(np.linalg.inv(at.operators[mixture.precision])).T
        else:
            v = np.broadcast_to(at.variances(mixture), len(at.means[mixture.mean_name]))
            z = z * np.sqrt(v[_index(expr.component, at)])
        x = np.pad(mean + z, ((0, 0), (0, 1)), constant_values=at.beyond) if at.beyond else mean + z
        values = evaluate(expr.integrand, replace(at, x=x))
        return np.asarray(np.sum(weight * values, axis=0, keepdims=True))
    if isinstance(expr, Gradient):
        return _difference(expr, at)
    if isinstance(expr, LogDensity):
        return np.asarray(logsumexp(at.logits(expr.args[0]), axis=1, keepdims=True))
    if isinstance(expr, Responsibility):
        return np.asarray(np.exp(log_softmax(at.logits(expr.args[0]), axis=1))[:, [_index(expr.args[1], at)]])
    if isinstance(expr, LogSumExp | Softmax):
        size = int(evaluate(expr.args[1], at).item())
        logits = [evaluate(expr.args[0](Integer(j + 1)), at) for j in range(size)]
        stacked = np.concatenate(np.broadcast_arrays(*logits), axis=1)
        if isinstance(expr, LogSumExp):
            return np.asarray(logsumexp(stacked, axis=1, keepdims=True))
        return np.asarray(np.exp(log_softmax(stacked, axis=1))[:, [_index(expr.args[2], at)]])
    if isinstance(expr, LogitExpectation):
        return _logit_expectation(expr, at)
    if isinstance(expr, PairExpectation):
        return _pair_expectation(expr, at)
    if isinstance(expr, NODES):
        return evaluate_radial(expr, at, evaluate, _gauss)
    if isinstance(expr, Dot):
        return np.asarray(np.sum(evaluate(expr.args[0], at) * evaluate(expr.args[1], at), axis=1, keepdims=True))
    if isinstance(expr, Image):
        s = np.linalg.matrix_power(at.operators[str(expr.args[0])], int(expr.args[2]))
        return np.asarray(evaluate(expr.args[1], at) @ s)
    if isinstance(expr, Point):
        assert at.x is not None
        return at.x
    if isinstance(expr, Mean):
        return np.asarray(at.means[expr.name][_index(expr.index, at)][None, :])
    if isinstance(expr, Indexed):
        value = at.table(str(expr.base))[tuple(_index(i, at) for i in expr.indices)]
    elif isinstance(expr, KroneckerDelta):
        value = float(_index(expr.args[0], at) == _index(expr.args[1], at))
    elif isinstance(expr, Symbol):
        value = _symbol(expr, at)
    elif isinstance(expr, Function):
        functions: dict[str, Any] = {"log": np.log, "exp": np.exp, "WidthDivergence": lambda x: (x - 1 - np.log(x)) / 2}
        return np.asarray(functions[type(expr).__name__](evaluate(expr.args[0], at)))
    elif isinstance(expr, Expr) and expr.is_number:
        value = float(expr)
    else:
        raise TypeError(f"no numeric value for {type(expr).__name__}: {expr}")
    return np.full((1, 1), value)


def _symbol(symbol: Symbol, at: Witness) -> float:
    name = str(symbol)
    if name.startswith("logdet_"):
        return float(np.linalg.slogdet(at.operators[name.removeprefix("logdet_")])[1])
    return at.symbols[name]


@cache
def _standard() -> Witness:
    """The point at which steps are checked; one for all, so that averages are evaluated once."""
    return Witness.random()


def residual(before: Expr, after: Expr, at: Witness | None = None) -> float:
    """max |before − after| / max(1, |before|) over all values of the free indices."""
    at = at or _standard()
    free = sorted({s for s in (before.free_symbols | after.free_symbols) if _is_index(s, at)}, key=str)
    worst = 0.0
    for values in itertools.product(*(range(1, _extent(str(s), at) + 1) for s in free)):
        here = replace(at, indices=dict(zip(map(str, free), values, strict=True)))
        a, b = evaluate(before, here), evaluate(after, here)
        worst = max(worst, float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(a)))))
    return worst


def _is_index(symbol: Expr, at: Witness) -> bool:
    name = str(symbol)
    return isinstance(symbol, Symbol) and bool(symbol.is_integer) and name not in at.symbols


def _extent(letter: str, at: Witness) -> int:
    return len(at.means["mu" if letter in LETTERS["q"] else "nu"])
