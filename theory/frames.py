"""Vectors of the sampler in the span of the means and orthogonal to it: coordinates, and the products that are left."""

from __future__ import annotations

from typing import Any

from sympy import Add, Expr, S, Symbol, expand

from theory.kinds import is_vector
from theory.programs import SIZES, array
from theory.sums import Sigma, index, rename_bound
from theory.vectors import POINT, Dot, Mean, Point, vector_terms

__all__ = ["NEW", "NOISE", "PULL", "Arrow", "coordinate", "decompose", "dot", "orthogonal"]


class Arrow(Mean):
    """A vector with a name: x', ξ, or the part of a drift in the span."""

    LATEX = {"new": "x'", "xi": r"\xi", "pull": "H", "back": "H'"}  # noqa: RUF012 (SymPy's slots)

    def __new__(cls, name: Any, index: Any = 1) -> Any:
        return Mean.__new__(cls, name, index)

    def _sympystr(self, printer: Any) -> str:
        return {"new": "x'", "xi": "ξ", "pull": "H", "back": "H'"}[self.name]

    def _latex(self, printer: Any) -> str:
        return self.LATEX[self.name]


NEW, NOISE, PULL, BACK = Arrow("new"), Arrow("xi"), Arrow("pull"), Arrow("back")

#: Coordinates in the span, by vector; a mean vector has its component as a further index.
COORDINATES = {"new": "x_new", "xi": "xi", "pull": "pull_f", "back": "pull_b", "mu": "mean"}

_ROOT, _RHO = Symbol("root", real=True), Symbol("rho", real=True)
_XI1, _CHI2 = Symbol("xi1", real=True), Symbol("chi2", real=True)
_RHO_NEW, _MEET = Symbol("rho_new", real=True), Symbol("meet", real=True)

#: Inner products of the parts orthogonal to the span; x_⊥ = √ϱ e, ξ_⊥ = ξ₁ e + ζ with ζ·e = 0, |ζ|² ~ χ²_{d−r−1}.
ORTHOGONAL = {
    frozenset({POINT}): _RHO,
    frozenset({NOISE}): _XI1**2 + _CHI2,
    frozenset({POINT, NOISE}): _ROOT * _XI1,
    # x' as a point that is given: |x'_⊥|² and x_⊥·x'_⊥.
    frozenset({NEW}): _RHO_NEW,
    frozenset({POINT, NEW}): _MEET,
}


def decompose(vector: Expr) -> tuple[Expr, Expr, set[str]]:
    """a and s with vector = a·x + s, s a combination of mean vectors, and the names of what is neither.

    Scalar coefficients may depend on x through x·v, v a mean vector, and |x|² only; other fields are named too.
    """
    a, span, missing = S.Zero, S.Zero, set()
    for coefficient, factor in vector_terms(vector) if vector != 0 else []:
        missing |= foreign(coefficient)
        if isinstance(factor, Sigma):
            inner_a, inner_span, inner_missing = decompose(factor.function)
            a += coefficient * Sigma(inner_a, factor.limits)
            span += coefficient * Sigma(inner_span, factor.limits)
            missing |= inner_missing
        elif factor == POINT:
            a += coefficient
        elif isinstance(factor, Mean):
            span += coefficient * factor
        elif is_vector(factor) and isinstance(factor, Add):
            raise ValueError(f"{factor}: expand the vector first")
        else:
            missing.add(str(factor))
    return a, span, missing


def foreign(scalar: Expr) -> set[str]:
    """Names of the inner products in a scalar that are not x·v, |x|² or v·v."""
    return {str(node) for node in scalar.atoms(Dot) if not all(isinstance(a, Point | Mean) for a in node.args)}


def coordinate(vector: Expr, b: Symbol) -> Expr:
    """Coordinate b of the part of a vector in the span."""
    out = S.Zero
    for coefficient, factor in vector_terms(vector):
        if isinstance(factor, Sigma):
            factor = rename_bound(factor, b)
            out += coefficient * Sigma(coordinate(factor.function, b), factor.limits)
        elif factor == POINT:
            out += coefficient * array("x", b)
        elif isinstance(factor, Arrow):
            out += coefficient * array(COORDINATES[factor.name], b)
        else:
            out += coefficient * array(COORDINATES[factor.name], factor.index, b)
    return out


def orthogonal(u: Expr, v: Expr) -> Expr:
    """Inner product of the parts orthogonal to the span; mean vectors have none."""
    out = S.Zero
    for cu, fu in vector_terms(u):
        for cv, fv in vector_terms(v):
            if fu in (POINT, NOISE, NEW) and fv in (POINT, NOISE, NEW):
                out += cu * cv * ORTHOGONAL[frozenset({fu, fv})]
    return expand(out)


def dot(u: Expr, v: Expr) -> Expr:
    """u·v = Σ_b u_b v_b + u_⊥·v_⊥."""
    b = index("b")
    return Sigma(coordinate(u, b) * coordinate(v, b), (b, 1, SIZES["b"])) + orthogonal(u, v)
