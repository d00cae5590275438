"""The chain of sampler_chain.py on an NVIDIA GPU: sampler_kernel.cu and sampler_adjoint.cu, compiled for the model at
hand. A launch walks all steps of all its paths, and back for the gradient, with the random numbers of streams.py.

Written for cupy arrays, which it never imports: solvers/machine/arrays.py does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.arrays import backend_module, compile_cuda, gpu_errors, gpu_memory, to_numpy
from solvers.particles.device import source
from solvers.particles.sampler.chain import Model, Walk
from solvers.particles.sampler.compiled import Tables, places
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.schedule import Schedule
from solvers.particles.streams import TILE

__all__ = ["constants", "gradient", "options", "text", "walk"]

Array = NDArray[np.float64]

THREADS, WARP = 64, 32
#: Threads of a path, at least and at most: as few as can hold its points, in `HELD` pairs of coordinates each, or half
#: as many for the gradient, which has more to hold.
FEWEST, MOST, HELD = 8, 256, 4
UNROLLED = 16  # means up to which loops over them are written out, so that inner products are registers
LAUNCH_NORMALS, LAUNCH_PATHS = 2**31, 2**20  # of one launch: some tenths of a second, after which Ctrl-C is heard
SCRATCH_BYTES = 2**31  # for points that are not held
KEPT_BYTES = 2**30  # for what is kept of the paths that are differentiated together


def constants(
    counts: list[int], bases: list[int], means: int, d: int, places: list[int] | None = None
) -> dict[str, Any]:
    """The compile-time constants of the kernels for scores with so many components from these means on, in R^d.

    places: for the gradient, of each mean among those learned, or -1.
    """
    pairs, team, most = 8 * -(-d // TILE), FEWEST, HELD if places is None else -(-HELD // 2)
    while team * most < pairs and team < MOST:
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
        "HELD": held if held <= most else 0,
        "LEARNED": max(places or [-1]) + 1,
        "PLACES": ",".join(map(str, places or [])),
    }


def options(chosen: dict[str, Any]) -> tuple[str, ...]:
    """What the compiler is told."""
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in chosen.items()))


def text(chosen: dict[str, Any]) -> str:
    """CUDA text of the walk or, where some means are learned, of the gradient."""
    unroll = f'#define UNROLL _Pragma("unroll{"" if chosen["MEANS"] <= UNROLLED else " 1"}")\n'
    return unroll + source("sampler/kernel.cu", *(["sampler/adjoint.cu"] if chosen["LEARNED"] else []))


@lru_cache(maxsize=64)
def _module(xp: Any, code: str, told: tuple[str, ...]) -> Any:
    return compile_cuda(xp, code, told)


def walk(
    model: Model,
    key: NDArray[np.uint64],
    source: int,
    particles: range,
    chosen: NDArray[np.intp],
    *,
    backward: bool = False,
    ends: bool = False,
    threads: int = 1,
) -> Walk:
    """sampler_chain.walk, with the numbers of `source` for these particles; end points only if `ends`. Threads of this
    machine do nothing here.

    Raises  BackendError if the device fails, or has too little memory.
    """
    at = _Launch(model, backward, None)
    d, L, paths, teams = model.dimension, len(model.mixtures["target"].variances), len(particles), at.teams
    scratch_each = 0 if at.told["HELD"] else 16 * at.width * teams
    each = 8 * (L + 3 + (d if ends else 0)) + scratch_each // teams
    log_weight, modes, end = np.empty(paths), np.empty((paths, L)), np.empty((paths if ends else 0, d))
    for s, count in at.launches(paths):
        with gpu_errors(at.xp, count, each, "paths"):
            blocks = -(-count // teams)
            if scratch_each:
                blocks = max(1, min(blocks, min(SCRATCH_BYTES, gpu_memory(at.xp) // 4) // scratch_each))
            out = [at.xp.empty(size) for size in (count, (count, L), (count if ends else 0, d))]
            scratch = at.xp.empty(blocks * scratch_each // 8)
            words = map(np.uint32, (backward, ends))
            at.run("walk", blocks, chosen[s], (particles.start + s.start, 0, source, *key), (*words, scratch, *out))
            log_weight[s], modes[s] = to_numpy(out[0]), to_numpy(out[1])
            if ends:
                end[s] = to_numpy(out[2])
    return Walk(log_weight, modes, end)


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
    """sampler_chain.gradient for the mixtures `of`, with the numbers of `source` and the steps from `step` on: log W
    (path,) and the derivatives. stop: called between launches, may raise. A schedule is refused before. Raises as
    `walk`."""
    assert schedule is None
    place, rows = places(model, of)
    at = _Launch(model, False, place.tolist())
    N, d, paths, teams, width, A, M = (
        model.steps, model.dimension, len(particles), at.teams, at.width, len(place), at.told["LEARNED"]
    )  # fmt: skip
    densities = np.zeros(at.tables.live.shape)
    densities[0, 0] += 1
    densities[N, 1] -= 1
    variances = np.concatenate([m.variances for m in model.mixtures.values()])
    known = [at.xp.asarray(a) for a in (np.einsum("ad,ad->a", at.tables.means, at.tables.means), variances, densities)]
    room = (2 * N + 4) * width + (N + 1) * (A + 1)
    # Not by the memory that is free: the order of additions shall be the same on all GPUs.
    most = max(1, KEPT_BYTES // (8 * teams * (room + M * width)))
    log_weight, of_means, of_rest = np.empty(paths), np.zeros((M, width)), np.zeros((2, A))
    for s, count in at.launches(paths):
        if stop:
            stop()
        with gpu_errors(at.xp, count, 8 * (room + M * width), "paths"):
            blocks = min(-(-count // teams), most)
            sums = at.xp.zeros((blocks * teams, M, width)), at.xp.empty((blocks * teams, 2, A))
            done, scratch = at.xp.empty(count), at.xp.empty(blocks * teams * room)
            more = (*known, at.xp.asarray(np.ascontiguousarray(weights[s], dtype=float)), scratch, done, *sums)
            at.run("differentiate", blocks, chosen[s], (particles.start + s.start, step, source, *key), more)
            log_weight[s] = to_numpy(done)
            of_means += to_numpy(sums[0].sum(0))
            of_rest += to_numpy(sums[1].sum(0))
    return log_weight, {name: Bars(of_means[place[own], :d], *of_rest[:, own]) for name, own in rows.items()}


class _Launch:
    """A model on the device, with the kernel that walks it, or differentiates in the means with places."""

    def __init__(self, model: Model, backward: bool, places: list[int] | None) -> None:
        self.xp, self.model = backend_module("cupy"), model
        self.tables = tables = Tables.of(model, backward)
        self.first = model.mixtures["target" if backward else "prior"]
        self.offset = len(model.mixtures["prior"].variances) if backward else 0
        _, starts, counts = np.unique(tables.slot, return_index=True, return_counts=True)
        bases = tables.base[starts].tolist()
        self.told = constants(counts.tolist(), bases, len(tables.means), model.dimension, places)
        self.teams, self.width = self.told["THREADS"] // self.told["TEAM"], tables.means.shape[1]
        arrays = (tables.means, tables.scale, tables.inverse, tables.constant, tables.live.astype(np.int32))
        self.arrays = [self.xp.asarray(a) for a in (*arrays, tables.move, tables.reverse, tables.eta)]

    def launches(self, paths: int) -> list[tuple[slice, int]]:
        most = max(1, min(LAUNCH_NORMALS // (self.width * (self.model.steps + 1)), LAUNCH_PATHS))
        return [(slice(n, min(n + most, paths)), min(most, paths - n)) for n in range(0, paths, most)]

    def run(
        self, kernel: str, blocks: int, chosen: NDArray[np.intp], words: tuple[Any, ...], more: tuple[Any, ...]
    ) -> None:
        """words: first particle, first step, source and key of the random numbers."""
        xp, model = self.xp, self.model
        origins = xp.asarray((chosen + self.offset).astype(np.int32))
        spreads = xp.asarray(np.sqrt(self.first.variances[chosen]))
        sizes = tuple(map(np.uint64, (model.steps, model.dimension, len(chosen))))
        launch = _module(xp, text(self.told), options(self.told)).get_function(kernel)
        arguments = (*self.arrays, origins, spreads, *sizes, *map(np.uint32, words), *more)
        launch((blocks,), (self.told["THREADS"],), arguments)
