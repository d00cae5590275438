"""The estimator: draw particles, evaluate log q and log p and their scores there, average. Plain array code.

Particles come from the components of q (reverse KL) or from the modes of p (forward KL), the `sources`, equally many
from each; with them x ~ N(mean_s, variance_s I) in R^d, and at every x

    log-densities     log N_a(x) of all A = K + L components and modes, hence log q, log p, r_j(x), ρ_l(x)
    scores            ∇log q − β ∇log p = slope·x + Σ_j r_j μ_j/v_j − β Σ_l ρ_l ν_l/u_l,
                      slope = β Σ_l ρ_l/u_l − Σ_j r_j/v_j

What is averaged over the particles of a source, the only sums the flows need (motion.py), is in `Averages`. compiled.py
and kernel.cu accumulate the same sums from the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.arrays import array_module
from solvers.particles.streams import normals

Report = Callable[[int], None]


@dataclass(frozen=True)
class Mixtures:
    """Both mixtures at one moment, one row a replica: components of q first, then modes of p; A = K + L.

    means (replica, A, d), variances (replica, A), log_weights (replica, A) normalised within each mixture; components:
    K; beta: the inverse temperature, log p counts so many times. Arrays of one module, float64.
    """

    means: Any
    variances: Any
    log_weights: Any
    components: int
    beta: float

    def tempered(self, beta: float) -> Mixtures:
        """The same with another inverse temperature."""
        return replace(self, beta=beta)

    @property
    def gram(self) -> Any:
        """Inner products of the means (replica, A, A)."""
        return self.means @ self.means.swapaxes(-1, -2)

    def constants(self, gram: Any) -> Any:
        """(replica, A): log(weight · N(x; mean, variance I)) = (x·mean − |x|²/2)/variance + constant.

        In log space throughout: (2π·variance)^(−d/2) could be 0.0.
        """
        xp, d = array_module(self.means), self.means.shape[-1]
        squares = xp.einsum("gaa->ga", gram)
        return self.log_weights - d / 2 * xp.log(2 * np.pi * self.variances) - squares / (2 * self.variances)


@dataclass(frozen=True)
class Draws:
    """What names the random numbers of one evaluation: keys (replica, 2) of the streams, and the step.

    common: every source moves the same z, x = mean + sign √variance z, so that differences between sources keep little
    of their noise. sign: ±1; both together have none from what is odd in z.
    """

    keys: NDArray[np.uint64]
    step: int
    common: bool = False
    sign: float = 1.0

    def source(self, origin: int) -> int:
        """The last word of the counter for particles of a component or mode."""
        return 0 if self.common else origin


@dataclass(frozen=True)
class Averages:
    """Means over the particles of each source, one row a replica; unbiased. C coefficients: 1 reverse, K forward.

    moment (replica, source, C, d): reverse E[slope·x]; forward E[r_k x]. table (replica, source, A): E[r_j], E[ρ_l].
    log_ratio (replica, source): E[log q − β log p], nats. square (replica, source, C): reverse E[(x − μ)·∇log(q/p^β)],
    μ the mean of the source; forward E[r_k |x − μ_k|²].
    """

    moment: Any
    table: Any
    log_ratio: Any
    square: Any

    @classmethod
    def mean(cls, parts: Sequence[Averages]) -> Averages:
        """Of averages over equally many particles."""
        return cls(*(sum(getattr(part, f.name) for part in parts) / len(parts) for f in fields(cls)))


def sources(at: Mixtures, forward: bool) -> range:
    """Which of the A components and modes particles come from."""
    return range(at.components, at.means.shape[1]) if forward else range(at.components)


def estimate(
    at: Mixtures, forward: bool, draws: Draws, *, particles: int, block: int, report: Report | None = None
) -> Averages:
    """Averages over fresh particles.

    Takes
        particles: drawn from each source for each replica; block: how many of them are held at a time; report: called
        with the number of particles finished, of all sources and replicas.
    Returns
        Averages; the block size changes them by rounding only.
    """
    xp = array_module(at.means)
    replicas, A, d = at.means.shape
    K, drawn_from = at.components, sources(at, forward)
    gram = at.gram
    constants, signed = at.constants(gram), xp.ones(A)
    signed[K:] = -at.beta
    factors = signed / at.variances
    coefficients = K if forward else 1
    moment = xp.zeros((replicas, len(drawn_from), coefficients, d))
    table = xp.zeros((replicas, len(drawn_from), A))
    log_ratio, square = xp.zeros(table.shape[:2]), xp.zeros(moment.shape[:3])
    for s, source in enumerate(drawn_from):
        scale, mean = draws.sign * xp.sqrt(at.variances[:, source, None, None]), at.means[:, source, None]
        for first in range(0, particles, block):
            some = range(first, min(first + block, particles))
            x = normals(xp, draws.keys, draws.step, draws.source(source), some, d)
            x *= scale
            x += mean
            dots, squares = at.means @ x.swapaxes(-1, -2), xp.einsum("gnd,gnd->gn", x, x)
            terms = (dots - squares[:, None] / 2) / at.variances[..., None] + constants[..., None]
            log_q, log_p = _normalise(terms[:, :K]), _normalise(terms[:, K:])
            log_ratio[:, s] += (log_q - at.beta * log_p).sum(-1)
            table[:, s] += terms.sum(-1)
            if forward:
                weight = terms[:, :K]
                norms = xp.einsum("gkk->gk", gram[:, :K, :K])
                square[:, s] += (weight * (squares[:, None] - 2 * dots[:, :K] + norms[..., None])).sum(-1)
            else:
                pull = terms * factors[..., None]
                weight = -pull.sum(1, keepdims=True)
                along = (pull * (dots - gram[:, source, :, None])).sum(1)
                square[:, s, 0] += (weight[:, 0] * (squares - dots[:, source]) + along).sum(-1)
            moment[:, s] += weight @ x
            if report:
                report(replicas * x.shape[1])
    return Averages(*(total / particles for total in (moment, table, log_ratio, square)))


def _normalise(log_terms: Any) -> Any:
    """log Σ exp over axis 1 of (replica, term, particle); the terms become exp(term − that) in place."""
    xp = array_module(log_terms)
    top = log_terms.max(1)
    log_terms -= top[:, None]
    xp.exp(log_terms, out=log_terms)
    total = log_terms.sum(1)
    log_terms /= total[:, None]
    return top + xp.log(total)
