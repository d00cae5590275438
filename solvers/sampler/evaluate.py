"""ELBO, EUBO, log Z, effective sample sizes and coverage of a sampler, each with its standard error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, rel_entr

from solvers.results.datasets import SAMPLER_QUANTITIES as QUANTITIES
from solvers.results.outcomes import STATUS
from solvers.results.weights import (
    ess_error,
    ess_forward_error,
    index_of,
    known,
    known_ess,
    log_z_error,
    over,
    pareto_k,
)
from solvers.sampler import orthogonal
from solvers.sampler.backends import PLAIN, Walker
from solvers.sampler.chain import TOGETHER, Noise, Paths
from solvers.sampler.limits import rounding, status_of
from solvers.sampler.model import Sampler

__all__ = ["QUANTITIES", "QUOTIENTS", "Invalid", "Weights", "estimated", "evaluate", "quotients", "walked"]

Array = NDArray[np.float64]
Estimate = tuple[float | Array, float | Array]


#: Quotients of means of weights: from finitely many paths they are biased, the more the wider the weights are spread.
QUOTIENTS = ("log_z", "ess", "ess_forward")


FEW_STEPS = 500  # of which the eigenvalues of a matrix cost less than walking paths


class Invalid(ArithmeticError):
    """An evaluation that is no result; status: a key of results.STATUS."""

    def __init__(self, status: int) -> None:
        super().__init__(STATUS[status])
        self.status = status


class Weights(NamedTuple):
    """Log-weights (path,) of paths from the prior and from the target, and log E W² of the directions that are not in
    them, which may be infinite; their E W is 1."""

    ahead: Array
    behind: Array
    second: float


def evaluate(
    sampler: Sampler, paths: int, rng: np.random.Generator, *, drawn: bool = False, walker: Walker = PLAIN
) -> dict[str, Estimate]:
    """Estimates (value, standard error) of QUANTITIES and of mode_mass (L,), from `paths` paths each way by `walker`.

    Standard errors are those of the influence function (delta method), of QUOTIENTS those of solvers.results.weights,
    by which a value that cannot be trusted is nan. Where a(x) depends on the step only, the directions orthogonal to
    the means enter in closed form and their noise is not there at all; except in ess_sample, which is that of as many
    paths in R^d. `drawn`: QUOTIENTS are as drawn in R^d, with the law, and the bias, of what so many paths give there,
    and nobody asks whether they can be trusted.

    Raises Invalid for steps that are too long, log-weights that are not finite or not possible, or of which rounding
    takes more than a standard error: solvers.sampler.limits.
    """
    found, weights = estimated(sampler, paths, rng, drawn=drawn, walker=walker)
    return found if drawn else found | quotients([weights])


def estimated(
    sampler: Sampler, paths: int, rng: np.random.Generator, *, drawn: bool = False, walker: Walker = PLAIN
) -> tuple[dict[str, Estimate], Weights]:
    """As `evaluate`, but QUOTIENTS, if not drawn, are left to `quotients` of the weights, of several runs maybe."""
    closed = orthogonal.share(sampler)
    chain = sampler if closed is None else replace(sampler, dimension=sampler.directions)
    with np.errstate(over="ignore", invalid="ignore"):
        ahead, behind = _both_ways(chain, paths, rng, walker)
        error = np.std(ahead.log_weight, ddof=1) / np.sqrt(paths)
        lost = rounding(sampler, ahead)
    if status := status_of(sampler, ahead.log_weight, behind.log_weight, lost, error):
        raise Invalid(status)
    elbo, eubo, spread, second = (
        (0.0, 0.0, 0.0, 0.0) if closed is None else
        (closed.elbo, closed.eubo, closed.variance, closed.log_second_moment)
    )  # fmt: skip
    weights = Weights(ahead.log_weight, behind.log_weight, second)
    out: dict[str, Estimate] = {
        "elbo": _shifted(_mean(ahead.log_weight), elbo),
        "eubo": _shifted(_mean(behind.log_weight), eubo),
        "log_weight_variance": _shifted(_variance(ahead.log_weight), spread),
    }
    out |= _masses(ahead.modes, sampler.mixtures["target"].weights)
    whole = closed is None or closed.directions == 0
    if drawn:
        if not whole:
            ahead, behind = _both_ways(sampler, paths, rng, walker)
        out["log_z"], out["ess"] = _log_z(ahead.log_weight), _ess(ahead.log_weight)
        return out | {"ess_forward": _ess_forward(behind.log_weight), "ess_sample": out["ess"]}, weights
    everywhere = ahead.log_weight
    if not whole and sampler.steps <= FEW_STEPS:
        everywhere = everywhere + orthogonal.drawn(sampler, paths, rng)
    elif not whole:
        everywhere = _both_ways(sampler, paths, rng, walker)[0].log_weight
    return out | {"ess_sample": _ess(everywhere)}, weights


def quotients(runs: Sequence[Weights]) -> dict[str, Estimate]:
    """QUOTIENTS of the population from the paths of all runs, nan where not to be trusted, and the indices of tails
    that say so. Errors are those of the paths, or of the scatter of the runs where that is larger."""
    log_w, log_w_p = (np.concatenate([getattr(run, side) for run in runs]) for side in ("ahead", "behind"))
    second = float(logsumexp([run.second for run in runs]) - np.log(len(runs)))
    scatter = _scatter(runs) if len(runs) > 1 else (0.0, 0.0, 0.0)
    log_z, ess, forward = (float(of[0]) for of in (_log_z(log_w), _ess(log_w), _ess_forward(log_w_p)))
    error, error_p = max(ess_error(log_w), ess * scatter[1]), max(ess_forward_error(log_w_p), forward * scatter[2])
    count, k = len(log_w), pareto_k(log_w)
    k_2, k_p = index_of(k, error, 2), index_of(max(pareto_k(log_w_p), pareto_k(-log_w_p)), error_p)
    shares = {
        "ess": known_ess((ess, error), k_2[0], count),
        "ess_forward": known_ess((forward, error_p), k_p[0], count),
    }
    none = second == np.inf
    found: dict[str, Estimate] = {
        name: (0.0, 0.0) if none else _scaled(each, np.exp(-second)) for name, each in shares.items()
    }
    found["log_z"] = known((log_z, max(log_z_error(log_w), scatter[0])), k[0], count)
    return found | {"pareto_k": k, "pareto_k_ess": k_2, "pareto_k_forward": k_p}


def _scatter(runs: Sequence[Weights]) -> tuple[float, float, float]:
    """Relative standard errors of the mean W, of the effective sample size, and of that from the target, over runs."""

    def means(log_of: Sequence[Array]) -> Array:
        of = np.array([logsumexp(each) - np.log(len(each)) for each in log_of])
        return np.asarray(np.exp(of - np.max(of)) / np.mean(np.exp(of - np.max(of))))

    # Where E W² does not exist in one of them, it does not in all, and nobody asks for its scatter.
    across = np.nan_to_num([run.second for run in runs], posinf=0.0)
    w, square = (
        means([run.ahead for run in runs]),
        means([2 * run.ahead + x for run, x in zip(runs, across, strict=True)]),
    )
    up, down = (
        means([run.behind + x for run, x in zip(runs, across, strict=True)]),
        means([-run.behind for run in runs]),
    )
    first, second, third = (
        float(over(len(runs)) * np.std(influence, ddof=1) / np.sqrt(len(runs)))
        for influence in (w, 2 * w - square, up + down)
    )
    return first, second, third


def _both_ways(sampler: Sampler, paths: int, rng: np.random.Generator, walker: Walker) -> list[Paths]:
    """Paths from the prior, and as many from the target."""
    return [walked(run, sampler, paths, rng) for run in (walker.forward, walker.backward)]


def walked(
    run: Callable[..., Paths], sampler: Sampler, paths: int, rng: np.random.Generator, wider: float = 1.0
) -> Paths:
    """So many paths by a walker's forward or backward; `wider`: from starts so many times as far from their means."""
    # Few at a time where there are many steps: the noise of a block is held in memory.
    size = max(64, min(TOGETHER, 512 * TOGETHER // (sampler.steps + 1)))
    draws = (Noise.draw(sampler, min(size, paths - first), rng) for first in range(0, paths, size))
    parts = [run(sampler, noise.from_wider(wider)) for noise in draws]
    names = ("log_weight", "end", "rho", "modes")
    return Paths(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _from_influence(value: float | Array, influence: Array) -> Estimate:
    """Standard error from the influence of each path, which has mean zero."""
    return value, np.std(influence, axis=0, ddof=1) / np.sqrt(len(influence))


def _mean(x: Array) -> Estimate:
    return _from_influence(float(np.mean(x)), x)


def _variance(x: Array) -> Estimate:
    return _from_influence(float(np.var(x, ddof=1)), (x - np.mean(x)) ** 2)


def _log_z(log_w: Array) -> Estimate:
    top = np.max(log_w)
    w = np.exp(log_w - top)
    return _from_influence(float(top + np.log(np.mean(w))), w / np.mean(w))


def _ess(log_w: Array) -> Estimate:
    w = np.exp(log_w - np.max(log_w))
    w = w / np.mean(w)
    second = np.mean(w**2)
    return _from_influence(float(1 / second), 2 * w / second - w**2 / second**2)


def _ess_forward(log_w: Array) -> Estimate:
    above, below = np.exp(log_w - np.max(log_w)), np.exp(np.min(log_w) - log_w)
    value = np.exp(np.min(log_w) - np.max(log_w)) / (np.mean(above) * np.mean(below))
    return _from_influence(float(value), value * (above / np.mean(above) + below / np.mean(below)))


def _masses(modes: Array, pi: Array) -> dict[str, Estimate]:
    mass = np.mean(modes, axis=0)
    known = mass > 0  # a mode that no path comes near to has mass 0 in float64
    slope = np.where(known, np.log(np.where(known, mass, 1.0) / pi) + 1, 0.0)
    entropy = -float(np.sum(mass[known] * np.log(mass[known]))) / np.log(len(pi)) if len(pi) > 1 else 1.0
    by_entropy = -(modes @ np.where(known, np.log(np.where(known, mass, 1.0)) + 1, 0.0)) / np.log(max(len(pi), 2))
    return {
        "mode_mass": _from_influence(mass, modes),
        "coverage": _from_influence(float(np.sum(rel_entr(mass, pi))), modes @ slope),
        "emc": _from_influence(entropy, by_entropy),
    }


def _shifted(estimate: Estimate, by: float) -> Estimate:
    return estimate[0] + by, estimate[1]


def _scaled(estimate: Estimate, by: float) -> Estimate:
    return estimate[0] * by, estimate[1] * by
