"""Gradient flows: from an objective to the velocities of means and log-weights, still in R^d."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, IndexedBase, Symbol, expand

from theory import rules
from theory.derivation import Derivation
from theory.expectations import Gradient
from theory.objectives import ReverseKL

__all__ = ["WEIGHTS", "Velocities", "gradient_flow"]

#: Ways of moving the weights; θ are log-weights up to a constant, w = softmax θ.
WEIGHTS = ("fixed", "softmax", "fisher-rao")

#: From ∂E to expectations of the fields themselves.
DIFFERENTIATION = (
    rules.REPARAMETRISE,
    rules.LOG_SUM_EXP,
    rules.LINEARITY,
    rules.BAYES,
    rules.PARTITION,
    rules.STEIN,
)


@dataclass(frozen=True)
class Velocities:
    """dμ_a/dt (a vector expression) and dθ_a/dt (a scalar; None for fixed weights), with the steps that led there."""

    objective: ReverseKL
    weights: str
    component: Symbol
    mean: Expr
    theta: Expr | None
    derivation: Derivation


def gradient_flow(objective: ReverseKL, *, weights: str = "fixed", check: bool = False) -> Velocities:
    """Gradient flow of the objective in the means and, if asked, in the weights.

    weights: "fixed", "softmax" (Euclidean flow of the logits θ) or "fisher-rao" (natural gradient on the simplex).
    check: verify every step by its numeric witness as it is taken.
    Raises ValueError for an unknown name.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights={weights!r}: allowed are {', '.join(map(repr, WEIGHTS))}")
    q, value = objective.q, objective.value()
    derivation = Derivation(check=check)
    (k,) = q.indices(1)

    mean = -derivation.run(r"\partial D/\partial\mu_k", Gradient(value, q.mean(k)), DIFFERENTIATION)
    theta = None
    if weights == "softmax":
        slope = Gradient(value, IndexedBase("theta", real=True)[k])
        rules_ = (rules.SOFTMAX_CHAIN, *DIFFERENTIATION, rules.NORMALISATION)
        theta = -derivation.run(r"\partial D/\partial\theta_k", slope, rules_)
    elif weights == "fisher-rao":
        # The natural gradient on the simplex, by definition; θ = log w.
        j = q.indices(2)[1]
        slope = Gradient(value, q.weight(k)) - q.sum(q.weight(j) * Gradient(value, q.weight(j)), j)
        theta = -derivation.run(r"-\dot w_k/w_k", slope, (*DIFFERENTIATION, rules.NORMALISATION))
    return Velocities(objective, weights, k, expand(mean), None if theta is None else expand(theta), derivation)
