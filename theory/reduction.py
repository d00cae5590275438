"""From kernels in R^d to the programs of the reduced chain: score, noise, start, step and weight, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from sympy import Expr, Function, Indexed, IndexedBase, Integer, Symbol, dsolve, exp, expand, log, pi, sqrt
from sympy.codegen.cfunctions import expm1

from theory.derivation import Step
from theory.expectations import Gradient
from theory.frames import BACK, NEW, NOISE, PULL, coordinate, decompose, dot, foreign, orthogonal
from theory.mixtures import DIMENSION, LogDensity, Mixture, Responsibility
from theory.programs import SIZES, Assign, LogSumExpOf, Program, array, logarithms
from theory.rules import LOG_SUM_EXP, Rule, linearity
from theory.sums import Sigma, index
from theory.vectors import POINT, Dot
from theory.witness import Witness, residual

__all__ = ["Isotropic", "PathStep", "PathWitness", "noise_law", "programs", "score_in_span"]

k, b = index("k"), index("b")
K, R = SIZES["k"], SIZES["b"]
V = IndexedBase("v", real=True, positive=True)
#: log B of the variance that densities are relative to, so that what all mixtures have in common, of order d, cancels
#: before it is computed: (2πB)^{-d/2} once and for all, exp(-ϱ/2B) step by step. Results do not depend on B.
LOG_BASE = Symbol("log_base", real=True)


class Isotropic(Mixture):
    """Σ_k w_k N(μ_k, v_k I): a variance for every component."""

    def __new__(cls, *arguments: Any) -> Any:
        return Mixture.__new__(cls, *(arguments or ("q", "K", "w", "mu", "v", "r")))

    def logit(self, k: Any) -> Expr:
        r = POINT - self.mean(k)
        return log(self.weight(k)) - DIMENSION * log(2 * pi * V[k]) / 2 - Dot(r, r) / (2 * V[k])


@dataclass(frozen=True)
class PathWitness(Witness):
    """A random point of R^5 with means in a plane: x, ξ, a step from x to x', and all of their coordinates."""

    frame: Any = None

    def logits(self, mixture: Mixture) -> Any:
        assert self.x is not None
        v, d = self.table("v"), self.x.shape[1]
        square = np.sum((self.x[:, None, :] - self.means["mu"]) ** 2, axis=-1)
        return np.log(self.weights["w"]) - 0.5 * d * np.log(2 * np.pi * v) - 0.5 * square / v

    def table(self, name: str) -> Any:
        assert self.x is not None
        tables = {"x": self.x[0] @ self.frame, "v": np.array([0.6, 1.1, 1.9]), "mean": self.means["mu"] @ self.frame}
        names = {"x_new": "new", "xi": "xi", "pull_f": "pull", "pull_b": "back"}
        if name in tables:
            return tables[name]
        return (self.means[names[name]] @ self.frame)[0]


@cache
def path_witness(d: int = 5) -> PathWitness:
    """The point at which the steps are checked; the numbers themselves mean nothing."""
    rng = np.random.default_rng(20250300 + d)
    frame = np.linalg.qr(rng.standard_normal((d, 2)))[0]
    x, xi = rng.standard_normal((2, d))
    pull, back = frame @ rng.standard_normal(2), frame @ rng.standard_normal(2)
    eta, shrink, shrink_b = 0.17, -0.7, 0.4
    new = x + eta * (shrink * x + pull) + np.sqrt(2 * eta) * xi
    x_, xi_ = (y - frame @ (frame.T @ y) for y in (x, xi))
    rho = x_ @ x_
    xi1 = x_ @ xi_ / np.sqrt(rho)
    symbols = {
        "d": d, "K": 3, "R": 2, "eta": eta, "shrink_f": shrink, "shrink_b": shrink_b, "rho": rho, "root": np.sqrt(rho),
        "xi1": xi1, "chi2": xi_ @ xi_ - xi1**2,
    }  # fmt: skip
    vectors = {"new": new[None], "xi": xi[None], "pull": pull[None], "back": back[None]}
    # Free indices that do not number components run over the rows of nu: here the two coordinates in the span.
    means = {"mu": rng.standard_normal((3, 2)) @ frame.T, "nu": np.zeros((2, d)), **vectors}
    return PathWitness(means, {"w": np.array([0.2, 0.5, 0.3])}, symbols, x=x[None], frame=frame)


@dataclass(frozen=True)
class PathStep(Step):
    """A step whose witness is a random point of R^5 and a random step from it."""

    @cached_property
    def witness(self) -> float:
        return residual(self.before, self.after, path_witness())


def _same(expr: Expr) -> Expr:
    return expr


#: Steps taken by the functions below; a rule that is no rewriting of a tree carries its statement only.
SPLIT = Rule(
    "Orthogonal split",
    r"u\cdot v=\textstyle\sum_b u_bv_b+u_\perp\cdot v_\perp,\ |x_\perp|^2=\varrho,\ \mu_{k\perp}=0,\ "
    r"\xi_\perp=\xi_1x_\perp/\sqrt\varrho+\zeta,\ x_\perp\cdot\zeta=0,\ |\zeta|^2\sim\chi^2_{d-r-1}",
    _same,
)
KERNELS = Rule("Forward kernel", r"x'-x-\eta h=\sqrt{2\eta}\,\xi", _same)
COLLECT = Rule("Span", r"\text{every term is a multiple of }x\text{ or of a mean}", _same)


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
    """start, noise, score, step and weight of the reduced chain."""
    return (_start(), _noise(), _score(score, logit, steps), *_step_and_weight(eta, steps))


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


def _noise() -> Program:
    mean, variance = noise_law()
    m, v = Symbol("m", real=True), Symbol("v", positive=True)
    body = (
        Assign("mean_t", (k, b), mean.xreplace({m: array("mean", k, b)})),
        Assign("var_t", (k,), variance.xreplace({v: exp(array("log_var", k))})),
        Assign("log_var_t", (k,), log(array("var_t", k))),
    )
    meaning = "a mixture after OU noise for a time τ, decay = e^{-τ}"
    inputs = {"mean": (k, b), "log_var": (k,)}
    return Program("noise", meaning, inputs, {"decay": ()}, body, ("mean_t", "log_var_t"))


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
    )
    inputs = {"x": (b,), "rho": (), "mean": (k, b), "log_var": (k,), "log_w": (k,)}
    known = {assign.value: assign.variable for assign in body if assign.name in ("resp", "var")}
    known[exp(LOG_BASE - array("log_var", k))] = exp(LOG_BASE) / array("var", k)
    meaning = "log-density of a mixture over (2πB)^{-d/2} exp(-ϱ/2B), and its score a(x) x + pull"
    return Program("score", meaning, inputs, {"d": (), "log_base": ()}, body, ("lse", "shrink", "pull"), known)


def _step_and_weight(eta: Symbol, steps: list[Step]) -> tuple[Program, Program]:
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
    )


def _named(expr: Expr, names: dict[Expr, Expr]) -> Expr:
    """An expression by the name it has, else with what has one put in."""
    expr = expand(expr)
    return names[expr] if expr in names else expand(expr.subs(names))
