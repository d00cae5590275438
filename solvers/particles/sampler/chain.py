"""A diffusion sampler in R^d as one would write it down: paths, log-weights, and pathwise gradients by reverse mode.

    x' = x + η F(n, x) + √(2η) ξ,   F = f + u          log F_n = −|ξ|²/2 − (d/2) log 4πη,   η = η_n
    e  = x − x' − η G(n+1, x'),     G = f + b          log B_n = −|e|²/4η − (d/2) log 4πη
    log W = log p(x_N) − log φ(x_0) + Σ_n [log B_n − log F_n]

Every drift is a combination of x and of scores of mixtures, all evaluated at points of R^d. Nothing here knows that
the chain can be reduced. Arrays are (path, d).

Source  Blessing, Jia, Neumann, arXiv 2503.00524 (2025); sections 7 and 8 of the theory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from solvers.particles.sampler.mixtures import Bars, Field, Mixture
from solvers.particles.sampler.schedule import Schedule, by_time, lengths

__all__ = ["Model", "Noise", "Walk", "fixed", "gradient", "walk"]

Array = NDArray[np.float64]
Noise = Callable[[int], Array]
"""Standard normal numbers (path, d) of a step: 0 for the start, n + 1 for the n-th move."""
Drift = dict[tuple[str, bool], float]
"""Coefficients of ("x", False) and of scores (mixture, noised)."""


@dataclass(frozen=True, eq=False)
class Model:
    """method: dis, mcd, cmcd or dbs. reference: ou, prior or annealed. control: none, exact or mixture. steps: N.

    mixtures: prior, target, and control, control_back where the drifts have them. components: of a control, at most.
    horizon: Σ η_n. shares (N,): of each step in it, default equal. annealing (N+1,): β_n, default n/N. level: c of
    trajectory balance, in nats.
    """

    method: str
    reference: str
    control: str
    steps: int
    horizon: float
    mixtures: dict[str, Mixture]
    components: int | None = None
    shares: Array | None = None
    annealing: Array | None = None
    level: float = 0.0

    @property
    def eta(self) -> Array:
        """Lengths η_n (N,) of the steps."""
        return lengths(self.steps, self.horizon, self.shares)

    @cached_property
    def decay(self) -> Array:
        """exp(−τ_n) (N+1,), τ_n the time that is left at step n: of the steps n, ..., N − 1."""
        return np.exp([*-np.cumsum(self.eta[::-1])[::-1], 0.0])

    @property
    def dimension(self) -> int:
        return int(self.mixtures["prior"].means.shape[1])

    def drifts(self, n: int) -> tuple[Drift, Drift]:
        """Coefficients of F(n, ·) and of G(n, ·)."""
        beta = float(self.beta[n])
        reference: Drift = {
            "ou": {("x", False): -1.0},
            "prior": {("prior", False): 1.0},
            "annealed": {("target", False): beta, ("prior", False): 1 - beta},
        }[self.reference]

        def u(name: str, sign: float) -> Drift:
            if self.control == "none":
                return {}
            if self.reference == "ou":  # time reversal of dx = −x dt + √2 dW, whose own drift is in f already
                score = "target" if self.control == "exact" else name
                return {(score, True): 2 * sign, ("x", False): 2 * sign}
            return {(name, False): sign}

        forward = {} if self.method == "mcd" else u("control", 1.0)
        backward = {
            "dis": {}, "mcd": u("control", 1.0), "cmcd": u("control", -1.0), "dbs": u("control_back", 1.0),
        }[self.method]  # fmt: skip
        return _sum(reference, forward), _sum(reference, backward)

    @property
    def controls(self) -> tuple[str, ...]:
        """The mixtures of the drifts beside prior and target."""
        names = (name for drift in self.drifts(1) for name, _ in drift) if self.steps else ()
        return tuple(dict.fromkeys(name for name in names if name not in ("x", "prior", "target")))

    @property
    def beta(self) -> Array:
        """β_n (N+1,) of an annealed reference."""
        return np.arange(self.steps + 1) / max(self.steps, 1) if self.annealing is None else self.annealing

    def overshoot(self) -> float:
        """Largest η (−a) over steps, kernels and points, where a drift far from all means is a x: a step overshoots
        from 2 on, and the chain then has no stationary law."""
        worst, eta = 0.0, self.eta
        for n in range(self.steps + 1) if self.steps else ():
            for side, step in ((0, n), (1, n - 1)):
                drift = self.drifts(n)[side] if 0 <= step < self.steps else {}
                pull = -drift.get(("x", False), 0.0)
                for (name, noised), c in drift.items():
                    if name != "x":
                        v = self.mixtures[name].variances
                        v = 1 + (v - 1) * float(self.decay[n]) ** 2 if noised else v
                        pull += c / float(v.min() if c > 0 else v.max())
                worst = max(worst, float(eta[step]) * pull) if drift else worst
        return worst

    def score_of(self, key: tuple[str, bool], n: int) -> Mixture:
        """The mixture behind a score at step n, where it is noised for the time that is left."""
        mixture = self.mixtures[key[0]]
        return mixture.noised(float(self.decay[n])) if key[1] else mixture


@dataclass(frozen=True, eq=False)
class Walk:
    """log_weight (path,) = log W; modes (path, L): target's responsibilities at end (path, d), the data end."""

    log_weight: Array
    modes: Array
    end: Array


