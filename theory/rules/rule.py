"""What a rule is, and how it is applied throughout an expression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sympy import Expr, Indexed

from theory.mixtures import Mixture

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
