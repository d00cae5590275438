"""Linear stability of a closed system at points of symmetry: reduced Jacobian, spectrum, escape exponents, splits.

The overlaps are quadratic in the means, so where means coincide or vanish their Jacobian hides the directions of
escape. Here the equations are written in coordinates of the mean vectors: the system's own velocity, its tables with
overlaps replaced by products of coordinates, differentiated by Price's theorem (theory.concrete).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sympy import (
    Add,
    Expr,
    IndexedBase,
    Matrix,
    Symbol,
    exp,
    expand,
    eye,
    factor,
    simplify,
    solve,
    symbols,
    sympify,
    zeros,
)

from theory.concrete import ConcreteSystem
from theory.rules import bottom_up
from theory.system import ClosedSystem
from theory.tanh import TanhMean, with_tanh
from theory.vectors import Mean

__all__ = [
    "Linearisation",
    "NotBlock",
    "Path",
    "in_coordinates",
    "linearise",
    "log_odds",
    "named",
    "vanishing_weight",
]


class NotBlock(ValueError):
    """The directions given do not block-diagonalise the Jacobian: the point lacks the symmetry they express."""


def in_coordinates(system: ClosedSystem, K: int, modes: Sequence[Sequence[Any]]) -> dict[Symbol, Expr]:
    """Right-hand sides of the coordinates xa_k of the means along axes a = 1..r, and of θ_k if weights are learned.

    modes: coordinates (L, r) of ν_l, numbers or SymPy expressions. Symbols: x11 is coordinate 1 of μ_1, x21 is
    coordinate 2 of μ_1. Expectations are LogitMean nodes, functions of the coordinates; w1, … stand for fixed weights.
    """
    L, axes = len(modes), range(1, len(modes[0]) + 1)
    concrete = system.at(K, L)
    x = {(k, a): Symbol(f"x{a}{k}", real=True) for k in range(1, K + 1) for a in axes}
    replaced: dict[Symbol, Expr] = {Symbol(f"n{a}{l + 1}", real=True): modes[l][a - 1] for l in range(L) for a in axes}
    for k in range(1, K + 1):
        for j in range(k, K + 1):
            replaced[Symbol(f"s{k}{j}", real=True)] = Add(*(x[k, a] * x[j, a] for a in axes))
        for l in range(1, L + 1):
            replaced[Symbol(f"m{k}{l}", real=True)] = Add(*(x[k, a] * modes[l - 1][a - 1] for a in axes))
    for l in range(L):
        for n in range(l, L):
            replaced[Symbol(f"c{l + 1}{n + 1}", real=True)] = Add(*(modes[l][a - 1] * modes[n][a - 1] for a in axes))

    def along(axis: int) -> Expr:
        """A component of the velocity: every mean vector replaced by its coordinate."""
        names = {"mu": IndexedBase(f"x{axis}", real=True), "nu": IndexedBase(f"n{axis}", real=True)}
        return bottom_up(concrete.system.velocity, lambda node: names[node.name][node.index], Mean)

    k_index = system.q.indices(1)[0]
    out = {
        x[k, a]: concrete.write_out(along(a), {k_index: k}).xreplace(replaced) for a in axes for k in range(1, K + 1)
    }
    for state, rhs in concrete.equations.items():
        if state.name.startswith("theta"):
            out[state] = rhs.xreplace(replaced)
    return out


@dataclass(frozen=True)
class Linearisation:
    """The equations at a point: `rest` must vanish for it to be an equilibrium; jacobian in the given directions.

    states: the coordinates, in the order of rows. rest: right-hand sides at the point, moments of tanh. directions:
    columns are deviations of the states; jacobian: ∂(velocity)/∂(state) in these directions.
    """

    states: tuple[Symbol, ...]
    rest: tuple[Expr, ...]
    directions: Matrix
    jacobian: Matrix

    @property
    def spectrum(self) -> tuple[Expr, ...]:
        """Growth rates of the directions, in their order.

        Raises NotBlock if the Jacobian is not diagonal in them.
        """
        off = self.jacobian - Matrix.diag(*self.jacobian.diagonal())
        if not off.applyfunc(simplify).is_zero_matrix:
            raise NotBlock("the Jacobian is not diagonal in these directions; give directions of the symmetry")
        return tuple(factor(rate) for rate in self.jacobian.diagonal())


def linearise(equations: dict[Symbol, Expr], at: dict[Symbol, Expr], directions: Matrix | None = None) -> Linearisation:
    """The linearisation of `in_coordinates` at a point, in moments of tanh.

    at: values of states and of parameters, for instance pi1 → ½. directions: invertible, default the states themselves.
    """
    states = tuple(equations)
    rest = tuple(_at(rhs, at) for rhs in equations.values())
    slope = Matrix([[_at(rhs.diff(y), at) for y in states] for rhs in equations.values()])
    directions = eye(len(states)) if directions is None else directions
    return Linearisation(states, rest, directions, (directions.inv() * slope * directions).applyfunc(expand))


def _at(expr: Expr, at: dict[Symbol, Expr]) -> Expr:
    return with_tanh(expr.xreplace({symbol: sympify(x) for symbol, x in at.items()}))


@dataclass(frozen=True)
class Path:
    """Velocities on a symmetric family of points, given by fewer numbers than there are states.

    variables: the numbers. velocity: their right-hand sides.
    """

    variables: tuple[Symbol, ...]
    velocity: tuple[Expr, ...]

    @classmethod
    def of(cls, equations: dict[Symbol, Expr], points: dict[Symbol, Expr], variables: Sequence[Symbol]) -> Path:
        """The velocities of `variables` where the states are `points`, linear functions of them.

        Raises NotBlock if the flow leaves these points: then some state's velocity is none of a point of the family.
        """
        slopes = Matrix([[points[y].diff(x) for x in variables] for y in equations])
        velocity = Matrix([expand(rhs.xreplace(points)) for rhs in equations.values()])
        inside = (slopes.T * slopes).inv() * slopes.T * velocity
        left = (velocity - slopes * inside).applyfunc(with_tanh)
        if left != zeros(*left.shape):
            raise NotBlock("the flow leaves this family of points")
        return cls(tuple(variables), tuple(inside))

    def jacobian(self, at: dict[Symbol, Expr] | None = None) -> Matrix:
        """∂(velocity)/∂(variables), in moments of tanh."""
        rows = [[_at(f.diff(x), at or {}) for x in self.variables] for f in self.velocity]
        return Matrix(rows)


def named(expr: Expr, names: dict[int, Expr]) -> Expr:
    """An expression with its moments E tanhⁿ replaced by names, for instance {1: a, 2: 1 − κ}.

    Raises ValueError if the moments are not all of one law, or if one has no name.
    """
    nodes = expr.atoms(TanhMean)
    if len({node.args[1:] for node in nodes}) > 1:
        raise ValueError(f"moments of different laws: {sorted(map(str, nodes))}")
    unnamed = [str(node) for node in nodes if int(node.args[0]) not in names]
    if unnamed:
        raise ValueError(f"no name for {', '.join(unnamed)}")
    return factor(expr.xreplace({node: names[int(node.args[0])] for node in nodes}))


class _Weights(ConcreteSystem):
    """Tables and weights as plain symbols: what the equations of the weights say before expectations are opened."""

    def _indexed(self, name: str, indices: list[int]) -> Expr:
        return Symbol(name + "".join(map(str, indices)), real=True, positive=True if name == "w" else None)


def vanishing_weight(system: ClosedSystem, K: int) -> tuple[Expr, Symbol, Symbol]:
    """dw/dt of a small weight w = w_K to leading order, and the symbols w and Δ = F_K − D in it.

    The other weights are taken where their ratios rest, which they reach in a time that does not grow as w → 0. Δ is
    what the component costs more than the average.
    In the metric of `under()`, unless the system says another. Raises ValueError if K < 2.
    """
    theta, _, point, small, excess = _others_at_rest(system, K)
    # w = softmax θ, by the chain rule
    logits = symbols(f"theta1:{K + 1}", real=True)
    share = exp(logits[-1]) / Add(*map(exp, logits))
    weights = dict(zip(map(exp, logits), point, strict=True))
    velocity = Add(*(share.diff(x).subs(weights) * rate for x, rate in zip(logits, theta, strict=True)))
    velocity = factor(simplify(velocity))
    return velocity.series(small, 0, 3).removeO().as_leading_term(small), small, excess


def log_odds(system: ClosedSystem, K: int) -> tuple[Expr, Symbol, Symbol]:
    """d/dt log(w/(1 − w)) of a weight w = w_K of any size beside others whose ratios rest, and the symbols w and Δ.

    It is θ̇_K less what θ̇ of all the others is. Raises ValueError if K < 2.
    """
    theta, common, _, small, excess = _others_at_rest(system, K)
    return factor(simplify(theta[-1] - common)), small, excess


def _others_at_rest(system: ClosedSystem, K: int) -> tuple[list[Expr], Expr, list[Expr], Symbol, Symbol]:
    """dθ/dt of all, that of all but the last, the weights, and the symbols w = w_K and Δ = F_K − D, where all but the
    last have one dθ/dt."""
    if K < 2:
        raise ValueError(f"K = {K}: a weight can only vanish beside another")
    w = [Symbol(f"w{k + 1}", real=True, positive=True) for k in range(K)]
    F = [Symbol(f"F{k + 1}", real=True) for k in range(K)]
    small, excess = Symbol("w", positive=True), Symbol("Delta", positive=True)
    level, common = Symbol("D", real=True), Symbol("c", real=True)
    concrete = _Weights(system, K, 1)
    (k,) = system.q.indices(1)
    theta = [concrete.write_out(concrete.system.equations["theta"], {k: n + 1}) for n in range(K)]
    # The rest of the mass is 1 − w, in whatever ratios.
    point = {w[-1]: small, w[0]: 1 - small - Add(*w[1:-1]), F[-1]: level + excess}
    theta = [rate.subs(point, simultaneous=True) for rate in theta]
    objective = Add(*(a * b for a, b in zip(w, F, strict=True))).subs(point, simultaneous=True)
    rest = solve([*(rate - common for rate in theta[:-1]), objective - level], [*F[:-1], common], dict=True)[0]
    return [rate.subs(rest) for rate in theta], rest[common], [a.subs(point) for a in w], small, excess
