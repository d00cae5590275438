"""An equation in index notation as loops: over its free indices, and inside over what is summed."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Add, Expr, Function, Indexed, Integer, Mul, Pow, Symbol, expand, log

from theory.divergence import WidthDivergence
from theory.emit.statements import Assign, Loop, Statement, is_logarithm
from theory.expectations import LogitExpectation, PairExpectation
from theory.sums import LETTERS, Sigma, index, separate, substitute

__all__ = ["compilable", "nest"]

#: The letter of the loop over tangents, which no sum may take.
COLUMN = index("g")


def compilable(expr: Expr) -> bool:
    """Whether loops can evaluate an expression: sums and products, integer powers, logarithms of weights and variances;
    sums inside of nothing but products and sums."""
    if isinstance(expr, LogitExpectation | PairExpectation):
        return True
    if isinstance(expr, log):
        inner = expr.args[0]
        return bool(inner.is_number or is_logarithm(expr) or str(inner) in ("v", "u", "beta"))
    if isinstance(expr, Function):
        return isinstance(expr, WidthDivergence)
    if isinstance(expr, Pow):
        if not isinstance(expr.exp, Integer) or (expr.exp < 0 and expr.base.atoms(Sigma)):
            return False
        return compilable(expr.base)
    return all(compilable(a) for a in expr.args if isinstance(a, Expr) and not isinstance(expr, Indexed))


def nest(target: Indexed, expr: Expr, shape: Sequence[Expr]) -> list[Statement]:
    """The loops that evaluate one equation, target = expr; shape: of the target's array."""
    statements = _lower(target, separate(expr, frozenset(target.free_symbols)))
    sizes = dict(zip(target.indices, shape, strict=True))  # one loop along a diagonal
    for free, size in reversed(sizes.items()):
        if isinstance(free, Symbol):
            statements = [Loop(free, size, tuple(statements))]
    return statements


def _lower(target: Indexed, expr: Expr) -> list[Statement]:
    factors = Mul.make_args(expr)
    brackets = [f for f in factors if isinstance(f, Add) and f.atoms(Sigma)]
    if len(brackets) == 1 and len(factors) > 1:  # w_k (…): evaluate the bracket, then multiply
        rest = expr / brackets[0]
        if not rest.atoms(Sigma):
            return [*_lower(target, brackets[0]), Assign(target, "*=", rest)]
    if brackets and len(factors) > 1:
        expr = expand(expr)
    plain = Add(*(t for t in Add.make_args(expr) if not t.atoms(Sigma)))
    out: list[Statement] = [Assign(target, "=", plain)]
    for term in Add.make_args(expr):
        if term.atoms(Sigma):
            out += _summed(target, term, {*target.free_symbols, COLUMN})
    return out


def _summed(target: Indexed, term: Expr, taken: set[Symbol]) -> list[Statement]:
    """target += a product with sums among its factors: a loop for each of them, each with a letter of its own."""
    if not term.atoms(Sigma):
        return [Assign(target, "+=", term)]
    for factor in Mul.make_args(term):
        sigma = factor.base if isinstance(factor, Pow) and factor.exp.is_Integer and factor.exp > 0 else factor
        if not isinstance(sigma, Sigma):
            continue
        rest, letter, body = term / sigma, sigma.index, sigma.function
        if letter in taken or letter in rest.free_symbols:
            letter = _letter(letter, taken | rest.free_symbols | body.free_symbols)
            body = substitute(body, sigma.index, letter)
        inner = _summed(target, rest * body, {*taken, letter})
        return [Loop(letter, sigma.size, tuple(inner))]
    expanded = expand(term)
    if expanded == term:
        raise TypeError(f"no loops for {term}")
    return [statement for part in Add.make_args(expanded) for statement in _summed(target, part, taken)]


def _letter(like: Symbol, taken: set[Symbol]) -> Symbol:
    """A letter of the same side that nothing uses."""
    letters = next(letters for letters in LETTERS.values() if str(like) in letters)
    free = [index(letter) for letter in letters if index(letter) not in taken]
    if not free:
        raise ValueError(f"no index letter left beside {', '.join(sorted(map(str, taken)))}")
    return free[0]
