"""Linearity of expectations and sums."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Add, Expr, KroneckerDelta, Mul, expand

from theory.expectations import Expectation, depends_on_x
from theory.rules.rule import Rule, bottom_up
from theory.sums import Sigma, rename_bound, substitute

__all__ = ["LINEARITY", "ORDER_OF_SUMS", "SUMS_OUTSIDE", "linearity"]


def _split(term: Expr, moves: Callable[[Expr], bool]) -> tuple[Expr, Expr]:
    inside: list[Expr] = []
    outside: list[Expr] = []
    for factor in Mul.make_args(term):
        (inside if moves(factor) else outside).append(factor)
    return Mul(*outside), Mul(*inside)


def _expectation_term(node: Expectation, term: Expr) -> Expr:
    if isinstance(term, Sigma):
        term = rename_bound(term, node.component)
        return Sigma(Expectation(node.mixture, node.component, term.function), term.limits)
    outside, inside = _split(term, lambda f: depends_on_x(f))
    sums = [f for f in Mul.make_args(inside) if isinstance(f, Sigma)]
    if sums:  # f Σ_j g_j = Σ_j f g_j
        rest = inside / sums[0]
        sigma = rename_bound(sums[0], node.component + outside + rest)
        return outside * _expectation_term(node, Sigma(rest * sigma.function, sigma.limits))
    if inside == 1:
        return outside
    return outside * Expectation(node.mixture, node.component, inside)


def _sum_term(term: Expr, node: Sigma) -> Expr:
    k = node.index
    for factor in Mul.make_args(term):
        if isinstance(factor, KroneckerDelta) and k in factor.free_symbols:
            other = factor.args[0] if factor.args[1] == k else factor.args[1]
            return substitute(term / factor, k, other)
    outside, inside = _split(term, lambda f: k in f.free_symbols)
    if inside == 1:
        return outside * node.size
    return outside * Sigma(inside, node.limits)


def _linear(node: Expr) -> Expr:
    if isinstance(node, Expectation):
        return Add(*(_expectation_term(node, t) for t in Add.make_args(expand(node.integrand))))
    return Add(*(_sum_term(t, node) for t in Add.make_args(expand(node.function))))


def linearity(expr: Expr) -> Expr:
    """E and Σ are linear, Σ_k δ_ka f_k = f_a, and constants leave both."""
    while True:
        new = expand(bottom_up(expr, _linear, (Expectation, Sigma)))
        if new == expr:
            return new
        expr = new


def sums_outside(expr: Expr) -> Expr:
    """As `linearity`, also for sums that something else multiplies: E_k[f Σ_j g_j] = Σ_j E_k[f g_j]."""

    def rewrite(node: Expectation) -> Expr:
        out = []
        for term in Add.make_args(expand(node.integrand)):
            sum_ = next((f for f in Mul.make_args(term) if isinstance(f, Sigma)), None)
            if sum_ is None:
                out.append(Expectation(node.mixture, node.component, term))
                continue
            rest = term / sum_
            sum_ = rename_bound(sum_, rest + node.component)
            inside = Expectation(node.mixture, node.component, rest * sum_.function)
            out.append(Sigma(inside, sum_.limits))
        return Add(*out)

    return linearity(bottom_up(linearity(expr), rewrite, Expectation))


LINEARITY = Rule(
    "Linearity", r"E_k[\textstyle\sum_j c_j f_j]=\sum_j c_j E_k[f_j],\ \sum_k\delta_{ka}f_k=f_a", linearity
)
SUMS_OUTSIDE = Rule("Linearity", LINEARITY.statement, sums_outside)


def order_of_sums(expr: Expr) -> Expr:
    """Σ_l Σ_k f = Σ_k Σ_l f: sums over the components of q outside, so that equal double sums are seen to be equal."""

    def rewrite(node: Sigma) -> Expr:
        inner = node.function
        if isinstance(inner, Sigma) and str(inner.size) < str(node.size):
            return Sigma(Sigma(inner.function, node.limits), inner.limits)
        return node

    return expand(bottom_up(expr, rewrite, Sigma))


ORDER_OF_SUMS = Rule("Order of sums", r"\textstyle\sum_l\sum_k f_{kl}=\sum_k\sum_l f_{kl}", order_of_sums)
