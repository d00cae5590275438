"""Paths of the reduced chain, forward from the prior and backward from the target, and the gradient along them.

Everything about one step (drifts, noise, weight, adjoint) is emitted by the theory; here is what strings them together,
in array code. solvers.sampler.backends has who else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.model import Bars, Mixture, Sampler, scores_of
from solvers.sampler.paths import Noise, Paths, component

__all__ = ["TOGETHER", "Noise", "Paths", "backward", "component", "forward", "gradient", "ratio"]

Array = NDArray[np.float64]

#: Paths to run together: large enough to vectorise, small enough for the cache.
TOGETHER = 4096


@dataclass
class _Point:
    """x (n, R) and rho (n,) at step n; all variables of its scores j; and what they add up to: in log W (n,), and in
    both drifts, each a (n,) and its pull (n, R)."""

    n: int
    x: Array
    rho: Array
    scores: dict[int, dict[str, Any]]
    ending: Any
    drifts: list[tuple[Any, Any]]


def forward(sampler: Sampler, noise: Noise, chosen: NDArray[np.intp] | None = None) -> Paths:
    """Paths from the prior with their log-weights. chosen (n,): prior components, default by weight."""
    points, log_weight, *_ = _forward(sampler, noise, chosen, keep=False)
    return _paths(points[-1], log_weight)


def backward(sampler: Sampler, noise: Noise) -> Paths:
    """Paths from exact samples of the target, drawn with the backward kernels; log_weight is that of the same path.

    Their mean of log W is the EUBO, an upper bound of log Z, and E[1/W] = 1/Z.
    """
    module, target, etas, base = sampler.module, sampler.mixtures["target"], sampler.eta, sampler.log_base
    point = end = _start(sampler, sampler.steps, target, component(target, noise.uniform), noise)
    log_weight = end.ending
    for n in reversed(range(sampler.steps)):
        xi, eta = noise.at(n + 1), etas[n]
        moved = module.step(point.x, point.rho, *point.drifts[1], *xi, eta)
        before = _point(sampler, n, moved["x_new"], moved["rho_new"])
        # log F(x'|x) − log B(x|x'): the same increment with the two kernels in each other's place.
        swapped = (point.x, point.rho, *point.drifts[1], *before.drifts[0])
        log_weight = log_weight - module.weight(*swapped, *xi, eta, base)["increment"] + before.ending
        point = before
    return _paths(end, log_weight)


def gradient(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], weights: Array, steering: Bars | None = None
) -> tuple[Paths, dict[str, Mixture]]:
    """∂/∂(mean, log_var, log_w) of Σ_i weights_i (−log W_i) at fixed noise and components, for every mixture.

    weights (n,): of the paths, α_k/n_k for stratified ones. The derivative of α_k itself is not in it. log_w is taken
    as K independent numbers. steering: where derivatives in the schedule are added, if anybody wants them.
    """
    module, etas, base, scores = sampler.module, sampler.eta, sampler.log_base, scores_of(sampler)
    points, log_weight, moves, increments = _forward(sampler, noise, chosen, keep=True)
    K, R = max(len(m.log_w) for m in sampler.mixtures.values()), sampler.directions
    of_mean, of_log_var, of_log_w = (np.zeros((*scores.used.shape, *rest)) for rest in ((K, R), (K,), (K,)))
    of_c = np.zeros_like(scores.c)
    nothing = (np.zeros_like(weights), np.zeros_like(points[0].x))
    x_bar, rho_bar, of_forward = nothing[1], nothing[0], nothing
    for n in reversed(range(sampler.steps + 1)):
        point, of_backward = points[n], nothing
        if n > 0:
            before, xi, moved, eta = points[n - 1], noise.at(n), moves[n - 1], etas[n - 1]
            given = (before.x, before.rho, *before.drifts[0], *point.drifts[1], *xi, eta, base)
            of_weight = module.weight_adjoint(*given, increments[n - 1], -weights)
            of_backward = (of_weight["shrink_b"], of_weight["pull_b"])
            if steering is not None:
                steering.eta[n - 1] += module.weight_slope(*given, increments[n - 1], -weights)["eta"].sum()
        for j, saved in point.scores.items():
            of_score = (point.x, point.rho, *scores.at(n, j), saved, -weights, *of_forward, *of_backward)
            bars = module.score_adjoint(*of_score)
            if steering is not None and scores.by_beta[n, j].any():
                of_c[n, j] = [of.sum() for of in module.score_slope(*of_score).values()]
            x_bar, rho_bar = x_bar + bars["x"], rho_bar + bars["rho"]
            there = (n, j, slice(bars["log_w"].shape[1]))
            of_mean[there], of_log_var[there] = bars["mean"].sum(0), bars["log_var"].sum(0)
            of_log_w[there] = bars["log_w"].sum(0)
        if n > 0:
            taken = (before.x, before.rho, *before.drifts[0], *xi, eta, moved, x_bar, rho_bar)
            of_step = module.step_adjoint(*taken)
            if steering is not None:
                steering.eta[n - 1] += module.step_slope(*taken)["eta"].sum()
            of_forward = tuple(of_step[name] + of_weight[name] for name in ("shrink_f", "pull_f"))
            x_bar, rho_bar = of_step["x"] + of_weight["x"], of_step["rho"] + of_weight["rho"]
    prior = sampler.mixtures["prior"]
    first = (prior.mean[chosen], prior.log_var[chosen], *noise.at(0))
    of_start = module.start_adjoint(*first, module.start(*first), x_bar, rho_bar)
    starts = np.zeros((len(prior.log_w), R + 1))
    np.add.at(starts, chosen, np.column_stack([of_start["pull_f"], of_start["log_v"]]))
    return _paths(points[-1], log_weight), scores.pulled_back(of_mean, of_log_var, of_log_w, starts, steering, of_c)


def ratio(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], by_forward: Array, by_backward: Array
) -> tuple[Paths, dict[str, Mixture]]:
    """∂/∂(mean, log_var, log_w) of Σ_i (by_forward_i log Q_i + by_backward_i log P̃_i) at paths that stay where they
    are, for every mixture: Q the law φ F ... F of the paths, P̃ = p B ... B.

    by_forward, by_backward (n,): of the paths. log_w is taken as K independent numbers.
    """
    module, etas, scores = sampler.module, sampler.eta, scores_of(sampler)
    points, log_weight, *_ = _forward(sampler, noise, chosen, keep=True)
    K, R = max(len(m.log_w) for m in sampler.mixtures.values()), sampler.directions
    of_mean, of_log_var, of_log_w = (np.zeros((*scores.used.shape, *rest)) for rest in ((K, R), (K,), (K,)))
    nothing = np.zeros_like(by_forward), np.zeros_like(points[0].x)
    of_backward, last = nothing, len(scores.names) - 1
    for point in points:
        of_forward, of_next = nothing, nothing
        if point.n < sampler.steps:
            after = points[point.n + 1]
            given = (point.x, point.rho, *point.drifts[0], *after.drifts[1], *noise.at(point.n + 1), etas[point.n])
            found = module.fixed(*given, by_forward, by_backward)
            of_forward, of_next = ((found[f"of_shrink_{side}"], found[f"of_pull_{side}"]) for side in "fb")
        for j, saved in point.scores.items():
            # log W = log P̃ − log Q: its ends are −log φ, of Q, and log p.
            ending = by_backward if j == last else -by_forward
            bars = module.score_adjoint(
                point.x, point.rho, *scores.at(point.n, j), saved, ending, *of_forward, *of_backward
            )
            there = (point.n, j, slice(bars["log_w"].shape[1]))
            of_mean[there], of_log_var[there] = bars["mean"].sum(0), bars["log_var"].sum(0)
            of_log_w[there] = bars["log_w"].sum(0)
        of_backward = of_next
    no_starts = np.zeros((K, R + 1))
    return _paths(points[-1], log_weight), scores.pulled_back(of_mean, of_log_var, of_log_w, no_starts)


def _start(sampler: Sampler, n: int, mixture: Mixture, chosen: NDArray[np.intp], noise: Noise) -> _Point:
    first = sampler.module.start(mixture.mean[chosen], mixture.log_var[chosen], *noise.at(0))
    return _point(sampler, n, first["x"], first["rho"])


def _forward(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp] | None, *, keep: bool
) -> tuple[list[_Point], Array, list[dict[str, Any]], list[dict[str, Any]]]:
    """Points, log W, and, if kept, the variables of every step and of every increment."""
    module, prior, etas, base = sampler.module, sampler.mixtures["prior"], sampler.eta, sampler.log_base
    if chosen is None:
        chosen = component(prior, noise.uniform)
    point = _start(sampler, 0, prior, chosen, noise)
    points, moves, increments = [point], [], []
    log_weight = point.ending
    for n in range(sampler.steps):
        xi, eta = noise.at(n + 1), etas[n]
        moved = module.step(point.x, point.rho, *point.drifts[0], *xi, eta)
        after = _point(sampler, n + 1, moved["x_new"], moved["rho_new"])
        gained = module.weight(point.x, point.rho, *point.drifts[0], *after.drifts[1], *xi, eta, base)
        log_weight = log_weight + gained["increment"] + after.ending
        point = after
        if keep:
            points.append(point)
            moves.append(moved)
            increments.append(gained)
    return points if keep else [point], log_weight, moves, increments


def _point(sampler: Sampler, n: int, x: Array, rho: Array) -> _Point:
    """Scores and drifts at (x, rho): forward except at the last step, backward except at the first."""
    scores = scores_of(sampler)
    found = {j: sampler.module.score(x, rho, *scores.at(n, j)) for j in np.flatnonzero(scores.used[n]).tolist()}

    def total(name: str, start: Any) -> Any:
        return sum((parts[name] for parts in found.values()), start)

    drifts = [
        (total(f"shrink_{side}", np.full(len(x), c)), total(f"pull_{side}", np.zeros_like(x)))
        for side, c in zip("fb", scores.c_x[n], strict=True)
    ]
    return _Point(n, x, rho, found, total("ending", np.zeros(len(x))), drifts)


def _paths(end: _Point, log_weight: Array) -> Paths:
    return Paths(np.asarray(log_weight), end.x, end.rho, end.scores[max(end.scores)]["resp"])
