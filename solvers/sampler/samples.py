"""Samples of x_N from the reduced chain: x_∥ and ϱ = |x_⊥|² with their log-weights, and points of R^d made of them.

Given x_∥ and ϱ the direction of x_⊥ is uniform, since all drifts and all noise commute with rotations that leave the
span of the means where it is. So a direction drawn uniformly makes samples of x_N itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.machine.ranks import VECTORS
from solvers.problem import Problem
from solvers.problem.starts import vectors
from solvers.results.samples import MOST_NUMBERS, check, sample_variables
from solvers.sampler.backends import Walker
from solvers.sampler.chain import TOGETHER, Noise
from solvers.sampler.model import Sampler
from solvers.sampler.refine import placed

__all__ = ["Samples", "frame", "variables_of"]

Array = NDArray[np.float64]


class Samples:
    """How many samples of a problem are drawn in each of its runs. draws: None for none; runs: of all starts.

    Raises  ProblemError if that is no number, or if they do not fit in memory.
    """

    def __init__(self, problem: Problem, draws: int | None, runs: int) -> None:
        check(problem, draws, runs * 2 * (problem.family.components + len(problem.target.weights) + 2))
        self.problem, self.draws = problem, draws or 0
        self.whole = self.draws * runs * problem.dimension <= MOST_NUMBERS

    def of(self, start: Sampler, last: Sampler, rng: np.random.Generator, by: Walker) -> dict[str, Array]:
        """x_parallel (n, R), rho (n,), log_weight (n,), mode_parallel (L, R) and, unless they would be too many, x
        (n, d), from what was learned (`last`) of a start, by this walker. Empty where no samples are asked for."""
        if not self.draws:
            return {}
        size = max(64, min(TOGETHER, 512 * TOGETHER // (last.steps + 1)))
        sizes = [min(size, self.draws - first) for first in range(0, self.draws, size)]
        parts = [by.forward(last, Noise.draw(last, some, rng)) for some in sizes]
        inside, rho, log_weight = (np.concatenate([getattr(p, a) for p in parts]) for a in ("end", "rho", "log_weight"))
        values = {"x_parallel": inside, "rho": rho, "log_weight": log_weight}
        values["mode_parallel"] = last.mixtures["target"].mean
        if self.whole:
            basis = frame(self.problem, start, last.directions)
            z = rng.standard_normal((self.draws, self.problem.dimension))
            z -= z @ basis.T @ basis
            if last.directions < self.problem.dimension:
                z *= (np.sqrt(rho) / np.linalg.norm(z, axis=1))[:, None]
            else:  # rounding
                z[:] = 0.0
            values["x"] = inside @ basis + z
        return values


def variables_of(found: Sequence[Sequence[dict[str, Array]]]) -> dict[str, xr.Variable]:
    """The variables of RUN.nc from the samples of all runs of all starts, in their order; nan for runs without a
    result, whose dictionary is empty, and for directions that a run does not have. No dimension of runs if each start
    has one."""
    shape = len(found), len(found[0])
    known = [((n, r), values) for n, runs in enumerate(found) for r, values in enumerate(runs) if values]
    out = {}
    for name, first in known[0][1].items() if known else ():
        sizes = list(first.shape)
        if name.endswith("_parallel"):
            sizes[-1] = max(values[name].shape[-1] for _, values in known)
        out[name] = np.full((*shape, *sizes), np.nan)
        for place, values in known:
            out[name][place][tuple(slice(size) for size in values[name].shape)] = values[name]
    if shape[1] == 1:
        return sample_variables({name: array[:, 0] for name, array in out.items()}, ("sample",))
    return sample_variables(out, ("sample", "replica"))


def frame(problem: Problem, start: Sampler, directions: int) -> Array:
    """Orthonormal rows (directions, d): where the coordinates of the reduced chain are in R^d.

    start: the sampler before learning, whose coordinates are the first of them. The modes are where the problem has
    them, and so are init.means and given candidates; nothing says where the rest is.
    """
    d, prior, target = problem.dimension, start.mixtures["prior"].mean, start.mixtures["target"].mean
    mu, nu = vectors(prior @ prior.T, prior @ target.T, problem)
    known, refine = [nu, mu if problem.init.means is None else _wide(problem.init.means, d)], problem.sampler
    given = None if refine is None or refine.refine is None else refine.refine.source
    rows = [target, prior]
    if given is not None and not isinstance(given, str):
        wider, points = placed(problem, start, given)
        rows = [wider.mixtures["target"].mean, wider.mixtures["prior"].mean, points]
        known.append(_wide(given, d))
    found = np.linalg.pinv(np.concatenate(rows), rcond=VECTORS) @ np.concatenate(known)
    if (more := directions - len(found)) > 0:
        # Householder QR continues the rows by orthonormal ones, taken among the first coordinates of R^d.
        width = min(d, max(int(np.flatnonzero(found.any(0)).max(initial=-1)) + 1, len(found)) + more)
        padded = np.zeros((width, directions))
        padded[:, : len(found)] = found[:, :width].T
        found = np.vstack([found, _wide(np.linalg.qr(padded)[0][:, len(found) :].T, d)])
    return np.asarray(found)


def _wide(points: Array, d: int) -> Array:
    return np.pad(points, ((0, 0), (0, d - points.shape[1])))
