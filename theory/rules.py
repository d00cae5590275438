"""The rules of the engine. Each is one identity, applied wherever it matches; `Derivation` records what it changed.

Adding a rule means adding a function Expr -> Expr and one `Rule` line; the numeric witness checks it where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sympy import Add, Expr, Indexed, KroneckerDelta, Lambda, Mul, Pow, S, Symbol, exp, expand

from theory.calculus import differentiate, open_log_sum_exp, reparametrise
from theory.expectations import (
    Expectation,
    Gradient,
    LogitExpectation,
    LogSumExp,
    Softmax,
    depends_on_x,
)
from theory.mixtures import DIMENSION, LogDensity, Mixture, Responsibility
from theory.sums import Sigma, fresh_index, rename_bound, substitute
from theory.vectors import POINT, Dot, Image, Mean, is_vector

__all__ = ["Rule", "bottom_up"]


@dataclass(frozen=True)
class Rule:
    """A named identity. `statement` is LaTeX, printed in every document that uses the rule."""

    name: str
    statement: str
    apply: Callable[[Expr], Expr]


def bottom_up(expr: Expr, f: Callable[[Any], Any], kinds: type | tuple[type, ...]) -> Expr:
    """Replace every node of the given kinds by f(node), innermost first."""
    if not expr.args or isinstance(expr, Indexed | Mixture):
        return expr
    args = [bottom_up(a, f, kinds) for a in expr.args]
    if any(a is not b for a, b in zip(args, expr.args, strict=True)):
        expr = expr.func(*args)
    return f(expr) if isinstance(expr, kinds) else expr


# --- linearity -------------------------------------------------------------------------------------------------------


def _split(term: Expr, moves: Callable[[Expr], bool]) -> tuple[Expr, Expr]:
    inside, outside = [], []
    for factor in Mul.make_args(term):
        (inside if moves(factor) else outside).append(factor)
    return Mul(*outside), Mul(*inside)


def _expectation_term(node: Expectation, term: Expr) -> Expr:
    if isinstance(term, Sigma):
        term = rename_bound(term, node.component)
        return Sigma(Expectation(node.mixture, node.component, term.function), term.limits)
    outside, inside = _split(term, lambda f: depends_on_x(f))
    if isinstance(inside, Sigma):
        inside = rename_bound(inside, node.component + outside)
        return outside * _expectation_term(node, inside)
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


# --- responsibilities ------------------------------------------------------------------------------------------------


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
                    return substitute(rest, k, a) * Expectation(mixture, a, h / r)
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
                    return rest * Expectation(r.mixture, r.component, inner)
        return node

    return bottom_up(expr, rewrite, Sigma)


def normalisation(expr: Expr) -> Expr:
    """Σ_k w_k = 1."""

    def rewrite(node: Sigma) -> Expr:
        body = node.function
        is_weight = isinstance(body, Indexed) and str(body.base) in ("w", "pi") and body.indices == (node.index,)
        return S.One if is_weight else node

    return expand(bottom_up(expr, rewrite, Sigma))


# --- Stein and projection --------------------------------------------------------------------------------------------


def _linear_in_x(factor: Expr) -> Expr | None:
    """b if the factor is x·b with b free of x, else None."""
    if isinstance(factor, Dot) and factor.args[0] == POINT and not depends_on_x(factor.args[1]):
        return factor.args[1]
    return None


def _stein_once(node: Expectation) -> Expr:
    mixture, k, f = node.mixture, node.component, node.integrand
    if mixture.precision:  # the covariance of the component is S⁻¹, not v·I
        return node
    mean, v = mixture.mean(k), mixture.variance

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
        b = _linear_in_x(base)
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
        return not f.atoms(LogDensity, Responsibility, LogSumExp, Softmax)

    def rewrite(node: Expectation) -> Expr:
        return _stein_once(node) if polynomial(node.integrand) else node

    while True:
        new = linearity(bottom_up(expr, rewrite, Expectation))
        if new == expr:
            return new
        expr = new


def stein_general(expr: Expr) -> Expr:
    """E_k[x f] = mean_k E_k[f] + v E_k[∇f], for any field f: one application, derivatives opened."""
    opened = bottom_up(expr, _stein_once, Expectation)
    return open_fields(opened)


# --- reduction to Gaussian logits ------------------------------------------------------------------------------------


def _common(logits: Lambda) -> tuple[Expr, Lambda]:
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
        common, logits = _common(Lambda(j, mixture.logit(j)))
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
        f, mixture = node.integrand, node.mixture
        if not isinstance(f, LogSumExp | Softmax) or mixture.precision:
            return node
        logits, size, *entry = f.args
        (j,) = logits.variables
        gradient = differentiate(logits.expr, POINT)
        if depends_on_x(gradient):
            return node  # not affine; close() names what is missing
        taken = logits.expr.free_symbols | node.component.free_symbols
        j_free = j if j not in node.component.free_symbols else fresh_index(j, taken)
        i = fresh_index(j, taken | {j_free, j})
        logits_of = substitute(logits.expr, j, j_free)
        mean = logits_of.xreplace({POINT: mixture.mean(node.component)})
        cov = mixture.variance * Dot(substitute(gradient, j, i), substitute(gradient, j, j_free))
        kind = "logsumexp" if isinstance(f, LogSumExp) else "softmax"
        return LogitExpectation(kind, Lambda(j_free, expand(mean)), Lambda((i, j_free), expand(cov)), size, *entry)

    return bottom_up(expr, rewrite, Expectation)


def _exhaust(expr: Expr, rewrite: Callable[[Gradient], Expr]) -> Expr:
    """Rewrite derivative nodes until none changes."""
    while True:
        new = bottom_up(expr, rewrite, Gradient)
        if new == expr:
            return new
        expr = new


def move_inside(expr: Expr) -> Expr:
    """Carry derivatives through sums and products and into the expectations (product rule, reparametrisation)."""
    return _exhaust(expr, lambda node: reparametrise(node) if node.f.atoms(Expectation) else node)


def open_fields(expr: Expr) -> Expr:
    """Evaluate derivatives of log-densities and responsibilities."""
    return _exhaust(expr, open_log_sum_exp)


def softmax_chain(expr: Expr) -> Expr:
    """∂f/∂θ_a = Σ_j ∂w_j/∂θ_a ∂f/∂w_j with ∂w_j/∂θ_a derived from w_j = e^{θ_j} / Σ_i e^{θ_i}."""

    def rewrite(node: Gradient) -> Expr:
        if not (isinstance(node.y, Indexed) and str(node.y.base) == "theta"):
            return node
        a, q = node.y.indices[0], next(iter(e.mixture for e in node.f.atoms(Expectation)))
        j, i = (letter for letter in q.indices(3) if letter != a)
        theta, total = node.y.base, Symbol("Z", positive=True)
        partition_function = linearity(differentiate(q.sum(exp(theta[i]), i), theta[a]))
        quotient = differentiate(exp(theta[j]), theta[a]) / total - exp(theta[j]) / total**2 * partition_function
        jacobian = expand(quotient.xreplace({exp(theta[n]): q.weight(n) * total for n in (a, j)}))
        return q.sum(jacobian * Gradient(node.f, q.weight(j)), j)

    return bottom_up(expr, rewrite, Gradient)


LINEARITY = Rule(
    "Linearity", r"E_k[\textstyle\sum_j c_j f_j]=\sum_j c_j E_k[f_j],\ \sum_k\delta_{ka}f_k=f_a", linearity
)
REPARAMETRISE = Rule(
    "Reparametrisation",
    r"x=\mu_k+\sqrt v\,z:\quad \partial_{\mu_a}E_k[f]=\delta_{ka}E_k[\nabla f]+E_k[\partial_{\mu_a}f]",
    move_inside,
)
LOG_SUM_EXP = Rule(
    "Log-sum-exp",
    r"\partial\log\textstyle\sum_j e^{\ell_j}=\sum_j r_j\,\partial\ell_j,\quad r_j=e^{\ell_j}/\sum_i e^{\ell_i}",
    open_fields,
)
SOFTMAX_CHAIN = Rule(
    "Chain rule of the softmax",
    r"w=\mathrm{softmax}\,\theta:\quad \partial_{\theta_a}D=\textstyle\sum_j w_j(\delta_{ja}-w_a)\,\partial_{w_j}D",
    softmax_chain,
)
BAYES = Rule("Bayes", r"\textstyle\sum_k w_kE_k[r_a h]=\int q\,r_a h=w_aE_a[h]", bayes)
PARTITION = Rule("Partition of unity", r"\textstyle\sum_j r_j=1", partition)
NORMALISATION = Rule("Normalisation", r"\textstyle\sum_k w_k=1", normalisation)
STEIN = Rule("Stein", r"E_k[xf]=\mu_kE_k[f]+v\,E_k[\nabla f]", stein)
STEIN_GENERAL = Rule("Stein", r"E_k[xf]=\mu_kE_k[f]+v\,E_k[\nabla f]", stein_general)
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


def projection(expr: Expr, span: tuple[Mean, ...]) -> Expr:
    """E_k[f x] for f a function of the fields x·v_a, v_a the vectors of `span`: Σ_ab v_a (G⁺)_ab E_k[f (x·v_b)].

    The expectation is replaced by its projection; G⁺ stays a symbol, `Gplus[a, b]`, numbered as in `span`.
    """
    from sympy import IndexedBase

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
