"""A sampler as whoever runs its paths in machine code takes it: numbers in arrays, everything that no path changes.

means (N+1, J, K, R), log_vars and log_ws (N+1, J, K): the mixture of score j at step n. c (N+1, J, 2), c_x (N+1, 2):
what the score, and x itself, add to the forward and to the backward drift. ends (N+1, J): of the derivative of −log W
in the log-density of the score. used (N+1, J): whether the score is needed there. Scores 0 and 1 are those of the prior
and of the target. Mixtures are filled up to K components, of weight 0, in R directions, where they have fewer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.model import Mixture, Sampler
from solvers.sampler.paths import Noise

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
        self.sampler = sampler
        N, noised = sampler.steps, {"prior", "target"}
        sides = [sampler.coefficients(n) for n in range(N + 1)]
        rest = {name for pair in sides for side in pair for name in side if name != "x"} - noised
        self.names = ["prior", "target", *sorted(rest)]
        self.K = K = _padded(max(len(m.log_w) for m in sampler.mixtures.values()))
        self.R = R = _padded(sampler.directions)
        if not possible(K, R, largest):
            raise ValueError(f"{K} components in {R} directions: compiled samplers have at most {largest} numbers")
        shape = (N + 1, len(self.names))
        self.means, self.c, self.c_x = np.zeros((*shape, K, R)), np.zeros((*shape, 2)), np.zeros((N + 1, 2))
        self.log_vars, self.log_ws = np.zeros((*shape, K)), np.full((*shape, K), -np.inf)
        self.ends = np.zeros(shape)
        self.ends[0, 0] += 1
        self.ends[N, 1] -= 1
        for j, name in enumerate(self.names):
            m = sampler.mixtures[sampler.origin(name)]
            there = slice(len(m.log_w))
            self.log_ws[:, j, there] = m.log_w
            mean, log_var, decay = m.mean, m.log_var, self.decay(name)
            if decay is not None:
                saved = sampler.module.noise(mean.reshape(-1, 1), log_var[:, None], decay)
                mean, log_var = saved["mean_t"].T.reshape(N + 1, *mean.shape), saved["log_var_t"].T
            self.means[:, j, there, : sampler.directions], self.log_vars[:, j, there] = mean, log_var
        # The forward drift is not taken at the last step, nor the backward one at the first.
        for side, steps in enumerate((range(N), range(1, N + 1))):
            for n in steps:
                self.c_x[n, side] = sides[n][side].get("x", 0.0)
                self.c[n, :, side] = [sides[n][side].get(name, 0.0) for name in self.names]
        self.used = np.any(self.c != 0, axis=-1) | (self.ends != 0)

    def decay(self, name: str) -> Array | None:
        """e^{−τ} at each step (N+1,), beside which parameters are columns; None for a score that is not noised."""
        decay = [self.sampler.decay(n, name) for n in range(self.sampler.steps + 1)]
        return None if decay[0] is None else np.array(decay)

    def check(self, noise: Noise, chosen: NDArray[np.intp], first: str) -> None:
        """Raise ValueError where machine code would read elsewhere. first: the mixture that paths begin in."""
        s, count = self.sampler, len(chosen)
        shape = (s.steps + 1, count)
        if noise.xi.shape != (*shape, s.directions) or any(a.shape != shape for a in (noise.xi1, noise.chi2)):
            raise ValueError(f"noise of shape {noise.xi.shape[:2]}, must be {shape}")
        components = len(s.mixtures[first].log_w)
        if count and not 0 <= chosen.min() <= chosen.max() < components:
            raise ValueError(f"components {chosen.min()} to {chosen.max()}, there are {components}")

    def pulled_back(self, totals: Array, of_start: Array) -> dict[str, Mixture]:
        """Derivatives in the parameters of the mixtures, from those in what the scores were computed from.

        totals (N+1, J, K R + 2 K): in means, log_vars and log_ws, summed over paths; of_start (K, R + 1): in the mean
        and log_var that paths started with.
        """
        s, R = self.sampler, self.sampler.directions
        out = {k: Mixture(*(np.zeros_like(a) for a in (m.mean, m.log_var, m.log_w))) for k, m in s.mixtures.items()}
        for j, name in enumerate(self.names):
            origin = s.origin(name)
            m, total = s.mixtures[origin], out[origin]
            K = len(m.log_w)
            found = totals[self.used[:, j], j].T
            mean_bar, log_var_bar, log_w_bar = np.split(found, [self.K * self.R, self.K * (self.R + 1)])
            mean_bar, log_var_bar = mean_bar.reshape(self.K, self.R, -1)[:K, :R].reshape(K * R, -1), log_var_bar[:K]
            decay = self.decay(name)
            if decay is not None:
                mean, log_var, decay = m.mean.reshape(-1, 1), m.log_var[:, None], decay[self.used[:, j]]
                saved = s.module.noise(mean, log_var, decay)
                pulled = s.module.noise_adjoint(mean, log_var, decay, saved, mean_bar, log_var_bar)
                mean_bar, log_var_bar = pulled["mean"], pulled["log_var"]
            total.mean[:] += mean_bar.sum(1).reshape(K, R)
            total.log_var[:] += log_var_bar.sum(1)
            total.log_w[:] += log_w_bar[:K].sum(1)
        K = len(s.mixtures["prior"].log_w)
        out["prior"].mean[:] += of_start[:K, :R]
        out["prior"].log_var[:] += of_start[:K, self.R]
        return out
