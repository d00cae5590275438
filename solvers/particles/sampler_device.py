"""The chain of sampler_chain.py on an NVIDIA GPU: sampler_kernel.cu, compiled for the model at hand; a launch walks all
steps of all its paths, with the random numbers of streams.py.

Written for cupy arrays, which it never imports: solvers/arrays.py does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import backend_module, compile_cuda, gpu_errors, gpu_memory, to_numpy
from solvers.particles.device import source
from solvers.particles.sampler_chain import Model, Walk
from solvers.particles.sampler_compiled import _Tables as Tables
from solvers.particles.streams import TILE

__all__ = ["constants", "options", "walk"]

Array = NDArray[np.float64]

THREADS, WARP = 64, 32
#: Threads of a path, at least and at most: as few as can hold its points, in `HELD` pairs of coordinates each.
FEWEST, MOST, HELD = 8, 256, 4
UNROLLED = 16  # means up to which loops over them are written out, so that inner products are registers
LAUNCH_NORMALS, LAUNCH_PATHS = 2**31, 2**20  # of one launch: some tenths of a second, after which Ctrl-C is heard
SCRATCH_BYTES = 2**31  # for points that are not held


def constants(counts: list[int], bases: list[int], means: int, d: int) -> dict[str, Any]:
    """The compile-time constants of the kernel for scores with so many components from these means on, in R^d."""
    pairs, team = 8 * -(-d // TILE), FEWEST
    while team * HELD < pairs and team < MOST:
        team *= 2
    held = -(-pairs // team)
    return {
        "MEANS": means,
        "SCORES": len(counts),
        "TERMS": sum(counts),
        "MODES": counts[1],
        "WIDEST": max(counts),
        "COUNTS": ",".join(map(str, counts)),
        "BASES": ",".join(map(str, bases)),
        "THREADS": max(THREADS, team),
        "WARP": WARP,
        "TEAM": team,
        "HELD": held if held <= HELD else 0,
    }


def options(chosen: dict[str, Any]) -> tuple[str, ...]:
    """What the compiler is told."""
    unroll = '_Pragma("unroll")' if chosen["MEANS"] <= UNROLLED else '_Pragma("unroll 1")'
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in (chosen | {"UNROLL": unroll}).items()))


@lru_cache(maxsize=64)
def _module(xp: Any, told: tuple[str, ...]) -> Any:
    return compile_cuda(xp, source("sampler_kernel.cu"), told)


def walk(
    model: Model,
    key: NDArray[np.uint64],
    source: int,
    particles: range,
    chosen: NDArray[np.intp],
    *,
    backward: bool = False,
    ends: bool = False,
) -> Walk:
    """sampler_chain.walk, with the numbers of `source` for these particles; end points only if `ends`.

    Raises  BackendError if the device fails, or has too little memory.
    """
    xp = backend_module("cupy")
    tables, d, paths = Tables.of(model, backward), model.dimension, len(particles)
    first = model.mixtures["target" if backward else "prior"]
    L, offset = len(model.mixtures["target"].variances), len(model.mixtures["prior"].variances)
    _, starts, counts = np.unique(tables.slot, return_index=True, return_counts=True)
    told = constants(counts.tolist(), tables.base[starts].tolist(), len(tables.means), d)
    teams, width = told["THREADS"] // told["TEAM"], tables.means.shape[1]
    scratch_each = 0 if told["HELD"] else 16 * width * teams
    each = 8 * (L + 3 + (d if ends else 0))
    log_weight, modes, end = np.empty(paths), np.empty((paths, L)), np.empty((paths if ends else 0, d))
    most = max(1, min(LAUNCH_NORMALS // (width * (model.steps + 1)), LAUNCH_PATHS))
    for begin in range(0, paths, most):
        s = slice(begin, min(begin + most, paths))
        count = s.stop - s.start
        groups = -(-count // teams)
        if scratch_each:
            groups = max(1, min(groups, min(SCRATCH_BYTES, gpu_memory(xp) // 4) // scratch_each))
        with gpu_errors(xp, count, each + scratch_each // teams, "paths"):
            arrays = (tables.means, tables.scale, tables.inverse, tables.constant, tables.live.astype(np.int32),
                      tables.move, tables.judge, (chosen[s] + (offset if backward else 0)).astype(np.int32),
                      np.sqrt(first.variances[chosen[s]]))  # fmt: skip
            words = (particles.start + begin, source, *key, backward, ends)
            sizes = (np.float64(model.eta), *map(np.uint64, (model.steps, d, count)), *map(np.uint32, words))
            out = (xp.empty(groups * scratch_each // 8), xp.empty(count), xp.empty((count, L)),
                   xp.empty((count if ends else 0, d)))  # fmt: skip
            launch = _module(xp, options(told)).get_function("walk")
            launch((groups,), (told["THREADS"],), (*map(xp.asarray, arrays), *sizes, *out))
            log_weight[s], modes[s] = map(to_numpy, out[1:3])
            if ends:
                end[s] = to_numpy(out[3])
    return Walk(log_weight, modes, end)
