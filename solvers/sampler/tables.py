"""A sampler as whoever runs its paths in machine code takes it: numbers in arrays, everything that no path changes.

means (N+1, J, K, R), log_vars and log_ws (N+1, J, K): the mixture of score j at step n, filled up to K components, of
weight 0, in R directions, where it has fewer. Beside them the c, c_x, ends and used of solvers.sampler.model.Scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.model import Bars, Mixture, Sampler, scores_of
from solvers.sampler.paths import Noise, component

__all__ = ["SIZES", "Tables", "possible"]

Array = NDArray[np.float64]

#: Sizes for which machine code is made; other numbers of components or directions are padded to the next of them.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)


def possible(components: int, directions: int, largest: int) -> bool:
    """Whether the means of mixtures of so many components in so many directions are at most `largest` numbers."""
    return max(components, directions) <= SIZES[-1] and _padded(components) * _padded(directions) <= largest


def _padded(size: int) -> int:
    return next(s for s in SIZES if s >= size)


class Tables:
    """See above. Raises ValueError for more than `largest` numbers in the means of a mixture."""

    def __init__(self, sampler: Sampler, largest: int) -> None:
        self.sampler, self.scores = sampler, scores_of(sampler)
        self.K = K = _padded(max(len(m.log_w) for m in sampler.mixtures.values()))
        self.R = R = _padded(sampler.directions)
        if not possible(K, R, largest):
            raise ValueError(f"{K} components in {R} directions: compiled samplers have at most {largest} numbers")
        shape = self.scores.used.shape
        self.means, self.log_vars, self.log_ws = (
            np.zeros((*shape, K, R)),
            np.zeros((*shape, K)),
            np.full((*shape, K), -np.inf),
        )
        for j, ((name, _), (mean, log_var)) in enumerate(zip(self.scores.names, self.scores.laws, strict=True)):
            there = slice(mean.shape[1])
            self.means[:, j, there, : sampler.directions], self.log_vars[:, j, there] = mean, log_var
            self.log_ws[:, j, there] = sampler.mixtures[name].log_w

    def first(self, kernel: str, noise: Noise, chosen: NDArray[np.intp] | None) -> NDArray[np.intp]:
        """The components that paths start from, default by weight: of the target for "backward", else of the prior.

        Raises ValueError where machine code would read elsewhere.
        """
        s = self.sampler
        mixture = s.mixtures["target" if kernel == "backward" else "prior"]
        chosen = component(mixture, noise.uniform) if chosen is None else chosen
        count = len(chosen)
        shape = (s.steps + 1, count)
        if noise.xi.shape != (*shape, s.directions) or any(a.shape != shape for a in (noise.xi1, noise.chi2)):
            raise ValueError(f"noise of shape {noise.xi.shape[:2]}, must be {shape}")
        components = len(mixture.log_w)
        if count and not 0 <= chosen.min() <= chosen.max() < components:
            raise ValueError(f"components {chosen.min()} to {chosen.max()}, there are {components}")
        return chosen

    def schedule(self, parts: int, steering: Bars | None) -> tuple[Array, Array]:
        """Where derivatives in the steps (parts, N) and in c (parts, N+1, J, 2) are added, by parts of the paths; empty
        where nobody wants them, and those in c where no c depends on β."""
        eta, c = self.scores.eta, self.scores.c
        annealed = steering is not None and self.scores.by_beta.any()
        return (
            np.zeros((parts, *(eta.shape if steering is not None else (0,)))),
            np.zeros((parts, *(c.shape if annealed else (0, 0, 0)))),
        )

    def pulled_back(
        self,
        totals: Array,
        of_start: Array,
        bars: Bars | None = None,
        of_eta: Array | None = None,
        of_c: Array | None = None,
    ) -> dict[str, Mixture]:
        """Derivatives in the parameters of the mixtures, from totals (N+1, J, K R + 2 K), those in means, log_vars and
        log_ws summed over paths, and of_start (K, R + 1), those in the mean and log_var that paths started with; of_eta
        and of_c, those in the steps and in c, go to bars."""
        means, log_vars, log_ws = np.split(totals, [self.K * self.R, self.K * (self.R + 1)], axis=-1)
        if bars is not None and of_eta is not None:
            bars.eta[:] += of_eta
        whole = means.reshape(*means.shape[:2], self.K, self.R)
        by_c = of_c if of_c is not None and of_c.size else None
        return self.scores.pulled_back(whole, log_vars, log_ws, of_start, bars, by_c)
