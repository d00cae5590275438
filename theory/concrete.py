"""A closed system written out for given K and L, and its Jacobian by Price's theorem.

Expectations over Gaussian logits become `LogitMean` nodes, which know their derivative with respect to any state:
∂E[f] = Σ_i E[∂_i f] ∂mean_i + ½ Σ_ih E[∂_i ∂_h f] ∂cov_ih  (Price 1958; the first term is Bonnet's).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp
from sympy import (
    Add,
    Expr,
    ImmutableDenseMatrix,
    Indexed,
    Integer,
    KroneckerDelta,
    Matrix,
    Rational,
    S,
    Symbol,
    Tuple,
    exp,
    lambdify,
    log,
)

from theory.equations import Equations
from theory.expectations import LogitExpectation, PairExpectation
from theory.quadrature_nodes import gauss_hermite
from theory.sums import Sigma

__all__ = ["ConcreteSystem", "LogitMean"]

Polynomial = Counter[tuple[int, ...]]


class LogitMean(Expr):  # type: ignore[misc]
    """E[f(U)] for Gaussian logits U ~ N(mean, cov), the last of them zero.

    f is log-sum-exp if `powers` is empty, else the monomial Π_i softmax_i(U)^{powers_i}.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, powers: Any, mean: Any, cov: Any) -> Expr:
        powers = Tuple(*powers)
        if powers and all(n == 0 for n in powers):
            return S.One
        return Expr.__new__(cls, powers, Tuple(*mean), ImmutableDenseMatrix(cov))

    def _polynomial(self, f: Polynomial) -> Expr:
        return Add(*(c * LogitMean(powers, self.args[1], self.args[2]) for powers, c in f.items()))

    def _eval_derivative(self, y: Symbol) -> Expr:
        _, mean, cov = self.args
        n = len(mean)
        powers = tuple(int(p) for p in self.args[0])
        first = [_slope(Counter({powers: 1}), i) if powers else Counter({_unit(i, n): 1}) for i in range(n)]
        out = S.Zero
        for i in range(n):
            dm = mean[i].diff(y)
            if dm != 0:
                out += dm * self._polynomial(first[i])
            for h in range(n):
                dc = cov[i, h].diff(y)
                if dc != 0:
                    out += Rational(1, 2) * dc * self._polynomial(_slope(first[i], h))
        return out


def _unit(i: int, n: int) -> tuple[int, ...]:
    return tuple(int(j == i) for j in range(n))


def _slope(f: Polynomial, i: int) -> Polynomial:
    """∂/∂U_i of a polynomial in the softmax r: ∂_i Π r^n = Π r^n (n_i − |n| r_i)."""
    out: Polynomial = Counter()
    for powers, c in f.items():
        if powers[i]:
            out[powers] += c * powers[i]
        if sum(powers):
            out[tuple(p + (j == i) for j, p in enumerate(powers))] -= c * sum(powers)
    return out


