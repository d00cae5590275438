"""Expressions of loops as code in numba and C++: products, powers, and entries of arrays as rows or parameters."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Add, Expr, Indexed, Integer, Mul, Pow, Symbol, log

from theory.divergence import WidthDivergence, quotient
from theory.emit.languages import Language

__all__ = ["Expressions"]

#: Numbers of components and modes, constants of the compiler.
SIZES = tuple(Symbol(name, integer=True, positive=True) for name in "KL")


class Expressions:
    """Code of expressions without sums.

    shapes: of arrays, by name. parameters: arrays that stand in `p`, all others in `work`. driven: scalars that may be
    states, under names of their own.
    """

    def __init__(
        self,
        language: Language,
        shapes: Mapping[str, tuple[Expr, ...]],
        parameters: Mapping[str, str],
        driven: Mapping[str, Expr],
    ) -> None:
        self.language, self.shapes, self.parameters, self.driven = language, shapes, parameters, driven

    def offset(self, node: Indexed) -> str:
        """Position of an entry in its array, row-major."""
        shape = self.shapes[str(node.base)]
        offset = ""
        for index, size in zip(node.indices, shape, strict=True):
            at = str(index - 1) if index.is_Integer else f"{index} - 1" if index == size else str(index)
            start = f"({offset})" if " " in offset else offset
            offset = f"{start} * {size} + {at}" if start else at
        return offset

    def value(self, node: Indexed) -> str:
        base, offset = str(node.base), self.offset(node)
        if base in self.driven:
            return base
        if base in self.parameters:
            return f"p[P_{base.upper()} + {offset}]"
        return self.language.read("work", self.language.row(base, offset))

    def code(self, expr: Expr) -> str:
        if isinstance(expr, Add):
            terms = sorted(expr.args, key=lambda t: (t.could_extract_minus_sign(), str(t)))
            codes = [self.code(t) for t in terms]
            return codes[0] + "".join(f" - {c[1:]}" if c.startswith("-") else f" + {c}" for c in codes[1:])
        if expr.could_extract_minus_sign() and not expr.is_Number:
            return f"-{self.code(-expr)}"
        if isinstance(expr, Mul):
            return " * ".join(self.factor(f) for f in sorted(expr.args, key=self.order))
        return self.factor(expr)

    def order(self, factor: Expr) -> tuple[bool, bool, str]:
        """Of factors: numbers, then scalars, whose product the compiler takes out of loops, then entries of arrays."""
        arrays = {str(entry.base) for entry in factor.atoms(Indexed)} - set(self.driven)
        return not factor.is_Number, bool(arrays), str(factor)

    def factor(self, expr: Expr) -> str:
        if isinstance(expr, Add):
            return f"({self.code(expr)})"
        if isinstance(expr, Indexed):
            return self.value(expr)
        if isinstance(expr, WidthDivergence):
            return f"divergence({', '.join(self.code(width) for width in quotient(expr))})"
        if isinstance(expr, log) and not expr.is_number:
            return f"logarithm({self.code(expr.args[0])})"
        if expr.is_number:
            return repr(float(expr))
        if isinstance(expr, Symbol):
            return str(expr)
        if isinstance(expr, Pow) and expr.base in SIZES and expr.exp.is_Integer and expr.exp < 0:
            return f"(1.0 / ({' * '.join([str(expr.base)] * -int(expr.exp))}))"
        if isinstance(expr, Pow) and isinstance(expr.base, Symbol) and isinstance(expr.exp, Integer):
            name = f"inv_{expr.base}" if expr.exp < 0 else str(expr.base)
            return " * ".join([name] * abs(int(expr.exp)))
        if isinstance(expr, Pow) and isinstance(expr.base, Indexed) and isinstance(expr.exp, Integer):
            product = " * ".join([self.value(expr.base)] * abs(int(expr.exp)))
            return product if expr.exp > 0 else f"(1.0 / ({product}))"
        if isinstance(expr, Pow) and isinstance(expr.base, Add) and isinstance(expr.exp, Integer):
            product = " * ".join([self.factor(expr.base)] * abs(int(expr.exp)))
            return product if expr.exp > 0 else f"(1.0 / ({product}))"
        raise TypeError(f"no compiled code for {type(expr).__name__}: {expr}")
