"""From averages over particles to velocities: which objective descends, in which coordinates, under which metric.

With D the objective, the states are μ_k, log-weights θ_k and λ_k = log v_k.

reverse KL of q to p^β, E_k over component k, g = ∇log q − β∇log p, F_k = E_k[log q − β log p], D = Σ_k w_k F_k:

    ∂D/∂μ_k = w_k E_k[g],  ∂D/∂θ_k = w_k (F_k − D),  ∂D/∂v_k = (w_k/2v_k) E_k[(x − μ_k)·g]

forward KL of p to q, E_p = Σ_l π_l E_l over the modes, D = E_p[log p − log q]:

    ∂D/∂μ_k = −E_p[r_k (x − μ_k)]/v_k,  ∂D/∂θ_k = w_k − E_p[r_k],  ∂D/∂v_k = −E_p[r_k (|x − μ_k|² − d v_k)]/(2 v_k²)

euclidean      dμ_k/dt = −∂D/∂μ_k         dλ_k/dt = −∂D/∂λ_k = −v_k ∂D/∂v_k
wasserstein    dμ_k/dt = −(1/w_k)∂D/∂μ_k   dλ_k/dt = −(4/(d w_k)) ∂D/∂v_k
softmax        dθ_k/dt = −∂D/∂θ_k         fisher-rao  dθ_k/dt = −(1/w_k) ∂D/∂θ_k
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solvers.machine.arrays import array_module
from solvers.particles.estimate import Averages, Mixtures
from solvers.problem import Problem


@dataclass(frozen=True)
class Motion:
    """Velocities and value, one row a replica: dmu (replica, K, d), dtheta and dlog_v (replica, K), objective."""

    dmu: Any
    dtheta: Any
    dlog_v: Any
    objective: Any


def is_forward(problem: Problem) -> bool:
    """Whether particles come from p."""
    return problem.flow.objective == "forward-kl"


def rates(metric: str, weights: str, w: Any, v: Any, d: int) -> tuple[Any, Any, Any]:
    """What the slopes in μ_k, λ_k and θ_k are multiplied by, (..., K) each.

    The theory has its own table (solvers.closed.mobility), of powers of w_k; here are the definitions.
    """
    one, bures = array_module(w).ones_like(w), metric == "wasserstein"
    return 1 / w if bures else one, 4 / (d * w * v) if bures else one, 1 / w if weights == "fisher-rao" else one


def motion(at: Mixtures, found: Averages, problem: Problem) -> Motion:
    """How means, log-weights and log-variances move. What does not learn has velocity 0."""
    xp, K = array_module(at.means), at.components
    mu, nu, v, w = at.means[:, :K], at.means[:, K:], at.variances[:, :K], xp.exp(at.log_weights[:, :K])
    d, learn = mu.shape[-1], problem.family.learn
    if is_forward(problem):
        pi = xp.exp(at.log_weights[:, K:])
        share = (pi[:, None] @ found.table[..., :K])[:, 0]
        objective = -(pi * found.log_ratio).sum(-1)
        by_mean = (share[..., None] * mu - xp.einsum("gl,glkd->gkd", pi, found.moment)) / v[..., None]
        by_weight = w - share
        by_variance = (d * v * share - (pi[:, None] @ found.square)[:, 0]) / (2 * v**2)
    else:
        objective = (w * found.log_ratio).sum(-1)
        pull_q = found.table[..., :K] / v[:, None]
        pull_p = at.beta * found.table[..., K:] / at.variances[:, None, K:]
        by_mean = w[..., None] * (found.moment[:, :, 0] + pull_q @ mu - pull_p @ nu)
        by_weight = w * (found.log_ratio - objective[:, None])
        by_variance = w / (2 * v) * found.square[..., 0]
    mean_rate, variance_rate, weight_rate = rates(problem.flow.metric, problem.flow.weights, w, v, d)
    return Motion(
        -mean_rate[..., None] * by_mean if "means" in learn else xp.zeros_like(by_mean),
        -weight_rate * by_weight if "weights" in learn else xp.zeros_like(w),
        -variance_rate * v * by_variance if "variances" in learn else xp.zeros_like(w),
        objective,
    )
