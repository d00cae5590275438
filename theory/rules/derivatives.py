"""Derivatives of expectations, of log-sum-exp and of the softmax."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Indexed, IndexedBase, Symbol, exp, expand

from theory.calculus import differentiate, open_log_sum_exp, reparametrise
from theory.expectations import Expectation, Gradient
from theory.mixtures import Mixture, mixture
from theory.rules.linear import linearity
from theory.rules.rule import Rule, bottom_up

__all__ = ["LOG_SUM_EXP", "REPARAMETRISE", "SOFTMAX_CHAIN", "softmax_jacobian"]


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


def softmax_jacobian(q: Mixture, j: Symbol, a: Symbol) -> Expr:
    """∂w_j/∂θ_a, derived from w_j = e^{θ_j} / Σ_i e^{θ_i} and expressed in w."""
    theta, total = IndexedBase("theta", real=True), Symbol("Z", positive=True)
    i = next(letter for letter in q.indices(3) if letter not in (a, j))
    partition_function = linearity(differentiate(q.sum(exp(theta[i]), i), theta[a]))
    quotient = differentiate(exp(theta[j]), theta[a]) / total - exp(theta[j]) / total**2 * partition_function
    return expand(quotient.xreplace({exp(theta[n]): q.weight(n) * total for n in (a, j)}))


def _family(f: Expr) -> Mixture:
    """The family in an expression; where only its overlaps and weights are left, any will do."""
    found: list[Mixture] = [m for m in sorted(f.atoms(Mixture), key=str) if m.name == "q"]
    return found[0] if found else mixture()


def softmax_chain(expr: Expr) -> Expr:
    """∂f/∂θ_a = Σ_j ∂w_j/∂θ_a ∂f/∂w_j."""

    def rewrite(node: Gradient) -> Expr:
        if not (isinstance(node.y, Indexed) and str(node.y.base) == "theta"):
            return node
        a, q = node.y.indices[0], _family(node.f)
        j = next(letter for letter in q.indices(2) if letter != a)
        return q.sum(softmax_jacobian(q, j, a) * Gradient(node.f, q.weight(j)), j)

    return bottom_up(expr, rewrite, Gradient)


REPARAMETRISE = Rule(
    "Reparametrisation",
    r"x=\mu_k+\sqrt v\,z:\quad \partial_{\mu_a}E_k[f]=\delta_{ka}E_k[\nabla f]+E_k[\partial_{\mu_a}f],\quad "
    r"\partial_{w_a}E_k[f]=E_k[\partial_{w_a}f],\quad \partial(w_kE_k)=E_k\,\partial w_k+w_k\,\partial E_k",
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
