"""A step of the reduced chain and the increment of log W that goes with it, written so that nothing large cancels.

Where a(x) depends on the step only, every direction orthogonal to the span is a chain of its own: `across` is one.
"""

from __future__ import annotations

from sympy import Expr, Integer, Poly, Symbol, exp, expand, sqrt

from theory.derivation import Step
from theory.frames import BACK, NEW, NOISE, PULL, coordinate, dot, orthogonal
from theory.mixtures import DIMENSION
from theory.path_steps import KERNELS, SPLIT, PathStep
from theory.programs import SIZES, Assign, Program, array
from theory.rules import linearity
from theory.sums import Sigma, index
from theory.vectors import POINT, Dot

__all__ = ["LOG_BASE", "across", "step_and_weight"]

b, R = index("b"), SIZES["b"]
#: log B of the variance that densities are relative to, so that what all mixtures have in common, of order d, cancels
#: before it is computed: (2πB)^{-d/2} once and for all, exp(-ϱ/2B) step by step. Results do not depend on B.
LOG_BASE = Symbol("log_base", real=True)


def step_and_weight(eta: Symbol, steps: list[Step]) -> tuple[Program, Program]:
    """The programs `step` and `weight`; how they are derived goes to `steps`."""
    shrink_f, grow = array("shrink_f"), array("grow")
    h = shrink_f * POINT + PULL
    new = expand(POINT + eta * h + sqrt(2 * eta) * NOISE)
    steps.append(PathStep("x'_b", SPLIT, coordinate(NEW, b), coordinate(new, b)))
    steps.append(PathStep("|x'|^2", SPLIT, Dot(new, new), dot(new, new)))

    # Along x_⊥ and across it: the same |x'_⊥|² as a sum of squares, which rounding cannot make negative.
    along_x = expand(new).coeff(POINT) * array("root") + new.coeff(NOISE) * array("xi1")
    rho_new = array("along") ** 2 + new.coeff(NOISE) ** 2 * array("chi2")
    whole = rho_new.subs(array("along"), along_x) - orthogonal(new, new).subs(array("rho"), array("root") ** 2)
    assert expand(whole) == 0

    def in_terms_of(expr: Expr) -> Expr:
        """1 + η a as one symbol."""
        return expand(expand(expr).subs(shrink_f, (grow - 1) / eta))

    step = Program(
        "step",
        "x' = x + η h + √(2η) ξ: x_∥' and ϱ'",
        {"x": (b,), "rho": (), "shrink_f": (), "pull_f": (b,)},
        {"xi": (b,), "xi1": (), "chi2": (), "eta": ()},
        (
            Assign("grow", (), 1 + eta * shrink_f),
            Assign("root", (), sqrt(array("rho"))),
            Assign("x_new", (b,), in_terms_of(coordinate(new, b))),
            Assign("along", (), in_terms_of(along_x)),
            Assign("rho_new", (), rho_new),
        ),
        ("x_new", "rho_new"),
        {1 / sqrt(array("rho")): 1 / array("root")},
        steered=("eta",),
    )
    return step, _weight(eta, h, new, steps)


