"""Numbers for expressions of the engine, in d dimensions, independent of every rule.

Expectations are tensor Gauss–Hermite sums over R^d, gradients are central differences, log-densities are evaluated from
their definition. This is how a derivation step is checked; solvers never see it.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp
from sympy import Add, Expr, Function, Indexed, Integer, KroneckerDelta, Mul, Pow, Symbol

from theory.configuration import Array, Configuration, inner, position
from theory.expectations import Expectation, Gradient, LogitExpectation, LogSumExp, PairExpectation, Softmax
from theory.kinds import is_vector
from theory.mixtures import LogDensity, Responsibility
from theory.quadrature_nodes import gauss_hermite
from theory.radial import RadialExpectation, Raised
from theory.radial_quadrature import NODES, evaluate_radial
from theory.sums import LETTERS, Sigma
from theory.vectors import Dot, Image, Mean, Point

__all__ = ["evaluate", "residual"]

#: Nodes whose values are kept: quadrature, differences, and what is evaluated at every x.
_COSTLY = (
    Expectation, Gradient, LogDensity, Responsibility, LogitExpectation, PairExpectation, RadialExpectation, Raised,
)  # fmt: skip


def _difference(node: Gradient, at: Configuration) -> Array:
    """∂f/∂y by fourth-order central differences."""

    def slope(coordinate: int) -> Array:
        h = at.STEP
        f = [evaluate(node.f, at.shifted(node.y, coordinate, n * h)) for n in (-2, -1, 1, 2)]
        return np.asarray((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h))

    if not is_vector(node):
        return slope(0)
    return np.concatenate([slope(i) for i in range(int(at.symbols["d"]))], axis=1)


def _logit_expectation(node: LogitExpectation, at: Configuration) -> Array:
    """E of the softmax or log-sum-exp of Gaussian logits, by quadrature over their own directions."""
    size = int(at.symbols[str(node.size)])
    mean = np.array([evaluate(node.mean(Integer(j + 1)), at).item() for j in range(size)])
    cov = np.array(
        [[evaluate(node.cov(Integer(i + 1), Integer(j + 1)), at).item() for j in range(size)] for i in range(size)]
    )
    values, vectors = np.linalg.eigh(cov[:-1, :-1])
    z, weight = gauss_hermite(size - 1, at.NODES + 16)
    u = mean + np.pad(z @ (vectors * np.sqrt(np.clip(values, 0, None))).T, ((0, 0), (0, 1)))
    if node.kind == "logsumexp":
        return np.asarray(weight.T @ logsumexp(u, axis=1, keepdims=True))
    return np.asarray(weight.T @ np.exp(log_softmax(u, axis=1)))[:, [position(node.entry, at)]]


def _pair_expectation(node: PairExpectation, at: Configuration) -> Array:
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
    z, weight = gauss_hermite(int(moving.sum()), at.NODES + 16)
    u = mean + z @ (vectors[:, moving] * np.sqrt(values[moving])).T
    first, second = (np.exp(log_softmax(part, axis=1)) for part in (u[:, : sizes[0]], u[:, sizes[0] :]))
    entries = [position(part.entry, at) for part in parts]
    return np.asarray(weight.T @ (first[:, [entries[0]]] * second[:, [entries[1]]]))


def evaluate(expr: Expr, at: Configuration) -> Array:
    """Value of an expression at a point: scalars (n, 1), vectors (n, d), with n points x or n = 1."""
    if not isinstance(expr, _COSTLY):
        return _evaluate(expr, at)
    # The same average stands in many terms of a sum, and on both sides of most steps.
    key = expr, at.beyond, tuple((letter, at.indices[letter]) for letter in _letters(expr) if letter in at.indices)
    if key not in at.known:
        at.known[key] = _evaluate(expr, at)
    return at.known[key]


@cache
def _letters(expr: Expr) -> tuple[str, ...]:
    return tuple(sorted(map(str, expr.free_symbols)))


def _evaluate(expr: Expr, at: Configuration) -> Array:
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
        z, weight = gauss_hermite(d, at.NODES)
        mean = at.means[mixture.mean_name][position(expr.component, at)]
        if mixture.precision:
            z = z @ np.linalg.cholesky(np.linalg.inv(at.operators[mixture.precision])).T
        else:
            v = np.broadcast_to(at.variances(mixture), len(at.means[mixture.mean_name]))
            z = z * np.sqrt(v[position(expr.component, at)])
        x = np.pad(mean + z, ((0, 0), (0, 1)), constant_values=at.beyond) if at.beyond else mean + z
        values = evaluate(expr.integrand, replace(at, x=x, known={}))
        return np.asarray(np.sum(weight * values, axis=0, keepdims=True))
    if isinstance(expr, Gradient):
        return _difference(expr, at)
    if isinstance(expr, LogDensity):
        return np.asarray(logsumexp(at.logits(expr.args[0]), axis=1, keepdims=True))
    if isinstance(expr, Responsibility):
        return at.shares(expr.args[0])[:, [position(expr.args[1], at)]]
    if isinstance(expr, LogSumExp | Softmax):
        size = int(evaluate(expr.args[1], at).item())
        logits = [evaluate(expr.args[0](Integer(j + 1)), at) for j in range(size)]
        stacked = np.concatenate(np.broadcast_arrays(*logits), axis=1)
        if isinstance(expr, LogSumExp):
            return np.asarray(logsumexp(stacked, axis=1, keepdims=True))
        return np.asarray(np.exp(log_softmax(stacked, axis=1))[:, [position(expr.args[2], at)]])
    if isinstance(expr, LogitExpectation):
        return _logit_expectation(expr, at)
    if isinstance(expr, PairExpectation):
        return _pair_expectation(expr, at)
    if isinstance(expr, NODES):
        return evaluate_radial(expr, at, evaluate)
    if isinstance(expr, Dot):
        return inner(evaluate(expr.args[0], at), evaluate(expr.args[1], at))[:, None]
    if isinstance(expr, Image):
        s = np.linalg.matrix_power(at.operators[str(expr.args[0])], int(expr.args[2]))
        return np.asarray(evaluate(expr.args[1], at) @ s)
    if isinstance(expr, Point):
        assert at.x is not None
        return at.x
    if isinstance(expr, Mean):
        return np.asarray(at.means[expr.name][position(expr.index, at)][None, :])
    if isinstance(expr, Indexed):
        value = at.table(str(expr.base))[tuple(position(i, at) for i in expr.indices)]
    elif isinstance(expr, KroneckerDelta):
        value = float(position(expr.args[0], at) == position(expr.args[1], at))
    elif isinstance(expr, Symbol):
        value = _symbol(expr, at)
    elif isinstance(expr, Function):
        functions: dict[str, Any] = {
            "log": np.log,
            "exp": np.exp,
            "tanh": np.tanh,
            "WidthDivergence": lambda x: (x - 1 - np.log(x)) / 2,
        }
        return np.asarray(functions[type(expr).__name__](evaluate(expr.args[0], at)))
    elif isinstance(expr, Expr) and expr.is_number:
        value = float(expr)
    else:
        raise TypeError(f"no numeric value for {type(expr).__name__}: {expr}")
    return np.full((1, 1), value)


def _symbol(symbol: Symbol, at: Configuration) -> float:
    name = str(symbol)
    if name.startswith("logdet_"):
        return float(np.linalg.slogdet(at.operators[name.removeprefix("logdet_")])[1])
    # A parameter that an objective brings with it: any number, the same each time.
    return at.symbols[name] if name in at.symbols else 0.3 + zlib.crc32(name.encode()) % 1000 / 2000


@cache
def _standard() -> Configuration:
    """The point at which steps are checked; one for all, so that what is known of it is evaluated once."""
    return Configuration.random()


def residual(before: Expr, after: Expr, at: Configuration | None = None) -> float:
    """max |before − after| / max(1, |before|) over all values of the free indices."""
    at = at or _standard()
    free = sorted({s for s in (before.free_symbols | after.free_symbols) if _isposition(s, at)}, key=str)
    worst = 0.0
    for values in itertools.product(*(range(1, _extent(str(s), at) + 1) for s in free)):
        here = replace(at, indices=dict(zip(map(str, free), values, strict=True)))
        a, b = evaluate(before, here), evaluate(after, here)
        worst = max(worst, float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(a)))))
    return worst


def _isposition(symbol: Expr, at: Configuration) -> bool:
    name = str(symbol)
    return isinstance(symbol, Symbol) and bool(symbol.is_integer) and name not in at.symbols


def _extent(letter: str, at: Configuration) -> int:
    return len(at.means["mu" if letter in LETTERS["q"] else "nu"])
