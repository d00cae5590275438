"""Gradient flows: from an objective to the velocities of means and log-weights, still in R^d.

A metric is diagonal: it multiplies the slope of the objective in each component by a rate, which the equations keep as
an array of its own (theory.parameters). So one derivation serves all metrics. A finite batch enters as the second
moment of the gradient that one sample sees.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, IndexedBase, Symbol

from theory import rules
from theory.derivation import Derivation
from theory.expectations import Expectation, Gradient
from theory.mixtures import Mixture
from theory.objectives import Objective
from theory.parameters import descend, rate
from theory.rules import Rule
from theory.vectors import POINT, Dot

__all__ = ["Velocities", "gradient_flow", "slope_of_weights"]

#: Integration by parts of fields with responsibilities in them: x is traded for ∇r, in which it cancels again.
BY_PARTS = (rules.STEIN, rules.STEIN_FIELDS, rules.LOG_SUM_EXP, rules.LINEARITY, rules.PARTITION, rules.LINEARITY)

#: From ∂E to expectations of the fields themselves.
DIFFERENTIATION = (
    rules.REPARAMETRISE,
    rules.LOG_SUM_EXP,
    rules.LINEARITY,
    rules.BAYES,
    rules.PARTITION,
    *BY_PARTS,
)


@dataclass(frozen=True)
class Velocities:
    """dμ_a/dt (a vector expression) and dθ_a/dt (a scalar), with the steps that led there.

    powers: p of each group of states, where the slope is w_a^p times g_a, and the velocity −rate_a g_a. step: what the
    gradient of the integrand f at one sample is multiplied by in dμ_a/dt, up to the sign. square: E_a|g|² of that
    gradient, if finite batches are asked for.
    """

    objective: Objective
    component: Symbol
    mean: Expr
    theta: Expr
    powers: dict[str, int]
    step: Expr
    square: Expr | None
    derivation: Derivation


def gradient_flow(objective: Objective, *, batch: bool = False, check: bool = False) -> Velocities:
    """Gradient flow of the objective in means and weights, in any diagonal metric.

    To hold the weights or the means, do not integrate them. batch: also what the equations of stochastic gradient
    descent with fresh samples of q need. check: verify every step by numbers as it is taken.
    Raises ValueError for batches of an objective with expectations under p, and for mixtures with a variance for each
    component (use variance_flow).
    """
    q, value = objective.q, objective.value()
    if q.own_variances or objective.p.own_variances:
        raise ValueError("a variance for each component: use variance_flow, or mixtures with one variance")
    derivation = Derivation(check=check)
    (k,) = q.indices(1)
    slope = derivation.run(r"\partial D/\partial\mu_k", Gradient(value, q.mean(k)), DIFFERENTIATION)
    mean, power = descend(slope, "means", k, q.weight(k))
    theta, other = descend(slope_of_weights(q, value, derivation, DIFFERENTIATION), "weights", k, q.weight(k))
    square = _square(objective, derivation) if batch else None
    step = rate("means", k) * q.weight(k) ** (1 - power)
    return Velocities(objective, k, mean, theta, {"means": power, "weights": other}, step, square, derivation)


def slope_of_weights(q: Mixture, value: Expr, derivation: Derivation, differentiation: tuple[Rule, ...]) -> Expr:
    """∂D/∂θ_k, w = softmax θ."""
    (k,) = q.indices(1)
    slope = Gradient(value, IndexedBase("theta", real=True)[k])
    rules_ = (rules.SOFTMAX_CHAIN, *differentiation, rules.NORMALISATION)
    return derivation.run(r"\partial D/\partial\theta_k", slope, rules_)


def _square(objective: Objective, derivation: Derivation) -> Expr:
    """E_k|g|², g = ∇f: what one sample x ~ N(μ_k, vI) contributes to the slope in μ_k, by reparametrisation."""
    q = objective.q
    if objective.beside != 0:
        raise ValueError(
            f"finite batches of {objective.name}: what is added to the averages has no samples; only objectives "
            "that are expectations under q are derived"
        )
    if objective.integrand(objective.p) != 0:
        raise ValueError(
            f"finite batches of {objective.name}: its samples come from p and are shared by all components of q; "
            "only objectives with expectations under q are derived"
        )
    (k,) = q.indices(1)
    start = Gradient(objective.integrand(q), POINT)
    g = derivation.run("g", start, (rules.LOG_SUM_EXP, rules.LINEARITY, rules.PARTITION))
    return derivation.run("E_k|g|^2", Expectation(q, k, Dot(g, g)), (rules.LINEARITY, *BY_PARTS))
