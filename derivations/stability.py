"""Two modes ±ν, equal weights: stability of coinciding components, the collapsed pair and its fold, dying weights.

A document made from the closed system of reverse_kl at β = 1, in two metrics; it has no system of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from scipy.optimize import brentq, root
from sympy import Expr, Integer, Matrix, Rational, Symbol, diag, factor, simplify, solve, sqrt

from derivations import reverse_kl
from derivations.stability_text import TEXT
from theory import BETA, ClosedSystem
from theory.emit.latex import latex
from theory.stability import Linearisation, Path, in_coordinates, linearise, named, vanishing_weight
from theory.tanh import TanhMean, numbers, with_tanh

TITLE = "Stability: symmetric point, collapsed pair, dying weights"

R, A, Y, DELTA = (
    Symbol("R", positive=True),
    Symbol("a", real=True),
    Symbol("y", real=True),
    Symbol("delta", positive=True),
)
V, U = Symbol("v", positive=True), Symbol("u", positive=True)
KAPPA0, KAPPA = Symbol("kappa_0", positive=True), Symbol("kappa", positive=True)
#: Deep in a mode tanh is 1 but for terms of order κ.
DEEP = dict.fromkeys(range(1, 5), Integer(1))
HALF = Rational(1, 2)
#: Modes of equal weight, at temperature 1.
EQUAL = {Symbol(f"pi{l}", real=True, positive=True): HALF for l in (1, 2)} | {BETA: Integer(1)}
UNIT = {V: Integer(1), U: Integer(1)}
#: Sum and difference of two components, in every coordinate: the symmetry of exchanging them makes these directions.
PAIR = Matrix([[1, 1], [1, -1]])


@cache
def flow() -> ClosedSystem:
    """The closed system of reverse_kl."""
    return reverse_kl.system()


@cache
def in_plane(components: int) -> dict[Symbol, Expr]:
    """Its equations in one coordinate along ν and one across."""
    return in_coordinates(flow(), components, [(R, 0), (-R, 0)])


def at_centre(components: int) -> Linearisation:
    """All means at the centre of the target, K = 1 or 2, one coordinate along ν and one across."""
    equations = in_plane(components)
    point = EQUAL | dict.fromkeys(equations, 0)
    return linearise(equations, point, diag(PAIR, PAIR, PAIR) if components == 2 else None)


def coinciding_pair() -> Linearisation:
    """Both means at aν; rest at a = E tanh(…), which stands in the Jacobian as well."""
    equations = in_plane(2)
    along = [y for y in equations if y.name.startswith("x1")]
    point = EQUAL | dict.fromkeys(equations, 0) | dict.fromkeys(along, R * A)
    return linearise(equations, point, diag(PAIR, PAIR, PAIR))


def pair_on_the_axis() -> Path:
    """Means at y ± δ/2 on the line of the modes, unit variances, weights fixed at ½."""
    equations = in_coordinates(flow(), 2, [(R,), (-R,)])
    means = [y for y in equations if y.name.startswith("x")]
    still = dict.fromkeys(equations.keys() - set(means), Integer(0))
    fixed = {y: equations[y].xreplace(EQUAL | UNIT | still) for y in means}
    return Path.of(fixed, {means[0]: Y + DELTA / 2, means[1]: Y - DELTA / 2}, (Y, DELTA))


@cache
def weak_split(path: Path) -> tuple[Expr, Expr, Expr]:
    """δ̇ = g₁δ + g₃δ³/6 at small δ: g₁, g₃ with κ and deep in the mode, and the δ at which it rests."""
    first, third = (with_tanh(path.velocity[1].diff(DELTA, n).xreplace({DELTA: Integer(0)})) for n in (1, 3))
    g1, g3 = named(first, {2: 1 - KAPPA}), named(third, DEEP)
    (split,) = solve(g1 + g3 * DELTA**2 / 6, DELTA)
    return g1, third, simplify(split)


def centre_shift(path: Path) -> Expr:
    """∂²ẏ/∂δ² at δ = 0, deep in the mode: what a split does to the centre."""
    return named(with_tanh(path.velocity[0].diff(DELTA, 2).xreplace({DELTA: Integer(0)})), DEEP)


def aligned(separation: float) -> tuple[float, float]:
    """a and κ of two components that coincide at one mode, v = u = 1."""
    moments = numbers([TanhMean(1, R * R * A, R), 1 - TanhMean(2, R * R * A, R)], [R, A])
    a = float(brentq(lambda a: a - moments(separation, a)[0], 0.5, 1, xtol=1e-15))
    return a, moments(separation, a)[1]


def split_pairs(path: Path, separations: Sequence[float]) -> list[tuple[float, float]]:
    """y, δ of the split pair at rest, by Newton from the weak split at the first R, then from R to R."""
    rest = numbers([with_tanh(f) for f in path.velocity], [R, Y, DELTA])
    a, kappa = aligned(separations[0])
    pair = (separations[0] * a, float(weak_split(path)[-1].subs({R: separations[0], KAPPA: kappa})))
    found = []
    for separation in separations:
        solved = root(partial(_at, rest, separation), pair, tol=1e-14)
        pair = (float(solved.x[0]), float(solved.x[1]))
        found.append(pair)
    return found


def _at(function: Callable[..., list[float]], *values: Any) -> list[float]:
    """A function of single numbers at numbers of which the last ones come as an array."""
    *first, rest = values
    return function(*first, *rest)


def fold(path: Path) -> tuple[float, float, float]:
    """R, y, δ where the split pair at rest has a singular Jacobian."""
    conditions = numbers([*map(with_tanh, path.velocity), path.jacobian().det()], [R, Y, DELTA])
    descent = [3.0, 2.8, 2.6, 2.4, 2.3]
    found = root(partial(_at, conditions), (descent[-1], *split_pairs(path, descent)[-1]), tol=1e-14)
    return float(found.x[0]), float(found.x[1]), float(found.x[2])


def kappa_0(separation: float) -> float:
    """E sech²(Rz)."""
    return numbers([1 - TanhMean(2, 0, R)], [R])(separation)[0]


def critical_separation(rate: Expr) -> float:
    """R at which a rate of the centre changes sign."""
    of_R = numbers([rate.xreplace(UNIT | {KAPPA0: 1 - TanhMean(2, 0, R)})], [R])
    return float(brentq(lambda x: of_R(x)[0], 1.1, 3.0, xtol=1e-14))


def escape_exponent(sum_: Expr, difference: Expr) -> Expr:
    """From sizes σ₀ of sum and difference, the one that grows faster arrives alone unless it starts smaller by σ₀ to
    the power of (faster rate)/(slower rate) − 1."""
    return factor(simplify((difference / sum_ - 1).subs(UNIT)))


def document() -> str:
    """The Markdown document, every formula and number from the systems."""
    one, two = ([named(rate, {2: 1 - KAPPA0}) for rate in at_centre(K).spectrum] for K in (1, 2))
    pair, path = coinciding_pair(), pair_on_the_axis()
    resting = factor(pair.rest[0])
    # At rest E tanh = a; then the Jacobian is diagonal.
    at_rest = pair.jacobian.applyfunc(lambda e: named(e, {1: A, 2: 1 - KAPPA}))
    g1, third, split = weak_split(path)
    fold_R, fold_y, fold_delta = fold(path)
    systems = {"softmax": flow(), "Fisher–Rao": flow().under(weights=1)}
    formulas = {
        "MOMENT": TanhMean(2, 0, R * sqrt(V) / U),
        "ONE": one[0],
        "ACROSS": one[1],
        "GAP": simplify(two[1] - two[0]),
        "POWER": escape_exponent(two[0], two[1]),
        "REST": resting,
        "ALIGNED": next(iter(resting.atoms(TanhMean))),
        "G1": g1,
        "G3": named(third, {2: Symbol("T_2"), 4: Symbol("T_4")}),
        "SHIFT": centre_shift(path),
        "G3DEEP": named(third, DEEP),
        "SPLIT": split,
        "DY": with_tanh(path.velocity[0]),
        "DDELTA": with_tanh(path.velocity[1]),
    }
    parts = {name: latex(formula) for name, formula in formulas.items()}
    parts |= {
        "TITLE": TITLE,
        "HASH": flow().hash,
        "RC": f"{critical_separation(one[0]):.8g}",
        "CENTRE": _rates(two),
        "PAIR": _rates(replace(pair, jacobian=at_rest).spectrum),
        "FOLD": f"{fold_R:.8g}",
        "FOLDY": f"{fold_y:.7g}",
        "FOLDDELTA": f"{fold_delta:.7g}",
        "NUMBERS": _numbers(path, (*two[:2], escape_exponent(*two[:2]), split)),
        "LAWS": "\n".join(_law(name, system) for name, system in systems.items()),
    }
    text = TEXT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _numbers(path: Path, formulas: Sequence[Expr]) -> str:
    """Rows of the formulas at some R, and the split of the pair at rest."""
    rows, separations = [], (3.5, 3.0, 2.5)
    for separation, (_, exact) in zip(separations, split_pairs(path, separations), strict=True):
        at = UNIT | {KAPPA0: kappa_0(separation), R: separation, KAPPA: aligned(separation)[1]}
        rows.append([separation, *(float(formula.subs(at)) for formula in formulas), exact])
    return "\n".join("| " + " | ".join(f"{x:.7g}" for x in row) + " |" for row in rows)


def _rates(rates: Sequence[Expr]) -> str:
    """Rows for the four directions of the means; those of the log-weights come after them."""
    names = ("sum, along $\\nu$", "difference, along $\\nu$", "sum, across", "difference, across")
    rows = zip(names, rates, strict=False)
    return "\n".join(f"| {name} | ${latex(rate)}$ | ${latex(factor(rate.subs(UNIT)))}$ |" for name, rate in rows)


def _law(name: str, system: ClosedSystem) -> str:
    found = [vanishing_weight(system, K) for K in (2, 3)]
    velocity, w, _ = found[0]
    t = Symbol("t", positive=True)
    power = velocity.as_poly(w).degree()
    rate = -velocity.coeff(w, power)
    # ∫ dw/w^power = −rate·t
    decay = w if power == 1 else simplify(1 / ((power - 1) * rate * t)) ** Rational(1, power - 1)
    shown = rf"w\propto e^{{-{latex(rate)} t}}" if power == 1 else rf"w\simeq {latex(decay)}\ (K=2)"
    cells = " | ".join(f"${latex(velocity)}$" for velocity, _, _ in found)
    return f"| {name} | {cells} | ${shown}$ |"
