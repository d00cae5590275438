"""Abstract vectors of R^d: atoms, their inner products, and nothing about coordinates.

A vector is a SymPy expression that is linear in vector atoms: `2*Mean("mu", k) - POINT`. Scalars and vectors
multiply as commuting symbols; `Dot` is the only way back from two vectors to a scalar.
"""

from __future__ import annotations

from typing import Any

from sympy import Add, Expr, Integer, Mul, S, expand, sympify
from sympy.core.symbol import Str
from sympy.printing.precedence import PRECEDENCE

from theory.kinds import is_vector
from theory.sums import Sigma, rename_bound

__all__ = ["POINT", "Dot", "Image", "Mean", "Point", "Vector", "vector_terms"]


class Vector(Expr):  # type: ignore[misc]
    """An atom of R^d."""

    is_commutative = True
    is_vector = True
    is_number = False


class Point(Vector):
    """x, the point at which fields are evaluated; bound inside an expectation."""

    def _sympystr(self, printer: Any) -> str:
        return "x"

    def _latex(self, printer: Any) -> str:
        return "x"


class Mean(Vector):
    """Mean vector number `index` of a mixture, called `name` (mu, nu)."""

    def __new__(cls, name: str | Str, index: Any) -> Any:
        return Expr.__new__(cls, Str(str(name)), sympify(index))

    @property
    def name(self) -> str:
        return str(self.args[0])

    @property
    def index(self) -> Expr:
        return self.args[1]

    def _sympystr(self, printer: Any) -> str:
        return f"{self.name}_{self.index}"

    def _latex(self, printer: Any) -> str:
        return rf"\{self.name}_{{{printer._print(self.index)}}}"


class Image(Vector):
    """S^power v for a symmetric operator S of R^d, called `operator`; linear in v."""

    def __new__(cls, operator: str | Str, vector: Expr, power: Any = 1) -> Any:
        power = Integer(power)
        if power == 0:
            return vector
        out = S.Zero
        for coefficient, atom in vector_terms(vector):
            if isinstance(atom, Sigma):
                out += coefficient * Sigma(Image(operator, atom.function, power), atom.limits)
            elif isinstance(atom, Image):
                out += coefficient * Image(operator, atom.args[1], power + atom.args[2])
            else:
                out += coefficient * Expr.__new__(cls, Str(str(operator)), atom, power)
        return out

    def _sympystr(self, printer: Any) -> str:
        return f"{self.args[0]}{'^' + str(self.args[2]) if self.args[2] != 1 else ''} {self.args[1]}"

    def _latex(self, printer: Any) -> str:
        power = f"^{{{self.args[2]}}}" if self.args[2] != 1 else ""
        return f"{self.args[0]}{power}{printer._print(self.args[1])}"


POINT = Point()


def vector_terms(expr: Expr) -> list[tuple[Expr, Expr]]:
    """Split a vector into (scalar coefficient, vector factor); the factor is an atom, a Sigma, or another vector node.

    Raises ValueError if a term is not linear in exactly one vector.
    """
    out = []
    for term in Add.make_args(expand(expr)):
        if term == 0:
            continue
        vectors = [f for f in Mul.make_args(term) if is_vector(f)]
        if len(vectors) != 1:
            raise ValueError(f"{term} is not a vector: it has {len(vectors)} vector factors, a vector has one")
        out.append((term / vectors[0], vectors[0]))
    return out


class Dot(Expr):  # type: ignore[misc]
    """Inner product a·b: bilinear, symmetric; operators are moved to the right-hand atom."""

    is_commutative = True
    is_real = True
    precedence = PRECEDENCE["Atom"]

    def __new__(cls, a: Expr, b: Expr) -> Any:
        out = S.Zero
        for ca, va in vector_terms(a):
            for cb, vb in vector_terms(b):
                out += ca * cb * cls._pair(va, vb)
        return out

    @classmethod
    def _pair(cls, a: Expr, b: Expr) -> Expr:
        if isinstance(b, Sigma) and not isinstance(a, Sigma):
            a, b = b, a
        if isinstance(a, Sigma):
            a = rename_bound(a, b)
            return Sigma(Dot(a.function, b), a.limits)
        if hasattr(b, "dot_inside") and not hasattr(a, "dot_inside"):
            a, b = b, a
        if hasattr(a, "dot_inside"):  # E_k[f]·b = E_k[f·b]
            return a.dot_inside(b)
        power, operator = Integer(0), None
        atoms = []
        for atom in (a, b):
            if isinstance(atom, Image):
                operator, atom, power = atom.args[0], atom.args[1], power + atom.args[2]
            atoms.append(atom)
        atoms.sort(key=lambda atom: (not isinstance(atom, Point), atom.sort_key()))
        right = Expr.__new__(Image, operator, atoms[1], power) if power else atoms[1]
        return Expr.__new__(cls, atoms[0], right)

    def _sympystr(self, printer: Any) -> str:
        a, b = self.args
        return f"|{a}|²" if a == b else f"({a}·{b})"

    def _latex(self, printer: Any) -> str:
        a, b = (printer._print(arg) for arg in self.args)
        return rf"|{a}|^2" if a == b else rf"({a}\cdot {b})"
