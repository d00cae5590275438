"""The canonical form of what is derived: what a hash is taken of, so that no change of display changes an identity.

A tree in prefix notation, one line a quantity, quantities in the order of their names. Sums and products are expanded
and their arguments sorted; a bound index is named by how deep it is bound, so that its letter does not matter. What is
derived lists its quantities itself, under a version: a form that changes gets another number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from sympy import Add, Basic, Expr, Float, Indexed, Lambda, Mul, Rational, Symbol, expand
from sympy.core.symbol import Str

from theory.mixtures import Mixture
from theory.sums import Sigma

__all__ = ["digest", "expression", "function"]


def expression(expr: Basic) -> str:
    """One expression; equal texts are equal expressions."""
    return _tree(expand(expr) if isinstance(expr, Expr) else expr, {})


def function(indices: Iterable[Symbol], value: Expr) -> str:
    """A table: its value as a function of its indices."""
    return _tree(Lambda(tuple(indices), value), {})


def _tree(node: Basic, bound: Mapping[Symbol, str]) -> str:
    if isinstance(node, Symbol | Str):
        return bound[node] if node in bound else str(node)
    if isinstance(node, Rational):
        return f"{node.p}/{node.q}" if node.q != 1 else str(node.p)
    if isinstance(node, Float):
        return _tree(Rational(str(node)), bound)
    if isinstance(node, Indexed):
        return _call(str(node.base), [_tree(index, bound) for index in node.indices])
    if isinstance(node, Mixture):
        return _call("Mixture", map(str, node.args))
    if isinstance(node, Sigma):
        inner = {**bound, node.index: f"#{len(bound)}"}
        return _call("Sum", [_tree(node.size, bound), _tree(node.function, inner)])
    if isinstance(node, Lambda):
        inner = dict(bound)
        for variable in node.variables:
            inner[variable] = f"#{len(inner)}"
        return _call(f"Lambda{len(node.variables)}", [_tree(node.expr, inner)])
    arguments = [_tree(argument, bound) for argument in node.args]
    name = type(node).__name__
    return _call(name, sorted(arguments) if isinstance(node, Add | Mul) else arguments) if arguments else name


def _call(name: str, arguments: Iterable[str]) -> str:
    return f"{name}({','.join(arguments)})"


def digest(version: str, quantities: Mapping[str, str]) -> str:
    """SHA-256 of the canonical texts of all quantities, by name."""
    lines = [version, *(f"{name} = {value}" for name, value in sorted(quantities.items())), ""]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
