"""Sums of the same expectation written as one, with the bracket that multiplies it: form, not content."""

from __future__ import annotations

from sympy import Add, Expr, IndexedBase, Mul, S, Symbol, expand, factor, factor_terms

from theory.expectations import Expectation
from theory.mixtures import DIMENSION, Responsibility
from theory.radial import Raised, Slope
from theory.rules.rule import Rule
from theory.sums import LETTERS, Sigma, index, substitute
from theory.vectors import Dot, Mean

__all__ = ["COLLECT"]

KIND = {"integer": True, "positive": True}
OVERLAPS = {IndexedBase(name, real=True) for name in "smc"}


def _open(term: Expr) -> tuple[Expr, list[Sigma]]:
    """The summand of a product of nested sums, and the sums, outermost first."""
    sums: list[Sigma] = []
    while True:
        sum_ = next((f for f in Mul.make_args(term) if isinstance(f, Sigma)), None)
        if sum_ is None:
            return term, sums
        sums.append(sum_)
        term = term / sum_ * sum_.function


def _canonical(body: Expr, sums: list[Sigma], taken: set[Symbol]) -> tuple[Expr, tuple[Sigma, ...]] | None:
    """The same, bound indices named in the order in which the expectation has them; None if it is of another kind."""
    averages = body.atoms(Expectation, Raised)
    if len(averages) != 1:
        return None
    (average,) = averages
    fields = average.integrand.atoms(Responsibility, Slope)
    if len(fields) != 1:
        return None
    (field,) = fields
    sides = [(average.component, average.mixture), *((n, field.args[0]) for n in field.args[1:])]
    size = {s.index: s.size for s in sums}
    bound = [(n, mixture) for n, mixture in sides if n in size]
    if len(bound) != len(sums):
        return None
    free = {name: iter([index(x) for x in letters if index(x) not in taken]) for name, letters in LETTERS.items()}
    entries = [n for n, _ in bound]
    for names in ([Symbol(f"_{n}", **KIND) for n in range(len(bound))], [next(free[m.name]) for _, m in bound]):
        for old, new in zip(entries, names, strict=True):
            body = substitute(body, old, new)
        entries = names
    return body, tuple(Sigma(S.One, (n, 1, size[old])) for n, (old, _) in zip(entries, bound, strict=True))


def _rebuild(body: Expr, sums: tuple[Sigma, ...]) -> Expr:
    """Σ…Σ body, each factor as far outside as it can stand."""
    out = body
    for sum_ in reversed(sums):
        factors = Mul.make_args(out)
        inside = Mul(*(f for f in factors if sum_.index in f.free_symbols))
        out = Mul(*(f for f in factors if sum_.index not in f.free_symbols)) * Sigma(inside, sum_.limits)
    return out


def _bracket(c: Expr) -> Expr:
    """A coefficient; of variances alone, or of d times these, as a product: exactly zero where they agree."""
    if not (c.atoms(Dot, Mean, Sigma) or c.atoms(IndexedBase) & OVERLAPS):
        return factor(c)
    ofd = expand(c).coeff(DIMENSION)
    return factor_terms(c if ofd == 0 else factor_terms(expand(c - ofd * DIMENSION)) + factor(ofd) * DIMENSION)


def collect(expr: Expr) -> Expr:
    """Σ_j c_j E[r_j] + Σ_i d_i E[r_i] = Σ_j (c_j + d_j) E[r_j]."""
    groups: dict[tuple[Expr, tuple[Sigma, ...]], Expr] = {}
    rest = []
    for term in Add.make_args(expr):
        found = _canonical(*_open(term), set(expr.free_symbols))
        if found is None:
            rest.append(term)
            continue
        body, sums = found
        average = next(iter(body.atoms(Expectation, Raised)))
        key = (average, sums)
        groups[key] = groups.get(key, S.Zero) + body / average
    return Add(*rest, *(_rebuild(_bracket(c) * average, sums) for (average, sums), c in groups.items()))


COLLECT = Rule("Collecting", r"\textstyle\sum_j c_jE_k[r_j]+\sum_i d_iE_k[r_i]=\sum_j(c_j+d_j)E_k[r_j]", collect)
