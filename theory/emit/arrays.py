"""Index notation to array code: tables stay tables, Σ_j X_kj Y_ji is a matrix product, free indices are broadcast axes.

A closed table of functions: what is not in it is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

from sympy import Add, Expr, Indexed, Integer, Mul, Pow, Rational, Symbol, cosh, exp, log, pi, sinh, tanh

from theory.divergence import WidthDivergence, quotient
from theory.emit.statements import is_logarithm
from theory.expectations import LogitExpectation
from theory.sums import Sigma

__all__ = ["ArrayPrinter", "Axes", "signed_terms"]

Axes = Sequence[Expr]

#: Functions that are called by their own names.
FUNCTIONS = (exp, sinh, cosh, tanh)
#: Arrays that equal their transpose.
SYMMETRIC = {"s", "c"}


def signed_terms(expr: Expr) -> list[tuple[str, Expr]]:
    """The terms of a sum, each as (sign, magnitude), positive ones first, in a fixed order."""
    out = []
    for term in Add.make_args(expr):
        negative = term.could_extract_minus_sign()
        out.append(("-" if negative else "+", -term if negative else term))
    return sorted(out, key=lambda item: (item[0] == "-", str(item[1])))


class ArrayPrinter:
    """Prints expressions as NumPy code over given axes (index symbols, after the batch axes `...`).

    node_name: the variable that holds a LogitExpectation. Functions are called on `xp`, which is numpy or cupy.
    """

    def __init__(self, node_name: Callable[[LogitExpectation], str]) -> None:
        self.node_name = node_name

    def print(self, expr: Expr, axes: Axes) -> str:
        """Code whose value has the batch axes followed by `axes` (or broadcasts to them)."""
        if isinstance(expr, Add):
            pieces = [f"{sign} {self.factor(term, axes)}" for sign, term in signed_terms(expr)]
            return " ".join(pieces).removeprefix("+ ").replace("- ", "-", 1 if pieces[0].startswith("-") else 0)
        return self.factor(expr, axes)

    def factor(self, expr: Expr, axes: Axes) -> str:
        """Code for a product, safe to stand in a sum."""
        if expr.could_extract_minus_sign() and not isinstance(expr, Add):
            return f"-{self.factor(-expr, axes)}"
        above, below = [], []
        for f in Mul.make_args(expr):
            if isinstance(f, Rational) and not isinstance(f, Integer):
                above.extend([Integer(f.p)] if f.p != 1 else [])
                below.append(Integer(f.q))
            elif isinstance(f, Pow) and isinstance(f.exp, Integer) and f.exp < 0:
                below.append(f.base ** (-f.exp))
            elif f != 1:
                above.append(f)
        top = sorted((self.atom(f, axes) for f in above), key=lambda code: "@" not in code)
        numerator = " * ".join(f"({c})" if "@" in c and n else c for n, c in enumerate(top)) or "1"
        if not below:
            return numerator
        denominator = " * ".join(self.atom(f, axes) for f in sorted(below, key=str))
        return f"{numerator} / ({denominator})" if len(below) > 1 else f"{numerator} / {denominator}"

    def atom(self, expr: Expr, axes: Axes) -> str:
        """Code for one factor."""
        if isinstance(expr, Add):
            return f"({self.print(expr, axes)})"
        if isinstance(expr, Sigma):
            return self.sum(expr, axes)
        if isinstance(expr, Indexed):
            return self.array(str(expr.base), expr.indices, axes)
        if isinstance(expr, LogitExpectation):
            used = [a for a in axes if a in expr.free_symbols]
            return self.array(self.node_name(expr), used, axes)
        if isinstance(expr, log):
            if is_logarithm(expr):  # log-weights are kept as such: stable at any weight
                return self.array(f"log_{expr.args[0].base}", expr.args[0].indices, axes)
            return f"xp.log({self.print(expr.args[0], axes)})"
        if isinstance(expr, WidthDivergence):
            return f"divergence({', '.join(self.print(part, axes) for part in quotient(expr))})"
        if isinstance(expr, Pow) and isinstance(expr.exp, Rational):
            base = self.atom(expr.base, axes)
            base = f"({base})" if "@" in base or base.startswith("-") else base
            return (
                f"{base}**{expr.exp}" if isinstance(expr.exp, Integer) and expr.exp > 0 else f"{base} ** ({expr.exp})"
            )
        if isinstance(expr, FUNCTIONS):
            return f"xp.{type(expr).__name__}({self.print(expr.args[0], axes)})"
        if isinstance(expr, Symbol | Integer):
            return str(expr)
        if expr == pi:
            return "xp.pi"
        raise TypeError(f"no array code for {type(expr).__name__}: {expr}")

    def array(self, name: str, indices: Sequence[Expr], axes: Axes) -> str:
        """An indexed array over the axes; an index that is a size is the last one, a repeated one the diagonal."""
        if len(indices) == 2 and indices[0] == indices[1] and indices[0] in axes:
            return self.array(f"{name}_diag", indices[:1], axes)
        options = {(name, tuple(indices))}
        if len(indices) == 2:
            options.add((name if name in SYMMETRIC else f"{name}.mT", tuple(reversed(indices))))
        found = [code for n, i in sorted(options, key=str) if (code := self._slots(n, i, axes))]
        if found:
            return min(found, key=lambda item: item[0])[1]
        order = sorted(indices, key=list(axes).index)
        letters, turned = ("".join(map(str, one)) for one in (indices, order))
        return self.array(f'xp.einsum("...{letters}->...{turned}", {name})', order, axes)

    def _slots(self, name: str, indices: Sequence[Expr], axes: Axes) -> tuple[tuple[int, int], str] | None:
        """What it costs to write the array over the axes, and the code; None if its own are in another order."""
        slots, out = list(indices), []
        letters_left = [s for s in slots if s in axes]
        for axis in axes:
            if slots and slots[0] == axis:
                out.append(":")
                letters_left.remove(slots.pop(0))
            elif slots and slots[0] not in axes and (len(slots) > 1 or axis not in letters_left):
                out.append("-1:")
                slots.pop(0)
            else:
                out.append("None")
        if any(s in axes for s in slots):
            return None
        out += ["-1"] * len(slots)
        cost = (out.count("None"), name.count(".mT"))
        plain = all(o == ":" for o in out)
        return cost, name if plain else f"{name}[..., {', '.join(out)}]"

    def sum(self, node: Sigma, axes: Axes) -> str:
        """Σ_j: a matrix product where it is one, else a sum over the last axis."""
        j, factors = node.index, Mul.make_args(node.function)
        arrays = [f for f in factors if isinstance(f, Indexed)]
        if len(arrays) == len(factors) == 2 and len(axes) == 2:
            for x, y in permutations(arrays):
                if set(x.indices) == {axes[0], j} and set(y.indices) == {j, axes[1]}:
                    return f"{self.atom(x, (axes[0], j))} @ {self.atom(y, (j, axes[1]))}"
        inner = [a for a in axes if a in node.free_symbols]
        code = self.einsum(node, inner) or f"xp.sum({self.print(node.function, (*inner, j))}, axis=-1)"
        if not inner and len(axes) == 1 and code.startswith("xp.sum("):
            return code.removesuffix(")") + ", keepdims=True)"
        if len(inner) == len(axes):
            return code
        return f"{code}[..., {', '.join(':' if a in inner else 'None' for a in axes)}]"

    def einsum(self, node: Sigma, axes: Axes) -> str | None:
        """Sums over several indices, or of several arrays over two axes, in Einstein's notation; None for others."""
        summed, arrays, rest = [node.index], list(Mul.make_args(node.function)), []
        while arrays:
            factor = arrays.pop(0)
            if isinstance(factor, Sigma):
                summed.append(factor.index)
                arrays += Mul.make_args(factor.function)
            else:
                rest.append(factor)
        letters = {*axes, *summed}
        if not all(isinstance(f, Indexed) and set(f.indices) <= letters for f in rest):
            return None
        if len(summed) == 1 and (len(rest) < 3 or len(axes) < 2) and max(len(f.indices) for f in rest) < 3:
            return None
        subscripts = ",".join("..." + "".join(map(str, f.indices)) for f in rest)
        names = ", ".join(str(f.base) for f in rest)
        return f'xp.einsum("{subscripts}->...{"".join(map(str, axes))}", {names})'
