"""From kernels in R^d to the programs of the reduced chain: score, noise, start, step and weight, step by step."""

from __future__ import annotations

from typing import Any

from sympy import Expr, Function, Indexed, IndexedBase, Integer, Symbol, dsolve, exp, expand, log, pi
from sympy.codegen.cfunctions import expm1

from theory.derivation import Step
from theory.expectations import Gradient
from theory.fixed_path import fixed_path
from theory.frames import NOISE, PULL, coordinate, decompose, dot, foreign, orthogonal
from theory.increment import LOG_BASE, across, step_and_weight
from theory.mixtures import DIMENSION, LogDensity, Mixture, Responsibility
from theory.moments import moment
from theory.path_steps import COLLECT, SPLIT, PathStep
from theory.programs import SIZES, Assign, LogSumExpOf, Program, array, logarithms
from theory.rules import LOG_SUM_EXP, linearity
from theory.sums import index
from theory.vectors import POINT, Dot

__all__ = ["Isotropic", "noise_law", "programs", "score_in_span"]

k, b = index("k"), index("b")
K, R = SIZES["k"], SIZES["b"]
V = IndexedBase("v", real=True, positive=True)


class Isotropic(Mixture):
    """Σ_k w_k N(μ_k, v_k I): a variance for every component."""

    def __new__(cls, *arguments: Any) -> Any:
        return Mixture.__new__(cls, *(arguments or ("q", "K", "w", "mu", "v", "r")))

    def logit(self, k: Any) -> Expr:
        r = POINT - self.mean(k)
        return log(self.weight(k)) - DIMENSION * log(2 * pi * V[k]) / 2 - Dot(r, r) / (2 * V[k])


def score_in_span(mixture: Mixture | None, steps: list[Step]) -> tuple[tuple[Expr, Expr], Expr, set[str]]:
    """a(x) and the combination of means with ∇log m = a(x) x + Σ_k c_k μ_k; the logit; names of what is missing."""
    q = Isotropic() if mixture is None else mixture
    gradient = Gradient(LogDensity(q), POINT)
    opened = LOG_SUM_EXP.apply(gradient)
    steps.append(PathStep(r"\nabla\log q", LOG_SUM_EXP, gradient, opened))
    a, span, missing = decompose(linearity(opened))
    steps.append(PathStep(r"\nabla\log q", COLLECT, opened, a * POINT + span))
    return (a, span), q.logit(k), missing | foreign(q.logit(k))


def noise_law() -> tuple[Expr, Expr]:
    """Mean and variance at noise time τ of x with mean m and variance v at 0, dx = −x dτ + √2 dW; decay = e^{−τ}.

    Itô: dm/dτ = −m and dv/dτ = −2v + 2.
    """
    tau, decay = Symbol("tau", positive=True), Symbol("decay", positive=True)
    m, v = Symbol("m", real=True), Symbol("v", positive=True)
    solved = []
    f: Any = Function("f")
    for start, drift in ((m, -f(tau)), (v, 2 - 2 * f(tau))):
        solution = dsolve(f(tau).diff(tau) - drift, f(tau), ics={f(0): start}).rhs
        solved.append(expand(solution).replace(exp, lambda a: decay ** (-a / tau)))
    return solved[0], solved[1]


def programs(score: tuple[Expr, Expr], logit: Expr, eta: Symbol, steps: list[Step]) -> tuple[Program, ...]:
    """start, law, noise, score, step, weight, fixed, across and moment of the reduced chain."""
    scored = _score(score, logit, steps)
    step, weight = step_and_weight(eta, steps)
    one = {a.variable: a.value for a in scored.body if a.name == "thin"}
    summands = next(a.value for a in scored.body if a.name == "logit").xreplace(one)
    alone = across(step, weight, summands.xreplace({array("log_var", k): array("log_var")}))
    return _start(), _law(logit), _noise(), scored, step, weight, fixed_path(eta, steps), alone, moment(steps)


def _start() -> Program:
    spread = array("spread")
    x0 = PULL + spread * NOISE
    body = (
        Assign("spread", (), exp(array("log_v") / 2)),
        Assign("x", (b,), coordinate(x0, b)),
        Assign("rho", (), orthogonal(x0, x0)),
    )
    constants = {"xi": (b,), "xi1": (), "chi2": ()}
    return Program(
        "start",
        "x_0 = μ + √v ξ",
        {"pull_f": (b,), "log_v": ()},
        constants,
        body,
        ("x", "rho"),
        {body[0].value: array("spread")},
    )


