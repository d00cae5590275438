"""Two modes ±ν, a component whose weight dies: what holds it, when it turns round, and how long that takes.

A document made from the closed system of reverse_kl at β = 1, in two metrics; it has no system of its own.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import brentq
from sympy import Eq, Expr, Function, Integer, Symbol, dsolve, expand, factor, log, simplify

from derivations.lifetimes_text import TEXT
from derivations.stability import EQUAL, KAPPA0, UNIT, R, aligned, flow, in_plane, kappa_0
from theory.concrete import LogitMean
from theory.dying import alone, owner
from theory.emit.latex import latex
from theory.stability import log_odds, named, vanishing_weight
from theory.tanh import numbers, with_tanh

TITLE = "Lifetimes: what holds a dying weight, and when it turns round"

OTHER, Y, RHO, LAMBDA = (Symbol(name, real=True) for name in ("Y", "y", "rho", "lambda"))
FLOOR = Symbol("ell", real=True)
TIME, TAU, START = (Symbol(name, positive=True) for name in ("t", "tau", "w_0"))

Limit = tuple[Expr, Expr, Expr]


@cache
def limits() -> dict[str, Limit]:
    """Velocities along and across in units of w, and F_k − F_j, of the dying component beside one at Y on the axis.

    near: where its samples are all the other's, w → 0 at fixed means. far: where they are all its own.
    """
    names = {"x11": OTHER, "x21": 0, "x12": Y, "x22": RHO}
    point = EQUAL | UNIT | {Symbol(name, real=True): value for name, value in names.items()}
    return {
        "near": alone(in_plane(2), point, lambda node: None if owner(node) is None else 0),
        "far": alone(in_plane(2), point, owner),
    }


def descent(limit: Limit) -> tuple[Expr, Expr]:
    """−∂Δ/∂y and −∂Δ/∂ρ, by Price's theorem. Raises ValueError if they are not the velocities."""
    along, across, cost = limit
    slopes = (-with_tanh(cost.diff(Y)), -with_tanh(cost.diff(RHO)))
    if any(simplify(a - b) != 0 for a, b in zip(slopes, (along, across), strict=True)):
        raise ValueError("the dying component does not descend what it costs")
    return slopes


def coinciding(limit: Limit) -> Expr:
    """Δ where the dying component is at the mean of the other."""
    return simplify(limit[2].subs({Y: OTHER, RHO: 0}))


def relaxation(rate: Expr, time: Symbol) -> Expr:
    """log w of a component that stays where it is, far from the other, where Δ = log w − ℓ: it goes to ℓ at a rate."""
    u = Function("u")
    return dsolve(Eq(u(time).diff(time), rate * (u(time) - FLOOR)), u(time), ics={u(0): log(START)}).rhs


def power_law(velocity: Expr) -> Expr:
    """w(t) under a velocity of w at constant Δ."""
    w = Function("w", positive=True)
    at = velocity.subs(Symbol("w", positive=True), w(TIME))
    return factor(simplify(dsolve(Eq(w(TIME).diff(TIME), at), w(TIME), ics={w(0): START}).rhs))


def exact(separation: float, position: float, across: float = 0.0) -> float:
    """log w at which Δ = 0 for a component at (position, across) beside one at rest, tables and all."""
    other = separation * aligned(separation)[0]
    rate = in_plane(2)[Symbol("theta2", real=True)]
    concrete = flow().at(2, 2)

    def cost(log_odds_: float) -> float:
        values = {"x11": other, "x21": 0.0, "x12": position, "x22": across, "theta1": 0.0, "theta2": log_odds_}
        values |= {"pi1": 0.5, "pi2": 0.5, "v": 1.0, "u": 1.0, "beta": 1.0, "R": separation}
        return float(concrete.evaluate(rate, values, nodes=160).item() / np.exp(log_odds_))

    odds = brentq(cost, -60.0, 5.0, xtol=1e-10)
    return float(odds - np.log1p(np.exp(odds)))


def floor(separation: float, position: float, across: float = 0.0) -> float:
    """log w_* = log w − Δ far from the other, by the integral of the velocity from there: no log-sum-exp is needed."""
    velocity = numbers([with_tanh(limits()["far"][0])], [R, Y])
    other = separation * aligned(separation)[0]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    middle, half = (other + position) / 2, (position - other) / 2
    climbed = sum(w * velocity(separation, middle + half * x)[0] for x, w in zip(nodes, weights, strict=True)) * half
    return float(climbed - across**2 / 2)


def document() -> str:
    """The Markdown document, every formula and number from the systems."""
    near, far = limits()["near"], limits()["far"]
    systems = {"softmax": flow(), "Fisher–Rao": flow().under(weights=1)}
    small, gap = Symbol("w", positive=True), Symbol("Delta", positive=True)
    odds = {name: [log_odds(system, K)[0] for K in (2, 3)] for name, system in systems.items()}
    velocity = vanishing_weight(flow(), 2)[0]
    # d log w/dτ with dτ = w dt, and d log w/dt, of a small weight in units of Δ
    in_tau, in_time = (odds[name][0] / unit for name, unit in (("softmax", small), ("Fisher–Rao", 1)))
    parts = {"TITLE": TITLE, "HASH": flow().hash}
    for name, limit in (("NEAR", near), ("FAR", far)):
        slopes = descent(limit)
        parts |= {f"{name}Y": latex(slopes[0]), f"{name}RHO": latex(slopes[1]), f"{name}COST": latex(_shown(limit[2]))}
        parts[f"{name}AT"] = latex(_shown(coinciding(limit)))
    parts |= {
        "SADDLE": latex(named(with_tanh(-far[2].diff(Y, 2)).xreplace({Y: Integer(0)}), {2: 1 - KAPPA0})),
        "POWER": latex(power_law(velocity)),
        "SOFT": latex(relaxation((in_tau / gap).subs(small, 0), TAU)),
        "FISHER": latex(relaxation((in_time / gap).subs(small, 0), TIME)),
        "ODDS": "\n".join(_row(name, [latex(rate) for rate in rates]) for name, rates in odds.items()),
        "NUMBERS": "\n".join(_numbers(separation) for separation in (2.5, 3.0, 4.0, 5.0)),
    }
    text = TEXT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _shown(expr: Expr) -> Expr:
    """With λ for θ_k − θ_j, and L(y) for the log-sum-exp of the target at y."""
    softplus = Function("L")
    logsumexp = {node: softplus(expand(node.args[1][0] / (2 * R))) for node in expr.atoms(LogitMean)}
    odds = {Symbol("theta1", real=True): Integer(0), Symbol("theta2", real=True): LAMBDA}
    return expand(expr.xreplace(logsumexp).xreplace(odds))


def _row(*cells: object) -> str:
    first, rest = cells
    assert isinstance(rest, list)
    return f"| {first} | " + " | ".join(f"${cell}$" for cell in rest) + " |"


def _numbers(separation: float) -> str:
    """Half way between the modes: growth of y, log w of the floor far from the other, and exactly; and 1/(w g)."""
    growth = kappa_0(separation) * separation**2 - 1
    far, whole = floor(separation, 0.0), exact(separation, 0.0)
    values = (separation, growth, far, whole, np.exp(-whole) / growth)
    return "| " + " | ".join(f"{value:.3g}" for value in values) + " |"