def _weight(eta: Symbol, h: Expr, new: Expr, steps: list[Step]) -> Program:
    """The increment of log W. The sum of both residuals is −η times a drift: written with that, nothing is divided by
    η, and what is of order d and cancels does so in coefficients."""
    shrink_f, shrink_b, gain, slip = (array(name) for name in ("shrink_f", "shrink_b", "gain", "slip"))
    residue = POINT - NEW - eta * (shrink_b * NEW + BACK)
    forward = NEW - POINT - eta * h
    # The normalisers (4πη)^{-d/2} of the two kernels are equal and cancel.
    before = -Dot(residue, residue) / (4 * eta) + Dot(forward, forward) / (4 * eta)
    moved = expand(residue.subs(NEW, new))
    by_x, by_noise = moved.coeff(POINT), moved.coeff(NOISE)
    # 1 − (1 + η a)(1 + η a') = −η (a + a' + η a a') and −√(2η)(1 + η a'); what is left is −η times the mean drift.
    drift = expand(-(moved - by_noise * NOISE) / eta)
    square, work = Dot(drift, drift), Dot(drift, NOISE)
    spread = expand((1 - (by_noise**2) / (2 * eta)) / eta).factor()
    middle = -eta * square / 4 + by_noise * work / 2 + eta * spread * Dot(NOISE, NOISE) / 2
    noise_square = dot(NOISE, NOISE)
    after = -eta * dot(drift, drift) / 4 + by_noise * dot(drift, NOISE) / 2 + eta * spread * noise_square / 2
    steps.append(PathStep(r"\Delta\log W", KERNELS, before, middle))
    steps.append(PathStep(r"\Delta\log W", SPLIT, middle, after))

    names = {expand(1 + eta * shrink_b): gain, expand(-by_x / eta): slip}
    lag = sum((_named(drift.coeff(v), names) * v for v in (POINT, PULL, BACK)), Integer(0))
    assert expand(lag.subs({gain: 1 + eta * shrink_b, slip: expand(-by_x / eta)}) - drift) == 0
    xi, root, step = array("xi", b), array("root"), sqrt(2 * eta)
    inside = (
        -eta * array("lag", b) ** 2 / 4 - step * gain * array("lag", b) * xi / 2 + eta * array("excess") * xi**2 / 2
    )
    outside = (
        -eta * array("climb") * array("rho") / 4
        - step * array("swing") * root * array("xi1") / 2
        + eta * array("beyond") * (array("xi1") ** 2 + array("chi2")) / 2
    )
    # The same orthogonal parts, with −(ϱ' − ϱ)/2B of the densities at both ends of the path; every coefficient is a
    # difference of numbers of order 1, multiplied by ϱ or C, of order d, only then.
    part = -eta * orthogonal(drift, drift) / 4 + by_noise * orthogonal(drift, NOISE) / 2
    part += eta * spread * orthogonal(NOISE, NOISE) / 2
    part -= (orthogonal(new, new) - array("rho")) * exp(-LOG_BASE) / 2
    grow = 1 + eta * shrink_f
    body = (
        Assign("gain", (), 1 + eta * shrink_b),
        Assign("slip", (), expand(-by_x / eta)),
        Assign("root", (), sqrt(array("rho"))),
        Assign("lag", (b,), coordinate(lag, b)),
        Assign("excess", (), spread),
        Assign("climb", (), slip**2 + 2 * exp(-LOG_BASE) * shrink_f * (1 + grow)),
        Assign("swing", (), gain * slip + 2 * exp(-LOG_BASE) * grow),
        Assign("beyond", (), array("excess") - 2 * exp(-LOG_BASE)),
        Assign("increment", (), linearity(Sigma(inside, (b, 1, R))) + outside),
    )
    along = -eta * coordinate(drift, b) ** 2 / 4 + by_noise * coordinate(drift, b) * xi / 2 + eta * spread * xi**2 / 2
    for named, unnamed in ((inside, along), (outside, part)):
        for assign in reversed(body[:-1]):
            named, unnamed = (e.subs(assign.variable, assign.value) for e in (named, unnamed))
        assert expand(named - unnamed) == 0
    return Program(
        "weight",
        "log B(x|x') - log F(x'|x) - (ϱ' - ϱ)/2B, the backward drift taken at x'",
        {"x": (b,), "rho": (), "shrink_f": (), "pull_f": (b,), "shrink_b": (), "pull_b": (b,)},
        {"xi": (b,), "xi1": (), "chi2": (), "eta": (), "log_base": ()},
        body,
        ("increment",),
        {1 / sqrt(array("rho")): 1 / array("root")},
        steered=("eta",),
    )


def _named(expr: Expr, names: dict[Expr, Expr]) -> Expr:
    """An expression by the name it has, else with what has one put in."""
    expr = expand(expr)
    return names[expr] if expr in names else expand(expr.subs(names))


def across(step: Program, weight: Program, logit: Expr) -> Program:
    """One direction of its own, x = √ϱ and ξ = ξ₁: what multiplies x and ξ in x', and x², x ξ, ξ² in the increment.

    logit: that of `score` for one component; of it, what a direction and its x² add.
    """
    x, xi = array("root"), array("xi1")
    alone = {array("chi2"): Integer(0), array("rho"): x**2}
    values = {a.name: a.value for a in (*weight.body, *step.body)}
    # In the span nothing: its sums are those of no direction.
    increment = values["increment"].replace(lambda e: isinstance(e, Sigma), lambda e: Integer(0)).xreplace(alone)
    moved, gained, end = Poly(values["along"], x, xi), 2 * Poly(increment, x, xi), Poly(logit, DIMENSION, array("rho"))
    assert moved.total_degree() == 1
    assert gained.homogeneous_order() == 2
    moves = {"grow": values["grow"], "kick": moved.coeff_monomial(xi)}
    gains = {
        "square": gained.coeff_monomial(x**2),
        "cross": gained.coeff_monomial(x * xi) / 2,
        "drawn": gained.coeff_monomial(xi**2),
        "level": end.coeff_monomial(DIMENSION),
        "curvature": 2 * end.coeff_monomial(array("rho")),
    }
    assert moved.coeff_monomial(x) == array("grow")
    shared = {name: values[name] for name in ("gain", "slip", "excess", "climb", "swing", "beyond")}
    return Program(
        "across",
        "one direction, x' = grow x + kick ξ; in log W: (square x² + 2 cross x ξ + drawn ξ²)/2, level + curvature x²/2",
        {},
        {"shrink_f": (), "shrink_b": (), "eta": (), "log_base": (), "log_var": ()},
        tuple(Assign(name, (), value) for name, value in (moves | shared | gains).items()),
        (*moves, *gains),
        on_paths=False,
    )
