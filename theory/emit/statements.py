"""Statements of a program of loops, the arrays in them, and the states that it packs."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Indexed, IndexedBase, Symbol, log

from theory.rules import bottom_up

__all__ = ["Assign", "Expect", "Loop", "Rate", "State", "Statement", "array", "is_logarithm", "logarithms"]


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

    fixed: the number of this law among those with a covariance that no state moves; None for the others. second: the
    table of the second moments of that softmax, "" for none. slopes: whether the Jacobian may ask for them.
    """

    table: str
    count: Symbol
    size: str
    fixed: int | None
    second: str = ""
    slopes: bool = True


@dataclass(frozen=True)
class Rate:
    """The rates of one group of states, a power of the weights that is a parameter."""

    group: str


@dataclass(frozen=True)
class Loop:
    """for index in 1..size: body."""

    index: Symbol
    size: Expr
    body: tuple[Statement, ...]


Statement = Assign | Expect | Loop | Rate


@dataclass(frozen=True)
class State:
    """A packed state: the array that holds it, how many numbers, and the flag that lets it move ("" always)."""

    name: str
    size: str
    learn: str


def array(name: str) -> IndexedBase:
    """An array of rows."""
    return IndexedBase(name, real=True)


def is_logarithm(node: Expr) -> bool:
    """Whether code has the logarithm as data of its own: of a weight, or of a variance of a component."""
    return (
        isinstance(node, log) and isinstance(node.args[0], Indexed) and str(node.args[0].base) in ("w", "pi", "v", "u")
    )


def logarithms(expr: Expr) -> Expr:
    """log w[k] → log_w[k], log v → log_v: logarithms are data, not function calls in the inner loop."""

    def rewrite(node: Expr) -> Expr:
        argument = node.args[0]
        if argument.is_number:
            return node
        if isinstance(argument, Indexed):
            return array(f"log_{argument.base}")[argument.indices] if str(argument.base) != "beta" else node
        return Symbol(f"log_{argument}", real=True)

    return bottom_up(expr, rewrite, log)
