"""Paths of a sampler in R^d for evaluations, and gradients for learning, by whichever engine there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from solvers.particles.engines import Engine
from solvers.particles.sampler.chain import Model, Walk
from solvers.particles.sampler.learn import Gradient, Learner
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.ratio import by_starts, enough
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

    def walk(
        self, model: Model, chosen: NDArray[np.intp], *, backward: bool = False, ends: bool = False, wider: float = 1.0
    ) -> Walk:
        key, paths = (self.behind if backward else self.ahead), range(len(chosen))
        more = {} if wider == 1 else {"wider": wider}  # of which not every engine knows
        return self.engine.walk(
            model, key, _PATHS, paths, chosen, backward=backward, ends=ends, threads=self.threads, **more
        )

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
    where there are enough paths for it and no schedule is learned, which is in the paths: it needs no way back, and
    −log W is nearly a function of the start, so that with 32 steps its noise is a fifth of that along paths; with a few
    steps it may be more."""
    along = along_paths(key, learner, threads, engine)

    def differentiate(
        step: int, model: Model, chosen: NDArray[np.intp], weights: Array, schedule: Schedule | None = None
    ) -> tuple[Array, dict[str, Bars]]:
        if model.control != "exact" or schedule is not None or not enough(model, len(chosen)):
            return along(step)(model, chosen, weights, schedule)
        learner.stop()
        return by_starts(model, key, step, chosen, weights, engine=engine, threads=threads)

    return lambda step: partial(differentiate, step)
