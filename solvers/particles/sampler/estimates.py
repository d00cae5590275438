"""Estimates from the log-weights (path,) and the target's responsibilities (path, L) of a sampler's paths.

`by_halves` is what is compared with the theory, replica by replica; `pooled` is what is said of all replicas together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, xlogy

from solvers.results import weights
from solvers.results.weights import Estimate

__all__ = ["TOGETHER", "by_halves", "emc", "ess", "ess_forward", "log_z", "pooled"]

Array = NDArray[np.float64]

TOGETHER = (*weights.INDEX_OF, *weights.INDEX_OF.values())


def by_halves(estimate: Callable[[Array], float], of: Array) -> float:
    """2 f(all) − [f(first half) + f(second half)]/2, free of the bias of first order in 1/paths."""
    half = len(of) // 2
    return 2 * estimate(of) - (estimate(of[:half]) + estimate(of[half:])) / 2


def log_z(log_w: Array) -> float:
    return float(logsumexp(log_w)) - float(np.log(len(log_w)))


def ess(log_w: Array) -> float:
    return float(np.exp(2 * logsumexp(log_w) - np.log(len(log_w)) - logsumexp(2 * log_w)))


def ess_forward(log_w: Array) -> float:
    return float(np.exp(2 * np.log(len(log_w)) - logsumexp(log_w) - logsumexp(-log_w)))


def emc(modes: Array) -> float:
    mass = modes.mean(0)
    return float(-xlogy(mass, mass).sum() / np.log(len(mass)))


def pooled(log_weights: Array) -> dict[str, Array]:
    """TOGETHER: of the paths of all replicas together, with errors.

    Takes  log_weights (replica, time, 2, path) of paths from the prior and from the target.
    Returns  (2, time) for each: values, of which a bias of order 1/paths is that of all paths, nan where k̂ says so; and
    their errors, over replicas where these have learned what differs by more than their paths do.
    """
    if np.isnan(log_weights).any():  # a replica has no result
        return dict.fromkeys(TOGETHER, np.full((2, log_weights.shape[1]), np.nan))
    times = [_together(at[:, 0], at[:, 1]) for at in np.moveaxis(log_weights, 1, 0)]
    return {name: np.array([time[name] for time in times]).T for name in TOGETHER}


def _together(ahead: Array, behind: Array) -> dict[str, Estimate]:
    """Of weights (replica, path) from the prior and from the target."""
    every, target = ahead.ravel(), behind.ravel()
    w, square, up, down = (
        np.exp(x - x.max()).mean(1) / np.exp(x - x.max()).mean() for x in (ahead, 2 * ahead, behind, -behind)
    )
    value, value_p = ess(every), ess_forward(target)
    error = max(weights.ess_error(every), value * _over(2 * w - square))
    error_p = max(weights.ess_forward_error(target), value_p * _over(up + down))
    k, count = weights.pareto_k(every), every.size
    k_2 = weights.index_of(k, error, 2)
    k_p = weights.index_of(max(weights.pareto_k(target), weights.pareto_k(-target)), error_p)
    return {
        "log_z": weights.known((log_z(every), max(weights.log_z_error(every), _over(w))), k[0], count),
        "ess": weights.known_ess((value, error), k_2[0], count),
        "ess_forward": weights.known_ess((value_p, error_p), k_p[0], count),
        "pareto_k": k,
        "pareto_k_ess": k_2,
        "pareto_k_forward": k_p,
    }


def _over(influence: Array) -> float:
    """The error over replicas (replica,)."""
    return float(weights.over(len(influence)) * influence.std(ddof=1) / np.sqrt(len(influence)))
