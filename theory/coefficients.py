"""Numbers and parameters that objectives are multiplied by: exact, and under names that emitted code can have."""

from __future__ import annotations

from numbers import Integral, Real
from numbers import Rational as PythonRational
from typing import Any

from sympy import Expr, Float, Integer, Rational, S, Symbol, sympify

from solvers.objective.parameter_names import check_parameter
from theory.mixtures import DIMENSION, Mixture
from theory.parameters import BETA
from theory.sums import LETTERS

__all__ = ["coefficient", "coefficient_names", "exact", "power_of_target"]


def exact(number: Any) -> Rational:
    """A rational number: a float is the decimal number that it prints as, 0.1 is 1/10.

    Raises ValueError for what is not finite, TypeError for what is no real number.
    """
    if isinstance(number, bool):
        raise TypeError(f"{number}: must be a number or a parameter")
    if isinstance(number, Rational):
        return number
    if isinstance(number, Integral):
        return Integer(int(number))
    if isinstance(number, PythonRational):
        return Rational(int(number.numerator), int(number.denominator))
    if isinstance(number, Real | Float):
        text = str(number) if isinstance(number, Float) else repr(float(number))
        if any(letter in text.lower() for letter in ("nan", "inf")):
            raise ValueError(f"{text}: must be a finite number")
        return Rational(text)
    raise TypeError(f"{number!r}: must be a number or a parameter")


def coefficient(value: Any, of: tuple[Mixture, ...] = ()) -> Expr:
    """A factor of an objective: an exact number, or a rational expression of parameters, each a real symbol.

    of: the mixtures of which it may be a function; without them it is a constant.
    Raises TypeError, ValueError for what is neither, and for names of parameters that emitted code cannot have.
    """
    if not isinstance(value, Expr) or value.is_Number:
        return exact(value)
    known = [symbol for m in of for symbol in (m.size, m.variance(1), DIMENSION) if isinstance(symbol, Symbol)]
    own = {symbol.name: symbol for symbol in (BETA, *known)}
    names = {}
    for symbol in value.free_symbols:
        if not isinstance(symbol, Symbol) or (of and _is_base(symbol, of)):
            continue
        if symbol.name in own:  # whatever is assumed of it
            names[symbol] = own[symbol.name]
            continue
        if of and symbol.is_integer and str(symbol) in {letter for letters in LETTERS.values() for letter in letters}:
            raise ValueError(f"{value}: the index {symbol} is free; must be summed over")
        check_parameter(symbol.name)
        names[symbol] = Symbol(symbol.name, real=True)
    value = value.xreplace(names).xreplace({number: exact(number) for number in value.atoms(Float)})
    if value.has(S.NaN, S.Infinity, S.NegativeInfinity, S.ComplexInfinity, S.ImaginaryUnit):
        raise ValueError(f"{value}: must be a finite real number")
    if not of and not value.is_rational_function(*value.free_symbols):
        raise ValueError(f"{value}: must be a number or a rational expression of parameters")
    return value


def _is_base(symbol: Symbol, of: tuple[Mixture, ...]) -> bool:
    """Whether a free symbol is only the name of an array of weights or variances."""
    return any(symbol.name in (str(m.weights), str(m.args[4])) for m in of)


def power_of_target(beta: Any) -> Expr:
    """An inverse temperature. Raises ValueError for numbers that are not above 0, as `coefficient`."""
    beta = coefficient(beta)
    if beta.is_Number and not beta > 0:
        raise ValueError(f"reverse-kl: beta is {beta}; must be above 0")
    if not (beta.is_Number or isinstance(beta, Symbol)):
        raise ValueError(f"reverse-kl: beta is {beta}; must be a number above 0 or one parameter")
    return beta


def coefficient_names(*expressions: Expr) -> tuple[str, ...]:
    """Names of the parameters that come from factors of the objective, in the order of the alphabet."""
    found = {s.name for e in expressions for s in sympify(e).free_symbols if isinstance(s, Symbol)}

    def own(name: str) -> bool:
        try:
            check_parameter(name)
        except ValueError:
            return False
        return True

    return tuple(sorted(name for name in found if own(name)))