class ConcreteSystem:
    """States, right-hand sides and Jacobian of a closed system at given K and L.

    states: symbols s11, s12, …, m11, …, theta1, …; s is symmetric and stored once.
    parameters: c11, …, pi1, …, v, u, d, and the weights w1, … if they are fixed.
    """

    def __init__(self, system: Equations, K: int, L: int) -> None:
        system = system.under()
        self.system, self.K, self.L = system, K, L
        self.sizes = {system.q.size: K, system.p.size: L}
        self.learned = "theta" in system.equations
        self._tables = {t.name: t for t in system.tables}

    @cached_property
    def equations(self) -> dict[Symbol, Expr]:
        """Right-hand side of each state."""
        k, _, i = self.system.q.indices(3)
        (l,) = self.system.p.indices(1)
        rhs, K, L = self.system.right_hand_sides, self.K, self.L
        equations: dict[Symbol, Expr] = {}
        for a in range(K):
            for b in range(a, K):
                equations[Symbol(f"s{a + 1}{b + 1}", real=True)] = self.write_out(rhs["s"], {k: a + 1, i: b + 1})
        for a in range(K):
            for b in range(L):
                equations[Symbol(f"m{a + 1}{b + 1}", real=True)] = self.write_out(rhs["m"], {k: a + 1, l: b + 1})
        for a in range(K if self.learned else 0):
            equations[Symbol(f"theta{a + 1}", real=True)] = self.write_out(rhs["theta"], {k: a + 1})
        return equations

    @property
    def states(self) -> tuple[Symbol, ...]:
        return tuple(self.equations)

    @cached_property
    def jacobian(self) -> Matrix:
        """∂(right-hand sides)/∂(states), in the order of `states`."""
        return Matrix([[rhs.diff(y) for y in self.states] for rhs in self.equations.values()])

    def observable(self, name: str, mode: int = 1) -> Expr:
        """The objective, or the mass on one mode."""
        (l,) = self.system.p.indices(1)
        return self.write_out(self.system.observables[name], {l: mode})

    def write_out(self, expr: Expr, at: dict[Symbol, int]) -> Expr:
        """An index-notation expression with its indices replaced by numbers and its tables by LogitMean nodes."""
        sizes = self.sizes

        def number(index: Expr) -> int:
            return int(at[index] if index in at else sizes.get(index, index))

        def go(e: Expr) -> Expr:
            return self.write_out(e, at)

        if isinstance(expr, Sigma):
            terms = range(1, sizes[expr.size] + 1)
            return Add(*(self.write_out(expr.function, {**at, expr.index: n}) for n in terms))
        if isinstance(expr, Indexed):
            return self._indexed(str(expr.base), [number(n) for n in expr.indices])
        if isinstance(expr, LogitExpectation | PairExpectation):
            return self._expectation(expr, go, number)
        if isinstance(expr, KroneckerDelta):
            return Integer(number(expr.args[0]) == number(expr.args[1]))
        if isinstance(expr, log) and isinstance(expr.args[0], Indexed) and str(expr.args[0].base) in ("w", "pi"):
            return self._log_weight(str(expr.args[0].base), number(expr.args[0].indices[0]))
        if not expr.args or expr.is_number:
            return Integer(sizes[expr]) if expr in sizes else expr
        return expr.func(*(go(a) for a in expr.args))

    def _law(self, node: LogitExpectation, go: Callable[[Expr], Expr]) -> tuple[list[Expr], list[list[Expr]]]:
        labels = [Integer(n + 1) for n in range(self.sizes[node.size])]
        return [go(node.mean(n)) for n in labels], [[go(node.cov(n, h)) for h in labels] for n in labels]

    def _expectation(
        self, node: LogitExpectation | PairExpectation, go: Callable[[Expr], Expr], number: Callable[[Expr], int]
    ) -> Expr:
        """One softmax, or two: a product of entries of one, else one entry of the softmax over pairs, of U_j + V_i."""
        if isinstance(node, LogitExpectation):
            mean, cov = self._law(node, go)
            return LogitMean(() if node.kind == "logsumexp" else _unit(number(node.entry) - 1, len(mean)), mean, cov)
        (mean, cov), (other, spread) = (self._law(part, go) for part in (node.first, node.second))
        j, i = (number(part.entry) - 1 for part in (node.first, node.second))
        n, h = len(mean), len(other)
        if node.same:
            return LogitMean([a + b for a, b in zip(_unit(j, n), _unit(i, n), strict=True)], mean, cov)
        cross = [[go(node.cross(Integer(a + 1), Integer(b + 1))) for b in range(h)] for a in range(n)]
        pairs = [(a, b) for a in range(n) for b in range(h)]
        both = [mean[a] + other[b] for a, b in pairs]
        joint = [[cov[a][e] + spread[b][f] + cross[a][f] + cross[e][b] for e, f in pairs] for a, b in pairs]
        return LogitMean(_unit(j * h + i, n * h), both, joint)

    def _indexed(self, name: str, indices: list[int]) -> Expr:
        k, _, i = self.system.q.indices(3)
        (l,) = self.system.p.indices(1)
        parts = {"gamma": ((k, i), self.system.gamma), "dm": ((k, l), self.system.equations["m"])}
        letters = {"V": (k, i), "Q": (k,), "Xi": (k,)}
        parts |= {part: (letters[part], value) for part, value in self.system.noise.items()}
        if name in parts:
            return self.write_out(parts[name][1], dict(zip(parts[name][0], indices, strict=True)))
        if name in self._tables:
            table = self._tables[name]
            return self.write_out(table.value, dict(zip(table.indices, indices, strict=True)))
        if name in ("s", "c"):
            indices = sorted(indices)
        if name == "w" and self.learned:
            total = Add(*(exp(Symbol(f"theta{n + 1}", real=True)) for n in range(self.K)))
            return exp(Symbol(f"theta{indices[0]}", real=True)) / total
        return Symbol(name + "".join(map(str, indices)), real=True, positive=True if name in ("w", "pi") else None)

    def _log_weight(self, name: str, index: int) -> Expr:
        if name == "w" and self.learned:
            total = Add(*(exp(Symbol(f"theta{n + 1}", real=True)) for n in range(self.K)))
            return Symbol(f"theta{index}", real=True) - log(total)
        return log(self._indexed(name, [index]))

    def evaluate(self, expr: Expr | Matrix, values: dict[str, float], nodes: int = 60) -> npt.NDArray[np.float64]:
        """Numbers for an expression of this system: Gauss–Hermite over the logits' directions. For checks."""
        matrix = ImmutableDenseMatrix([[expr]]) if isinstance(expr, Expr) else expr.as_immutable()
        powers, laws, total = _functions(matrix, tuple(values))
        numbers = []
        for of, law in zip(powers, laws(*values.values()), strict=True):
            n = math.isqrt(len(law))  # of n means and n² covariances
            means, covs = np.array(law[:n], dtype=float), np.array(law[n:], dtype=float).reshape(n, n)
            numbers.append(_gauss_hermite(of, means, covs, nodes))
        return np.asarray(total(*values.values(), *numbers), dtype=float)


