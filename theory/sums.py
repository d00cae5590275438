"""Sums over an index that runs through the components of a mixture, and substitution that respects them.

SymPy's own Sum merges nested sums and evaluates eagerly; this one is only what the rules need.
"""

from __future__ import annotations

from typing import Any

from sympy import Expr, Integer, Lambda, S, Symbol, Tuple, sympify
from sympy.printing.precedence import PRECEDENCE

from theory.kinds import is_vector

__all__ = ["LETTERS", "Sigma", "fresh_index", "index", "rename_bound", "separate", "substitute"]

#: Index letters by what they number: q, p, coordinates of x; a new bound index takes the first that is free.
LETTERS = {"q": ("k", "j", "i", "h", "g", "a"), "p": ("l", "n", "o", "e", "f"), "x": ("b", "y")}


def index(name: str) -> Symbol:
    """An index symbol; two of the same name are the same symbol."""
    return Symbol(name, integer=True, positive=True)


class Sigma(Expr):  # type: ignore[misc]
    """Σ_{index = 1..size} function, the index bound."""

    is_commutative = True
    precedence = PRECEDENCE["Mul"]

    def __new__(cls, function: Any, limits: Any) -> Expr:
        function, limits = sympify(function), Tuple(*limits)
        return S.Zero if function == 0 else Expr.__new__(cls, function, limits)

    function = property(lambda self: self.args[0])
    index = property(lambda self: self.args[1][0])
    size = property(lambda self: self.args[1][2])
    limits = property(lambda self: self.args[1])

    @property
    def is_vector(self) -> bool:
        return is_vector(self.function)

    @property
    def free_symbols(self) -> Any:
        return (self.function.free_symbols - {self.index}) | self.size.free_symbols

    def _sympystr(self, printer: Any) -> str:
        return f"Σ_{self.index} {printer.parenthesize(self.function, PRECEDENCE['Mul'], strict=True)}"

    def _latex(self, printer: Any) -> str:
        negative = self.function.could_extract_minus_sign()
        body = printer.parenthesize(self.function, PRECEDENCE["Pow" if negative else "Mul"], strict=True)
        return rf"\sum_{{{printer._print(self.index)}}} {body}"

    def terms(self, size: int) -> list[Expr]:
        """The summands, for a concrete size."""
        return [substitute(self.function, self.index, Integer(n + 1)) for n in range(size)]


def fresh_index(like: Symbol, taken: set[Symbol]) -> Symbol:
    """The first letter of the same side as `like` that is not taken."""
    for letters in LETTERS.values():
        if str(like) in letters:
            for letter in letters:
                if index(letter) not in taken:
                    return index(letter)
    raise ValueError(f"no index letter left beside {sorted(map(str, taken))}")


def rename_bound(sum_: Sigma, taken: Expr) -> Any:
    """The same sum with its index renamed if that index is free in `taken` (no variable capture)."""
    if sum_.index not in taken.free_symbols:
        return sum_
    new = fresh_index(sum_.index, taken.free_symbols | sum_.function.free_symbols)
    return Sigma(substitute(sum_.function, sum_.index, new), (new, 1, sum_.size))


def substitute(expr: Expr, old: Symbol, new: Expr) -> Expr:
    """expr with the index `old` replaced by `new`; bound indices step aside (no variable capture)."""
    if expr == old:
        return new
    if not getattr(expr, "args", ()) or old not in expr.free_symbols:
        return expr
    if isinstance(expr, Sigma):
        expr = rename_bound(expr, new)
    if isinstance(expr, Lambda):
        return _substitute_lambda(expr, old, new)
    return expr.func(*(substitute(a, old, new) for a in expr.args))


def separate(expr: Expr, scope: frozenset[Symbol] | None = None) -> Expr:
    """The same expression with bound indices renamed where they would hide an index of their surroundings."""
    scope = frozenset(expr.free_symbols) if scope is None else scope
    if isinstance(expr, Sigma):
        if expr.index in scope:
            new = fresh_index(expr.index, set(scope) | expr.function.free_symbols)
            expr = Sigma(substitute(expr.function, expr.index, new), (new, 1, expr.size))
        return Sigma(separate(expr.function, scope | {expr.index}), expr.limits)
    if isinstance(expr, Lambda):
        for variable in expr.variables:
            if variable in scope:
                new = fresh_index(variable, set(scope) | set(expr.variables) | expr.expr.free_symbols)
                variables = tuple(new if v == variable else v for v in expr.variables)
                expr = Lambda(variables, substitute(expr.expr, variable, new))
        return expr
    if not getattr(expr, "args", ()) or not isinstance(expr, Expr) or expr.is_Atom:
        return expr
    return expr.func(*(separate(a, scope) if isinstance(a, Expr) else a for a in expr.args))


def _substitute_lambda(expr: Lambda, old: Symbol, new: Expr) -> Lambda:
    taken = expr.free_symbols | new.free_symbols | set(expr.variables)
    variables, body = [], expr.expr
    for variable in expr.variables:
        if variable in new.free_symbols:
            renamed = fresh_index(variable, taken)
            taken.add(renamed)
            variable, body = renamed, substitute(body, variable, renamed)
        variables.append(variable)
    return Lambda(tuple(variables), substitute(body, old, new))
