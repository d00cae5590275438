"""Learning the prior, and a mixture control with it: gradient flow of the reverse KL on paths, by the derived adjoint.

The paths behind the gradient are the same at all learning times (common random numbers) and stratified over the prior's
components, so the flow is that of a smooth function and the weights have exact gradients given the paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import RK45
from scipy.special import log_softmax

from solvers.closed import mobility
from solvers.results.outcomes import TOO_LONG
from solvers.sampler.backends import PLAIN, Walker
from solvers.sampler.chain import TOGETHER, Noise
from solvers.sampler.limits import overshoot
from solvers.sampler.model import Mixture, Sampler

__all__ = ["Learning", "Slope", "path_gradient"]

Array = NDArray[np.float64]
MAX_STEPS = 20_000


@dataclass(frozen=True)
class Slope:
    """∂D/∂mean (K, R), ∂D/∂log v (K,) and ∂D/∂θ (K,) with weights = softmax θ."""

    mean: Array
    log_var: Array
    theta: Array


def path_gradient(sampler: Sampler, noise: Noise, walker: Walker = PLAIN) -> tuple[float, dict[str, Slope]]:
    """D = Σ_k α_k E_k[−log W], the reverse KL on paths up to log Z in nats, and its gradient in every mixture.

    Path i starts in component i mod K, so every component has as many paths whatever its weight.
    """
    prior = sampler.mixtures["prior"]
    K, n = len(prior.log_w), noise.xi.shape[1]
    chosen = np.arange(n) % K
    counts = np.bincount(chosen, minlength=K)
    losses = np.zeros(K)
    total: dict[str, tuple[Array, ...]] = {}
    together = n if walker.whole else TOGETHER
    for first in range(0, n, together):
        block = slice(first, min(first + together, n))
        some = chosen[block]
        paths, bars = walker.gradient(sampler, noise.block(block), some, (prior.weights / counts)[some])
        losses += np.bincount(some, weights=-paths.log_weight, minlength=K)
        for name, bar in bars.items():
            found = (bar.mean, bar.log_var, bar.log_w)
            total[name] = tuple(a + b for a, b in zip(total[name], found, strict=True)) if first else found
    by_component = losses / counts
    value = float(prior.weights @ by_component)
    slopes = {}
    for name, (mean, log_var, log_w) in total.items():
        weights = sampler.mixtures[name].weights
        theta = log_w - weights * np.sum(log_w)
        if name == "prior":
            theta = theta + weights * (by_component - value)
        slopes[name] = Slope(mean, log_var, theta)
    return value, slopes


@dataclass(frozen=True)
class Learning:
    """Which parameters of which mixture move, and by which metric.

    learn: names of mixtures, with any of means, weights, variances. weights, metric: those of solvers.closed.mobility.
    walker: who runs the paths.
    """

    sampler: Sampler
    noise: Noise
    learn: dict[str, tuple[str, ...]]
    weights: str = "softmax"
    metric: str = "euclidean"
    walker: Walker = PLAIN

    def velocity(self, sampler: Sampler) -> dict[str, Slope]:
        """dμ/dt, d log v/dt and dθ/dt of every learned mixture; zero for what does not move."""
        out = {}
        _, slopes = path_gradient(sampler, self.noise, self.walker)
        for name, learned in self.learn.items():
            slope, w = slopes[name], sampler.mixtures[name].weights
            # The adjoint gives whole slopes: nothing is known of a w_k in them.
            whole = dict.fromkeys(("means", "variances", "weights"), 0)
            rates = mobility.rates(self, whole, w, np.exp(sampler.mixtures[name].log_var), sampler.dimension)
            means, variances, weights = (rates[f"rate_{group}"] * (group in learned) for group in whole)
            out[name] = Slope(-means[:, None] * slope.mean, -variances * slope.log_var, -weights * slope.theta)
        return out

    def decrease(self, sampler: Sampler) -> float:
        """−dD/dt ≥ 0 along the flow, in nats per unit of time."""
        _, slopes = path_gradient(sampler, self.noise, self.walker)
        total = 0.0
        for name, v in self.velocity(sampler).items():
            slope = slopes[name]
            total -= float(np.sum(slope.mean * v.mean) + slope.log_var @ v.log_var + slope.theta @ v.theta)
        return total

    def pack(self, sampler: Sampler) -> Array:
        """All parameters of the learned mixtures as one vector; θ is log w at the start."""
        parts = [(m.mean.ravel(), m.log_var, m.log_w) for m in (sampler.mixtures[name] for name in self.learn)]
        return np.concatenate([a for part in parts for a in part])

    def unpack(self, y: Array) -> Sampler:
        """The sampler with these parameters."""
        mixtures, first = dict(self.sampler.mixtures), 0
        for name in self.learn:
            old = mixtures[name]
            K, size = len(old.log_w), old.mean.size
            mean, log_var, theta = np.split(y[first : first + size + 2 * K], [size, size + K])
            mixtures[name] = Mixture(mean.reshape(old.mean.shape), log_var, log_softmax(theta))
            first += size + 2 * K
        return replace(self.sampler, mixtures=mixtures)

    def run(self, times: Array, rtol: float, atol: float) -> tuple[list[Sampler], int]:
        """The samplers at the given increasing times, and the status, a key of results.STATUS. While variances are
        learned the step of the chain may become too long for them."""
        y = self.pack(self.sampler)
        found = [self.unpack(y) for t in times if t <= 0]
        if len(found) == len(times) or not any(self.learn.values()):
            return found + [self.sampler] * (len(times) - len(found)), 0

        narrows = any("variances" in learned for learned in self.learn.values())

        def rhs(_: float, y: Array) -> Array:
            velocity = self.velocity(self.unpack(y))
            return np.concatenate([a for v in velocity.values() for a in (v.mean.ravel(), v.log_var, v.theta)])

        with np.errstate(over="ignore", invalid="ignore"):
            solver = RK45(rhs, 0.0, y, float(times[-1]), rtol=rtol, atol=atol)
            if not np.all(np.isfinite(solver.f)):  # its first step would be nan, and be tried for ever
                return found, 2
            for _ in range(MAX_STEPS):
                solver.step()
                if solver.status == "failed" or not np.all(np.isfinite(solver.y)):
                    return found, 2
                if narrows and not overshoot(self.unpack(solver.y)) < 2:
                    return found, TOO_LONG
                dense = solver.dense_output()
                found += [self.unpack(dense(t)) for t in times[len(found) :] if t <= solver.t]
                if solver.status == "finished":
                    return found, 0
        return found, 1
