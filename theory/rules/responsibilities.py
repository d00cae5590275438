"""What responsibilities and weights sum to."""

from __future__ import annotations

from sympy import Expr, Indexed, Mul, S, expand

from theory.expectations import Expectation
from theory.mixtures import Responsibility
from theory.rules.rule import Rule, bottom_up
from theory.sums import Sigma, substitute

__all__ = ["BAYES", "NORMALISATION", "PARTITION"]


def bayes(expr: Expr) -> Expr:
    """Σ_k w_k E_k[r_a h] = ∫ q r_a h = w_a E_a[h]: the responsibility is the posterior of the component."""

    def rewrite(node: Sigma) -> Expr:
        k, size = node.index, node.size
        for factor in Mul.make_args(node.function):
            if not isinstance(factor, Expectation) or factor.component != k:
                continue
            mixture, h = factor.mixture, factor.integrand
            rest = node.function / factor
            if mixture.size != size or k in h.free_symbols or k in (rest / mixture.weight(k)).free_symbols:
                continue
            for r in Mul.make_args(h):
                if isinstance(r, Responsibility) and r.args[0] == mixture:
                    a = r.args[1]
                    mean = S.One if h == r else Expectation(mixture, a, h / r)
                    return substitute(rest, k, a) * mean
        return node

    return bottom_up(expr, rewrite, Sigma)


def partition(expr: Expr) -> Expr:
    """Σ_j r_j h = h when h is the same for every j."""

    def rewrite(node: Sigma) -> Expr:
        j, size = node.index, node.size
        for r in Mul.make_args(node.function):
            if isinstance(r, Responsibility) and r.args[1] == j and r.args[0].size == size:
                h = node.function / r
                if j not in h.free_symbols:
                    return h
            if isinstance(r, Expectation):  # Σ_j E_k[r_j h]
                inner = partition(Sigma(r.integrand, node.limits))
                rest = node.function / r
                if not isinstance(inner, Sigma) and j not in (rest * r.component).free_symbols:
                    return rest if inner == 1 else rest * Expectation(r.mixture, r.component, inner)
            if isinstance(r, Sigma) and j not in (node.function / r).free_symbols:  # Σ_j Σ_l f = Σ_l Σ_j f
                inner = partition(Sigma(r.function, node.limits))
                if j not in inner.free_symbols:
                    return node.function / r * Sigma(inner, r.limits)
        return node

    return bottom_up(expr, rewrite, Sigma)


def normalisation(expr: Expr) -> Expr:
    """Σ_k w_k = 1."""

    def rewrite(node: Sigma) -> Expr:
        body = node.function
        is_weight = isinstance(body, Indexed) and str(body.base) in ("w", "pi") and body.indices == (node.index,)
        return S.One if is_weight else node

    return expand(bottom_up(expr, rewrite, Sigma))


BAYES = Rule("Bayes", r"\textstyle\sum_k w_kE_k[r_a h]=\int q\,r_a h=w_aE_a[h]", bayes)
PARTITION = Rule("Partition of unity", r"\textstyle\sum_j r_j=1", partition)
NORMALISATION = Rule("Normalisation", r"\textstyle\sum_k w_k=1", normalisation)