@lru_cache(maxsize=64)
def _functions(expr: ImmutableDenseMatrix, names: tuple[str, ...]) -> tuple[list[list[int]], Any, Any]:
    """Of the expectations in an expression their powers and a function for their laws; and one for the whole, of both.

    One function for the laws of all: most of the time of an evaluation is that of making functions.
    """
    expectations = sorted(expr.atoms(LogitMean), key=str)
    stand_ins = {node: Symbol(f"_E{n}") for n, node in enumerate(expectations)}
    symbols = [Symbol(name) for name in names]
    plain = {s: Symbol(s.name) for s in expr.free_symbols}
    laws = [[e.xreplace(plain) for e in (*node.args[1], *node.args[2])] for node in expectations]
    total = lambdify([*symbols, *stand_ins.values()], expr.xreplace(stand_ins).xreplace(plain), "numpy")
    return [[int(p) for p in node.args[0]] for node in expectations], lambdify(symbols, laws, "math"), total


def _gauss_hermite(powers: list[int], mean: Any, cov: Any, nodes: int) -> float:
    n = len(mean) - 1
    if n == 0:
        return 1.0 if powers else 0.0
    z, weight = gauss_hermite(n, nodes)
    values, vectors = np.linalg.eigh(cov[:-1, :-1])
    u = mean + np.pad(z @ (vectors * np.sqrt(np.clip(values, 0, None))).T, ((0, 0), (0, 1)))
    f = np.exp(log_softmax(u, axis=1) @ np.array(powers)) if powers else logsumexp(u, axis=1)
    return float(weight[:, 0] @ f)
