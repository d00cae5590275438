"""Statements of a program of loops, and the states that it packs."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Indexed, Symbol

__all__ = ["Assign", "Expect", "Loop", "State", "Statement"]


@dataclass(frozen=True)
class Assign:
    """target op expr for one value of the loop indices; op is "=", "+=" or "*="; expr has no sums."""

    target: Indexed
    op: str
    expr: Expr


@dataclass(frozen=True)
class Expect:
    """Expectations under all `count` components at once: softmax → `table`[k, :], logsumexp → `lse`[k], of logits with
    means mean[k, :] and the common covariance cov. size: how many logits, as code.

    fixed: the number of this law among those with a covariance that no state moves; None for the others.
    """

    table: str
    count: Symbol
    size: str
    fixed: int | None


@dataclass(frozen=True)
class Loop:
    """for index in 1..size: body."""

    index: Symbol
    size: Expr
    body: tuple[Assign | Expect | Loop, ...]


Statement = Assign | Expect | Loop


@dataclass(frozen=True)
class State:
    """A packed state: the array that holds it, how many numbers, and the flag that lets it move ("" always)."""

    name: str
    size: str
    learn: str
