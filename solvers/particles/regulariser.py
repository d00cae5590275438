"""What an objective adds to its divergences, a function of overlaps, weights and variances: value and slopes in R^d.

The text is the problem's (solvers.objective); its derivatives are taken here, by complex steps: of an analytic f,
f'(x) = Im f(x + ih)/h with nothing to cancel, so that h may be far below rounding. The theory derives its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from solvers.machine.arrays import array_module
from solvers.objective.polynomials import Atom, Polynomial, atoms, written
from solvers.problem import ProblemError

__all__ = ["Slopes", "number", "regulariser"]

H = 1e-100


@dataclass(frozen=True)
class Slopes:
    """∂D/∂μ_k (replica, K, d), ∂D/∂θ_k, ∂D/∂v_k (replica, K), and D (replica,)."""

    mean: Any
    weight: Any
    variance: Any
    value: Any

    def times(self, factor: float) -> Slopes:
        return Slopes(factor * self.mean, factor * self.weight, factor * self.variance, factor * self.value)

    def plus(self, other: Slopes) -> Slopes:
        return Slopes(
            self.mean + other.mean, self.weight + other.weight, self.variance + other.variance, self.value + other.value
        )


@dataclass(frozen=True)
class _Point:
    """s (replica, K, K), m (replica, K, L), c (L, L), w, v (replica, K), pi, u (L,), d: what regularisers see."""

    s: Any
    m: Any
    c: Any
    w: Any
    v: Any
    pi: Any
    u: Any
    d: int
    values: Mapping[str, float]


def number(polynomial: Polynomial, values: Mapping[str, float]) -> float:
    """A polynomial of parameters alone."""
    total = 0.0
    for monomial, factor in polynomial:
        term = float(factor)
        for atom, power in monomial:
            term *= values[atom.name] ** power
        total += term
    return total


def regulariser(
    polynomial: Polynomial, values: Mapping[str, float], mu: Any, nu: Any, w: Any, v: Any, pi: Any, u: Any
) -> Slopes:
    """Of means mu (replica, K, d), weights w and variances v (replica, K); modes nu (replica, L, d), their pi, u (L,).

    values: of the parameters, beta among them.
    """
    xp = array_module(mu)
    at = _Point(
        mu @ mu.swapaxes(-1, -2), mu @ nu.swapaxes(-1, -2), nu @ nu.swapaxes(-1, -2), w, v, pi, u, mu.shape[-1], values
    )

    def slope(name: str) -> Any:
        """∂D/∂(each entry of a field of the point)."""
        field = getattr(at, name)
        out = xp.zeros(field.shape)
        for place in np.ndindex(*field.shape[1:]):
            moved = field.astype(complex)
            moved[(slice(None), *place)] += 1j * H
            out[(slice(None), *place)] = _value(polynomial, replace(at, **{name: moved})).imag / H
        return out

    by_s, by_w = slope("s"), slope("w")
    by_mean = (by_s + by_s.swapaxes(-1, -2)) @ mu + slope("m") @ nu
    by_weight = w * (by_w - (w * by_w).sum(-1, keepdims=True))
    return Slopes(by_mean, by_weight, slope("v"), _value(polynomial, at).real)


def _value(polynomial: Polynomial, at: _Point) -> Any:
    """Of a polynomial without indices outside of sums: (replica,)."""
    return _terms(polynomial, lambda atom: _atom(atom, at), array_module(at.w).zeros(at.w.shape[0]))


def _terms(polynomial: Polynomial, value: Callable[[Atom], Any], zero: Any) -> Any:
    total = zero
    for monomial, factor in polynomial:
        term = float(factor)
        for atom, power in monomial:
            term = term * value(atom) ** power
        total = total + term
    return total


def _atom(atom: Atom, at: _Point) -> Any:
    if atom.kind == "parameter":
        return at.values[atom.name]
    if atom.kind == "call":
        assert atom.inner is not None
        return getattr(array_module(at.w), atom.name)(_value(atom.inner, at))
    if atom.kind == "sum":
        return _sum(atom, at)
    if atom.kind == "E":
        return _average(atom, at)
    return {"d": at.d, "v": at.v[:, 0]}[atom.name]


def _average(atom: Atom, at: _Point) -> Any:
    """E_q of a product of powers of |x|², (replica,). Raises ProblemError for anything else."""
    assert atom.inner is not None
    ((monomial, factor),) = atom.inner
    if any(part.name != "x.x" or power < 1 for part, power in monomial):
        raise ProblemError(f"flow.objective: E({written(atom.inner)}): simulated are averages of powers of x.x alone")
    n = sum(power for _, power in monomial)
    square = array_module(at.s).einsum("gkk->gk", at.s)
    # |x|² under a component is v times a non-central χ² of d degrees: cumulants 2^(i−1) (i−1)! v^i (d + i |μ|²/v).
    cumulants = [
        2 ** (i - 1) * math.factorial(i - 1) * (at.d * at.v**i + i * square * at.v ** (i - 1)) for i in range(1, n + 1)
    ]
    moments = [array_module(at.w).ones_like(at.w)]
    for i in range(1, n + 1):
        moments.append(sum(math.comb(i - 1, j - 1) * cumulants[j - 1] * moments[i - j] for j in range(1, i + 1)))
    return float(factor) * (at.w * moments[n]).sum(-1)


#: Axes after that of the replicas: component, another component, mode, another mode.
_AXES = {"k": 1, "j": 2, "l": 3, "n": 4}
_INDEX = {"mu": "k", "mu'": "j", "nu": "l", "nu'": "n", "w": "k", "v": "k", "w'": "j", "v'": "j"}
_INDEX |= {"pi": "l", "pi'": "n", "u": "l", "u'": "n"}


def _sum(atom: Atom, at: _Point) -> Any:
    """Σ over the indices that stand in a product."""
    assert atom.inner is not None
    used = {_INDEX[name] for part in atoms(atom.inner) for name in part.name.split(".") if name in _INDEX}
    inside = _terms(atom.inner, lambda part: _indexed(part, at), array_module(at.w).zeros((at.w.shape[0], 1, 1, 1, 1)))
    axes = tuple(axis for index, axis in _AXES.items() if index in used)
    rest = inside.sum(axes, keepdims=True)
    return rest[:, 0, 0, 0, 0]


def _indexed(atom: Atom, at: _Point) -> Any:
    """An atom inside a sum, (replica, component, component', mode, mode') with length 1 where it has no such index."""
    if atom.kind == "parameter":
        return at.values[atom.name]
    if atom.kind == "call":
        assert atom.inner is not None
        zero = array_module(at.w).zeros((at.w.shape[0], 1, 1, 1, 1))
        return getattr(array_module(at.w), atom.name)(_terms(atom.inner, lambda part: _indexed(part, at), zero))
    if atom.kind == "overlap":
        one, other = (_INDEX[name] for name in atom.name.split("."))
        if one == other:
            table = {"k": at.s, "j": at.s, "l": at.c, "n": at.c}[one]
            return _spread(array_module(table).einsum("gaa->ga", table), one)
        if {one, other} == {"k", "j"}:
            return _spread(at.s, one, other)
        if {one, other} == {"l", "n"}:
            return _spread(at.c, one, other)
        first, second = sorted((one, other), key=list(_AXES).index)
        return _spread(at.m, first, second)
    if atom.name == "d":
        return at.d
    table = getattr(at, atom.name.rstrip("'"))
    if table.ndim == 1:  # of the target, the same for all replicas
        table = array_module(at.w).broadcast_to(table, (at.w.shape[0], len(table)))
    return _spread(table, _INDEX[atom.name])


def _spread(table: Any, *indices: str) -> Any:
    """A table (replica, index, ...) with its axes where they belong; indices in the order of _AXES."""
    shape = [table.shape[0], 1, 1, 1, 1]
    for axis, index in enumerate(indices, start=1):
        shape[_AXES[index]] = table.shape[axis]
    return table.reshape(shape)
