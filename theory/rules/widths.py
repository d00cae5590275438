"""Terms that cancel where the widths of q and p agree, written so that they do not meet as numbers."""

from __future__ import annotations

from sympy import Add, Expr, Indexed, Mul, Symbol, factor

from theory.divergence import gathered, per_direction
from theory.mixtures import DIMENSION
from theory.rules.rule import Rule

__all__ = ["WIDTHS"]


def widths(expr: Expr) -> Expr:
    """The terms of d as one, d·c, and those of each |mean|² as one: E_k|x|² = |μ_k|² + d v brings in both."""
    c, rest = per_direction(expr)
    return (DIMENSION * gathered(c) if c != 0 else c) + _squares(rest)


def _squares(expr: Expr) -> Expr:
    """Σ_i c_i s_kk = (Σ_i c_i) s_kk, the bracket of parameters as a product."""
    groups: dict[Expr, list[Expr]] = {}
    out = []
    for term in Add.make_args(expr):
        squares = [f for f in Mul.make_args(term) if isinstance(f, Indexed) and len(set(f.indices)) < len(f.indices)]
        if len(squares) == 1 and all(s.is_Symbol for s in (term / squares[0]).atoms(Symbol, Indexed)):
            groups.setdefault(squares[0], []).append(term / squares[0])
        else:
            out.append(term)
    return Add(*out, *(square * factor(Add(*parts)) for square, parts in groups.items()))


WIDTHS = Rule(
    "Where widths agree",
    r"x=1+\log x+2h(x)\ \text{for ratios of variances}\ x,\ \text{so that what is left of}\ d\ \text{vanishes at}\ x=1",
    widths,
)