def walk(model: Model, noise: Noise, chosen: NDArray[np.intp], *, backward: bool = False) -> Walk:
    """Paths with their log-weights: from the prior with kernels F, or `backward`, from the target with kernels B.

    chosen (path,): the component each path starts from.
    """
    N, etas = model.steps, model.eta
    first = model.mixtures["target" if backward else "prior"]
    x = first.means[chosen] + first.spread(chosen) * noise(0)
    ratio, begin = np.zeros(len(x)), x
    times = range(N, -1, -1) if backward else range(N + 1)
    moves = 1 if backward else 0
    for move, (n, after) in enumerate(pairwise(times)):
        xi, eta = noise(move + 1), etas[min(n, after)]
        new = x + eta * _drift(model, model.drifts(n)[moves], n, x) + np.sqrt(2 * eta) * xi
        back = x - new - eta * _drift(model, model.drifts(after)[1 - moves], after, new)
        ratio += np.einsum("nd,nd->n", xi, xi) / 2 - np.einsum("nd,nd->n", back, back) / (4 * eta)
        x = new
    data, noise_end = (begin, x) if backward else (x, begin)
    target = model.mixtures["target"].at(data)
    ends = target.log_density - model.mixtures["prior"].at(noise_end).log_density
    return Walk(ends - ratio if backward else ends + ratio, target.responsibilities, data)


def gradient(
    model: Model, noise: Noise, chosen: NDArray[np.intp], weights: Array, schedule: Schedule | None = None
) -> tuple[Walk, dict[str, Bars]]:
    """Reverse mode through the chain: derivatives of Σ_i weights_i (−log W_i) at fixed noise and chosen components.

    Weights of a mixture are taken as independent numbers, and `weights` as constants. To `schedule`, if there is one,
    derivatives in it are added.
    """
    N, etas, K = model.steps, model.eta, len(model.mixtures["prior"].variances)
    prior, z = model.mixtures["prior"], noise(0)
    spread = prior.spread(chosen)
    xs = [prior.means[chosen] + spread * z]
    fields: list[dict[tuple[str, bool], Field]] = []
    residuals: list[Array] = []
    log_weight = np.zeros(len(z))
    for n in range(N + 1):
        forward, backward = model.drifts(n) if N else ({}, {})
        needed = {("prior", False): 0.0} if n == 0 else {}
        needed |= {("target", False): 0.0} if n == N else {}
        needed |= ({} if n == N else forward) | ({} if n == 0 else backward)
        fields.append({key: model.score_of(key, n).at(xs[n]) for key in needed if key[0] != "x"})
        if n > 0:
            eta = etas[n - 1]
            back = xs[n - 1] - xs[n] - eta * _combine(backward, xs[n], fields[n])
            residuals.append(back)
            log_weight -= np.einsum("nd,nd->n", back, back) / (4 * eta)
        if n < N:
            xi, eta = noise(n + 1), etas[n]
            log_weight += np.einsum("nd,nd->n", xi, xi) / 2
            xs.append(xs[n] + eta * _combine(forward, xs[n], fields[n]) + np.sqrt(2 * eta) * xi)
    ends = fields[N]["target", False]
    log_weight += ends.log_density - fields[0]["prior", False].log_density
    totals = {name: Bars(*map(np.zeros_like, (m.means, m.variances, m.log_weights)))
              for name, m in model.mixtures.items()}  # fmt: skip
    x_bar = np.zeros_like(z)  # of x_{n+1}
    e_bar = np.zeros_like(z)  # of the residual between n and n + 1
    for n in range(N, -1, -1):
        forward, backward = model.drifts(n) if N else ({}, {})
        f_bar = etas[n] * x_bar if n < N else np.zeros_like(z)
        if schedule is not None and n < N:  # −log W has |e|²/4η, and e has −η G
            eta, e, after = etas[n], residuals[n], model.drifts(n + 1)[1]
            # F + ξ/√(2η), with √(2η) ξ = x' − x − η F
            speed = _combine(forward, xs[n], fields[n]) / 2 + (xs[n + 1] - xs[n]) / (2 * eta)
            back = e / (2 * eta) + _combine(after, xs[n + 1], fields[n + 1])
            schedule.steps[n] += np.sum(x_bar * speed) - weights @ np.einsum("nd,nd->n", e, back) / (2 * eta)
        now = x_bar + e_bar
        g_bar = np.zeros_like(z)
        if n > 0:
            eta = etas[n - 1]
            e_bar = residuals[n - 1] * (weights / (2 * eta))[:, None]
            now = now - e_bar
            g_bar = -eta * e_bar
        now = now + forward.get(("x", False), 0.0) * f_bar + backward.get(("x", False), 0.0) * g_bar
        for key, at in fields[n].items():
            cotangent = forward.get(key, 0.0) * f_bar + backward.get(key, 0.0) * g_bar
            by_density = np.zeros(len(z))
            if n == 0 and key == ("prior", False):
                by_density = by_density + weights
            if n == N and key == ("target", False):
                by_density = by_density - weights
            pulled, bars = model.score_of(key, n).pull_back(xs[n], at, cotangent, by_density)
            now = now + pulled
            _add(totals[key[0]], _through_noise(model, key, n, bars))
            if schedule is not None and key[1]:  # τ_n is the sum of the steps from n on
                own = model.mixtures[key[0]]
                schedule.steps[n:] += by_time(float(model.decay[n]), own.means, own.variances, *bars[:2])
        if schedule is not None and model.reference == "annealed" and 0 < n < N:
            colder = fields[n]["target", False].score - fields[n]["prior", False].score
            schedule.annealing[n] += np.sum((f_bar + g_bar) * colder)
        x_bar = now
    start = totals["prior"]
    one = np.eye(K)[chosen]
    start.means[:] += one.T @ x_bar
    start.log_variances[:] += one.T @ (0.5 * prior.sharing(x_bar, spread * z))
    return Walk(log_weight, ends.responsibilities, xs[N]), totals


