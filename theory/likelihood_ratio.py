"""Gradients of expectations over paths at fixed paths, and of three losses of a sampler, step by step.

L = log Q − log P̃ on a path, Q the law of the sampler's paths, P̃ the target's with its backward kernels, which may have
parameters too. Every step is checked by numbers: paths of one step in one dimension, integrated on a grid.
Source: Williams, Mach. Learn. 8, 229 (1992); Richter, Boustati, Nüsken, Ruiz, Akyildiz, NeurIPS (2020); Malkin et al.,
NeurIPS (2022); the differences between the losses are worked out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sympy import Derivative, Expr, Function, Integral, Rational, S, Symbol, exp, expand, lambdify, log

from theory.derivation import Step
from theory.rules import Rule

__all__ = ["RatioStep", "likelihood_ratio"]

LAMBDA, PATH, LEVEL = Symbol("lambda", real=True), Symbol("X", real=True), Symbol("c", real=True)


class _OfPath(Function):  # type: ignore[misc]
    """A function of parameters and of the path."""

    is_real = True
    SHOWN = ""

    def _latex(self, printer: Any, exp: Any = None) -> str:
        return self.SHOWN if exp is None else rf"{self.SHOWN}^{{{exp}}}"


class LogQ(_OfPath):
    SHOWN = r"\log Q"


class LogP(_OfPath):
    SHOWN = r"\log\tilde P"


class Anything(_OfPath):
    SHOWN = "f"


class Reference(_OfPath):
    """The density of a law of paths that is not differentiated."""

    SHOWN = "r"


def _same(expr: Expr) -> Expr:
    return expr


UNDER = Rule("Under the integral", r"\partial\textstyle\int Qf=\int Q\,(f\,\partial\log Q+\partial f)", _same)
CENTRED = Rule("Normalisation", r"\textstyle\int Q\,\partial\log Q=0,\ \int Q=1", _same)
DETACHED = Rule("Detached law", r"r\ \text{does not depend on parameters}", _same)
ON_POLICY = Rule("Own paths", r"r=Q,\ \text{after the derivative}", _same)

Q, P, F = LogQ(LAMBDA, PATH), LogP(LAMBDA, PATH), Anything(LAMBDA, PATH)
R = Reference(PATH)


def _mean(f: Expr, density: Expr) -> Expr:
    return Integral(f * density, PATH)


def _slope(expr: Expr, y: Symbol = LAMBDA) -> Expr:
    """The derivative, taken under integrals."""
    return expr.diff(y).replace(
        lambda e: isinstance(e, Integral), lambda e: Integral(expand(e.function.doit()), *e.limits)
    )


@dataclass(frozen=True)
class RatioStep(Step):
    """A step that is checked by quadrature. own: whether r = Q at the parameters where it is looked at."""

    own: bool = False

    @cached_property
    def residual(self) -> float:
        return abs(_number(self.before, self.own) - _number(self.after, self.own))


def likelihood_ratio() -> tuple[RatioStep, ...]:
    """The identity, what it leaves of any number that multiplies ∂log Q, and the gradients of the losses."""
    loss = Q - P
    score, back = Derivative(Q, LAMBDA), Derivative(P, LAMBDA)
    steps: list[RatioStep] = []

    def take(of: str, first: Expr, *forms: tuple[Rule, Expr], own: bool = False) -> None:
        for rule, after in forms:
            steps.append(RatioStep(of, rule, first, after, own))
            first = after

    anything = _mean(F, exp(Q))
    take(r"\partial E_Q[f]", Derivative(anything, LAMBDA), (UNDER, _slope(anything)))
    take(r"E_Q[\partial\log Q]", Derivative(_mean(S.One, exp(Q)), LAMBDA),
         (UNDER, _slope(_mean(S.One, exp(Q)))), (CENTRED, S.Zero))  # fmt: skip
    # Of E_Q[L]: the mean of L may be taken from it, since it multiplies ∂log Q whose own mean is 0.
    value = _mean(loss, exp(Q))
    centred = _mean((loss - value) * score, exp(Q)) - _mean(back, exp(Q))
    take(r"\partial E_Q[L]", Derivative(value, LAMBDA), (UNDER, _slope(value)), (CENTRED, centred))
    mean = _mean(loss, R)
    variance = Rational(1, 2) * (_mean(loss**2, R) - mean**2)
    covariance = _mean((loss - mean) * (score - back), R)
    of = r"\partial\,{\textstyle\frac12}\operatorname{Var}_r L"
    take(of, Derivative(variance, LAMBDA), (DETACHED, covariance))
    own = _mean((loss - value) * score, exp(Q)) - _mean((loss - value) * back, exp(Q))
    take(of, covariance, (ON_POLICY, own), own=True)
    balance = Rational(1, 2) * _mean((loss + LEVEL) ** 2, R)
    of = r"{\textstyle\frac12}E_r[(L+c)^2]"
    fixed = _mean((loss + LEVEL) * (score - back), R)
    take(rf"\partial\,{of}", Derivative(balance, LAMBDA), (DETACHED, fixed))
    own = _mean((loss - value) * score, exp(Q)) - _mean((loss + LEVEL) * back, exp(Q))
    take(rf"\partial\,{of}", fixed, (ON_POLICY, own), own=True)
    take(rf"\partial_c\,{of}", Derivative(balance, LEVEL), (DETACHED, _slope(balance, LEVEL)))
    return tuple(steps)


# --- numbers --------------------------------------------------------------------------------------------------------

_X0, _X1 = Symbol("x0", real=True), Symbol("x1", real=True)
_AT, _H = 0.3, 2e-3


def _normal(x: Expr, mean: Expr, variance: float) -> Expr:
    return -((x - mean) ** 2) / (2 * variance) - log(2 * variance * float(np.pi)) / 2


def _concrete() -> dict[Any, Expr]:
    """log Q and log P̃ of one step of length .4 from a prior of two components to a target of two, with λ in all but
    the target; r is wider than Q."""
    from sympy import tanh

    eta, lam = 0.4, LAMBDA
    prior = log(exp(_normal(_X0, lam, 0.8)) / 3 + 2 * exp(_normal(_X0, -1 - lam**2, 1.1)) / 3)
    forward = _normal(_X1, _X0 + eta * tanh(lam + _X0), 2 * eta)
    backward = _normal(_X0, _X1 - eta * (lam * _X1 + tanh(_X1)), 2 * eta)
    target = log(exp(_normal(_X1, 1, 0.7)) + exp(_normal(_X1, -0.5, 1)))
    wider = exp(_normal(_X0, 0.2, 2.0) + _normal(_X1, 0.5 * _X0, 1.3))
    anything = lam * _X0 * _X1 + tanh(_X1 - lam)
    return {LogQ: prior + forward, LogP: target + backward, Anything: anything, Reference: wider}


_GRID = np.linspace(-11.0, 11.0, 221)


def _number(expr: Expr, own: bool) -> float:
    """At λ = .3 and c = .7; derivatives that are not taken yet by fourth-order differences."""
    concrete = _concrete()
    if own:
        concrete[Reference] = exp(concrete[LogQ]).subs(LAMBDA, _AT)

    def value(e: Expr, at: dict[Symbol, float]) -> Any:
        if isinstance(e, Derivative) and e.has(Integral):
            y = e.variables[0]
            f = [value(e.expr, at | {y: at[y] + n * _H}) for n in (-2, -1, 1, 2)]
            return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * _H)
        if isinstance(e, Integral):
            inner = e.function
            for node in inner.atoms(Integral):  # a number inside: the mean
                inner = inner.subs(node, float(value(node, at)))
            return float(np.sum(_values(inner, concrete, at)) * (_GRID[1] - _GRID[0]) ** 2)
        if e.has(Integral):
            parts = [value(a, at) for a in e.args]
            return e.func(*parts)
        return float(e.subs(at))

    return float(value(expr, {LAMBDA: _AT, LEVEL: 0.7}))


def _values(f: Expr, concrete: dict[Any, Expr], at: dict[Symbol, float]) -> Any:
    """A function of the path on the grid of x_0 and x_1."""
    for kind, formula in concrete.items():
        f = f.replace(kind, lambda *_, formula=formula: formula)
    code = lambdify((_X0, _X1, LAMBDA, LEVEL), f.doit(), "numpy")
    return np.broadcast_to(code(_GRID[:, None], _GRID[None, :], at[LAMBDA], at[LEVEL]), (len(_GRID), len(_GRID)))
