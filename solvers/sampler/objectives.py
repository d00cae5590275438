"""What learning descends: the reverse KL on paths, or a loss of L = −log W on paths whose law is not differentiated.

    log-variance         ½ Var_r L
    trajectory-balance   ½ E_r (L + c)²,   c learned with the rest: dc/dt = −E_r[L + c]

r is the law of the sampler's own paths, or with `explore` = σ of paths by the same kernels from starts σ times as far
from the means of their components. At fixed paths the gradients are E_r[(L − E_r L) ∂L] and E_r[(L + c) ∂L],
∂L = ∂log Q − ∂log P̃, by the emitted derivatives of both kernels (solvers.sampler.chain.ratio). Where r = Q,
E ∂log Q = 0: of the mean of L in what multiplies ∂log Q nothing is left but noise, whatever c is.
Source: Richter et al., NeurIPS (2020); Malkin et al., NeurIPS (2022); derivations/documents/sampler_chain.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.backends import PLAIN, Walker
from solvers.sampler.chain import TOGETHER, Noise
from solvers.sampler.evaluate import walked
from solvers.sampler.gradients import Slope, estimator
from solvers.sampler.model import Bars, Sampler

__all__ = ["LEVEL", "REVERSE_KL", "Objective"]

Array = NDArray[np.float64]

#: Name of c beside those of mixtures.
LEVEL = "level"


@dataclass(frozen=True)
class Objective:
    """name: "reverse-kl", "log-variance" or "trajectory-balance". explore: σ, 1 for the sampler's own paths."""

    name: str = "reverse-kl"
    explore: float = 1.0

    @property
    def detached(self) -> bool:
        """Whether its paths have a law that is not differentiated."""
        return self.name != "reverse-kl"

    @property
    def balances(self) -> bool:
        """Whether there is a c to be learned, Sampler.level."""
        return self.name == "trajectory-balance"

    def draw(self, sampler: Sampler, each: int, rng: np.random.Generator) -> Noise:
        """What `each` paths from every component of the prior draw; of a detached law two independent halves, so that
        means over one of them know nothing of the other's paths, whose starts are Sobol points."""
        if not self.detached:
            return Noise.spread(sampler, max(2, each), rng)
        one, other = (Noise.spread(sampler, -(-each // 2), rng) for _ in range(2))
        return one.beside(other).from_wider(self.explore)

    def gradient(
        self, sampler: Sampler, noise: Noise, walker: Walker = PLAIN, steering: Bars | None = None
    ) -> tuple[float, dict[str, Slope]]:
        """The objective, and its gradient in every mixture, and in c as the `theta` (1,) of LEVEL; both without bias.

        noise: of `draw`. The reverse KL is up to log Z, and it alone has derivatives in a schedule: to be added to
        steering.
        """
        if not self.detached:
            return estimator(sampler)(sampler, noise, walker, steering)
        prior = sampler.mixtures["prior"]
        K, n = len(prior.log_w), noise.xi.shape[1]
        chosen = np.arange(n) % K
        weights = prior.weights[chosen] * K / n
        loss = -walker.forward(sampler, noise, chosen).log_weight
        half = np.arange(n) >= n // 2
        means = 2 * np.bincount(half, weights=weights * loss, minlength=2)
        mean, above, whole = float(means.mean()), loss - means[1 - half.astype(int)], loss + sampler.level
        by_forward, by_backward = above, whole if self.balances else above
        if self.balances and self.explore != 1:
            by_forward = whole
        value = (weights @ whole**2 if self.balances else weights @ loss**2 - means.prod()) / 2
        slopes = _slopes(sampler, noise, chosen, weights * by_forward, -weights * by_backward, walker)
        if self.balances:
            slopes[LEVEL] = Slope(np.empty(0), np.empty(0), np.array([mean + sampler.level]))
        return float(value), slopes

    def value(
        self, sampler: Sampler, log_weight: Array, elbo: float, variance: float, rng: np.random.Generator,
        walker: Walker = PLAIN,
    ) -> tuple[float, float]:  # fmt: skip
        """The objective and its standard error, of a target that is normalised.

        log_weight (n,): of paths from the prior, in all directions that are not known in closed form; elbo, variance:
        of log W in all of them, by these paths. Where `explore` is not 1 other paths are needed, which rng draws.
        """
        n = len(log_weight)
        if self.explore != 1:
            log_weight = walked(walker.forward, sampler, n, rng, self.explore).log_weight
            elbo, variance = float(np.mean(log_weight)), float(np.var(log_weight, ddof=1))
        off = log_weight - np.mean(log_weight)
        if not self.detached:
            value, influence = -elbo, -off
        else:
            missing = sampler.level - elbo if self.balances else 0.0
            value, influence = (variance + missing**2) / 2, off**2 / 2 - missing * off
        return value, float(np.std(influence, ddof=1) / np.sqrt(n))


REVERSE_KL = Objective()


def _slopes(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], by_forward: Array, by_backward: Array, walker: Walker
) -> dict[str, Slope]:
    """Derivatives of Σ (by_forward log Q + by_backward log P̃) at fixed paths."""
    n, total = len(chosen), dict[str, tuple[Array, ...]]()
    together = n if walker.whole else TOGETHER
    for first in range(0, n, together):
        block = slice(first, min(first + together, n))
        bars = walker.ratio(sampler, noise.block(block), chosen[block], by_forward[block], by_backward[block])[1]
        for name, bar in bars.items():
            found = (bar.mean, bar.log_var, bar.log_w)
            total[name] = tuple(a + b for a, b in zip(total[name], found, strict=True)) if first else found
    slopes = {}
    for name, (mean, log_var, log_w) in total.items():
        slopes[name] = Slope(mean, log_var, log_w - sampler.mixtures[name].weights * np.sum(log_w))
    return slopes
