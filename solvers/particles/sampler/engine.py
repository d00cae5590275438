"""Who walks the paths of a sampler in R^d, and who differentiates them: array code, code compiled for CPUs, or CUDA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.particles.sampler.chain import Model, Walk, walk
from solvers.particles.sampler.learn import Gradient, Learner, plainly
from solvers.particles.streams import normals

__all__ = ["Walker", "gradients"]

Array = NDArray[np.float64]

_PATHS = 0  # source of random numbers: paths know no other


@dataclass(frozen=True)
class Walker:
    """Who walks the paths of evaluations: key words of the streams of either direction, number of paths, backend, and
    threads."""

    ahead: NDArray[np.uint64]
    behind: NDArray[np.uint64]
    paths: int
    backend: str
    threads: int

    def walk(self, model: Model, chosen: NDArray[np.intp], *, backward: bool = False, ends: bool = False) -> Walk:
        key, paths = (self.behind if backward else self.ahead), range(len(chosen))
        if self.backend == "numba":
            from solvers.particles.sampler import compiled as sampler_compiled

            return sampler_compiled.walk(
                model, key, _PATHS, paths, chosen, backward=backward, ends=ends, threads=self.threads
            )
        if self.backend == "cupy":
            from solvers.particles.sampler import device as sampler_device

            return sampler_device.walk(model, key, _PATHS, paths, chosen, backward=backward, ends=ends)
        return walk(
            model, lambda step: normals(np, key[None], step, _PATHS, paths, model.dimension)[0], chosen,
            backward=backward,
        )  # fmt: skip

    def by_component(self, model: Model, K: int) -> Array:
        """B (K, L): mass that paths from component k put on mode l."""
        there, each = len(model.mixtures["prior"].variances), -(-self.paths // K)
        modes = self.walk(model, np.repeat(np.arange(there), each)).modes
        table = modes.reshape(there, each, -1).mean(1)
        return np.pad(table, ((0, K - there), (0, 0)))


def gradients(
    key: NDArray[np.uint64], learner: Learner, d: int, threads: int, backend: str
) -> Callable[[int], Gradient]:
    """Step -> the gradient in what the learner moves, from paths whose numbers have the steps from this one on."""
    if backend == "cupy":
        from solvers.particles.sampler import device as sampler_device

        return lambda step: (
            lambda model, chosen, weights: sampler_device.gradient(
                model, key, _PATHS, step, range(len(chosen)), chosen, weights, of=learner.moving
            )
        )
    if backend != "numba":
        return lambda step: plainly(lambda n, paths: normals(np, key[None], step + n, _PATHS, paths, d)[0])
    from solvers.particles.sampler.compiled import gradient

    return lambda step: lambda model, chosen, weights: gradient(
        model, key, _PATHS, step, range(len(chosen)), chosen, weights, of=learner.moving, threads=threads,
        stop=learner.stop,
    )  # fmt: skip
