"""A sampler as data: method, steps, and the mixtures its drifts are made of, in coordinates of the span."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from solvers.closed import systems

__all__ = ["Bars", "Mixture", "Sampler", "Scores", "chain_module", "scores_of"]

Array = NDArray[np.float64]
Pair = tuple[float, float]
Drifts = dict[tuple[str, bool], tuple[Pair, Pair]]
"""Of x and of scores, (mixture, noised): coefficients forward and backward, constant and slope in β."""


@cache
def chain_module(drop: str | None = None) -> ModuleType:
    """The generated reduced chain, whole or without one of its marked terms."""
    return systems.load(systems.read("sampler_chain"), drop=drop)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ_k w_k N(mean_k, v_k I): mean (K, R) in R directions, log_var (K,), log_w (K,) normalised."""

    mean: Array
    log_var: Array
    log_w: Array

    @classmethod
    def of(cls, mean: Any, variances: Any, weights: Any) -> Mixture:
        """From means (K, R), variances (a number or (K,)) and weights (K,)."""
        mean = np.asarray(mean, dtype=np.float64)
        return cls(mean, np.log(np.broadcast_to(np.asarray(variances, float), len(mean))), np.log(np.asarray(weights)))

    @property
    def weights(self) -> Array:
        return np.asarray(np.exp(self.log_w))

    @property
    def one_variance(self) -> bool:
        """Whether all components have the same variance, so that a(x) of the score does not depend on x."""
        return bool(np.ptp(self.log_var) == 0)


@dataclass(frozen=True, eq=False)
class Sampler:
    """steps: N ≥ 0. horizon: Σ η_n. dimension: d ≥ R. mixtures: prior and target, and control and control_back where
    the drifts have them. components: of a control, at most. module: the generated chain, with a term dropped for a
    wrong theory; machine code is that of the whole chain. shares (N,): of each step in the horizon, default equal.
    annealing (N+1,): β_n, where the drifts have it, default n/N. level: c of trajectory balance, in nats."""

    method: str
    reference: str
    control: str
    steps: int
    horizon: float
    dimension: int
    mixtures: dict[str, Mixture]
    components: int | None = None
    module: ModuleType = field(default_factory=chain_module)
    shares: Array | None = None
    annealing: Array | None = None
    level: float = 0.0

    @property
    def eta(self) -> Array:
        """Lengths η_n (N,) of the steps from n to n + 1, n = 0..N−1."""
        if self.shares is None:
            return np.full(self.steps, self.horizon / max(self.steps, 1))
        if len(self.shares) != self.steps:
            raise ValueError(f"{len(self.shares)} shares of the horizon, for {self.steps} steps")
        return np.asarray(self.horizon * self.shares)

    @property
    def beta(self) -> Array:
        """β_n (N+1,), the inverse temperature of an annealed reference at each step."""
        return np.arange(self.steps + 1) / max(self.steps, 1) if self.annealing is None else self.annealing

    @property
    def left(self) -> Array:
        """Noise time τ_n = Σ_{m≥n} η_m (N+1,) that is left at each step."""
        return np.append(np.cumsum(self.eta[::-1])[::-1], 0.0)

    @property
    def log_base(self) -> float:
        """log of the variance B that log-densities are relative to: one of the target's, so that nothing of order d is
        left of log p − log φ where variances are nearly equal. It changes no result."""
        return float(self.mixtures["target"].log_var[0])

    @property
    def directions(self) -> int:
        """R, the dimension of the span of all means."""
        return int(self.mixtures["prior"].mean.shape[1])

    @property
    def drifts(self) -> Drifts:
        """Coefficients of x and of the scores, (mixture, noised), in both drifts, as emitted.

        Raises KeyError for a combination of method, reference and control that the theory does not have.
        """
        found: Drifts = self.module.DRIFTS[self.method, self.reference, self.control]
        return found

    @property
    def controls(self) -> tuple[str, ...]:
        """The mixtures of the drifts beside prior and target."""
        return tuple(dict.fromkeys(name for name, _ in self.drifts if name not in ("x", *self.module.ENDS)))

    def begun(self) -> Sampler:
        """The same with controls that begin as the prior, or as its first components."""
        prior = self.mixtures["prior"]
        log_w = prior.log_w[: self.components]
        first = Mixture(prior.mean[: self.components], prior.log_var[: self.components], log_w - logsumexp(log_w))
        control = prior if len(log_w) == len(prior.log_w) else first
        return replace(self, mixtures=self.mixtures | dict.fromkeys(self.controls, control))


class Bars(NamedTuple):
    """Where derivatives in η_n (N,) and in β_n (N+1,) of the whole are added, by gradients that are handed it."""

    eta: Array
    beta: Array

    @classmethod
    def zeros(cls, sampler: Sampler) -> Bars:
        return cls(np.zeros(sampler.steps), np.zeros(sampler.steps + 1))


