"""Reduction of responsibilities and log-densities to the fewest Gaussian directions."""

from __future__ import annotations

from sympy import Add, Expr, Integer, Lambda, Mul, Pow, Symbol, expand

from theory.calculus import differentiate
from theory.expectations import (
    Expectation,
    LogitExpectation,
    LogSumExp,
    PairExpectation,
    Softmax,
    depends_on_x,
)
from theory.mixtures import LogDensity, Responsibility
from theory.rules.rule import Rule, bottom_up
from theory.sums import fresh_index, substitute
from theory.vectors import POINT, Dot

__all__ = ["COMMON_SHIFT", "DIFFERENCE", "GAUSSIAN_LAW", "split_common"]


def split_common(logits: Lambda) -> tuple[Expr, Lambda]:
    """Split logits(j) = common + rest(j), common free of j."""
    (j,), body = logits.variables, expand(logits.expr)
    terms = Add.make_args(body)
    common = Add(*(t for t in terms if j not in t.free_symbols))
    return common, Lambda(j, Add(*(t for t in terms if j in t.free_symbols)))


def common_shift(expr: Expr) -> Expr:
    """log Σ_j exp(c + ℓ_j) = c + log Σ_j exp ℓ_j, and the softmax does not see c: |x|² leaves."""

    def rewrite(node: Expr) -> Expr:
        mixture = node.args[0]
        j = mixture.indices(1)[0]
        common, logits = split_common(Lambda(j, mixture.logit(j)))
        if isinstance(node, LogDensity):
            return common + LogSumExp(logits, mixture.size)
        return Softmax(logits, mixture.size, node.args[1])

    return bottom_up(expr, rewrite, (LogDensity, Responsibility))


def difference(expr: Expr) -> Expr:
    """log Σ_j exp ℓ_j = ℓ_last + log Σ_j exp(ℓ_j − ℓ_last): only differences matter, one direction fewer."""

    def rewrite(node: Expr) -> Expr:
        logits, size, *entry = node.args
        (j,) = logits.variables
        reference = logits(size)
        shifted = Lambda(j, expand(logits.expr - reference))
        if isinstance(node, LogSumExp):
            return reference + LogSumExp(shifted, size)
        return Softmax(shifted, size, *entry)

    return bottom_up(expr, rewrite, (LogSumExp, Softmax))


def gaussian_law(expr: Expr) -> Expr:
    """Logits affine in x are jointly Gaussian under component k: mean ℓ_j(mean_k), covariance v ∇ℓ_i·∇ℓ_j."""

    def rewrite(node: Expectation) -> Expr:
        if node.mixture.precision:
            return node
        factors = [f for factor in Mul.make_args(node.integrand) for f in _repeated(factor)]
        fields = [f for f in factors if isinstance(f, Softmax)]
        if len(factors) == 1 and isinstance(factors[0], LogSumExp):
            fields = factors
        laws = [law for f in fields if (law := _law(node, f))]
        if len(laws) != len(factors) or len(laws) > 2:
            return node  # close() names what is missing
        return laws[0] if len(laws) == 1 else PairExpectation(laws[0], laws[1], _cross(node, *fields))

    return bottom_up(expr, rewrite, Expectation)


def _repeated(factor: Expr) -> list[Expr]:
    if isinstance(factor, Pow) and isinstance(factor.exp, Integer) and factor.exp > 0:
        return [factor.base] * int(factor.exp)
    return [factor]


def _law(node: Expectation, f: LogSumExp | Softmax) -> LogitExpectation | None:
    """The expectation of one field over the law of its logits; None if they are not affine in x."""
    mixture, (logits, size, *entry) = node.mixture, f.args
    (j,) = logits.variables
    gradient = differentiate(logits.expr, POINT)
    if depends_on_x(gradient):
        return None
    taken = logits.expr.free_symbols | node.component.free_symbols
    j_free = j if j not in node.component.free_symbols else fresh_index(j, taken)
    i = fresh_index(j, taken | {j_free, j})
    logits_of = substitute(logits.expr, j, j_free)
    mean = logits_of.xreplace({POINT: mixture.mean(node.component)})
    cov = mixture.variance(node.component) * Dot(substitute(gradient, j, i), substitute(gradient, j, j_free))
    kind = "logsumexp" if isinstance(f, LogSumExp) else "softmax"
    law: LogitExpectation = LogitExpectation(
        kind, Lambda(j_free, expand(mean)), Lambda((i, j_free), expand(cov)), size, *entry
    )
    return law


def _cross(node: Expectation, f: Softmax, g: Softmax) -> Lambda:
    """(n, h) -> covariance of logit n of f and logit h of g."""
    gradients, taken = [], set(node.component.free_symbols)
    indices: list[Symbol] = []
    for field in (f, g):
        logits = field.args[0]
        (j,) = logits.variables
        taken |= logits.expr.free_symbols
        n = fresh_index(j, taken | set(indices))
        gradients.append(substitute(differentiate(logits.expr, POINT), j, n))
        indices.append(n)
    return Lambda(tuple(indices), expand(node.mixture.variance(node.component) * Dot(*gradients)))


COMMON_SHIFT = Rule(
    "Common shift",
    r"\log\textstyle\sum_j e^{c+\ell_j}=c+\log\sum_j e^{\ell_j},\quad \mathrm{softmax}(c+\ell)=\mathrm{softmax}(\ell)",
    common_shift,
)
DIFFERENCE = Rule(
    "Reduction to differences",
    r"\log\textstyle\sum_j e^{\ell_j}=\ell_K+\log\sum_j e^{\ell_j-\ell_K}",
    difference,
)
GAUSSIAN_LAW = Rule(
    "Gaussian law of the logits",
    r"\ell_j\ \text{affine in}\ x:\quad \ell\sim N\big(\ell(\mu_k),\ v\,\nabla\ell_i\cdot\nabla\ell_j\big)",
    gaussian_law,
)
