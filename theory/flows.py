"""Gradient flows: from an objective to the velocities of means and log-weights, still in R^d.

A metric enters as the mobility that multiplies the slope of the objective; a finite batch as the second moment of the
gradient that one sample sees.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, IndexedBase, S, Symbol, expand

from theory import rules
from theory.derivation import Derivation
from theory.expectations import Expectation, Gradient
from theory.mixtures import Mixture
from theory.objectives import Objective
from theory.vectors import POINT, Dot

__all__ = ["METRICS", "WEIGHTS", "Velocities", "gradient_flow"]

#: Ways of moving the weights; θ are log-weights up to a constant, w = softmax θ.
WEIGHTS = ("fixed", "softmax", "fisher-rao")

#: Ways of moving the means. Wasserstein: each component is transported at unit mass, so its slope is divided by w_k.
METRICS = ("euclidean", "wasserstein")

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
    """dμ_a/dt (a vector expression) and dθ_a/dt (a scalar; None for fixed weights), with the steps that led there.

    mobility: what the slope in μ_a is multiplied by, up to the sign. square: E_a|g|² of the gradient g = ∇f of the
    integrand f at one sample, if finite batches are asked for.
    """

    objective: Objective
    weights: str
    metric: str
    component: Symbol
    mean: Expr
    theta: Expr | None
    mobility: Expr
    square: Expr | None
    derivation: Derivation


def gradient_flow(
    objective: Objective,
    *,
    weights: str = "fixed",
    metric: str = "euclidean",
    batch: bool = False,
    check: bool = False,
) -> Velocities:
    """Gradient flow of the objective in the means and, if asked, in the weights.

    weights: "fixed", "softmax" (Euclidean flow of the logits θ) or "fisher-rao" (natural gradient on the simplex).
    metric: "euclidean" or "wasserstein" (mobility 1/w_k), of the means.
    batch: also what the equations of stochastic gradient descent with fresh samples of q need.
    check: verify every step by its numeric witness as it is taken.
    Raises ValueError for an unknown name, for batches of an objective with expectations under p, and for mixtures with
    a variance for each component (use variance_flow).
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights={weights!r}: allowed are {', '.join(map(repr, WEIGHTS))}")
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}: allowed are {', '.join(map(repr, METRICS))}")
    q, value = objective.q, objective.value()
    if q.own_variances or objective.p.own_variances:
        raise ValueError("a variance for each component: use variance_flow, or mixtures with one variance")
    derivation = Derivation(check=check)
    (k,) = q.indices(1)
    mobility = S.One if metric == "euclidean" else 1 / q.weight(k)

    slope = derivation.run(r"\partial D/\partial\mu_k", Gradient(value, q.mean(k)), DIFFERENTIATION)
    theta = _theta(q, value, weights, derivation)
    square = _square(objective, derivation) if batch else None
    return Velocities(objective, weights, metric, k, expand(-mobility * slope), theta, mobility, square, derivation)


def _theta(q: Mixture, value: Expr, weights: str, derivation: Derivation) -> Expr | None:
    k, j = q.indices(2)
    if weights == "fixed":
        return None
    if weights == "softmax":
        slope = Gradient(value, IndexedBase("theta", real=True)[k])
        rules_ = (rules.SOFTMAX_CHAIN, *DIFFERENTIATION, rules.NORMALISATION)
        return expand(-derivation.run(r"\partial D/\partial\theta_k", slope, rules_))
    # The natural gradient on the simplex, by definition; θ = log w.
    slope = Gradient(value, q.weight(k)) - q.sum(q.weight(j) * Gradient(value, q.weight(j)), j)
    return expand(-derivation.run(r"-\dot w_k/w_k", slope, (*DIFFERENTIATION, rules.NORMALISATION)))


def _square(objective: Objective, derivation: Derivation) -> Expr:
    """E_k|g|², g = ∇f: what one sample x ~ N(μ_k, vI) contributes to the slope in μ_k, by reparametrisation."""
    q = objective.q
    if objective.integrand(objective.p) != 0:
        raise ValueError(
            f"finite batches of {objective.name}: its samples come from p and are shared by all components of q; "
            "only objectives with expectations under q are derived"
        )
    (k,) = q.indices(1)
    start = Gradient(objective.integrand(q), POINT)
    g = derivation.run("g", start, (rules.LOG_SUM_EXP, rules.LINEARITY, rules.PARTITION))
    return derivation.run("E_k|g|^2", Expectation(q, k, Dot(g, g)), (rules.LINEARITY, *BY_PARTS))