class Scores:
    """What drifts and log W are made of at each step n = 0..N: J scores, each of a mixture, and their coefficients.

    names: (mixture, noised) of each, that of the prior first, of the target last. c (N+1, J, 2), c_x (N+1, 2): what
    multiplies the score, and x itself, in the forward and in the backward drift; ends (N+1, J): the log-density in
    log W. used (N+1, J): whether the score is needed there. laws: of each, mean (N+1, K, R) and log_var
    (N+1, K). eta (N,): of the steps. by_beta (N+1, J, 2): derivatives of c in β.
    """

    def __init__(self, sampler: Sampler) -> None:
        N, drifts, module = sampler.steps, sampler.drifts, sampler.module
        self.sampler, (first, last) = sampler, ((name, False) for name in module.ENDS)
        self.names = [first, *sorted(drifts.keys() - {first, last, ("x", False)}), last]
        rows = np.array([drifts.get(name, ((0, 0), (0, 0))) for name in (("x", False), *self.names)], dtype=float)
        c = rows[..., 0] + rows[..., 1] * sampler.beta[:, None, None]
        # The forward drift is not taken at the last step, nor the backward one at the first.
        c[N, :, 0] = c[0, :, 1] = 0.0
        self.c_x, self.c = c[:, 0].copy(), c[:, 1:].copy()
        slope = np.broadcast_to(rows[..., 1], c.shape).copy()
        slope[N, :, 0] = slope[0, :, 1] = 0.0
        self.by_beta, self.x_by_beta = slope[:, 1:], bool(slope[:, 0].any())
        self.ends = np.zeros((N + 1, len(self.names)))
        for name, (at, coefficient) in module.ENDS.items():
            self.ends[at * N, self.names.index((name, False))] = coefficient
        self.eta = sampler.eta
        self.used = np.any(self.c != 0, axis=-1) | (self.ends != 0)
        self.left = sampler.left
        self.laws, self.noised = [], []
        for name, noised in self.names:
            m = sampler.mixtures[name]
            saved = module.noise(m.mean, m.log_var, self.left) if noised else {"mean_t": m.mean, "log_var_t": m.log_var}
            self.noised.append(saved)
            shapes = ((N + 1, *m.mean.shape), (N + 1, len(m.log_var)))
            self.laws.append(tuple(map(np.broadcast_to, (saved["mean_t"], saved["log_var_t"]), shapes)))

    def at(self, n: int, j: int) -> tuple[Any, ...]:
        """What the emitted score takes for score j at step n, beyond the point."""
        s, (mean, log_var) = self.sampler, self.laws[j]
        log_w = s.mixtures[self.names[j][0]].log_w
        return mean[n], log_var[n], log_w, s.dimension, s.log_base, self.ends[n, j], *self.c[n, j]

    def pulled_back(
        self, means: Array, log_vars: Array, log_ws: Array, starts: Array, bars: Bars | None = None,
        of_c: Array | None = None,
    ) -> dict[str, Mixture]:  # fmt: skip
        """Derivatives in the parameters of the mixtures, from those in what the scores were computed from.

        means (N+1, J, K, R), log_vars and log_ws (N+1, J, K): summed over paths, for at least as many components and
        directions as there are; starts (K, R + 1): in the mean and log_var that paths started with. of_c (N+1, J, 2):
        those in c, which are derivatives in β and go to `bars`, as do those in η that come through the noise.
        """
        s = self.sampler
        out = {k: Mixture(*(np.zeros_like(a) for a in (m.mean, m.log_var, m.log_w))) for k, m in s.mixtures.items()}
        for j, (name, noised) in enumerate(self.names):
            m, total, (K, R) = s.mixtures[name], out[name], s.mixtures[name].mean.shape
            mean_bar, log_var_bar = means[:, j, :K, :R], log_vars[:, j, :K]
            if noised:
                given = (m.mean, m.log_var, self.left, self.noised[j])
                pulled = s.module.noise_adjoint(*given, mean_bar, log_var_bar)
                mean_bar, log_var_bar = pulled["mean"], pulled["log_var"]
                if bars is not None:  # η_m is in the times τ_n that are left at n ≤ m
                    bars.eta[:] += np.cumsum(pulled["tau"])[:-1]
            total.mean[:] += mean_bar.sum(0)
            total.log_var[:] += log_var_bar.sum(0)
            total.log_w[:] += log_ws[:, j, :K].sum(0)
        if bars is not None and self.x_by_beta:
            raise ValueError("the coefficient of x depends on β, in which its derivative is not known")
        if bars is not None and of_c is not None:
            bars.beta[:] += (of_c * self.by_beta).sum((1, 2))
        prior = out[self.names[0][0]]
        K, R = prior.mean.shape
        prior.mean[:] += starts[:K, :R]
        prior.log_var[:] += starts[:K, -1]
        return out


#: A sampler is asked for many blocks of paths; few samplers are in use at a time.
scores_of = lru_cache(maxsize=8)(Scores)
