"""Statements of a program of loops, and the states that it packs."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Indexed, Symbol

__all__ = ["Assign", "Expect", "Loop", "Pair", "State", "Statement"]


@dataclass(frozen=True)
class Assign:
    """target op expr for one value of the loop indices; op is "=", "+=" or "*="; expr has no sums."""

    target: Indexed
    op: str
    expr: Expr


@dataclass(frozen=True)
class Expect:
    """Expectations under one component k: softmax → `table`[k, :], logsumexp → `lse`[k], from mean[k, :] and cov.

    fixed: the number of this law among those with a covariance that no state moves; None for the others.
    """

    table: str
    k: Symbol
    size: Symbol
    fixed: int | None


@dataclass(frozen=True)
class Pair:
    """E softmax_j(U) softmax_i(V) → `table`[k, j, i]; U and V have the laws of tables first, second, and cross."""

    table: str
    k: Symbol
    first: str
    second: str
    sizes: tuple[Symbol, Symbol]
    cross: str


@dataclass(frozen=True)
class Loop:
    """for index in 1..size: body."""

    index: Symbol
    size: Expr
    body: tuple[Assign | Expect | Pair | Loop, ...]


Statement = Assign | Expect | Pair | Loop


@dataclass(frozen=True)
class State:
    """A packed state: the array that holds it, how many numbers, and the flag that lets it move ("" always)."""

    name: str
    size: str
    learn: str
