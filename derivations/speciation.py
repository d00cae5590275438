"""Two modes ±ν under Ornstein–Uhlenbeck noise: when the path of a sampler decides between them.

A document made from the engine's noise law, drifts and tables; it has no system of its own.
"""

from __future__ import annotations

from functools import cache
from math import prod

from sympy import Add, Expr, Integer, Rational, Symbol, exp, expand, factor, log, numer, simplify, solve, sqrt, together

from derivations import forward_kl
from derivations.document import rules, steps
from derivations.speciation_text import TEXT
from derivations.stability import EQUAL, KAPPA0, at_centre, critical_separation
from theory import target
from theory.correspondence import DECAY
from theory.derivation import Derivation
from theory.drifts import Score, drifts
from theory.emit.latex import latex
from theory.expectations import Expectation, Gradient
from theory.mixtures import LogDensity, Responsibility
from theory.reduction import noise_law
from theory.rules import LINEARITY, LOG_SUM_EXP, NORMALISATION, PARTITION, STEIN, bottom_up
from theory.stability import named
from theory.sums import Sigma
from theory.tanh import numbers, with_tanh
from theory.vectors import POINT, Dot, Mean, vector_terms

TITLE = "Speciation: when a sampler decides for a mode"

P = target()
R, U, W = Symbol("R", positive=True), Symbol("u", positive=True), Symbol("W", positive=True)
LAMBDA, TAU = Symbol("Lambda", positive=True), Symbol("tau", positive=True)
#: Any unit vector, which the document calls e.
E = Mean("mu", 1)
HALF = Rational(1, 2)


@cache
def along() -> tuple[Derivation, Expr, Expr]:
    """The recorded steps; e·∇∇log p·e at any x, and E_p[(x·e)²], for any target of one width and any vector e."""
    derivation = Derivation()
    (l,) = P.indices(1)
    slope = Dot(Gradient(LogDensity(P), POINT), E)
    slope = derivation.run(r"e\cdot\nabla\log p", slope, [LOG_SUM_EXP, LINEARITY, PARTITION])
    second = Dot(Gradient(slope, POINT), E)
    second = derivation.run(r"e\cdot\nabla\nabla\log p\cdot e", second, [LOG_SUM_EXP, LINEARITY, PARTITION])
    square = P.sum(P.weight(l) * Expectation(P, l, Dot(POINT, E) ** 2), l)
    square = derivation.run(r"E_p[(x\cdot e)^2]", square, [STEIN, LINEARITY, NORMALISATION])
    return derivation, second, square


def two_modes(expr: Expr, *, cosine: int) -> Expr:
    """A scalar at x = 0 for modes ±ν of equal weight; cosine: e·ν/R, 1 along the line of the modes and 0 across it."""
    expr = bottom_up(expr, lambda node: Add(*node.terms(2)), Sigma)
    logits = [P.logit(l) for l in (1, 2)]
    expr = expr.replace(
        lambda node: isinstance(node, Responsibility),
        lambda node: exp(logits[int(node.args[1]) - 1]) / Add(*map(exp, logits)),
    )

    def product(dot: Expr) -> Expr:
        if POINT in dot.args:
            return Integer(0)
        signs = [3 - 2 * int(v.index) for v in dot.args if v.name == "nu"]  # of ν and −ν
        return prod(signs) * (Integer(1), cosine * R, R**2)[len(signs)]

    expr = expr.replace(lambda node: isinstance(node, Dot), product)
    return factor(simplify(expr.xreplace({P.weight(l): HALF for l in (1, 2)})))


def noised(expr: Expr) -> Expr:
    """The same for the target noised for a time τ, decay = e^{−τ}."""
    mean, variance = noise_law()
    m, v = Symbol("m", real=True), Symbol("v", positive=True)
    return expr.xreplace({R: mean.xreplace({m: R}), U: variance.xreplace({v: U})})


def drift_slope(curvature: Expr) -> Expr:
    """e·∇h·e of the drift h of the exact control, from that of the score."""
    forward, _ = drifts("dis", "ou", "exact")
    return Add(*(c * {POINT: Integer(1), Score("target", True): curvature}[v] for c, v in vector_terms(forward)))


