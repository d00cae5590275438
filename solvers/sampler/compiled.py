"""The reduced chain in machine code: the emitted functions of one step behind kernel.py, paths over threads.

Same noise, same formulas and same order of steps as in chain.py, so results are those of NumPy to rounding. They do not
depend on the number of threads: sums over paths are made in blocks of fixed size, which are added in order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers import compiled, systems
from solvers.machine import cores
from solvers.sampler.model import Mixture, Sampler
from solvers.sampler.paths import Noise, Paths, component

__all__ = ["backward", "forward", "gradient", "possible"]

Array = NDArray[np.float64]

#: Paths behind one partial sum: enough to keep a thread busy, and few enough to share evenly.
BLOCK = 64
#: Most numbers in the means of a mixture, for which there is room on the stack of a thread.
LARGEST = 4096
#: Sizes for which machine code is made; other numbers of components or directions are padded to the next of them.
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
_HEADER = '''"""The reduced chain as compiled code; assembled by solvers.sampler.compiled."""

from math import exp, log, sqrt
from typing import Any

import solvers.stack as np
from numba import njit
from solvers.stack import bare

K, R = {components}, {directions}


'''


def possible(components: int, directions: int) -> bool:
    """Whether mixtures of so many components in so many directions fit."""
    return max(components, directions) <= SIZES[-1] and _padded(components) * _padded(directions) <= LARGEST


def forward(sampler: Sampler, noise: Noise, chosen: NDArray[np.intp] | None = None) -> Paths:
    """As chain.forward."""
    tables = _tables(sampler)
    if chosen is None:
        chosen = component(sampler.mixtures["prior"], noise.uniform)
    return tables.run("forward", noise, chosen)


def backward(sampler: Sampler, noise: Noise) -> Paths:
    """As chain.backward."""
    return _tables(sampler).run("backward", noise, component(sampler.mixtures["target"], noise.uniform))


def gradient(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], weights: Array
) -> tuple[Paths, dict[str, Mixture]]:
    """As chain.gradient."""
    tables = _tables(sampler)
    blocks = _blocks(len(chosen))
    totals = np.zeros((len(blocks), sampler.steps + 1, len(tables.names), tables.K * (tables.R + 2)))
    of_start = np.zeros((len(blocks), tables.K, tables.R + 1))
    weights = np.ascontiguousarray(weights, dtype=float)
    paths = tables.run("gradient", noise, chosen, lambda n: (weights, tables.ends, totals[n], of_start[n]))
    return paths, tables.pulled_back(totals.sum(0), of_start.sum(0))


def _padded(size: int) -> int:
    return next(s for s in SIZES if s >= size)


def _blocks(paths: int) -> list[tuple[int, int]]:
    return [(first, min(first + BLOCK, paths)) for first in range(0, paths, BLOCK)]


@lru_cache(maxsize=64)
def _module(components: int, directions: int) -> ModuleType:
    kernel = (Path(__file__).parent / "kernel.py").read_text(encoding="utf-8")
    kernel = kernel[kernel.index("Array = Any") :]  # what it imports the header has
    text = systems.read_text("sampler_chain.numba")
    return compiled.module(_HEADER.format(components=components, directions=directions) + text + "\n\n" + kernel)


class _Tables:
    """A sampler as kernel.py takes it, see there; every mixture with K components in R directions."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        N, noised = sampler.steps, {"prior", "target"}
        sides = [sampler.coefficients(n) for n in range(N + 1)]
        rest = {name for pair in sides for side in pair for name in side if name != "x"} - noised
        self.names = ["prior", "target", *sorted(rest)]
        self.K = K = _padded(max(len(m.log_w) for m in sampler.mixtures.values()))
        self.R = R = _padded(sampler.directions)
        if not possible(K, R):
            raise ValueError(f"{K} components in {R} directions: compiled samplers have at most {LARGEST} numbers")
        shape = (N + 1, len(self.names))
        self.means, self.c, self.c_x = np.zeros((*shape, K, R)), np.zeros((*shape, 2)), np.zeros((N + 1, 2))
        self.log_vars, self.log_ws = np.zeros((*shape, K)), np.full((*shape, K), -np.inf)
        self.ends = np.zeros(shape)
        self.ends[0, 0] += 1
        self.ends[N, 1] -= 1
        for j, name in enumerate(self.names):
            m = sampler.mixtures[sampler.origin(name)]
            there = slice(len(m.log_w))
            self.log_ws[:, j, there] = m.log_w
            mean, log_var, decay = m.mean, m.log_var, self.decay(name)
            if decay is not None:
                saved = sampler.module.noise(mean.reshape(-1, 1), log_var[:, None], decay)
                mean, log_var = saved["mean_t"].T.reshape(N + 1, *mean.shape), saved["log_var_t"].T
            self.means[:, j, there, : sampler.directions], self.log_vars[:, j, there] = mean, log_var
        # The forward drift is not taken at the last step, nor the backward one at the first.
        for side, steps in enumerate((range(N), range(1, N + 1))):
            for n in steps:
                self.c_x[n, side] = sides[n][side].get("x", 0.0)
                self.c[n, :, side] = [sides[n][side].get(name, 0.0) for name in self.names]
        self.used = np.any(self.c != 0, axis=-1) | (self.ends != 0)

    def decay(self, name: str) -> Array | None:
        """e^{−τ} at each step (N+1,), beside which parameters are columns; None for a score that is not noised."""
        decay = [self.sampler.decay(n, name) for n in range(self.sampler.steps + 1)]
        return None if decay[0] is None else np.array(decay)

    def run(self, kernel: str, noise: Noise, chosen: NDArray[np.intp], more: Any = lambda n: ()) -> Paths:
        """All paths by a kernel; more(block): what it takes beyond the others."""
        s, count = self.sampler, len(chosen)
        function = getattr(_module(self.K, self.R), kernel)
        means = self.means.reshape(*self.used.shape, -1)
        tables = (means, self.log_vars, self.log_ws, self.c, self.c_x, self.used)
        wide = self.R - s.directions
        xi = np.ascontiguousarray(np.pad(noise.xi, ((0, 0), (0, 0), (0, wide))) if wide else noise.xi)
        drawn = (xi, np.ascontiguousarray(noise.xi1), np.ascontiguousarray(noise.chi2))
        prior = s.mixtures["target" if kernel == "backward" else "prior"]
        if xi.shape[:2] != (s.steps + 1, count) or any(a.shape != xi.shape[:2] for a in drawn[1:]):
            raise ValueError(f"noise of shape {xi.shape[:2]}, must be {(s.steps + 1, count)}")
        if count and not 0 <= chosen.min() <= chosen.max() < len(prior.log_w):
            raise ValueError(f"components {chosen.min()} to {chosen.max()}, there are {len(prior.log_w)}")
        chosen = np.ascontiguousarray(chosen, dtype=np.int64)
        out = (
            np.empty(count),
            np.empty((count, s.directions)),
            np.empty(count),
            np.empty((count, len(s.mixtures["target"].log_w))),
        )

        def work(blocks: list[tuple[int, tuple[int, int]]]) -> None:
            N = s.steps
            room = (np.empty((N + 1, self.R)), np.empty((N + 1, 1)), np.empty((N + 1, 2)), np.empty((N + 1, 2, self.R)),
                    np.empty((N, 1)))  # fmt: skip
            for n, (first, stop) in blocks:
                function(first, stop, chosen, float(s.dimension), s.eta, tables, drawn, room, *out, *more(n))

        blocks = list(enumerate(_blocks(count)))
        workers = min(s.threads or cores(), len(blocks))
        if workers < 2:
            work(blocks)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, [blocks[n::workers] for n in range(workers)]))
        return Paths(*out)

    def pulled_back(self, totals: Array, of_start: Array) -> dict[str, Mixture]:
        """Derivatives in the parameters of the mixtures, from those in what the scores were computed from."""
        s, R = self.sampler, self.sampler.directions
        out = {k: Mixture(*(np.zeros_like(a) for a in (m.mean, m.log_var, m.log_w))) for k, m in s.mixtures.items()}
        for j, name in enumerate(self.names):
            origin = s.origin(name)
            m, total = s.mixtures[origin], out[origin]
            K = len(m.log_w)
            found = totals[self.used[:, j], j].T
            mean_bar, log_var_bar, log_w_bar = np.split(found, [self.K * self.R, self.K * (self.R + 1)])
            mean_bar, log_var_bar = mean_bar.reshape(self.K, self.R, -1)[:K, :R].reshape(K * R, -1), log_var_bar[:K]
            decay = self.decay(name)
            if decay is not None:
                mean, log_var, decay = m.mean.reshape(-1, 1), m.log_var[:, None], decay[self.used[:, j]]
                saved = s.module.noise(mean, log_var, decay)
                pulled = s.module.noise_adjoint(mean, log_var, decay, saved, mean_bar, log_var_bar)
                mean_bar, log_var_bar = pulled["mean"], pulled["log_var"]
            total.mean[:] += mean_bar.sum(1).reshape(K, R)
            total.log_var[:] += log_var_bar.sum(1)
            total.log_w[:] += log_w_bar[:K].sum(1)
        K = len(s.mixtures["prior"].log_w)
        out["prior"].mean[:] += of_start[:K, :R]
        out["prior"].log_var[:] += of_start[:K, self.R]
        return out


#: A sampler is asked for many blocks of paths; few samplers are in use at a time.
_tables = lru_cache(maxsize=8)(_Tables)
