"""Objectives as text: `reverse-kl + 0.3 forward-kl + lam sum(w mu.mu)`, read into sums of products, never evaluated.

    objective  a sum of terms; a term is a product, written with * or with nothing between, and / to divide
    factor     number, parameter, divergence, sum( ), E( ), log( ), exp( ), sqrt( ), ( ), each with ^ and an integer
    divergence reverse-kl, of the target tempered by beta, or reverse-kl(2) at a fixed inverse temperature; forward-kl
    parameter  any other name of small letters, digits and _; its value is given where the equations are used
    sum( )     each product in it over the components of q and the modes of p that stand in that product: w, v, mu are
               of a component, pi, u, nu of a mode, with a prime ' of a second one, as in sum(w w' mu.mu')
    mu.mu      inner products, also mu.nu and nu.nu
    E( )       the average over q, of x.x
    d, v       dimension and, outside of sums, the one variance of q, where there is one

No symbolic algebra is needed to read. The reading is normal: products are multiplied out, equal terms
gathered, all in one order, numbers exact, so that texts that differ in form alone are read alike.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from fractions import Fraction

from solvers.objective.parameter_names import check_parameter
from solvers.objective.polynomials import (
    DIVERGENCES,
    Atom,
    Monomial,
    Polynomial,
    alone,
    atoms,
    gathered,
    product,
    written,
)

__all__ = ["LONE_VARIANCE", "NO_DIVERGENCE", "ObjectiveError", "normal", "parse"]

FUNCTIONS = ("log", "exp", "sqrt")
#: What is over indices, and over x.
OVER = ("sum", "E")
#: Vectors, and scalars with an index, of each index: component, another component, mode, another mode.
VECTORS = {"mu": "k", "mu'": "j", "nu": "l", "nu'": "n", "x": "x"}
INDEXED = {"w": "k", "w'": "j", "v'": "j", "pi": "l", "pi'": "n", "u": "l", "u'": "n"}
CONSTANTS = ("d", "v")
#: What has an index, to be summed over.
SUMMED = [name for name in ("v", *INDEXED, *VECTORS) if name != "x" and "'" not in name]
#: What is said of such a text where every component has a variance of its own.
LONE_VARIANCE = "v outside of sum( ) is the one variance of q; with a variance for each component it must stand in one"
#: Regularisers alone are functions that the engine derives, and nothing that a family learns a target by.
NO_DIVERGENCE = f"without a divergence it descends to no target; must have {' or '.join(DIVERGENCES)} in a term"

#: Longer texts, deeper brackets and longer sums are no objectives that anybody typed.
LONGEST, DEEPEST, MOST_TERMS, HIGHEST = 1000, 20, 200, 12


_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<word>reverse-kl|forward-kl|[A-Za-z][A-Za-z0-9_]*'?)|(?P<sign>\*\*|[-+*/^().]))"
)


class ObjectiveError(ValueError):
    """A text that is no objective; str() is one line that says where and what is allowed."""


def parse(text: str) -> Polynomial:
    """The objective that a text says. Raises ObjectiveError."""
    return _Reader(text).objective()


def normal(text: str) -> str:
    """The one text of an objective: of all texts that are read alike. Raises ObjectiveError."""
    return written(parse(text))


class _Reader:
    """One text, from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.depth, self.at = text, 0, 0
        if not text.strip() or len(text) > LONGEST:
            raise ObjectiveError(
                f"objective: is {len(text)} characters long; must be 1 to {LONGEST} that are not blank"
            )
        #: kind, text, start, end
        self.tokens: list[tuple[str, str, int, int]] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                self._fail(start, f"{text[start]!r} means nothing here")
            assert match is not None
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind], match.start(kind), match.end(kind)))
            position = match.end()

    def _fail(self, start: int, why: str) -> None:
        shown = self.text if len(self.text) <= 80 else self.text[:77] + "..."
        raise ObjectiveError(f"objective: is {shown!r}: at character {start + 1}: {why}")

    def _error(self, why: str) -> ObjectiveError:
        try:
            self._fail(self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text), why)
        except ObjectiveError as error:
            return error
        raise AssertionError

    def _peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _take(self, expected: str) -> None:
        if self._peek() != expected:
            raise self._error(f"{self._peek() or 'the end'!r}; must be {expected!r}")
        self.at += 1

    def objective(self) -> Polynomial:
        found = self._sum("")
        if self.at < len(self.tokens):
            raise self._error(f"{self._peek()!r} closes nothing")
        self.at = 0
        if not found:
            raise self._error("everything cancels; must leave something to descend")
        for monomial, coefficient in found:
            divergences = [(atom, power) for atom, power in monomial if atom.kind == "divergence"]
            if divergences:
                linear = len(divergences) == 1 and divergences[0][1] == 1
                if not linear or any(atom.kind not in ("divergence", "parameter") for atom, _ in monomial):
                    shown = written(((monomial, Fraction(1)),))
                    raise self._error(f"{shown}: a divergence is multiplied by numbers and parameters only")
            elif all(atom.kind in ("parameter", "constant") for atom, _ in monomial):
                shown = written(((monomial, Fraction(1) if monomial else coefficient),))
                names = [atom.name.replace("_", "-") for atom, _ in monomial]
                meant = [close for name in names for close in get_close_matches(name, DIVERGENCES, 1)]
                hint = f"did you mean {meant[0]}? " if meant else ""
                known = " and ".join(DIVERGENCES)
                raise self._error(f"{shown} is a constant, which nothing descends; {hint}divergences are {known}")
        return found

    def _sum(self, where: str) -> Polynomial:
        sign = self._peek()
        if sign in ("+", "-"):
            self.at += 1
        total = self._signed(self._term(where), sign)
        while self._peek() in ("+", "-"):
            sign = self._peek()
            self.at += 1
            total = gathered((*total, *self._signed(self._term(where), sign)))
            if len(total) > MOST_TERMS:
                raise self._error(f"more than {MOST_TERMS} terms")
        return total

    @staticmethod
    def _signed(term: Polynomial, sign: str) -> Polynomial:
        return tuple((monomial, -factor) for monomial, factor in term) if sign == "-" else term

    def _term(self, where: str) -> Polynomial:
        total = self._power(where)
        while (next_ := self._peek()) and next_ not in ("+", "-", ")"):
            if next_ in ("*", "/"):
                self.at += 1
            factor = self._power(where)
            total = product(total, self._inverse(factor) if next_ == "/" else factor)
            if len(total) > MOST_TERMS:
                raise self._error(f"more than {MOST_TERMS} terms")
        return total

    def _inverse(self, factor: Polynomial, power: int = 1) -> Polynomial:
        if len(factor) != 1 or any(atom.kind == "divergence" for atom, _ in factor[0][0]):
            raise self._error(f"division by {written(factor)}; must be a product of numbers, parameters and the like")
        ((monomial, number),) = factor
        return ((tuple((atom, -n * power) for atom, n in monomial), 1 / number**power),)

    def _power(self, where: str) -> Polynomial:
        base = self._base(where)
        if self._peek() not in ("^", "**"):
            return base
        self.at += 1
        negative = self._peek() == "-"
        self.at += negative
        digits = self._peek()
        if not digits.isdecimal() or int(digits[:4]) > HIGHEST or len(digits) > 4:
            raise self._error(f"{digits or 'the end'!r} as a power; must be an integer from -{HIGHEST} to {HIGHEST}")
        self.at += 1
        if negative:
            return self._inverse(base, int(digits))
        out: Polynomial = (((), Fraction(1)),)
        for _ in range(int(digits)):
            out = product(out, base)
            if len(out) > MOST_TERMS:
                raise self._error(f"more than {MOST_TERMS} terms")
        return out

    def _bracket(self, where: str) -> Polynomial:
        self._take("(")
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(f"more than {DEEPEST} brackets in one another")
        inner = self._sum(where)
        self._take(")")
        self.depth -= 1
        return inner

    def _base(self, where: str) -> Polynomial:
        kind, text, _, end = self.tokens[self.at] if self.at < len(self.tokens) else ("", "", 0, 0)
        if text == "(":
            return self._bracket(where)
        if kind == "number":
            if len(text) > 40 or abs(int((re.findall(r"[eE]([+-]?\d+)", text) or ["0"])[0])) > 300:
                raise self._error(f"{text!r}; must be a number of double precision")
            self.at += 1
            return (((), Fraction(text)),) if Fraction(text) else ()
        if kind != "word":
            raise self._error(f"{text or 'the end'!r}; must be a number, a name or a bracket")
        called = self.at + 1 < len(self.tokens) and self.tokens[self.at + 1][1:3] == ("(", end)
        return self._called(text, where) if called else alone(self._named(text, where))

    def _called(self, name: str, where: str) -> Polynomial:
        """A name with a bracket right behind it."""
        if name in (*OVER, *DIVERGENCES) and where:
            raise self._error(f"{name} inside {where}( )")
        if name == "reverse-kl":
            self.at += 1
            return alone(self._fixed_temperature())
        if name not in (*OVER, *FUNCTIONS):
            raise self._error(f"no function {name!r}; allowed are {', '.join((*OVER, *FUNCTIONS))}")
        self.at += 1
        inner = self._bracket(name if name in OVER else where)
        if not inner:
            raise self._error(f"{name}( ) of zero")
        if any(atom.kind == "divergence" for atom in atoms(inner)):
            raise self._error(f"{name}( ) of a divergence; must be one of overlaps and weights")
        return alone(Atom("call", name, inner)) if name in FUNCTIONS else self._linear(name, inner)

    def _linear(self, name: str, inner: Polynomial) -> Polynomial:
        """sum( ) or E( ) of every product alone, what has no index, or no x, outside."""
        out: list[tuple[Monomial, Fraction]] = []
        for monomial, factor in inner:
            inside = tuple((atom, n) for atom, n in monomial if _indices(atom, name))
            outside = tuple((atom, n) for atom, n in monomial if not _indices(atom, name))
            if not inside and name == "sum":
                shown = written(((monomial, Fraction(1)),))
                raise self._error(f"sum( ) of {shown}, which has no index; must contain one of {', '.join(SUMMED)}")
            atom = Atom(name, name, ((inside, Fraction(1)),))
            out += product(((outside, factor),), alone(atom) if inside else (((), Fraction(1)),))
        return gathered(out)

    def _fixed_temperature(self) -> Atom:
        inner = self._bracket("reverse-kl")
        single = len(inner) == 1 and (not inner[0][0] or (inner[0][1] == 1 and [n for _, n in inner[0][0]] == [1]))
        if any(atom.kind != "parameter" for atom in atoms(inner)) or not single:
            raise self._error(f"reverse-kl({written(inner)}); must be a number above 0 or a parameter")
        if len(inner) == 1 and not inner[0][0] and (inner[0][1] < 0 or inner[0][1] == 1):
            why = "reverse-kl at temperature 1" if inner[0][1] == 1 else "a number above 0 or a parameter"
            raise self._error(f"reverse-kl({written(inner)}); must be {why}")
        return Atom("divergence", "reverse-kl", None if written(inner) == "beta" else inner)

    def _named(self, name: str, where: str) -> Atom:
        """A name alone, or two vectors with a dot between."""
        if name in VECTORS:
            self.at += 1
            if self._peek() != ".":
                raise self._error(f"{name} is a vector; must be an inner product such as {name}.{name}")
            self.at += 1
            other = self._peek()
            if other not in VECTORS:
                raise self._error(f"{other or 'the end'!r} after {name}.; must be a vector: {', '.join(VECTORS)}")
            pair = sorted((name, other), key=list(VECTORS).index)
            if ("x" in pair) != (where == "E") or (where == "E" and pair != ["x", "x"]):
                raise self._error(f"{name}.{other} {f'inside {where}( )' if where else 'outside of sum( ) and E( )'}")
            if not where:
                raise self._error(f"{name}.{other} outside of sum( ) and E( )")
            self.at += 1
            return Atom("overlap", ".".join(pair))
        if name in INDEXED:
            if where != "sum":
                raise self._error(f"{name} outside of sum( )")
            self.at += 1
            return Atom("indexed", name)
        if name in DIVERGENCES:
            if where:
                raise self._error(f"{name} inside {where}( )")
            self.at += 1
            return Atom("divergence", name)
        if name in CONSTANTS:
            self.at += 1
            return Atom("constant", name)
        if name != "beta":
            try:
                check_parameter(name)
            except ValueError as error:
                raise self._error(str(error)) from None
        self.at += 1
        return Atom("parameter", name)


def _indices(atom: Atom, where: str) -> bool:
    """Whether an atom depends on what is summed or averaged over."""
    parts = [atom, *(atoms(atom.inner) if atom.inner is not None else ())]
    if where == "E":
        return any(part.name == "x.x" for part in parts)
    return any(part.kind in ("indexed", "overlap") or part.name == "v" for part in parts)
