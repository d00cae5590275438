"""The reduced chain in machine code: the emitted functions of one step before kernel.py and kernel_adjoint.py.

Same noise, same formulas and same order of steps as in chain.py, so results are those of NumPy to rounding. A thread
walks W paths at once, of large mixtures one. No path depends on others, nor on the number of threads: sums over paths
are made in blocks of fixed size, which are added in order.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.closed import compiled, systems
from solvers.machine.cores import cores
from solvers.machine.instructions import WIDTH
from solvers.sampler.model import Bars, Mixture, Sampler
from solvers.sampler.paths import Noise, Paths
from solvers.sampler.tables import Tables

__all__ = ["LARGEST", "backward", "forward", "gradient", "ratio"]

Array = NDArray[np.float64]

#: Paths behind one partial sum: enough to keep a thread busy, and few enough to share evenly.
BLOCK = 64
#: Most numbers in the means of a mixture, for which there is room on the stack of a thread; of W paths at once, where
#: there are so many fewer.
LARGEST = 4096
_HEADER = '''"""The reduced chain as compiled code; assembled by solvers.sampler.compiled."""

from math import exp, expm1, log, sqrt
from typing import Any

import solvers.machine.{lanes} as np
from numba import njit
from solvers.expectations.lanes import elementary  # the logarithm of vectors
from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.machine.{lanes} import W, across, rows, select
from solvers.machine.stack import bare

K, R = {components}, {directions}
STEERED = {steered}


'''


def forward(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp] | None = None, *, threads: int | None = None
) -> Paths:
    """As chain.forward, in so many threads, default all cores."""
    return _tables(sampler).run("forward", noise, chosen, threads)


def backward(sampler: Sampler, noise: Noise, *, threads: int | None = None) -> Paths:
    """As chain.backward."""
    return _tables(sampler).run("backward", noise, None, threads)


def gradient(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], weights: Array, steering: Bars | None = None, *,
    threads: int | None = None,
) -> tuple[Paths, dict[str, Mixture]]:  # fmt: skip
    """As chain.gradient."""
    tables = _tables(sampler)
    blocks = _blocks(len(chosen))
    totals = np.zeros((len(blocks), *tables.scores.used.shape, tables.K * (tables.R + 2)))
    of_start = np.zeros((len(blocks), tables.K, tables.R + 1))
    of_eta, of_c = tables.schedule(len(blocks), steering)
    weights = np.ascontiguousarray(weights, dtype=float)

    def more(n: int) -> tuple[Any, ...]:
        return weights, tables.room(), totals[n], of_start[n], of_eta[n], of_c[n]

    paths = tables.run("gradient", noise, chosen, threads, more, steering is not None)
    return paths, tables.pulled_back(totals.sum(0), of_start.sum(0), steering, of_eta.sum(0), of_c.sum(0))


def ratio(
    sampler: Sampler,
    noise: Noise,
    chosen: NDArray[np.intp],
    by_forward: Array,
    by_backward: Array,
    *,
    threads: int | None = None,
) -> tuple[Paths, dict[str, Mixture]]:
    """As chain.ratio."""
    tables = _tables(sampler)
    totals = np.zeros((len(_blocks(len(chosen))), *tables.scores.used.shape, tables.K * (tables.R + 2)))
    by = tuple(np.ascontiguousarray(of, dtype=float) for of in (by_forward, by_backward))
    paths = tables.run("ratio", noise, chosen, threads, lambda n: (*by, tables.room(), totals[n]))
    return paths, tables.pulled_back(totals.sum(0), np.zeros((tables.K, tables.R + 1)))


def _blocks(paths: int) -> list[tuple[int, int]]:
    return [(first, min(first + BLOCK, paths)) for first in range(0, paths, BLOCK)]


@lru_cache(maxsize=64)
def _module(components: int, directions: int, lanes: str, steered: bool) -> ModuleType:
    here = Path(__file__).parent
    kernels = [(here / name).read_text(encoding="utf-8") for name in ("kernel.py", "kernel_adjoint.py")]
    kernels = [kernel[kernel.index("Array = Any") :] for kernel in kernels]  # what they import the header has
    text = systems.read_text("sampler_chain.numba")
    header = _HEADER.format(lanes=lanes, components=components, directions=directions, steered=steered)
    return compiled.module("\n\n".join([header + text, *kernels]))


class _Tables(Tables):
    """A sampler as kernel.py takes it, see there."""

    def room(self) -> tuple[Array, ...]:
        """For x, rho, and a and pull of both drifts at all points of W paths, noise of a step, and what starts have."""
        points, width = self.sampler.steps + 1, self.module().W
        of_points = ((self.R,), (1,), (2,), (2, self.R))
        shapes = [*((points, *rest) for rest in of_points), (self.R + 2,), (self.R + 1,)]
        return tuple(np.empty((*shape, width)) for shape in shapes)

    def module(self, steered: bool = False) -> ModuleType:
        """Machine code for these sizes."""
        return _module(self.K, self.R, "simd" if self.K * self.R <= LARGEST // WIDTH else "stack", steered)

    def run(
        self, kernel: str, noise: Noise, chosen: NDArray[np.intp] | None, threads: int | None, more: Any = lambda n: (),
        steered: bool = False,
    ) -> Paths:  # fmt: skip
        """All paths by a kernel; more(block): what it takes beyond the others. steered: STEERED."""
        chosen = np.ascontiguousarray(self.first(kernel, noise, chosen), dtype=np.int64)
        s, count = self.sampler, len(chosen)
        function = getattr(self.module(steered), kernel)
        means = self.means.reshape(*self.scores.used.shape, -1)
        scores = self.scores
        tables = (means, self.log_vars, self.log_ws, scores.c, scores.c_x, scores.ends, scores.used, scores.eta)
        wide = self.R - s.directions
        xi = np.ascontiguousarray(np.pad(noise.xi, ((0, 0), (0, 0), (0, wide))) if wide else noise.xi)
        drawn = (xi, np.ascontiguousarray(noise.xi1), np.ascontiguousarray(noise.chi2))
        out = (
            np.empty(count),
            np.empty((count, s.directions)),
            np.empty(count),
            np.empty((count, len(s.mixtures["target"].log_w))),
        )

        def work(blocks: list[tuple[int, tuple[int, int]]]) -> None:
            room = self.room()
            for n, (first, stop) in blocks:
                function(first, stop, chosen, float(s.dimension), s.log_base, tables, drawn, room, *out, *more(n))

        blocks = list(enumerate(_blocks(count)))
        workers = min(threads or cores(), len(blocks))
        if workers < 2:
            work(blocks)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, [blocks[n::workers] for n in range(workers)]))
        return Paths(*out)


#: A sampler is asked for many blocks of paths; few samplers are in use at a time.
@lru_cache(maxsize=8)
def _tables(sampler: Sampler) -> _Tables:
    return _Tables(sampler, LARGEST)
