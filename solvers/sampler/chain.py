"""Paths of the reduced chain, forward from the prior and backward from the target, and the gradient along them.

Everything about one step (drifts, noise, weight, adjoint) is emitted by the theory; here is what strings them together,
in array code. solvers.sampler.backends has who else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.model import Mixture, Sampler
from solvers.sampler.paths import Noise, Paths, component

__all__ = ["TOGETHER", "Noise", "Paths", "backward", "component", "forward", "gradient"]

Array = NDArray[np.float64]

#: Paths to run together: large enough to vectorise, small enough for the cache.
TOGETHER = 4096


@dataclass
class _Point:
    """x (n, R), rho (n,) at step n, the drifts there, and what their scores were computed from."""

    n: int
    x: Array
    rho: Array
    scores: dict[str, dict[str, Any]]
    mixtures: dict[str, tuple[Mixture, dict[str, Any] | None]]
    forward: tuple[Any, Any] = (0.0, 0.0)
    backward: tuple[Any, Any] = (0.0, 0.0)


def forward(sampler: Sampler, noise: Noise, chosen: NDArray[np.intp] | None = None) -> Paths:
    """Paths from the prior with their log-weights. chosen (n,): prior components, default by weight."""
    points, log_weight, *_ = _forward(sampler, noise, chosen, keep=False)
    return _paths(sampler, points[-1], log_weight)


def backward(sampler: Sampler, noise: Noise) -> Paths:
    """Paths from exact samples of the target, drawn with the backward kernels; log_weight is that of the same path.

    Their mean of log W is the EUBO, an upper bound of log Z, and E[1/W] = 1/Z.
    """
    module, target, eta, base = sampler.module, sampler.mixtures["target"], sampler.eta, sampler.log_base
    x, rho = _start(sampler, target, component(target, noise.uniform), noise)
    point = end = _point(sampler, sampler.steps, x, rho)
    log_weight = np.asarray(end.scores["target"]["lse"])
    for n in reversed(range(sampler.steps)):
        xi = noise.at(n + 1)
        moved = module.step(point.x, point.rho, *point.backward, *xi, eta)
        before = _point(sampler, n, moved["x_new"], moved["rho_new"])
        # log F(x'|x) − log B(x|x'): the same increment with the two kernels in each other's place.
        swapped = (point.x, point.rho, *point.backward, *before.forward)
        log_weight = log_weight - module.weight(*swapped, *xi, eta, base)["increment"]
        point = before
    log_weight = log_weight - point.scores["prior"]["lse"]
    return _paths(sampler, end, log_weight)


def gradient(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], weights: Array
) -> tuple[Paths, dict[str, Mixture]]:
    """∂/∂(mean, log_var, log_w) of Σ_i weights_i (−log W_i) at fixed noise and components, for every mixture.

    weights (n,): of the paths, α_k/n_k for stratified ones. The derivative of α_k itself is not in it. log_w is taken
    as K independent numbers.
    """
    module, eta, base = sampler.module, sampler.eta, sampler.log_base
    points, log_weight, moves, increments = _forward(sampler, noise, chosen, keep=True)
    total = {name: _Total.like(mixture) for name, mixture in sampler.mixtures.items()}
    zero, zeros = np.zeros(len(weights)), np.zeros_like(points[0].x)
    x_bar, rho_bar, of_forward = zeros, zero, (zero, zeros)
    for n in reversed(range(sampler.steps + 1)):
        point, of_backward = points[n], (zero, zeros)
        if n > 0:
            before, xi, moved = points[n - 1], noise.at(n), moves[n - 1]
            of_weight = module.weight_adjoint(
                before.x, before.rho, *before.forward, *point.backward, *xi, eta, base, increments[n - 1], -weights
            )
            of_backward = (of_weight["shrink_b"], of_weight["pull_b"])
        x_new_bar, rho_new_bar = _scores_adjoint(sampler, point, of_forward, of_backward, weights, total)
        x_bar, rho_bar = x_bar + x_new_bar, rho_bar + rho_new_bar
        if n > 0:
            of_step = module.step_adjoint(before.x, before.rho, *before.forward, *xi, eta, moved, x_bar, rho_bar)
            of_forward = tuple(of_step[name] + of_weight[name] for name in ("shrink_f", "pull_f"))
            x_bar, rho_bar = of_step["x"] + of_weight["x"], of_step["rho"] + of_weight["rho"]
    prior = sampler.mixtures["prior"]
    first = (prior.mean[chosen], prior.log_var[chosen], *noise.at(0))
    of_start = module.start_adjoint(*first, module.start(*first), x_bar, rho_bar)
    np.add.at(total["prior"].mean, chosen, of_start["pull_f"])
    np.add.at(total["prior"].log_var, chosen, of_start["log_v"])
    return _paths(sampler, points[-1], log_weight), {k: Mixture(t.mean, t.log_var, t.log_w) for k, t in total.items()}


@dataclass
class _Total:
    """Derivatives with respect to the parameters of a mixture, summed over paths and steps."""

    mean: Array
    log_var: Array
    log_w: Array

    @classmethod
    def like(cls, mixture: Mixture) -> _Total:
        return cls(*(np.zeros_like(a) for a in (mixture.mean, mixture.log_var, mixture.log_w)))


def _start(sampler: Sampler, mixture: Mixture, chosen: NDArray[np.intp], noise: Noise) -> tuple[Array, Array]:
    first = sampler.module.start(mixture.mean[chosen], mixture.log_var[chosen], *noise.at(0))
    return first["x"], first["rho"]


def _forward(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp] | None, *, keep: bool
) -> tuple[list[_Point], Array, list[dict[str, Any]], list[dict[str, Any]]]:
    """Points, log W, and, if kept, the variables of every step and of every increment."""
    module, prior, eta, base = sampler.module, sampler.mixtures["prior"], sampler.eta, sampler.log_base
    if chosen is None:
        chosen = component(prior, noise.uniform)
    point = _point(sampler, 0, *_start(sampler, prior, chosen, noise))
    points, moves, increments = [point], [], []
    log_weight = -point.scores["prior"]["lse"]
    for n in range(sampler.steps):
        xi = noise.at(n + 1)
        moved = module.step(point.x, point.rho, *point.forward, *xi, eta)
        after = _point(sampler, n + 1, moved["x_new"], moved["rho_new"])
        gained = module.weight(point.x, point.rho, *point.forward, *after.backward, *xi, eta, base)
        log_weight = log_weight + gained["increment"]
        point = after
        if keep:
            points.append(point)
            moves.append(moved)
            increments.append(gained)
    points = points if keep else [point]
    return points, np.asarray(log_weight + point.scores["target"]["lse"]), moves, increments


def _point(sampler: Sampler, n: int, x: Array, rho: Array) -> _Point:
    """Scores and drifts at (x, rho): forward except at the last step, backward except at the first."""
    module, sides = sampler.module, sampler.coefficients(n)
    used = [n < sampler.steps, n > 0]
    names = {name for side, use in zip(sides, used, strict=True) if use for name in side if name != "x"}
    names |= ({"prior"} if n == 0 else set()) | ({"target"} if n == sampler.steps else set())
    scores, mixtures = {}, {}
    for name in sorted(names):
        mixture, decay, saved = sampler.mixtures[sampler.origin(name)], sampler.decay(n, name), None
        if decay is not None:
            saved = module.noise(mixture.mean, mixture.log_var, decay)
            mixture = Mixture(saved["mean_t"], saved["log_var_t"], mixture.log_w)
        mixtures[name] = (mixture, saved)
        parameters = (mixture.mean, mixture.log_var, mixture.log_w, sampler.dimension, sampler.log_base)
        scores[name] = module.score(x, rho, *parameters)
    drifts = []
    for side, use in zip(sides, used, strict=True):
        shrink, pull = np.full(len(x), side.get("x", 0.0)), np.zeros_like(x)
        for name, c in side.items() if use else ():
            if name != "x":
                shrink, pull = shrink + c * scores[name]["shrink"], pull + c * scores[name]["pull"]
        drifts.append((shrink, pull))
    return _Point(n, x, rho, scores, mixtures, *drifts)


def _scores_adjoint(
    sampler: Sampler,
    point: _Point,
    of_forward: tuple[Array, Array],
    of_backward: tuple[Array, Array],
    weights: Array,
    total: dict[str, _Total],
) -> tuple[Array, Array]:
    """∂L/∂x and ∂L/∂ϱ through the scores and the log-densities at a point; parameters are added to `total`."""
    module, sides = sampler.module, sampler.coefficients(point.n)
    x_bar, rho_bar = np.zeros_like(point.x), np.zeros_like(point.rho)
    for name, saved in point.scores.items():
        mixture, noised = point.mixtures[name]
        c_forward, c_backward = (side.get(name, 0.0) for side in sides)
        d_shrink = c_forward * of_forward[0] + c_backward * of_backward[0]
        d_pull = c_forward * of_forward[1] + c_backward * of_backward[1]
        d_lse = np.zeros_like(weights)
        if name == "prior" and point.n == 0:
            d_lse = d_lse + weights
        if name == "target" and point.n == sampler.steps:
            d_lse = d_lse - weights
        parameters = (mixture.mean, mixture.log_var, mixture.log_w, sampler.dimension, sampler.log_base)
        bars = module.score_adjoint(point.x, point.rho, *parameters, saved, d_lse, d_shrink, d_pull)
        x_bar, rho_bar = x_bar + bars["x"], rho_bar + bars["rho"]
        mean_bar, log_var_bar = bars["mean"].sum(0), bars["log_var"].sum(0)
        origin = sampler.origin(name)
        if noised is not None:
            base, decay = sampler.mixtures[origin], sampler.decay(point.n, name)
            pulled = module.noise_adjoint(base.mean, base.log_var, decay, noised, mean_bar, log_var_bar)
            mean_bar, log_var_bar = pulled["mean"], pulled["log_var"]
        total[origin].mean += mean_bar
        total[origin].log_var += log_var_bar
        total[origin].log_w += bars["log_w"].sum(0)
    return x_bar, rho_bar


def _paths(sampler: Sampler, end: _Point, log_weight: Array) -> Paths:
    return Paths(np.asarray(log_weight), end.x, end.rho, end.scores["target"]["resp"])
