"""Scalar or vector: the kind of an expression."""

from __future__ import annotations

from sympy import Add, Expr, Mul

__all__ = ["is_vector"]


def is_vector(expr: Expr) -> bool:
    """True if the expression is a vector of R^d, False if it is a scalar: sums and products by their parts, nodes by
    what they say of themselves."""
    if isinstance(expr, Add | Mul):
        return any(is_vector(a) for a in expr.args)
    return bool(getattr(expr, "is_vector", False))
