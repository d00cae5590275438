"""From averages over particles to velocities: which objective descends, in which coordinates, under which metric.

With D the objective, the states are μ_k, log-weights θ_k and λ_k = log v_k.

reverse KL of q to p^β, E_k over component k, g = ∇log q − β∇log p, F_k = E_k[log q − β log p], D = Σ_k w_k F_k:

    ∂D/∂μ_k = w_k E_k[g],  ∂D/∂θ_k = w_k (F_k − D),  ∂D/∂v_k = (w_k/2v_k) E_k[(x − μ_k)·g]

forward KL of p to q, E_p = Σ_l π_l E_l over the modes, D = E_p[log p − log q]:

    ∂D/∂μ_k = −E_p[r_k (x − μ_k)]/v_k,  ∂D/∂θ_k = w_k − E_p[r_k],  ∂D/∂v_k = −E_p[r_k (|x − μ_k|² − d v_k)]/(2 v_k²)

A sum of divergences has the sum of their slopes, each over its own particles; a function of overlaps, weights and
variances beside them has its own (regulariser.py).

euclidean      dμ_k/dt = −∂D/∂μ_k         dλ_k/dt = −∂D/∂λ_k = −v_k ∂D/∂v_k
wasserstein    dμ_k/dt = −(1/w_k)∂D/∂μ_k   dλ_k/dt = −(4/(d w_k)) ∂D/∂v_k
softmax        dθ_k/dt = −∂D/∂θ_k         fisher-rao  dθ_k/dt = −(1/w_k) ∂D/∂θ_k
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solvers.machine.arrays import array_module
from solvers.objective.polynomials import Polynomial
from solvers.particles.estimate import Averages, Mixtures
from solvers.particles.regulariser import Slopes, number, regulariser
from solvers.problem import Problem


@dataclass(frozen=True)
class Found:
    """Averages over particles of q, one for each β of the objective, and over those of p where it asks for them."""

    reverse: tuple[Averages, ...]
    forward: Averages | None


@dataclass(frozen=True)
class Motion:
    """Velocities and value, one row a replica: dmu (replica, K, d), dtheta and dlog_v (replica, K), objective."""

    dmu: Any
    dtheta: Any
    dlog_v: Any
    objective: Any


@dataclass(frozen=True)
class Parts:
    """An objective as what is to be averaged: Σ factor·KL(q‖p^β), `reverse` by (β, factor); factor·KL(p‖q), `forward`;
    and `beside`, a function of the states."""

    reverse: tuple[tuple[float, float], ...]
    forward: float
    beside: Polynomial

    @property
    def steepness(self) -> float:
        """By how much divergences relax faster than one alone."""
        return sum(abs(factor) for _, factor in self.reverse) + abs(self.forward)


def parts(problem: Problem, time: float) -> Parts:
    """Of the objective at a time, which matters under a schedule."""
    values = known(problem, time)
    reverse: dict[float, float] = {}
    forward, beside = 0.0, []
    for monomial, factor in problem.flow.terms:
        divergence = next((atom for atom, _ in monomial if atom.kind == "divergence"), None)
        if divergence is None:
            beside.append((monomial, factor))
            continue
        alone = number(((tuple(p for p in monomial if p[0] != divergence), factor),), values)
        if divergence.name == "forward-kl":
            forward += alone
        else:
            beta = values["beta"] if divergence.inner is None else number(divergence.inner, values)
            reverse[beta] = reverse.get(beta, 0.0) + alone
    return Parts(tuple(reverse.items()), forward, tuple(beside))


def known(problem: Problem, time: float) -> dict[str, float]:
    """Values of all parameters of the objective, the inverse temperature among them."""
    return {**problem.flow.parameters, "beta": problem.flow.beta(time)}


def drawn_from(problem: Problem) -> tuple[int, bool]:
    """How often particles of q are averaged over, and whether those of p are."""
    found = parts(problem, 0.0)
    return len(found.reverse), found.forward != 0


def rates(metric: str, weights: str, w: Any, v: Any, d: int) -> tuple[Any, Any, Any]:
    """What the slopes in μ_k, λ_k and θ_k are multiplied by, (..., K) each.

    d coordinates share λ_k. W₂² of two Gaussians with covariances σ²I, σ'²I and one mean is d(σ − σ')², and (dσ)² is
    (dv)²/4v: so dv/dt = −(4v/(d w)) ∂D/∂v. Where every coordinate has a variance of its own W₂² is a sum over
    coordinates, and each moves as with d = 1.

    The theory has its own table (solvers.closed.mobility), of powers of w_k; here are the definitions.
    """
    one, bures = array_module(w).ones_like(w), metric == "wasserstein"
    return 1 / w if bures else one, 4 / (d * w * v) if bures else one, 1 / w if weights == "fisher-rao" else one


def motion(at: Mixtures, found: Found, problem: Problem, time: float) -> Motion:
    """How means, log-weights and log-variances move. What does not learn has velocity 0."""
    xp, K = array_module(at.means), at.components
    mu, v, w = at.means[:, :K], at.variances[:, :K], xp.exp(at.log_weights[:, :K])
    d, learn, wanted = mu.shape[-1], problem.family.learn, parts(problem, time)
    slopes = [
        _reverse(at.tempered(beta), averages).times(factor)
        for (beta, factor), averages in zip(wanted.reverse, found.reverse, strict=True)
    ]
    if found.forward is not None:
        slopes.append(_forward(at, found.forward).times(wanted.forward))
    if wanted.beside:
        pi, u = xp.exp(at.log_weights[0, K:]), at.variances[0, K:]
        slopes.append(regulariser(wanted.beside, known(problem, time), mu, at.means[:, K:], w, v, pi, u))
    total = Slopes(xp.zeros_like(mu), xp.zeros_like(w), xp.zeros_like(w), xp.zeros(len(w)))
    for more in slopes:
        total = total.plus(more)
    mean_rate, variance_rate, weight_rate = rates(problem.flow.metric, problem.flow.weights, w, v, d)
    return Motion(
        -mean_rate[..., None] * total.mean if "means" in learn else xp.zeros_like(mu),
        -weight_rate * total.weight if "weights" in learn else xp.zeros_like(w),
        -variance_rate * v * total.variance if "variances" in learn else xp.zeros_like(w),
        total.value,
    )


def _reverse(at: Mixtures, found: Averages) -> Slopes:
    """Of KL(q‖p^β), β that of `at`."""
    xp, K = array_module(at.means), at.components
    mu, nu, v, w = at.means[:, :K], at.means[:, K:], at.variances[:, :K], xp.exp(at.log_weights[:, :K])
    objective = (w * found.log_ratio).sum(-1)
    pull_q = found.table[..., :K] / v[:, None]
    pull_p = at.beta * found.table[..., K:] / at.variances[:, None, K:]
    by_mean = w[..., None] * (found.moment[:, :, 0] + pull_q @ mu - pull_p @ nu)
    by_weight = w * (found.log_ratio - objective[:, None])
    return Slopes(by_mean, by_weight, w / (2 * v) * found.square[..., 0], objective)


def _forward(at: Mixtures, found: Averages) -> Slopes:
    """Of KL(p‖q)."""
    xp, K = array_module(at.means), at.components
    mu, v, w = at.means[:, :K], at.variances[:, :K], xp.exp(at.log_weights[:, :K])
    pi = xp.exp(at.log_weights[:, K:])
    share = (pi[:, None] @ found.table[..., :K])[:, 0]
    by_mean = (share[..., None] * mu - xp.einsum("gl,glkd->gkd", pi, found.moment)) / v[..., None]
    by_variance = (mu.shape[-1] * v * share - (pi[:, None] @ found.square)[:, 0]) / (2 * v**2)
    return Slopes(by_mean, w - share, by_variance, -(pi * found.log_ratio).sum(-1))
