"""The reduced chain on an NVIDIA GPU: the emitted functions of one step behind chain.cu, a thread a path.

Same noise, drawn by NumPy, same formulas and same order of steps as in chain.py, so results are those of NumPy to
rounding. All steps of all paths are one launch. Noise stays on the device as long as it is in use: the gradient along
learning sends it there once. Nothing here depends on the GPU but the time it takes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from solvers.closed import systems
from solvers.cuda.source import OPTIONS
from solvers.machine.arrays import backend_module, compile_cuda, gpu_errors, to_numpy
from solvers.sampler.model import Bars, Mixture, Sampler
from solvers.sampler.paths import Noise, Paths
from solvers.sampler.tables import Tables

__all__ = ["LARGEST", "OPTIONS", "backward", "forward", "gradient", "ratio", "source"]

Array = NDArray[np.float64]

THREADS, WARP = 64, 32
#: Most numbers in the means of a mixture: some arrays of that size are in the memory of each thread.
LARGEST = 256
#: Up to so many, loops are written out, and most arrays become registers.
UNROLLED = 36
#: Bytes for the points of the paths that are differentiated together, and for sums over them.
POINT_BYTES, PARTIAL_BYTES = 2**30, 2**28


def source(components: int, directions: int, scores: int, steered: bool = False) -> str:
    """CUDA text of the chain with K components in R directions and so many scores. steered: whether the gradient has
    derivatives in the schedule as well."""
    return "\n".join(
        [
            f"#define THREADS {THREADS}\n#define WARP {WARP}",
            "#define DEVICE static __device__ __forceinline__",
            f'#define UNROLL _Pragma("unroll{"" if components * directions <= UNROLLED else " 1"}")',
            f"constexpr int K = {components}, R = {directions}, SCORES = {scores};",
            f"constexpr bool STEERED = {str(steered).lower()};",
            systems.read_text("sampler_chain.cu"),
            Path(__file__).with_name("chain.cu").read_text(encoding="utf-8"),
        ]
    )


def forward(sampler: Sampler, noise: Noise, chosen: NDArray[np.intp] | None = None) -> Paths:
    """As chain.forward."""
    return _resident(backend_module("cupy"), sampler).run("forward", noise, chosen)


def backward(sampler: Sampler, noise: Noise) -> Paths:
    """As chain.backward."""
    return _resident(backend_module("cupy"), sampler).run("backward", noise, None)


def gradient(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], weights: Array, steering: Bars | None = None
) -> tuple[Paths, dict[str, Mixture]]:
    """As chain.gradient."""
    tables = _resident(backend_module("cupy"), sampler)
    shape = (*tables.scores.used.shape, tables.K * (tables.R + 2))
    points, partial = sampler.steps + 1, math.prod(shape)
    room = points * (3 * tables.R + 3)
    warps = THREADS // WARP
    # Not by the memory that is free: the order of additions shall be the same on all GPUs.
    most = min(POINT_BYTES // (8 * THREADS * room), PARTIAL_BYTES // (8 * warps * partial))
    blocks = max(1, min(-(-len(chosen) // THREADS), most))
    xp = tables.xp
    with gpu_errors(xp, len(chosen), tables.bytes_each + 8 * room, "paths"):
        of_paths, of_start = xp.zeros((blocks * warps, partial)), xp.zeros((blocks * warps, tables.K * (tables.R + 1)))
        more = (xp.asarray(np.ascontiguousarray(weights, dtype=float)), xp.empty(blocks * THREADS * room))
        schedule = [xp.asarray(part) for part in tables.schedule(blocks * warps, steering)]
        more = (*more, of_paths, of_start, *schedule, np.uint64(schedule[1].size > 0))
        paths = tables.run("gradient", noise, chosen, blocks, more, steering is not None)
        totals, starts, *rest = (to_numpy(part.sum(0)) for part in (of_paths, of_start, *schedule))
    return paths, tables.pulled_back(
        totals.reshape(shape), starts.reshape(tables.K, tables.R + 1), steering, rest[0], rest[1]
    )


def ratio(
    sampler: Sampler, noise: Noise, chosen: NDArray[np.intp], by_forward: Array, by_backward: Array
) -> tuple[Paths, dict[str, Mixture]]:
    """As chain.ratio."""
    tables = _resident(backend_module("cupy"), sampler)
    shape = (*tables.scores.used.shape, tables.K * (tables.R + 2))
    warps, partial = THREADS // WARP, math.prod(shape)
    blocks = max(1, min(-(-len(chosen) // THREADS), PARTIAL_BYTES // (8 * warps * partial)))
    xp = tables.xp
    with gpu_errors(xp, len(chosen), tables.bytes_each, "paths"):
        of_paths = xp.zeros((blocks * warps, partial))
        by = (xp.asarray(np.ascontiguousarray(of, dtype=float)) for of in (by_forward, by_backward))
        paths = tables.run("ratio", noise, chosen, blocks, (*by, of_paths))
        totals = to_numpy(of_paths.sum(0))
    return paths, tables.pulled_back(totals.reshape(shape), np.zeros((tables.K, tables.R + 1)))


class _Resident(Tables):
    """A sampler on the device of xp (cupy)."""

    def __init__(self, xp: Any, sampler: Sampler) -> None:
        super().__init__(sampler, LARGEST)
        self.xp = xp
        scores = self.scores
        arrays = (self.means, self.log_vars, self.log_ws, scores.c, scores.c_x, scores.ends, scores.eta)
        self.arrays = (*map(xp.asarray, arrays), xp.asarray(scores.used.astype(np.int32)))

    @property
    def bytes_each(self) -> int:
        """Memory of a path: its noise, and what is left of it."""
        s = self.sampler
        return 8 * ((s.steps + 1) * (self.R + 2) + s.directions + len(s.mixtures["target"].log_w) + 3)

    def run(
        self,
        kernel: str,
        noise: Noise,
        chosen: NDArray[np.intp] | None,
        blocks: int | None = None,
        more: tuple[Any, ...] = (),
        steered: bool = False,
    ) -> Paths:
        """All paths by a kernel. blocks: of threads, default a thread a path; more: what it takes beyond the others;
        steered: of `source`."""
        chosen = self.first(kernel, noise, chosen)
        xp, s, count, L = self.xp, self.sampler, len(chosen), len(self.sampler.mixtures["target"].log_w)
        out: tuple[Any, ...] = (np.empty(0), np.empty((0, s.directions)), np.empty(0), np.empty((0, L)))
        if count == 0:
            return Paths(*out)
        with gpu_errors(xp, count, self.bytes_each, "paths"):
            drawn = _on_device(xp, noise, self.R)
            out = (xp.empty(count), xp.empty((count, s.directions)), xp.empty(count), xp.empty((count, L)))
            sizes = (
                *map(np.float64, (s.dimension, s.log_base)),
                *map(np.uint64, (s.steps, count, s.directions, L)),
            )
            launch = _module(xp, self.K, self.R, len(self.scores.names), steered).get_function(kernel)
            grid = (blocks or -(-count // THREADS),)
            launch(grid, (THREADS,), (*self.arrays, *drawn, xp.asarray(chosen.astype(np.int32)), *sizes, *out, *more))
            return Paths(*map(to_numpy, out))


#: A sampler is asked for many blocks of paths; few samplers are in use at a time.
_resident = lru_cache(maxsize=8)(_Resident)


@lru_cache(maxsize=64)
def _module(xp: Any, components: int, directions: int, scores: int, steered: bool) -> Any:
    return compile_cuda(xp, source(components, directions, scores, steered), OPTIONS)


_sent: WeakKeyDictionary[Noise, tuple[Any, ...]] = WeakKeyDictionary()


def _on_device(xp: Any, noise: Noise, directions: int) -> tuple[Any, ...]:
    """xi, filled up to so many directions, xi1 and chi2; sent once for each Noise."""
    found = _sent.get(noise)
    if found is None or found[0].shape[2] != directions:
        xi = np.pad(noise.xi, ((0, 0), (0, 0), (0, directions - noise.xi.shape[2])))
        found = tuple(xp.asarray(np.ascontiguousarray(a)) for a in (xi, noise.xi1, noise.chi2))
        _sent[noise] = found
    return found