def time_of(expr: Expr) -> Expr:
    """The τ > 0 at which an expression in decay = e^{−τ} vanishes, R large."""
    roots = solve(numer(together(expr.xreplace({DECAY: 1 / sqrt(W)}))), W)
    # Of W = e^{2τ} there is one root that grows with R.
    found = [root for root in roots if root.subs({R: 100, U: 1, LAMBDA: 100}) > 1]
    assert len(found) == 1, roots
    return HALF * log(found[0])


def covariance_time() -> Expr:
    """Where what is left of an eigenvalue Λ of the covariance is as large as the noise in the end."""
    _, variance = noise_law()
    v = Symbol("v", positive=True)
    signal = variance.coeff(v) * LAMBDA
    return time_of(signal - variance.xreplace({v: Integer(0), DECAY: Integer(0)}))


@cache
def clones() -> Expr:
    """Σ_l π_l E_l[Σ_k ρ_k²] for modes ±ν of variance u: the forward KL's table of second moments with q = p."""
    system = forward_kl.system()
    concrete = system.at(2, 2)
    table = next(t for t in system.tables if t.name == "PP")
    l, k, _ = table.indices
    square = table.value.xreplace({table.indices[2]: k})
    written = concrete.write_out(system.p.sum(system.p.weight(l) * system.q.sum(square, k), l), {})
    overlaps = {
        Symbol(f"{name}{i}{j}", real=True): R**2 * (1 if i == j else -1)
        for name in "smc" for i in (1, 2) for j in (1, 2)
    }  # fmt: skip
    equal = {Symbol(f"theta{k}", real=True): Integer(0) for k in (1, 2)} | {Symbol("v", positive=True): U}
    return factor(with_tanh(written.xreplace(overlaps | equal | EQUAL)))


def document() -> str:
    """The Markdown document, every formula and number from the engine."""
    derivation, second, square = along()
    curvature, across = (two_modes(second, cosine=c) for c in (1, 0))
    drift = drift_slope(noised(curvature))
    eigenvalue = two_modes(square, cosine=1)
    one = named(at_centre(1).spectrum[0], {2: 1 - KAPPA0})
    boundary = critical_separation(one)
    times = [time_of(noised(curvature)), time_of(drift), covariance_time().xreplace({LAMBDA: eigenvalue})]
    same = clones()
    # Where the curvature vanishes R² = u, so that the field on a mode has mean and variance 1.
    (decided,) = numbers([same.xreplace({R: sqrt(U)})], [U])(1.0)
    derived = steps(tuple(derivation.steps), _latex)
    parts = {
        "TITLE": TITLE,
        "RULES": rules(tuple(derivation.steps)),
        "STEPS": "\n\n".join(derived),
        "CURVATURE": latex(expand(curvature)),
        "ACROSS": latex(across),
        "NOISE": ",\\quad ".join(
            rf"{name}\to {_decayed(value)}" for name, value in (("R", noised(R)), ("u", noised(U)))
        ),
        "EIGENVALUE": latex(eigenvalue),
        "CONVEX": latex(times[0]),
        "CONVEX1": latex(simplify(times[0].subs(U, 1))),
        "SLOPE": latex(drift_slope(Symbol("H", real=True))),
        "DRIFT": latex(times[1]),
        "DRIFT1": latex(simplify(times[1].subs(U, 1))),
        "COVARIANCE": latex(covariance_time()),
        "SAME": latex(same),
        "DECIDED": f"{decided:.7g}",
        "RC": f"{boundary:.8g}",
        "NUMBERS": "\n".join(_row(r, u, times, boundary) for u in (1.0, 0.25) for r in (2.0, 4.0, 8.0)),
    }
    text = TEXT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _latex(expr: Expr) -> str:
    return str(latex(expr)).replace(r"\mu_{1}", "e")


def _decayed(expr: Expr) -> str:
    return str(latex(expand(expr.xreplace({DECAY: exp(-TAU)}))))


def _row(separation: float, width: float, times: list[Expr], boundary: float) -> str:
    values = [float(time.subs({R: separation, U: width})) for time in times]
    # The boundary of the prior is that of a Gaussian as wide as the modes.
    last = f"{float(log(separation / boundary)):.5f}" if width == 1 else "–"
    return f"| {separation:g} | {width:g} | " + " | ".join(f"{x:.5f}" for x in values) + f" | {last} |"
