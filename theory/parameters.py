"""Parameters of the equations beyond those of q and p."""

from __future__ import annotations

from sympy import Add, Expr, Indexed, IndexedBase, Integer, Symbol, expand, floor

__all__ = ["BETA", "RATE", "RATES", "SIZE", "STEP", "TEMPERATURE", "descend", "rate"]

#: Inverse temperature, and the rate at which a schedule brings it to 1.
#: As a state, code has T = 1/β: its error is relative where it is large, and near T = 0 it grows linearly all the same.
TEMPERATURE = Symbol("temperature", positive=True)
BETA, RATE = Symbol("beta", positive=True), Symbol("rate", real=True)
#: Learning rate of stochastic gradient descent, and fresh samples of each component at each of its steps.
STEP, SIZE = Symbol("step", positive=True), Symbol("size", positive=True)

#: Metrics are diagonal: what a slope is multiplied by, one number a component, in each group of states. Equations keep
#: these rates as arrays that are handed in.
RATES = {group: IndexedBase(f"rate_{group}", real=True) for group in ("means", "weights", "variances")}


def rate(group: str, k: Symbol) -> Indexed:
    """The rate of component k in one group of states."""
    return RATES[group][k]


def descend(slope: Expr, group: str, k: Symbol, weight: Expr) -> tuple[Expr, int]:
    """−rate_k g_k and p, where slope = w_k^p g_k with the largest p that leaves no w_k below a fraction.

    p is what decides whether a metric that divides the slope by w_k divides anything in the end.
    """
    terms = [term.as_powers_dict() for term in Add.make_args(expand(slope))]
    power = min(int(floor(term.get(weight, Integer(0)))) for term in terms)
    return expand(-rate(group, k) * expand(slope / weight**power)), power
