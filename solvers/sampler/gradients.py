"""Unbiased estimates of the gradient of D = E[−log W], the reverse KL on paths up to log Z, from paths of the chain.

`path_gradient` differentiates −log W along paths at fixed noise. Where the prior enters paths by their start alone it
may also be differentiated under the law of that start, which asks of −log W its value only,

    ∂D/∂λ = Σ_k α_k E_k[(−log W − b) ∂ log N(x_0; μ_k, v_k)/∂λ],       b any number that x_0 does not enter,

with the derivative of the emitted `law`: `start_gradient`. Starts are scrambled Sobol points, so what −log W owes to
its start is integrated almost without noise, and only what it owes to the rest of the path is sampled. With the exact
control that is little. tests/benchmarks/gradients.py measures both, and others, side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.backends import PLAIN, Walker
from solvers.sampler.chain import TOGETHER, Noise
from solvers.sampler.model import Bars, Sampler

__all__ = ["Estimate", "Slope", "estimator", "path_gradient", "start_gradient"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Slope:
    """∂D/∂mean (K, R), ∂D/∂log v (K,) and ∂D/∂θ (K,) with weights = softmax θ."""

    mean: Array
    log_var: Array
    theta: Array


#: Of a sampler, noise and a walker: D, and its gradient by mixture. Of one that learns its schedule also where
#: derivatives in that are added; they are those along paths.
Estimate = Callable[..., tuple[float, dict[str, Slope]]]


def estimator(sampler: Sampler) -> Estimate:
    """The estimate with the least noise for its time: of the start where the control is exact, since then log W is
    nearly a function of x_0, and its paths take a third of the time; along paths where the prior or a control to be
    learned is in the drifts, or no control makes up for x_0."""
    return start_gradient if sampler.control == "exact" else path_gradient


def path_gradient(
    sampler: Sampler, noise: Noise, walker: Walker = PLAIN, steering: Bars | None = None
) -> tuple[float, dict[str, Slope]]:
    """D and its gradient in every mixture, by the derived adjoint: exact derivatives of the mean over these paths.

    Path i starts in component i mod K, so every component has as many paths whatever its weight.
    """
    prior = sampler.mixtures["prior"]
    K, chosen, counts = _stratified(sampler, noise)
    loss, total = _along(sampler, noise, walker, steering)
    by_component = np.bincount(chosen, weights=loss, minlength=K) / counts
    value = float(prior.weights @ by_component)
    slopes = {}
    for name, (mean, log_var, log_w) in total.items():
        weights = sampler.mixtures[name].weights
        theta = log_w - weights * np.sum(log_w)
        if name == "prior":
            theta = theta + weights * (by_component - value)
        slopes[name] = Slope(mean, log_var, theta)
    return value, slopes


def _stratified(sampler: Sampler, noise: Noise) -> tuple[int, NDArray[np.intp], NDArray[np.intp]]:
    """K, the component of each path, and how many paths each has."""
    K = len(sampler.mixtures["prior"].log_w)
    chosen = np.arange(noise.xi.shape[1]) % K
    return K, chosen, np.bincount(chosen, minlength=K)


def _along(
    sampler: Sampler, noise: Noise, walker: Walker, steering: Bars | None
) -> tuple[Array, dict[str, tuple[Array, ...]]]:
    """−log W (path,), and the derivatives of D along paths, weights taken as independent numbers."""
    prior, n = sampler.mixtures["prior"], noise.xi.shape[1]
    _, chosen, counts = _stratified(sampler, noise)
    loss, total = np.empty(n), dict[str, tuple[Array, ...]]()
    together = n if walker.whole else TOGETHER
    for first in range(0, n, together):
        block = slice(first, min(first + together, n))
        some = chosen[block]
        paths, bars = walker.gradient(sampler, noise.block(block), some, (prior.weights / counts)[some], steering)
        loss[block] = -paths.log_weight
        for name, bar in bars.items():
            found = (bar.mean, bar.log_var, bar.log_w)
            total[name] = tuple(a + b for a, b in zip(total[name], found, strict=True)) if first else found
    return loss, total


def start_gradient(
    sampler: Sampler, noise: Noise, walker: Walker = PLAIN, steering: Bars | None = None
) -> tuple[float, dict[str, Slope]]:
    """D and its gradient in the prior, which must be in no drift, by the likelihood ratio of the starts.

    Path i starts in component i mod K, in each of the two halves of the paths. From every path the mean of −log W over
    its component in the other half is taken. That knows of the path only that a start is not in the same cell of the
    Sobol points: a bias of higher order than 1/paths, which the mean over all others would have. The schedule is in the
    drifts: its derivatives are those along the same paths.
    """
    prior, module = sampler.mixtures["prior"], sampler.module
    K, chosen, counts = _stratified(sampler, noise)
    if steering is None:
        loss = -walker.forward(sampler, noise, chosen).log_weight
    else:
        loss, _ = _along(sampler, noise, walker, steering)
    by_component = np.bincount(chosen, weights=loss, minlength=K) / counts
    value = float(prior.weights @ by_component)
    drawn = (prior.mean[chosen], prior.log_var[chosen])
    start = module.start(*drawn, *noise.at(0))
    given = (*drawn, start["x"], start["rho"], float(sampler.dimension))
    half = np.arange(len(chosen)) >= len(chosen) // 2
    sums, sizes = (np.zeros((2, K)) for _ in range(2))
    np.add.at(sums, (1 - half.astype(int), chosen), loss)
    np.add.at(sizes, (1 - half.astype(int), chosen), 1.0)
    baseline = (sums / sizes)[half.astype(int), chosen]
    weights = (prior.weights / counts)[chosen] * (loss - baseline)
    bars = module.law_adjoint(*given, module.law(*given), weights)
    mean, log_var = np.zeros_like(prior.mean), np.zeros(K)
    np.add.at(mean, chosen, bars["pull_f"])
    np.add.at(log_var, chosen, bars["log_v"])
    return value, {"prior": Slope(mean, log_var, prior.weights * (by_component - value))}
