"""Moments of the share that one orthogonal direction has in W, a step back at a time: E over its noise of what is left.

What is left of W^m after a step is the exponential of A x'²/2, A a function of m, and an integral over the noise ξ of
the step makes of it a factor and the exponential of A' x²/2. Derivatives in m, from those of A, come with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sympy import (
    Expr,
    Float,
    Function,
    Integral,
    Poly,
    Symbol,
    exp,
    expand,
    expand_log,
    integrate,
    lambdify,
    log,
    oo,
    pi,
    solve,
    sqrt,
)
from sympy.codegen.cfunctions import log1p

from theory.derivation import Step
from theory.programs import Assign, Program, array
from theory.rules import Rule

__all__ = ["MomentStep", "moment"]

x, xi = Symbol("x", real=True), Symbol("xi", real=True)
POWER = array("power")
#: How often a quantity is differentiated in m: the end of its name.
ORDERS = ("", "_1", "_2")
_NUMBERS = {"power": 1.3, "at": -0.4, "grow": 0.8, "kick": 0.7, "square": -0.3, "cross": 0.25, "drawn": -0.2, "x": 0.9}


@dataclass(frozen=True)
class MomentStep(Step):
    """A step that is checked at one point, the integral over ξ by quadrature."""

    @cached_property
    def residual(self) -> float:
        before, after = _number(self.before), _number(self.after)
        return abs(before - after) / max(1.0, abs(before))


def _number(expr: Expr) -> float:
    def summed(node: Expr) -> Expr:
        grid = np.linspace(-12.0, 12.0, 481)
        return Float(float(np.sum(lambdify(xi, node.args[0], "numpy")(grid)) * (grid[1] - grid[0])))

    values = {symbol: _NUMBERS[str(symbol)] for symbol in expr.free_symbols}
    return float(expr.xreplace(values).replace(lambda node: isinstance(node, Integral), summed))


def _same(expr: Expr) -> Expr:
    return expr


POWERS = Rule("Powers of the noise", r"x'=gx+s\xi:\ \text{what multiplies }x^2,\ x\xi,\ \xi^2", _same)
GAUSSIAN = Rule(
    "Gaussian integral",
    r"\int e^{U\xi^2/2+b\xi}\,e^{-\xi^2/2}\frac{d\xi}{\sqrt{2\pi}}=(1-U)^{-1/2}e^{b^2/2(1-U)},\ U<1",
    _same,
)


def moment(steps: list[Step]) -> Program:
    """The program `moment`; how it is derived goes to `steps`."""
    grow, kick, square, cross, drawn = (array(name) for name in ("grow", "kick", "square", "cross", "drawn"))
    density = exp(-(xi**2) / 2) / sqrt(2 * pi)
    exponent = array("at") * (grow * x + kick * xi) ** 2 + POWER * (square * x**2 + 2 * cross * x * xi + drawn * xi**2)
    by = Poly(exponent, x, xi)
    assert by.homogeneous_order() == 2
    stays, bend, inner = by.coeff_monomial(x**2), by.coeff_monomial(x * xi) / 2, by.coeff_monomial(xi**2)

    before = Integral(exp(exponent / 2) * density, (xi, -oo, oo))
    sorted_out = exp(stays * x**2 / 2) * Integral(exp(inner * xi**2 / 2 + bend * x * xi) * density, (xi, -oo, oo))
    # The square completed: what the exponent is at its top, and a Gaussian about it.
    c, b = Symbol("c", positive=True), Symbol("b", real=True)
    whole = b * xi - c * xi**2 / 2
    (top,) = solve(whole.diff(xi), xi)
    bent, width = whole.subs(xi, top), integrate(exp(-c * xi**2 / 2), (xi, -oo, oo)) / sqrt(2 * pi)
    assert expand(whole.subs(xi, xi + top) - bent + c * xi**2 / 2) == 0
    values = {c: 1 - inner, b: bend * x}
    done = exp(stays * x**2 / 2) * (width * exp(bent)).subs(values)
    steps.append(MomentStep(r"E_\xi W^m", POWERS, before, sorted_out))
    steps.append(MomentStep(r"E_\xi W^m", GAUSSIAN, sorted_out, done))

    # Factor and exponent, with U and b as names that depend on m.
    names = {c: 1 - array("inner"), b: array("bend")}
    factor, bent = expand_log(log(width)).subs(names), bent.subs(names)
    quantities = {
        "inner": inner,
        "bend": bend,
        "gained": factor,
        "left": stays + 2 * bent,
    }
    body = [
        Assign(f"{name}{order}", (), _differentiated(value, n).replace(log, lambda a: log1p(a - 1)))
        for name, value in quantities.items()
        for n, order in enumerate(ORDERS)
    ]
    constants = dict.fromkeys(
        ("power", *(f"at{order}" for order in ORDERS), *map(str, (grow, kick, square, cross, drawn))), ()
    )
    return Program(
        "moment",
        "E over ξ of exp(A x'²/2) W^m of a step of `across` = exp(gained + left x²/2), and derivatives in m",
        {},
        constants,
        tuple(body),
        tuple(assign.name for assign in body[6:]),
        on_paths=False,
    )


def _differentiated(value: Expr, times: int) -> Expr:
    """The derivative in m, where `at`, `inner` and `bend` are functions of it."""
    functions = {array(name): Function(name)(POWER) for name in ("at", "inner", "bend")}
    found = value.xreplace(functions).diff(POWER, times)
    for n in range(times, -1, -1):
        for symbol, f in functions.items():
            found = found.subs(f.diff(POWER, n), array(f"{symbol}{ORDERS[n]}"))
    return found
