"""Stein's lemma, and the projection on the span of the means."""

from __future__ import annotations

from sympy import Add, Expr, IndexedBase, Mul, Pow, S, Symbol

from theory.calculus import differentiate
from theory.expectations import Expectation, LogSumExp, Softmax, depends_on_x, has_other_functions
from theory.kinds import is_vector
from theory.mixtures import DIMENSION, LogDensity, Responsibility
from theory.rules.linear import linearity
from theory.rules.rule import Rule, bottom_up
from theory.vectors import POINT, Dot, Image, Mean

__all__ = ["STEIN", "STEIN_FIELDS", "linear_in_x", "projection"]


def linear_in_x(factor: Expr) -> Expr | None:
    """b if the factor is x·b with b free of x, else None."""
    if isinstance(factor, Dot) and factor.args[0] == POINT and not depends_on_x(factor.args[1]):
        return factor.args[1]
    return None


def _stein_once(node: Expectation) -> Expr:
    mixture, k, f = node.mixture, node.component, node.integrand
    if mixture.precision:  # the covariance of the component is S⁻¹, not v·I
        return node
    mean, v = mixture.mean(k), mixture.variance(k)

    def e(g: Expr) -> Expr:
        return Expectation(mixture, k, g)

    for factor in Mul.make_args(f):
        rest = f / factor
        if is_vector(factor):
            vector = factor
            image = isinstance(vector, Image)
            atom = vector.args[1] if image else vector
            if atom == POINT:
                gradient = differentiate(rest, POINT)
                mean, gradient = (Image(vector.args[0], g, vector.args[2]) if image else g for g in (mean, gradient))
                return mean * e(rest) + v * e(gradient)
    for factor in Mul.make_args(f):
        base = factor.base if isinstance(factor, Pow) and factor.exp.is_Integer else factor
        rest = f / base
        b = linear_in_x(base)
        if b is not None:
            return Dot(mean, b) * e(rest) + v * e(Dot(b, differentiate(rest, POINT)) if rest != 1 else S.Zero)
        if isinstance(base, Dot) and depends_on_x(base.args[1]):  # E[x·(Sx f)] = mean·E[Sx f] + v E[f tr S + Sx·∇f]
            image = base.args[1]
            trace = DIMENSION if image == POINT else Symbol(f"tr_{image.args[0]}^{image.args[2]}", real=True)
            radial = Dot(image, differentiate(rest, POINT)) if rest != 1 else S.Zero
            return e(Dot(mean, image) * rest) + v * e(trace * rest + radial)
    return node


def stein(expr: Expr) -> Expr:
    """E_k[x f] = mean_k E_k[f] + v E_k[∇f], for polynomial f (nothing new appears)."""

    def polynomial(f: Expr) -> bool:
        return not f.atoms(LogDensity, Responsibility, LogSumExp, Softmax) and not has_other_functions(f)

    def rewrite(node: Expectation) -> Expr:
        return _stein_once(node) if polynomial(node.integrand) else node

    while True:
        new = linearity(bottom_up(expr, rewrite, Expectation))
        if new == expr:
            return new
        expr = new


def stein_fields(expr: Expr) -> Expr:
    """E_k[x r] = mean_k E_k[r] + v E_k[∇r], once, for fields with responsibilities; ∇r stays to be opened."""

    def linear(f: Expr) -> bool:
        return any(factor == POINT or linear_in_x(factor) is not None for factor in Mul.make_args(f))

    def rewrite(node: Expectation) -> Expr:
        f = node.integrand
        return _stein_once(node) if f.atoms(Responsibility) and not f.atoms(LogDensity) and linear(f) else node

    return linearity(bottom_up(expr, rewrite, Expectation))


def projection(expr: Expr, span: tuple[Mean, ...]) -> Expr:
    """E_k[f x] for f a function of the fields x·v_a, v_a the vectors of `span`: Σ_ab v_a (G⁺)_ab E_k[f (x·v_b)].

    The expectation is replaced by its projection; G⁺ stays a symbol, `Gplus[a, b]`, numbered as in `span`.
    """
    pinv = IndexedBase("Gplus", real=True)

    def rewrite(node: Expectation) -> Expr:
        for factor in Mul.make_args(node.integrand):
            if factor == POINT:
                f = node.integrand / factor
                return Add(
                    *(
                        va * pinv[a + 1, b + 1] * Expectation(node.mixture, node.component, f * Dot(POINT, vb))
                        for a, va in enumerate(span)
                        for b, vb in enumerate(span)
                    )
                )
        return node

    return bottom_up(expr, rewrite, Expectation)


STEIN = Rule("Stein", r"E_k[xf]=\mu_kE_k[f]+v\,E_k[\nabla f]", stein)
STEIN_FIELDS = Rule("Stein for responsibilities", r"E_k[x\,r]=\mu_kE_k[r]+v\,E_k[\nabla r]", stein_fields)
