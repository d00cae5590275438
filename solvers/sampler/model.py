"""A sampler as data: method, steps, and the mixtures its drifts are made of, in coordinates of the span."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.closed import systems

__all__ = ["Mixture", "Sampler", "chain_module"]

Array = NDArray[np.float64]


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
    """steps: N ≥ 0. horizon: N η. dimension: d ≥ R. mixtures: prior and target, and control and control_back where
    the drifts have them. module: the generated chain, with a term dropped for a wrong theory; machine code is that of
    the whole chain."""

    method: str
    reference: str
    control: str
    steps: int
    horizon: float
    dimension: int
    mixtures: dict[str, Mixture]
    module: ModuleType = field(default_factory=chain_module)

    @property
    def eta(self) -> float:
        """Step size η."""
        return self.horizon / self.steps if self.steps else 0.0

    @property
    def log_base(self) -> float:
        """log of the variance B that log-densities are relative to: one of the target's, so that nothing of order d is
        left of log p − log φ where variances are nearly equal. It changes no result."""
        return float(self.mixtures["target"].log_var[0])

    @property
    def directions(self) -> int:
        """R, the dimension of the span of all means."""
        return int(self.mixtures["prior"].mean.shape[1])

    @cached_property
    def drifts(self) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
        """Coefficients of the forward and of the backward drift.

        Raises KeyError for a combination of method, reference and control that the theory does not have.
        """
        forward, backward = self.module.DRIFTS[self.method, self.reference, self.control]
        return forward, backward

    def coefficients(self, n: int) -> tuple[dict[str, float], dict[str, float]]:
        """Coefficients of x and of the scores at step n, forward and backward; those that are zero are left out."""
        beta = n / self.steps if self.steps else 0.0
        forward, backward = ({name: c0 + c1 * beta for name, (c0, c1) in side.items()} for side in self.drifts)
        return {k: c for k, c in forward.items() if c}, {k: c for k, c in backward.items() if c}

    def origin(self, name: str) -> str:
        """The mixture whose parameters a score of the drift has."""
        return "target" if name == "noised" else name

    def decay(self, n: int, name: str) -> float | None:
        """e^{−τ} if the score of this name is that of the noised mixture, τ the noise time left at step n."""
        noised = name == "noised" or (name.startswith("control") and self.reference == "ou")
        return float(np.exp(n * self.eta - self.horizon)) if noised else None
