"""Paths of a sampler in R^d and their gradient in array code, with random numbers by what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from solvers.particles.sampler import chain
from solvers.particles.sampler.chain import Model, Walk
from solvers.particles.sampler.learn import GRADIENT_BYTES, plainly
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.schedule import Schedule
from solvers.particles.streams import normals

__all__ = ["fixed", "gradient", "walk"]

Array = NDArray[np.float64]


def walk(
    model: Model,
    key: NDArray[np.uint64],
    source: int,
    particles: range,
    chosen: NDArray[np.intp],
    *,
    backward: bool = False,
    ends: bool = False,
    split: int | None = None,
    wider: float = 1.0,
    threads: int = 1,
) -> Walk:
    """chain.walk, with the numbers of `source` for these particles.

    ends: whether end points are asked for. split: after so many steps the numbers are those of source + 1: clones of
    the paths without it. wider: starts so many times as far from the mean of their component. threads: at most so many.
    """

    def noise(step: int) -> Array:
        own = split is not None and step > split
        drawn = np.asarray(normals(np, key[None], step, source + own, particles, model.dimension)[0])
        return drawn if step else wider * drawn

    return chain.walk(model, noise, chosen, backward=backward)


def gradient(
    model: Model,
    key: NDArray[np.uint64],
    source: int,
    step: int,
    particles: range,
    chosen: NDArray[np.intp],
    weights: Array,
    *,
    of: Iterable[str],
    threads: int = 1,
    stop: Callable[[], None] | None = None,
    schedule: Schedule | None = None,
) -> tuple[Array, dict[str, Bars]]:
    """chain.gradient, with the numbers of `source` and the steps from `step` on: log W (path,) and the derivatives.

    of: the mixtures that they are asked for. stop: called now and then by those who take long, may raise. schedule:
    of chain.gradient.
    """

    def noise(n: int, paths: range) -> Array:
        some = particles[paths.start : paths.stop]
        return np.asarray(normals(np, key[None], step + n, source, some, model.dimension)[0])

    return plainly(noise)(model, chosen, weights, schedule)


def fixed(
    model: Model,
    key: NDArray[np.uint64],
    source: int,
    particles: range,
    chosen: NDArray[np.intp],
    by_forward: Array,
    by_backward: Array,
    *,
    of: Iterable[str],
    wider: float = 1.0,
    threads: int = 1,
    stop: Callable[[], None] | None = None,
) -> dict[str, Bars]:
    """chain.fixed at the paths that `walk` walks with these numbers. of, stop: as in `gradient`."""
    block = max(1, GRADIENT_BYTES // (128 * model.dimension))
    totals = {name: Bars(*map(np.zeros_like, (m.means, m.variances, m.variances)))
              for name, m in model.mixtures.items()}  # fmt: skip
    for first in range(0, len(chosen), block):
        s = slice(first, min(first + block, len(chosen)))

        def noise(step: int, some: range = particles[s]) -> Array:
            drawn = np.asarray(normals(np, key[None], step, source, some, model.dimension)[0])
            return drawn if step else wider * drawn

        for name, bars in chain.fixed(model, noise, chosen[s], by_forward[s], by_backward[s]).items():
            for total, part in zip(totals[name], bars, strict=True):
                total += part
        if stop:
            stop()
    return {name: totals[name] for name in of}
