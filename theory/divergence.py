"""h(x) = (x − 1 − log x)/2 = KL(N(0, x) ‖ N(0, 1)): what every direction of R^d adds where two widths differ.

Written out, d directions are terms of order d that cancel where the widths agree. As one function they never meet:
code evaluates h without cancellation, and 0 at x = 1.
"""

from __future__ import annotations

from typing import Any

from sympy import (
    Add,
    Expr,
    Function,
    Indexed,
    Mul,
    Rational,
    S,
    Symbol,
    expand,
    expand_log,
    factor,
    factor_terms,
    fraction,
    log,
)

from theory.mixtures import DIMENSION
from theory.parameters import BETA

__all__ = ["WidthDivergence", "gathered", "per_direction", "quotient"]


class WidthDivergence(Function):  # type: ignore[misc]
    """h(x) for a ratio of variances x."""

    nargs = 1
    is_real = True

    @classmethod
    def eval(cls, x: Any) -> Expr | None:
        return S.Zero if x == 1 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return (1 - 1 / self.args[0]) / 2

    def _sympystr(self, printer: Any) -> str:
        return f"h({printer._print(self.args[0])})"

    def _latex(self, printer: Any) -> str:
        return rf"h\!\left({printer._print(self.args[0])}\right)"


def quotient(node: WidthDivergence) -> tuple[Expr, Expr]:
    """Numerator and denominator of the ratio."""
    above, below = fraction(node.args[0])
    return above, below


def per_direction(expr: Expr) -> tuple[Expr, Expr]:
    """Split expr = d c + rest; rest is free of d."""
    expr = expand(expr)
    terms = Add.make_args(expr)
    with_d = [t for t in terms if DIMENSION in t.free_symbols]
    return Add(*(t / DIMENSION for t in with_d)), Add(*(t for t in terms if t not in with_d))


def gathered(c: Expr) -> Expr:
    """x = 2 h(x) + 1 + log x for the ratios x in c: the same number, in which only widths that differ are left.

    Only where c has logarithms of widths for them to cancel; what has none is a polynomial, and is factored.
    """
    c = expand(expand_log(c, force=True))
    if not c.atoms(log):
        return factor(c)
    divergences, rest = S.Zero, S.Zero
    for term in Add.make_args(c):
        a, x = _ratio(term)
        if x == 1 or term.atoms(Function):
            rest += term
        else:
            divergences += 2 * a * WidthDivergence(x)
            rest += a * (1 + expand_log(log(x), force=True))
    return divergences + _by_logarithms(expand(rest))


def _ratio(term: Expr) -> tuple[Expr, Expr]:
    """Split a product into numbers and parameters, and a ratio of variances, times a power of β; 1 if there is none."""
    widths = {b: n for b, n in term.as_powers_dict().items() if isinstance(b, Symbol | Indexed) and b.is_positive}
    powers = {b: n for b, n in widths.items() if not isinstance(b, Indexed) or str(b.base) in ("v", "u")}
    variances = [n for b, n in powers.items() if b != BETA]
    if not variances or sum(variances) != 0 or not all(n.is_Integer for n in powers.values()):
        return term, S.One
    x = Mul(*(b**n for b, n in powers.items()))
    return term / x, x


def _by_logarithms(rest: Expr) -> Expr:
    """Σ_i c_i log y_i with equal brackets c_i written once, so that where they vanish nothing is left."""
    groups: dict[Expr, Expr] = {}
    for term in rest.atoms(log):
        c = factor_terms(rest.coeff(term))
        groups[c] = groups.get(c, S.Zero) + term
    constant = expand(rest - sum(c * y for c, y in groups.items()))
    if constant.atoms(log):
        raise ValueError(f"logarithms of widths do not stand linearly in {rest}")
    return sum((c * factor_terms(y) for c, y in groups.items()), constant / Rational(1))
