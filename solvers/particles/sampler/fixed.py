"""Gradients at paths that stay where they are: for losses of L = −log W on paths whose law is not differentiated.

    log-variance          ½ Var L             E[(L − E L) ∂L]
    trajectory-balance    ½ E (L + c)²        E[(L + c) ∂L],   and E L + c in c

    ∂L = ∂log φ(x_0) + Σ_n ξ·∂F √(η/2) − Σ_n e·∂G/2,           x_n given, ξ and e as in chain.py

over the sampler's own paths, or over paths that start `explore` times as far from the means of their components. Of its
own paths E[∂log φ + Σ ∂log F] = 0, so that there it does not matter what is taken from L.

Source  Richter, Boustati, Nüsken, Ruiz, Akyildiz (2020); Malkin, Jain, Bengio, Sun, Bengio (2022).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from solvers.particles.engines import Engine
from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.learn import LEVEL, Gradient, Learner
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.schedule import Schedule

__all__ = ["at_fixed_paths", "objective"]

Array = NDArray[np.float64]


def at_fixed_paths(
    key: NDArray[np.uint64], learner: Learner, threads: int, engine: Engine
) -> Callable[[int], Gradient]:
    """Step -> the gradient of the learner's objective in what it moves, from paths whose numbers have the step for a
    source."""

    assert engine.fixed is not None
    fixed = engine.fixed

    def of_step(step: int) -> Gradient:
        def differentiate(
            model: Model, chosen: NDArray[np.intp], weights: Array, schedule: Schedule | None = None
        ) -> tuple[Array, dict[str, Bars]]:
            assert schedule is None  # such objectives learn none
            paths, wider = range(len(chosen)), learner.explore
            walked = engine.walk(model, key, step, paths, chosen, wider=wider, threads=threads)
            loss = -walked.log_weight
            others = loss - _mean_of_others(loss, chosen, weights)
            balances = learner.objective == "trajectory-balance"
            by_backward = loss + model.level if balances else others
            by_forward = by_backward if balances and wider != 1 else others
            bars = fixed(
                model, key, step, paths, chosen, weights * by_forward, -weights * by_backward, of=learner.moving,
                wider=wider, threads=threads, stop=learner.stop,
            )  # fmt: skip
            if balances:
                bars[LEVEL] = Bars(np.empty(0), np.empty(0), np.array([weights @ loss + model.level]))
            return walked.log_weight, bars

        return differentiate

    return of_step


def _mean_of_others(loss: Array, chosen: NDArray[np.intp], weights: Array) -> Array:
    """Of every path the mean over all components of what the other paths have. weights (path,): α_k/n_k, n_k >= 2."""
    count = np.bincount(chosen)[chosen]
    own = (np.bincount(chosen, weights=loss) / np.maximum(np.bincount(chosen), 1))[chosen]
    return np.asarray(weights @ loss - weights * count / (count - 1) * (loss - own))


def objective(name: str, model: Model, log_weight: Array) -> float:
    """The objective, from log-weights of paths of the law that it is of; of a normalised target."""
    if name == "reverse-kl":
        return -float(log_weight.mean())
    missing = model.level - float(log_weight.mean()) if name == "trajectory-balance" else 0.0
    return (float(log_weight.var(ddof=1)) + missing**2) / 2
