"""Clones of paths of a sampler in R^d: do two copies of a path that part on the way end in the same mode?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from solvers.machine.backends import DEFAULT, BackendError
from solvers.machine.chance import Purpose
from solvers.particles.engines import ENGINES, engine
from solvers.particles.sampler.begin import model_of
from solvers.particles.streams import stream_keys
from solvers.problem import Problem
from solvers.problem.starts import starts, vectors

__all__ = ["same_mode"]

Array = NDArray[np.float64]

_STEM = 0  # source of the steps that clones share; the next is of those of the second clone alone


def same_mode(
    problem: Problem,
    splits: Sequence[int],
    paths: int,
    *,
    backend: str = DEFAULT,
    report: Callable[[], None] = lambda: None,
) -> tuple[Array, Array]:
    """Share of clones that end in the same mode, Σ_l ρ_l(x_N) ρ_l(x'_N), and its standard error, one a split.

    Takes
        splits: after how many steps the copies part; paths: pairs behind each share, from the prior of the problem's
        first start; report: called after each split.
    """
    walk = engine(backend).walk
    if not engine(backend).splits:
        others = ", ".join(name for name, one in ENGINES.items() if one.splits)
        raise BackendError(f"{backend}: clones are not simulated on it in this version; allowed: {others}")
    begin = starts(problem, [0])
    mu, nu = vectors(begin.s[0], begin.m[0], problem)
    model = model_of(problem, mu, nu, begin.theta[0])
    key = stream_keys(problem.init.seed, (Purpose.CLONES, 0), range(1))[0]
    w = np.exp(model.mixtures["prior"].log_weights)
    chosen = np.random.Generator(np.random.Philox(key=key)).choice(len(w), size=paths, p=w / w.sum())

    def modes(split: int) -> Array:
        """Responsibilities (path, L) at the data end of paths that draw numbers of their own after `split` steps."""
        return walk(model, key, _STEM, range(paths), chosen, split=split).modes

    ends = modes(model.steps)
    together = []
    for n in splits:
        together.append((ends * modes(n)).sum(-1))
        report()
    found = np.array(together)
    return found.mean(-1), found.std(-1, ddof=1) / np.sqrt(paths)