def _law(logit: Expr) -> Program:
    """log N(x; μ, v I) at a point that stays where it is: what its derivatives say of E f(x_0) need nothing of f."""
    # The logit of a component alone in its mixture, its mean a vector of the span.
    delta = POINT - Isotropic().mean(k)
    rest = expand(logit + Dot(delta, delta) / (2 * V[k]))
    names = {Isotropic().weight(k): Integer(0), V[k]: array("log_v")}
    whole = logarithms(rest.xreplace({log(2 * pi * V[k]): log(2 * pi) + log(V[k])}), names)
    square = dot(POINT - PULL, POINT - PULL)
    body = (
        Assign("offset", (b,), coordinate(POINT - PULL, b)),
        Assign("near", (), (square - array("rho")).xreplace({coordinate(POINT - PULL, b): array("offset", b)})),
        Assign("density", (), whole - (array("near") + array("rho")) * exp(-array("log_v")) / 2),
    )
    return Program(
        "law",
        "log N(x_0; μ, v I), x_0 as it is",
        {"pull_f": (b,), "log_v": ()},
        {"x": (b,), "rho": (), "d": ()},
        body,
        ("density",),
        on_paths=False,
    )


def _noise() -> Program:
    mean, variance = noise_law()
    m, v = Symbol("m", real=True), Symbol("v", positive=True)
    tau, decay = array("tau"), Symbol("decay", positive=True)
    body = (
        Assign("decay", (), exp(-tau)),
        Assign("mean_t", (k, b), mean.xreplace({m: array("mean", k, b), decay: array("decay")})),
        Assign("var_t", (k,), variance.xreplace({v: exp(array("log_var", k)), decay: array("decay")})),
        Assign("log_var_t", (k,), log(array("var_t", k))),
    )
    meaning = "a mixture after OU noise for a time τ"
    inputs = {"mean": (k, b), "log_var": (k,), "tau": ()}
    known = {exp(-tau): array("decay")}
    return Program("noise", meaning, inputs, {}, body, ("mean_t", "log_var_t"), known, on_paths=False)


def _score(score: tuple[Expr, Expr], logit: Expr, steps: list[Step]) -> Program:
    a, span = score
    delta = POINT - Isotropic().mean(k)
    square = dot(delta, delta)
    steps.append(PathStep(r"|x-\mu_k|^2", SPLIT, Dot(delta, delta), square))
    # The logit contains |x − μ_k|² multiplied out; what is left beside it must be free of x.
    rest = expand(logit + Dot(delta, delta) / (2 * V[k]))
    assert not rest.atoms(Dot), rest
    names = {Isotropic().weight(k): array("log_w", k), V[k]: array("log_var", k)}
    whole = logarithms(rest.xreplace({log(2 * pi * V[k]): log(2 * pi) + log(V[k])}), names) - square / (2 * V[k])
    near, thin = array("near", k), array("thin", k)
    value = (
        array("log_w", k)
        - DIMENSION * (array("log_var", k) - LOG_BASE) / 2
        - array("rho") * thin * exp(-LOG_BASE) / 2
        - near / (2 * array("var", k))
    )
    # The same for all k, and of order d: the logarithm of what densities are relative to.
    common = -DIMENSION * (log(2 * pi) + LOG_BASE) / 2 - array("rho") * exp(-LOG_BASE) / 2
    unnamed = {near: square - array("rho"), thin: exp(LOG_BASE) / V[k] - 1, array("var", k): V[k]}
    assert expand(expand(value.subs(unnamed) + common - whole, log=True)) == 0

    def named(expr: Expr) -> Expr:
        """Responsibilities and variances as arrays."""
        expr = expr.replace(lambda e: isinstance(e, Responsibility), lambda e: array("resp", e.args[1]))
        return expr.replace(lambda e: isinstance(e, Indexed) and e.base == V, lambda e: array("var", *e.indices))

    body = (
        Assign("var", (k,), exp(array("log_var", k))),
        Assign("diff", (k, b), coordinate(delta, b)),
        Assign("near", (k,), (square - array("rho")).xreplace({coordinate(delta, b): array("diff", k, b)})),
        Assign("thin", (k,), expm1(LOG_BASE - array("log_var", k))),
        Assign("logit", (k,), value),
        Assign("lse", (), LogSumExpOf(array("logit", k))),
        Assign("resp", (k,), exp(array("logit", k) - array("lse"))),
        Assign("shrink", (), named(a)),
        Assign("pull", (b,), named(coordinate(span, b))),
        Assign("ending", (), array("c_w") * array("lse")),
        *(Assign(f"shrink_{side}", (), array(f"c_{side}") * array("shrink")) for side in "fb"),
        *(Assign(f"pull_{side}", (b,), array(f"c_{side}") * array("pull", b)) for side in "fb"),
    )
    inputs = {"x": (b,), "rho": (), "mean": (k, b), "log_var": (k,), "log_w": (k,)}
    known = {assign.value: assign.variable for assign in body if assign.name in ("resp", "var")}
    known[exp(LOG_BASE - array("log_var", k))] = exp(LOG_BASE) / array("var", k)
    constants: dict[str, tuple[Symbol, ...]] = dict.fromkeys(("d", "log_base", "c_w", "c_f", "c_b"), ())
    outputs = ("ending", "shrink_f", "pull_f", "shrink_b", "pull_b")
    meaning = "log-density over (2πB)^{-d/2} exp(-ϱ/2B) and score a(x) x + pull; times c_w, c_f, c_b in log W, h and g"
    return Program("score", meaning, inputs, constants, body, outputs, known, adds=True, steered=("c_f", "c_b"))
