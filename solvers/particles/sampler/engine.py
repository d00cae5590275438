"""Paths of a sampler in R^d for evaluations, and gradients for learning, by whichever engine there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from solvers.particles.engines import Engine
from solvers.particles.sampler.chain import Bars, Model, Walk
from solvers.particles.sampler.learn import Gradient, Learner
from solvers.particles.sampler.ratio import by_starts
from solvers.particles.sampler.schedule import Schedule

__all__ = ["Walker", "along_paths", "gradients"]

Array = NDArray[np.float64]

_PATHS = 0  # source of random numbers: paths know no other


@dataclass(frozen=True)
class Walker:
    """Who walks the paths of evaluations: key words of the streams of either direction, number of paths, engine, and
    threads."""

    ahead: NDArray[np.uint64]
    behind: NDArray[np.uint64]
    paths: int
    engine: Engine
    threads: int

    def walk(self, model: Model, chosen: NDArray[np.intp], *, backward: bool = False, ends: bool = False) -> Walk:
        key, paths = (self.behind if backward else self.ahead), range(len(chosen))
        return self.engine.walk(model, key, _PATHS, paths, chosen, backward=backward, ends=ends, threads=self.threads)

    def by_component(self, model: Model, K: int) -> Array:
        """B (K, L): mass that paths from component k put on mode l."""
        there, each = len(model.mixtures["prior"].variances), -(-self.paths // K)
        modes = self.walk(model, np.repeat(np.arange(there), each)).modes
        table = modes.reshape(there, each, -1).mean(1)
        return np.pad(table, ((0, K - there), (0, 0)))


def along_paths(key: NDArray[np.uint64], learner: Learner, threads: int, engine: Engine) -> Callable[[int], Gradient]:
    """Step -> the gradient in what the learner moves, from paths whose numbers have the steps from this one on."""
    return lambda step: lambda model, chosen, weights, schedule=None: engine.gradient(
        model, key, _PATHS, step, range(len(chosen)), chosen, weights, of=learner.moving, threads=threads,
        stop=learner.stop, schedule=schedule,
    )  # fmt: skip


def gradients(key: NDArray[np.uint64], learner: Learner, threads: int, engine: Engine) -> Callable[[int], Gradient]:
    """As along_paths; with the exact control by the law of the starts, from numbers that have the step for a source,
    where the last gradient was small, unless the schedule is learned too, which is in the paths.

    The noise of that law is the slope itself, √v_k |∂D/∂μ_k|/α_k for each path, that along paths of order 1. Which is
    taken follows from gradients before, so that each is without bias.
    """
    along, last = along_paths(key, learner, threads, engine), {"slope": np.inf, "components": 0}

    def differentiate(
        step: int, model: Model, chosen: NDArray[np.intp], weights: Array, schedule: Schedule | None = None
    ) -> tuple[Array, dict[str, Bars]]:
        prior = model.mixtures["prior"]
        near = last["slope"] < 1 and last["components"] == len(prior.variances)
        if model.control == "exact" and near and schedule is None:
            learner.stop()
            found = by_starts(model, key, step, chosen, weights, engine=engine, threads=threads)
        else:
            found = along(step)(model, chosen, weights, schedule)
        if model.control == "exact":
            slopes = np.sqrt(prior.variances / np.exp(2 * prior.log_weights))[:, None] * found[1]["prior"].means
            last.update(slope=float(np.linalg.norm(slopes, axis=1).max()), components=len(slopes))
        return found

    return lambda step: partial(differentiate, step)
