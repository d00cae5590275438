"""Metrics as data: the rate at which each component's states follow the slope of the objective.

All metrics here are diagonal. With θ the log-weights and D the objective, the slope in the coordinate of component k is
w_k^p g_k, where p belongs to the closed system (POWERS of generated source), and the velocity is −rate_k g_k,

    rate_k = w_k^(p − a) f(v_k, d),

a and f belonging to the metric: one row of a table. Nothing is divided by w_k where p = a. Flow, sampler and compiled
code take their rates from here; the simulators in R^d have their own (solvers.particles.motion).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["METRICS", "Rate", "Way", "exponents", "of", "rates"]


@dataclass(frozen=True)
class Rate:
    """What a slope is multiplied by: w^(−divided) factor(v, d)."""

    divided: float = 0.0
    factor: Callable[[Any, Any], Any] = lambda v, d: 1.0


#: Ways of moving means μ_k and log-variances log v_k (`metric` of a problem), and θ_k (`weights`). Wasserstein: each
#: component is transported at unit mass, dμ_k/dt = −(1/w_k)∂D/∂μ_k, dv_k/dt = −(4v_k/(d w_k))∂D/∂v_k. Fisher–Rao: the
#: natural gradient on the simplex.
METRICS: dict[str, dict[str, Rate]] = {
    "euclidean": {"means": Rate(), "variances": Rate()},
    "wasserstein": {"means": Rate(1.0), "variances": Rate(1.0, lambda v, d: 4 / (d * v))},
    "softmax": {"weights": Rate()},
    "fisher-rao": {"weights": Rate(1.0)},
}


class Way(Protocol):
    """What says how things move: the [flow] of a problem, or the learning of a sampler."""

    @property
    def metric(self) -> str: ...

    @property
    def weights(self) -> str: ...


def of(way: Way) -> dict[str, Rate]:
    """The rate of each group of states."""
    return METRICS[way.metric] | METRICS[way.weights]


def exponents(way: Way, powers: Mapping[str, float]) -> dict[str, float]:
    """p − a of each group of states in `powers`: 0 where rates do not depend on the weights."""
    return {group: power - of(way)[group].divided for group, power in powers.items()}


def rates(way: Way, powers: Mapping[str, float], w: Any, v: Any, d: Any) -> dict[str, Any]:
    """rate_X (..., K) for each group X in `powers`, from weights w (..., K), variances v (..., K) or one number, d."""
    found = {}
    for group, exponent in exponents(way, powers).items():
        power = w * 0 + 1 if exponent == 0 else w if exponent == 1 else w**exponent
        found[f"rate_{group}"] = power * of(way)[group].factor(v, d)
    return found
