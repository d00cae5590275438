"""Objectives: functionals of the family and the target, written with expectations of log-densities."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr

from theory.expectations import Expectation
from theory.mixtures import LogDensity, Mixture, Responsibility

__all__ = ["ReverseKL"]


@dataclass(frozen=True)
class ReverseKL:
    """D = KL(q‖p) = Σ_k w_k E_k[log q − log p], in nats."""

    q: Mixture
    p: Mixture
    name = "reverse-kl"

    def value(self) -> Expr:
        """The objective as an expression of the engine."""
        (k,) = self.q.indices(1)
        log_ratio = LogDensity(self.q) - LogDensity(self.p)
        return self.q.sum(self.q.weight(k) * Expectation(self.q, k, log_ratio), k)

    def mode_mass(self) -> Expr:
        """π̂_l, the mass that q gives to mode l: the expectation under q of the target's responsibility."""
        (k,), (l,) = self.q.indices(1), self.p.indices(1)
        return self.q.sum(self.q.weight(k) * Expectation(self.q, k, Responsibility(self.p, l)), k)
