"""Sums of products with exact factors, in one order: what a text of an objective says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["DIVERGENCES", "Atom", "Monomial", "Polynomial", "alone", "atoms", "gathered", "product"]
__all__ += ["unsummed", "written"]

DIVERGENCES = ("reverse-kl", "forward-kl")


@dataclass(frozen=True)
class Atom:
    """One factor. kind: divergence, parameter, constant, indexed, overlap, call, sum or E.

    name: what it is called; of an overlap, both vectors. inner: what stands in its brackets, if there are any.
    """

    kind: str
    name: str
    inner: Polynomial | None = None

    def __str__(self) -> str:
        return self.name if self.inner is None else f"{self.name}({written(self.inner)})"

    @property
    def order(self) -> tuple[int, int, str]:
        """Parameters first, divergences last, each kind by its text."""
        kinds = ("parameter", "constant", "indexed", "overlap", "call", "sum", "E", "divergence")
        return kinds.index(self.kind), DIVERGENCES.index(self.name) if self.kind == "divergence" else 0, str(self)


Monomial = tuple[tuple[Atom, int], ...]
#: A sum of products: each product of atoms, with powers, and its exact factor; in one order, no factor zero.
Polynomial = tuple[tuple[Monomial, Fraction], ...]


def alone(atom: Atom) -> Polynomial:
    return ((((atom, 1),), Fraction(1)),)


def atoms(polynomial: Polynomial) -> Iterator[Atom]:
    """All atoms, those in brackets too."""
    for monomial, _ in polynomial:
        for atom, _ in monomial:
            yield atom
            if atom.inner is not None:
                yield from atoms(atom.inner)


def unsummed(polynomial: Polynomial) -> Iterator[Atom]:
    """All atoms that stand in no sum."""
    for monomial, _ in polynomial:
        for atom, _ in monomial:
            yield atom
            if atom.inner is not None and atom.kind != "sum":
                yield from unsummed(atom.inner)


def written(polynomial: Polynomial) -> str:
    """A polynomial as text, which `parse` reads back."""
    out = ""
    for monomial, factor in polynomial:
        size = abs(factor)
        parts = [str(size)] if size != 1 or not monomial else []
        parts += [str(atom) if power == 1 else f"{atom}^{power}" for atom, power in monomial]
        sign = ("-" if factor < 0 else "") if not out else (" - " if factor < 0 else " + ")
        out += sign + " ".join(parts)
    return out or "0"


def gathered(terms: Iterable[tuple[Monomial, Fraction]]) -> Polynomial:
    """Equal products once, in order: terms with divergences first."""
    found: dict[Monomial, Fraction] = {}
    for monomial, factor in terms:
        found[monomial] = found.get(monomial, Fraction(0)) + factor

    def order(item: tuple[Monomial, Fraction]) -> tuple[bool, tuple[tuple[int, int, str], ...], tuple[int, ...]]:
        atoms = sorted((atom.order for atom, _ in item[0]), reverse=True)
        plain = not any(atom.kind == "divergence" for atom, _ in item[0])
        return plain, tuple(atoms), tuple(power for _, power in item[0])

    return tuple(sorted(((m, f) for m, f in found.items() if f != 0), key=order))


def product(one: Polynomial, other: Polynomial) -> Polynomial:
    def terms() -> Iterator[tuple[Monomial, Fraction]]:
        for a, f in one:
            for b, g in other:
                powers = dict(a)
                for atom, power in b:
                    powers[atom] = powers.get(atom, 0) + power
                kept = [(atom, power) for atom, power in powers.items() if power]
                yield tuple(sorted(kept, key=lambda item: item[0].order)), f * g

    return gathered(terms())
