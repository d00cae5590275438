"""Objectives as data: sums of expectations of log-densities under the family or the target.

An objective is a list of terms (coefficient, mixture, integrand), each Σ_a weight_a E_a[integrand] over the components
of that mixture. Flows, tables and emitted code follow from the terms alone, so a new objective is a new list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import Expr, S, Symbol, diff, exp, expand, simplify, solve, sympify

from theory.expectations import Expectation
from theory.mixtures import LogDensity, Mixture, Responsibility
from theory.parameters import BETA, RATE, TEMPERATURE

__all__ = ["AlphaDivergence", "ForwardKL", "Objective", "ReverseKL", "WeightedSum", "annealing", "warming"]

Term = tuple[Expr, Mixture, Expr]


@dataclass(frozen=True)
class Objective:
    """What a flow descends, in nats, as a functional of q and p."""

    q: Mixture
    p: Mixture

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def terms(self) -> tuple[Term, ...]:
        raise NotImplementedError

    def value(self) -> Expr:
        """The objective as an expression of the engine."""
        return sum((c * _average(mixture, f) for c, mixture, f in self.terms), S.Zero)

    def integrand(self, mixture: Mixture) -> Expr:
        """What is averaged over the components of one mixture, all terms together; 0 if nothing is."""
        return sum((c * f for c, under, f in self.terms if under == mixture), S.Zero)

    def mode_mass(self) -> Expr:
        """π̂_l, the mass that q gives to mode l: the expectation under q of the target's responsibility."""
        (l,) = self.p.indices(1)
        return _average(self.q, Responsibility(self.p, l))

    def __rmul__(self, coefficient: Any) -> WeightedSum:
        return WeightedSum(self.q, self.p, ((sympify(coefficient), self),))

    def __add__(self, other: Objective) -> WeightedSum:
        parts = [o.parts if isinstance(o, WeightedSum) else ((S.One, o),) for o in (self, other)]
        return WeightedSum(self.q, self.p, parts[0] + parts[1])


def _average(mixture: Mixture, f: Expr) -> Expr:
    (k,) = mixture.indices(1)
    return mixture.sum(mixture.weight(k) * Expectation(mixture, k, f), k)


@dataclass(frozen=True)
class ReverseKL(Objective):
    """Σ_k w_k E_k[log q − β log p]: KL(q‖p) at β = 1; else KL(q‖p^β/Z_β) − log Z_β, Z_β = ∫p^β independent of q.

    beta: 1, or BETA for a target tempered by a parameter of the equations, constant or following a schedule.
    """

    beta: Expr = S.One

    @property
    def name(self) -> str:
        return "reverse-kl"

    @property
    def terms(self) -> tuple[Term, ...]:
        return ((S.One, self.q, LogDensity(self.q) - self.beta * LogDensity(self.p)),)


@dataclass(frozen=True)
class ForwardKL(Objective):
    """KL(p‖q) = Σ_l π_l E_l[log p − log q], expectations under the modes of the target."""

    @property
    def name(self) -> str:
        return "forward-kl"

    @property
    def terms(self) -> tuple[Term, ...]:
        return ((S.One, self.p, LogDensity(self.p) - LogDensity(self.q)),)


@dataclass(frozen=True)
class AlphaDivergence(Objective):
    """(∫ q^α p^{1−α} − 1)/(α(α − 1)) = (Σ_k w_k E_k[(q/p)^{α−1}] − 1)/(α(α − 1)), α ≠ 0, 1; without its constant.

    Rényi's divergence of that order, log ∫ q^α p^{1−α}/(α − 1), is an increasing function of it: the same flow lines.
    """

    alpha: Expr = S.Half

    @property
    def name(self) -> str:
        return f"alpha-divergence {self.alpha}"

    @property
    def terms(self) -> tuple[Term, ...]:
        ratio = LogDensity(self.q) - LogDensity(self.p)
        return ((1 / (self.alpha * (self.alpha - 1)), self.q, exp((self.alpha - 1) * ratio)),)


@dataclass(frozen=True)
class WeightedSum(Objective):
    """Σ_i c_i D_i, written `c * D_1 + D_2`."""

    parts: tuple[tuple[Expr, Objective], ...] = ()

    @property
    def name(self) -> str:
        return " + ".join(f"{c} {o.name}" if c != 1 else o.name for c, o in self.parts)

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple((c * b, mixture, f) for c, o in self.parts for b, mixture, f in o.terms)


def warming(cooling: Expr) -> Expr:
    """dT/dt in T alone, from dβ/dt in β alone: the same schedule for T = 1/β."""
    return expand(-(TEMPERATURE**2) * cooling.subs(BETA, 1 / TEMPERATURE))


def annealing() -> Expr:
    """dβ/dt in β alone, for T(t) = 1 + (T(0) − 1) e^{−rate t} and β = 1/T: the schedule as one more closed equation."""
    t, start = Symbol("t", real=True), Symbol("T0", positive=True)
    beta = 1 / (1 + (start - 1) * exp(-RATE * t))
    (solution,) = solve(beta - BETA, start)
    return expand(simplify(diff(beta, t).subs(start, solution)))
