"""Where the sampler of a problem begins in R^d, and what is told of it on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.diagonal import Diagonal
from solvers.particles.sampler.mixtures import Mixture
from solvers.problem import Problem
from solvers.problem.sampler_section import Refinement
from solvers.problem.starts import Starts, vectors

__all__ = ["components", "described", "in_space", "model_of", "placed"]

Array = NDArray[np.float64]


def placed(problem: Problem, begin: Starts, i: int) -> tuple[Array, Array]:
    """Prior means (K, d) and modes (L, d) of a start, where target.means, separation and init.means have them."""
    mu, nu = vectors(begin.s[i], begin.m[i], problem)
    return (mu if problem.init.means is None else _wide(problem.init.means, problem.dimension)), nu


def components(problem: Problem) -> int:
    """The most components that the prior will have."""
    refine = problem.sampler.refine if problem.sampler else None
    return refine.until if refine else problem.family.components


def model_of(problem: Problem, mu: Array, nu: Array, log_weights: Array) -> Model:
    """The sampler of a problem with prior means mu (K, d) and modes nu (L, d). A mixture control starts as it, or as
    its first components."""
    options = problem.sampler
    assert options is not None
    kind = Mixture if problem.family.diagonal is None else Diagonal
    prior = kind(mu, problem.family.in_space(problem.dimension), np.array(log_weights))
    mixtures = {"prior": prior, "target": Mixture(nu, problem.target.variances, np.log(problem.target.weights))}
    most = options.components
    model = Model(options.method, options.reference, options.control, options.steps, options.horizon, mixtures, most,
                  options.shares, options.annealing)  # fmt: skip
    first = kind(prior.means[:most], prior.variances[:most], log_softmax(prior.log_weights[:most]))
    return replace(model, mixtures=mixtures | dict.fromkeys(model.controls, first))


def described(model: Model, K: int) -> dict[str, Array]:
    """m (K, L), s (K, K), w (K,), v (K,) of the prior, padded up to K components; and v_diag (K, d) where coordinates
    have variances of their own, of which v are the means."""
    prior, nu = model.mixtures["prior"], model.mixtures["target"].means
    free = K - len(prior.variances)

    def pad(a: Array, *widths: int, by: float = np.nan) -> Array:
        return np.pad(a, [(0, width) for width in widths], constant_values=by)

    v, each = prior.variances, {}
    if isinstance(prior, Diagonal):
        v, each = v.mean(1), {"v_diag": pad(v, free, 0)}
    return each | {
        "m": pad(prior.means @ nu.T, free, 0),
        "s": pad(prior.means @ prior.means.T, free, free),
        "w": pad(np.exp(prior.log_weights), free, by=0.0),
        "v": pad(v, free),
    }


def _wide(points: Array, d: int) -> Array:
    return np.pad(points, ((0, 0), (0, d - points.shape[1])))


def in_space(refine: Refinement | None, d: int) -> Refinement | None:
    """The refinement with given points in R^d."""
    if refine is None or isinstance(refine.source, str):
        return refine
    return replace(refine, source=_wide(refine.source, d))
