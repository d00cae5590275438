"""The tangent of the closed equations in index notation: the Jacobian as a linear map, with tables and sums kept.

∂E[f(U)] = Σ_i E[∂_i f] ∂mean_i + ½ Σ_ih E[∂_i ∂_h f] ∂cov_ih is left to the expectation that is differentiated
(Price); everything around it is the product rule.
"""

from __future__ import annotations

from sympy import Add, Expr, Indexed, IndexedBase, Integer, Mul, Pow, S, Symbol, log

from theory.expectations import LogitExpectation
from theory.sums import Sigma

__all__ = ["TANGENT", "tangent"]

#: Prefix of the tangent of an array: d_s, d_A, …
TANGENT = "d_"


def tangent(expr: Expr, moving: frozenset[str]) -> Expr:
    """d expr, linear in the tangents `d_X` of the arrays X named in `moving`; everything else is constant.

    log w_k and LogitExpectation nodes are arrays of their own: `d_log_w[k]`, and the node with a tangent symbol.
    """
    if isinstance(expr, Add):
        return Add(*(tangent(a, moving) for a in expr.args))
    if isinstance(expr, Mul):
        return Add(*(Mul(*expr.args[:n], tangent(a, moving), *expr.args[n + 1 :]) for n, a in enumerate(expr.args)))
    if isinstance(expr, Sigma):
        return Sigma(tangent(expr.function, moving), expr.limits)
    if isinstance(expr, Pow):
        if tangent(expr.exp, moving) != 0:
            raise TypeError(f"no tangent of a variable exponent: {expr}")
        return expr.exp * expr.base ** (expr.exp - 1) * tangent(expr.base, moving)
    if isinstance(expr, Indexed):
        name = str(expr.base)
        return IndexedBase(TANGENT + name, real=True)[expr.indices] if name in moving else S.Zero
    if isinstance(expr, log) and isinstance(expr.args[0], Indexed):
        weights = expr.args[0]
        name = f"log_{weights.base}"
        return IndexedBase(TANGENT + name, real=True)[weights.indices] if name in moving else S.Zero
    if isinstance(expr, log):
        return tangent(expr.args[0], moving) / expr.args[0]
    if isinstance(expr, LogitExpectation):
        raise TypeError(f"name the expectation before taking the tangent: {expr}")
    if isinstance(expr, Symbol | Integer) or expr.is_number:
        return S.Zero
    raise TypeError(f"no tangent of {type(expr).__name__}: {expr}")
