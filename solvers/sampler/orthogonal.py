"""The share of the directions orthogonal to all means, in closed form, where a(x) depends on the step only.

There x_⊥ consists of d − R independent Gaussian chains, and the log-weight of each is quadratic in its path, so E W^m
is a Gaussian integral, done one normal number at a time. What is left of W^m after a step is 1 at m = 0, so that
nothing is subtracted that is not of the order of the result, and one direction's share may be multiplied by 10^12.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from solvers.sampler.limits import pull
from solvers.sampler.model import Sampler

__all__ = ["Form", "Share", "cumulants", "depends_on_step_only", "drawn", "form_of", "share"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """What `directions` orthogonal directions add: elbo and eubo (E log W under the sampler and under the target's
    path measure), variance of log W, and log E W², infinite where it does not exist. They add 0 to log Z."""

    directions: int
    elbo: float
    eubo: float
    variance: float
    log_second_moment: float


@dataclass(frozen=True, eq=False)
class Form:
    """One direction: x_{n+1} = g x_n + s ξ from x_0 ~ N(0, variance), and log W = constant + ½ last x_N²
    + ½ Σ_n (o x_n² + 2 p x_n ξ + q ξ²). steps (N, 5): g, s, o, p, q."""

    steps: Array
    variance: float
    constant: float
    last: float


def depends_on_step_only(sampler: Sampler) -> bool:
    """Whether prior, target and every mixture of the drifts have one variance each."""
    return all(mixture.one_variance for mixture in sampler.mixtures.values())


def share(sampler: Sampler) -> Share | None:
    """The orthogonal share of a sampler, or None where it has no closed form."""
    if not depends_on_step_only(sampler):
        return None
    form = form_of(sampler)
    count = sampler.dimension - sampler.directions
    moments = (cumulants(form, m, sampler.module) for m in (0.0, 1.0, 2.0))
    (_, mean, variance), (_, tilted, _), (second, *_) = moments
    return Share(count, *(count * x if count else 0.0 for x in (mean, tilted, variance, second)))


def cumulants(form: Form, m: float, module: ModuleType) -> tuple[float, float, float]:
    """f(m) = log E W^m of one direction and its first two derivatives; +inf where the integral diverges.

    f' is E log W at m = 0 and the same under the target's path measure at m = 1, f'' at 0 the variance of log W.
    From the last step to the first, and then the start, each an integral over one normal number, as emitted: `moment`
    of the module. Source: derivations/documents/sampler_chain.md.
    """
    total, at = form.constant * np.array([m, 1.0, 0.0]), (form.last * m, form.last, 0.0)
    for row in (*form.steps[::-1].tolist(), (0.0, np.sqrt(form.variance), 0.0, 0.0, 0.0)):
        with np.errstate(invalid="ignore", divide="ignore"):
            found = module.moment(np.float64(m), *at, *row)
        if not found["inner"] < 1:
            return float("inf"), float("inf"), float("inf")
        total += [found["gained"], found["gained_1"], found["gained_2"]]
        at = found["left"], found["left_1"], found["left_2"]
    return float(total[0]), float(total[1]), float(total[2])


def drawn(sampler: Sampler, paths: int, rng: np.random.Generator) -> Array:
    """log W (path,) of all directions orthogonal to the means together, of paths from the prior.

    That of one direction is constant + ½ zᵀ M z with z = (x_0/√variance, ξ_1, …, ξ_N) standard normal, and so that of
    all is a sum of χ² numbers, one for each of the N + 1 eigenvalues of M.
    """
    form, N = form_of(sampler), sampler.steps
    x = np.zeros(N + 1)  # as a linear function of z
    x[0] = np.sqrt(form.variance)
    M = np.zeros((N + 1, N + 1))
    for n, (g, s, o, p, q) in enumerate(form.steps, start=1):
        M += o * np.outer(x, x)
        M[n] += p * x
        M[:, n] += p * x
        M[n, n] += q
        x = g * x
        x[n] += s
    M += form.last * np.outer(x, x)
    values, count = np.linalg.eigvalsh(M), sampler.dimension - sampler.directions
    total = np.full(paths, count * (form.constant + values.sum() / 2))
    for value in values[values != 0]:
        total += value / 2 * (rng.chisquare(count, paths) - count)
    return total


def form_of(sampler: Sampler) -> Form:
    """One direction of a sampler, as emitted, with log p(x_N) − log φ(x_0) = constant + ½ last x_N² relative
    to exp(−x²/2v) at both ends, v the variance of the prior."""
    log_v, log_u = (float(sampler.mixtures[name].log_var[0]) for name in ("prior", "target"))
    shrink = (-side for side in pull(sampler))  # with one variance each, −a is what it is at most
    form = sampler.module.across(*shrink, sampler.eta, log_v, log_u)
    steps = np.broadcast_arrays(*(form[name] for name in ("grow", "kick", "square", "cross", "drawn")))
    return Form(np.stack(steps, axis=-1), float(np.exp(log_v)), float(form["level"]), float(form["curvature"]))
