"""Two logits: their softmax is a hyperbolic tangent, so expectations become moments E tanhⁿ(α + βz), z ~ N(0, 1).

What symmetry knows of these moments is built in: odd ones vanish at α = 0, and without spread they are numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sympy import Add, Expr, Integer, Mul, S, Symbol, exp, expand, lambdify, sqrt, sympify, tanh

from theory.concrete import LogitMean

__all__ = ["TanhMean", "numbers", "with_tanh"]

#: Step and range of the trapezoidal rule over z; it misses E tanhⁿ(α + βz) by about exp(−π²/(β·STEP)).
STEP, RANGE = 0.02, 10.0


class TanhMean(Expr):  # type: ignore[misc]
    """E tanhⁿ(α + βz), β ≥ 0."""

    is_commutative = True
    is_real = True

    def __new__(cls, n: Any, alpha: Any, beta: Any) -> Expr:
        n, alpha, beta = Integer(n), sympify(alpha), sympify(beta)
        if n == 0:
            return S.One
        if beta == 0:
            return tanh(alpha) ** n
        if alpha == 0 and n % 2:
            return S.Zero
        if alpha.could_extract_minus_sign():
            return (-1) ** n * TanhMean(n, -alpha, beta)
        return Expr.__new__(cls, n, alpha, beta)

    def _latex(self, printer: Any) -> str:
        n, alpha, beta = self.args
        spread = f"{printer._print(beta)} z" if beta != 1 else "z"
        argument = spread if alpha == 0 else f"{printer._print(alpha)} + {spread}"
        return rf"E\tanh{'^{' + str(n) + '}' if n > 1 else ''}\!\left({argument}\right)"

    def _sympystr(self, printer: Any) -> str:
        n, alpha, beta = self.args
        return f"E tanh^{n}({printer._print(alpha)} + ({printer._print(beta)}) z)"


def with_tanh(expr: Expr) -> Expr:
    """An expression with every softmax of one or two Gaussian logits U written in moments of T = tanh((U₁ − U₂)/2).

    softmax₁ = (1 + T)/2 and softmax₂ = (1 − T)/2. Logits without spread are numbers, however many there are. What is
    left as it is: the log-sum-exp, and three or more logits with a spread.
    """
    return expand(expr.xreplace({node: _moments(node) for node in expr.atoms(LogitMean)}))


def _moments(node: LogitMean) -> Expr:
    powers, mean, cov = node.args
    cov = cov.applyfunc(expand)
    if not powers:
        return node
    if cov.is_zero_matrix:
        shares = [1 / Add(*(exp(expand(b - a)) for b in mean)) for a in mean]
        return Mul(*(share**power for share, power in zip(shares, powers, strict=True)))
    if len(mean) != 2:
        return node
    alpha, beta = expand((mean[0] - mean[1]) / 2), sqrt((cov[0, 0] - 2 * cov[0, 1] + cov[1, 1]).factor()) / 2
    t = Symbol("_T")
    polynomial = expand(((1 + t) / 2) ** powers[0] * ((1 - t) / 2) ** powers[1]).as_poly(t)
    return Add(*(c * TanhMean(n, alpha, beta) for n, c in enumerate(reversed(polynomial.all_coeffs()))))


def numbers(expressions: Sequence[Expr], symbols: Sequence[Symbol]) -> Callable[..., list[float]]:
    """A function of the values of `symbols` that returns those of the expressions, TanhMean nodes included.

    Error of a moment about 1e-14 while β ≤ 15, by the trapezoidal rule. Raises ValueError if a symbol is left over.
    """
    left = set().union(*(e.free_symbols for e in expressions)) - set(symbols)
    if left:
        raise ValueError(f"no value for {', '.join(sorted(map(str, left)))}")
    nodes = sorted(set().union(*(e.atoms(TanhMean) for e in expressions)), key=str)
    laws = lambdify(symbols, [node.args for node in nodes], "math")
    stand_ins = {node: Symbol(f"_E{i}") for i, node in enumerate(nodes)}
    outer = lambdify([*symbols, *stand_ins.values()], [e.xreplace(stand_ins) for e in expressions], "math")
    z = np.arange(-RANGE, RANGE + STEP / 2, STEP)
    weight = np.exp(-(z**2) / 2)
    weight /= weight.sum()

    def evaluate(*values: float) -> list[float]:
        moments = [weight @ np.tanh(alpha + beta * z) ** n for n, alpha, beta in laws(*values)]
        return [float(x) for x in outer(*values, *moments)]

    return evaluate
