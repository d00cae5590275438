"""A schedule that is learned: coordinates of the steps and of the annealing, and derivatives in them.

Steps move as log η_n, each by itself, so the horizon Σ η_n moves with them. Annealing moves as logits a of its
increments: β_n = Σ_{m<n} softmax(a)_m increases from 0 to 1 whatever a is. The flow is Euclidean in these coordinates,
at rate 1, whatever the metric of the mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from solvers.sampler.model import Bars, Sampler

__all__ = ["Schedule"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Schedule:
    """log η (N,) and the logits a (N,) of the increments of β: a point, a slope or a velocity."""

    log_eta: Array
    logits: Array

    @classmethod
    def of(cls, sampler: Sampler) -> Schedule:
        """Where a sampler is."""
        return cls(np.log(sampler.eta), np.log(np.diff(sampler.beta)))

    def packed(self, moving: tuple[str, ...]) -> Array:
        """What moves, as one vector."""
        parts = {"steps": self.log_eta, "annealing": self.logits}
        return np.concatenate([np.empty(0), *(parts[name] for name in moving)])

    def unpacked(self, y: Array, moving: tuple[str, ...]) -> Schedule:
        """This one with what moves from such a vector."""
        parts = dict(zip(moving, np.split(y, max(len(moving), 1)), strict=False))
        return Schedule(parts.get("steps", self.log_eta), parts.get("annealing", self.logits))

    def put(self, sampler: Sampler, moving: tuple[str, ...]) -> Sampler:
        """The sampler with this schedule, as far as it moves."""
        if "steps" in moving:
            eta = np.exp(self.log_eta)
            sampler = replace(sampler, horizon=float(eta.sum()), shares=eta / eta.sum())
        if "annealing" in moving:
            inner = np.cumsum(softmax(self.logits))[:-1]
            sampler = replace(sampler, annealing=np.concatenate([[0.0], inner, [1.0]]))
        return sampler

    @classmethod
    def slope(cls, sampler: Sampler, bars: Bars) -> Schedule:
        """Derivatives in these coordinates from those in η_n and β_n; zero for what nobody asked for."""
        eta, beta = bars
        share = np.diff(sampler.beta)
        above = np.cumsum(beta[::-1])[::-1][1:]  # Δ_m is in β_n for all n > m
        return cls(sampler.eta * eta, share * (above - share @ above))

    def beta_rate(self, sampler: Sampler) -> Array:
        """dβ/dt (N−1,) between the ends, of a velocity."""
        share = np.diff(sampler.beta)
        return np.cumsum(share * (self.logits - share @ self.logits))[:-1]

    def moved(self, moving: tuple[str, ...]) -> Schedule:
        """The velocity down this slope; zero for what does not move."""
        return Schedule(-self.log_eta * ("steps" in moving), -self.logits * ("annealing" in moving))