def fixed(
    model: Model, noise: Noise, chosen: NDArray[np.intp], by_forward: Array, by_backward: Array
) -> dict[str, Bars]:
    """Derivatives of Σ_i [by_forward_i (log φ + Σ log F) + by_backward_i (log p + Σ log B)] at paths that stay where
    they are. Weights of a mixture are taken as independent numbers."""
    N, etas, prior = model.steps, model.eta, model.mixtures["prior"]
    x = before = prior.means[chosen] + np.sqrt(prior.variances[chosen])[:, None] * noise(0)
    totals = {name: Bars(*map(np.zeros_like, (m.means, m.variances, m.variances)))
              for name, m in model.mixtures.items()}  # fmt: skip
    for n in range(N + 1):
        forward, backward = model.drifts(n) if N else ({}, {})
        forward, backward = {} if n == N else forward, {} if n == 0 else backward
        densities: dict[tuple[str, bool], Array] = {("prior", False): by_forward} if n == 0 else {}
        densities |= {("target", False): by_backward} if n == N else {}
        fields = {key: model.score_of(key, n).at(x) for key in forward | backward | densities if key[0] != "x"}
        xi = noise(n + 1) if n < N else np.zeros_like(x)
        led, eta = etas[n - 1] if n > 0 else 0.0, etas[n] if n < N else 0.0
        f_bar = np.sqrt(eta / 2) * by_forward[:, None] * xi
        g_bar = by_backward[:, None] * (before - x - led * _combine(backward, x, fields)) / 2 if n > 0 else 0.0 * x
        for key, at in fields.items():
            cotangent = forward.get(key, 0.0) * f_bar + backward.get(key, 0.0) * g_bar
            bars = model.score_of(key, n).pull_back(x, at, cotangent, densities.get(key, 0.0))[1]
            _add(totals[key[0]], _through_noise(model, key, n, bars))
        before, x = x, x + eta * _combine(forward, x, fields) + np.sqrt(2 * eta) * xi
    return totals


def _sum(*drifts: Drift) -> Drift:
    total: Drift = {}
    for drift in drifts:
        for key, c in drift.items():
            total[key] = total.get(key, 0.0) + c
    return {key: c for key, c in total.items() if c}


def _drift(model: Model, drift: Drift, n: int, x: Array) -> Array:
    return _combine(drift, x, {key: model.score_of(key, n).at(x) for key in drift if key[0] != "x"})


def _combine(drift: Drift, x: Array, fields: dict[tuple[str, bool], Field]) -> Array:
    return np.asarray(sum((c * (x if key[0] == "x" else fields[key].score) for key, c in drift.items()), 0.0 * x))


def _through_noise(model: Model, key: tuple[str, bool], n: int, bars: Bars) -> Bars:
    """Derivatives in the parameters of the mixture itself, from those in its noised form."""
    if not key[1]:
        return bars
    decay, v = float(model.decay[n]), model.mixtures[key[0]].variances
    return bars._replace(
        means=decay * bars.means, log_variances=bars.log_variances * decay**2 * v / (1 + (v - 1) * decay**2)
    )


def _add(total: Bars, bars: Bars) -> None:
    for sums, part in zip(total, bars, strict=True):
        sums += part
