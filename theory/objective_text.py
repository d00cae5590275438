"""From the text of an objective to the objective: the grammar of solvers.objective.grammar in terms of the engine."""

from __future__ import annotations

from fractions import Fraction

from sympy import Expr, Integer, Mul, Rational, S, Symbol, exp, log, sqrt

from solvers.objective.grammar import LONE_VARIANCE, ObjectiveError, parse
from solvers.objective.polynomials import Atom, Polynomial, atoms, unsummed, written
from theory.mixtures import DIMENSION, Mixture, mixture, target
from theory.objectives import ForwardKL, Objective, Regulariser, ReverseKL, WeightedSum, average
from theory.parameters import BETA
from theory.sums import index
from theory.vectors import POINT, Dot

__all__ = ["objective"]

FUNCTIONS = {"log": log, "exp": exp, "sqrt": sqrt}


def objective(text: str, q: Mixture | None = None, p: Mixture | None = None, *, beta: Expr = BETA) -> Objective:
    """The objective that a text says, for example "reverse-kl + 0.3 forward-kl"; see solvers.objective.grammar.

    q, p: default mixture() and target(). beta: the inverse temperature of `reverse-kl`, 1 to have none.
    Raises ObjectiveError for a text that is none.
    """
    family, other = q or mixture(), p or target()
    parts: list[tuple[Expr, Objective]] = []
    read = parse(text)
    if family.own_variances and "v" in {atom.name for atom in unsummed(read)}:
        raise ObjectiveError(f"objective: is {text!r}: {LONE_VARIANCE}")
    for monomial, number in read:
        factor = Rational(number.numerator, number.denominator)
        divergence = next((atom for atom, _ in monomial if atom.kind == "divergence"), None)
        outside = [(a, n) for a, n in monomial if a.kind == "parameter"]
        inside = tuple((a, n) for a, n in monomial if a.kind not in ("parameter", "divergence"))
        scale = factor * Mul(*(_parameter(a.name) ** n for a, n in outside))
        if divergence is None:
            function = _expression(((inside, Fraction(1)),), family, other)
            part: Objective = Regulariser(family, other, function, written(((inside, Fraction(1)),)))
        elif divergence.name == "reverse-kl":
            inner = divergence.inner
            part = ReverseKL(family, other, beta if inner is None else _expression(inner, family, other))
        else:
            part = ForwardKL(family, other)
        parts.append((scale, part))
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]
    return WeightedSum(family, other, tuple(parts))


def _parameter(name: str) -> Symbol:
    return BETA if name == "beta" else Symbol(name, real=True)


def _expression(polynomial: Polynomial, q: Mixture, p: Mixture) -> Expr:
    out = S.Zero
    for monomial, number in polynomial:
        factors = (_atom(atom, q, p) ** Integer(n) for atom, n in monomial)
        out += Rational(number.numerator, number.denominator) * Mul(*factors)
    return out


def _atom(atom: Atom, q: Mixture, p: Mixture) -> Expr:
    k, j = q.indices(2)
    l, n = p.indices(2)
    vectors = {"mu": q.mean(k), "mu'": q.mean(j), "nu": p.mean(l), "nu'": p.mean(n), "x": POINT}
    scalars = {"w": q.weight(k), "w'": q.weight(j), "pi": p.weight(l), "pi'": p.weight(n)}
    scalars |= {"u": p.variance(l), "u'": p.variance(n)}
    scalars |= {"v": q.variance(k), "v'": q.variance(j), "d": DIMENSION}
    if atom.kind == "parameter":
        return _parameter(atom.name)
    if atom.kind == "overlap":
        return Dot(*(vectors[name] for name in atom.name.split(".")))
    if atom.inner is None:
        return scalars[atom.name]
    inner = _expression(atom.inner, q, p)
    if atom.kind == "call":
        return FUNCTIONS[atom.name](inner)
    if atom.kind == "E":
        return average(q, inner)
    used = {part.name for part in (*atoms(atom.inner),)}
    letters = {
        k: {"w", "v", "mu"}, j: {"w'", "v'", "mu'"}, l: {"pi", "u", "nu"}, n: {"pi'", "u'", "nu'"},
    }  # fmt: skip
    names = {piece for name in used for piece in name.split(".")}
    for letter, of in letters.items():
        if names & of:
            inner = (q if letter in (k, j) else p).sum(inner, letter)
    if not inner.free_symbols.isdisjoint({index("k"), index("j"), index("l"), index("n")}):
        raise ObjectiveError(f"objective: sum({written(atom.inner)}) leaves an index free")
    return inner
