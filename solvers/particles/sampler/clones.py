"""Clones of paths of a sampler in R^d: do two copies of a path that part on the way end in the same mode?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.machine.arrays import BackendError
from solvers.machine.chance import Purpose
from solvers.particles.sampler.chain import Model, walk
from solvers.particles.sampler.simulation import model_of
from solvers.particles.streams import normals, stream_keys
from solvers.problem import Problem
from solvers.problem.starts import starts, vectors

__all__ = ["same_mode"]

Array = NDArray[np.float64]

_STEM, _BRANCH = 0, 1  # sources: of the steps that clones share, and of those of the second clone alone


def same_mode(
    problem: Problem,
    splits: Sequence[int],
    paths: int,
    *,
    backend: str = "numba",
    report: Callable[[], None] = lambda: None,
) -> tuple[Array, Array]:
    """Share of clones that end in the same mode, Σ_l ρ_l(x_N) ρ_l(x'_N), and its standard error, one a split.

    Takes
        splits: after how many steps the copies part; paths: pairs behind each share, from the prior of the problem's
        first start; report: called after each split.
    """
    begin = starts(problem, [0])
    mu, nu = vectors(begin.s[0], begin.m[0], problem)
    model = model_of(problem, mu, nu, begin.theta[0])
    key = stream_keys(problem.init.seed, (Purpose.CLONES, 0), range(1))[0]
    w = np.exp(model.mixtures["prior"].log_weights)
    chosen = np.random.Generator(np.random.Philox(key=key)).choice(len(w), size=paths, p=w / w.sum())
    ends = _modes(model, key, chosen, model.steps, backend)
    together = []
    for n in splits:
        together.append((ends * _modes(model, key, chosen, n, backend)).sum(-1))
        report()
    found = np.array(together)
    return found.mean(-1), found.std(-1, ddof=1) / np.sqrt(paths)


def _modes(model: Model, key: NDArray[np.uint64], chosen: NDArray[np.intp], split: int, backend: str) -> Array:
    """Responsibilities (path, L) at the data end of paths that draw numbers of their own after `split` steps."""
    if backend == "numba":
        from solvers.particles.sampler import compiled as sampler_compiled

        return sampler_compiled.walk(model, key, _STEM, range(len(chosen)), chosen, split=split).modes
    if backend != "numpy":
        raise BackendError(f"{backend}: clones are not simulated on it in this version; allowed: numba, numpy")

    def noise(step: int) -> Array:
        source = _STEM if step <= split else _BRANCH
        return np.asarray(normals(np, key[None], step, source, range(len(chosen)), model.dimension)[0])

    return walk(model, noise, chosen).modes
