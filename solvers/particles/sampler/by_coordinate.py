"""Paths and gradients compiled for CPUs, for whatever variances mixtures have: where those of single coordinates differ
by loops/diagonal.py, else by compiled.py, which takes half the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.pieces import PerThread, in_order
from solvers.particles.compiled import loops
from solvers.particles.sampler import compiled
from solvers.particles.sampler.chain import Model, Walk
from solvers.particles.sampler.compiled import (
    BLOCK_BYTES,
    CALL_NORMALS,
    MOST_PATHS,
    PIECE_BYTES,
    coefficients,
    places,
    structure,
)
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.schedule import Schedule
from solvers.particles.streams import TILE

__all__ = ["gradient", "walk"]

Array = NDArray[np.float64]


def _single(model: Model) -> bool:
    return any(m.variances.ndim == 2 for m in model.mixtures.values())


def _tables(model: Model, backward: bool) -> tuple[Any, ...]:
    """means, variances (A, d filled up to whole tiles); and slot, base, scale, constant, live, move, reverse and eta as
    of compiled.Tables, but a constant has nothing of the means."""
    N, d = model.steps, model.dimension
    sizes = tuple((name, len(m.means)) for name, m in model.mixtures.items())
    made = structure(model.method, model.reference, model.control, N, sizes, backward)
    means, variances = (np.full((sum(size for _, size in sizes), -(-d // TILE) * TILE), by) for by in (0.0, 1.0))
    means[:, :d] = np.concatenate([m.means for m in model.mixtures.values()])
    each = [np.broadcast_to(m.variances.T, (d, len(m.means))).T for m in model.mixtures.values()]
    variances[:, :d] = np.concatenate(each)
    scale, constant = np.ones((N + 1, len(made.slot))), np.empty((N + 1, len(made.slot)))
    for s, key in enumerate(made.keys):
        own = made.slot == s
        for i, n in enumerate(range(N, -1, -1) if backward else range(N + 1)):
            if key[1]:
                scale[i, own] = model.decay[n]
            if key[1] or i == 0:
                law = model.score_of(key, n)
                widths = np.log(2 * np.pi * law.variances).reshape(len(law.means), -1).mean(1)
                constant[i, own] = law.log_weights - 0.5 * d * widths
            else:
                constant[i, own] = constant[0, own]
    move, reverse = made.move, made.reverse
    if model.annealing is not None:
        move, reverse = coefficients(model, made.keys, backward)
    etas = np.ascontiguousarray(model.eta[:: -1 if backward else 1])
    return means, variances, made.slot, made.base, scale, constant, made.live, move, reverse, etas


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
    """As compiled.walk."""
    if not _single(model):
        return compiled.walk(
            model, key, source, particles, chosen, backward=backward, ends=ends, split=split, wider=wider,
            threads=threads,
        )  # fmt: skip
    d, N = model.dimension, model.steps
    means, variances, *rest = _tables(model, backward)
    spreads, offset = wider * np.sqrt(variances), len(model.mixtures["prior"].means)
    origin, modes = chosen + (offset if backward else 0), len(model.mixtures["target"].means)
    paths, width = len(particles), means.shape[1]
    sources = np.full(N + 1, source, dtype=np.uint64)
    sources[N + 1 if split is None else split + 1 :] += np.uint64(1)
    block = max(4, min(MOST_PATHS, BLOCK_BYTES // (24 * width)))
    log_first, log_last, ratio, resp = np.empty(paths), np.empty(paths), np.empty(paths), np.empty((paths, modes))
    end = np.empty((paths if ends else 0, d))
    loop, C, S = loops()["diagonal"].walk, len(rest[0]), rest[4].shape[1]
    together = block * max(1, min(CALL_NORMALS // (block * width * (N + 1)), -(-paths // (block * threads))))
    shapes = (block, width), (block, width), (block, width), (1, width), (C, width), (C, width), C, S
    room = PerThread(lambda: tuple(map(np.empty, shapes)))

    def piece(n: int) -> None:
        s = slice(n * together, (n + 1) * together)
        loop(
            means, variances, spreads, *rest, d, origin[s], particles.start + s.start, sources, *key,
            int(backward), int(not backward), log_first[s], log_last[s], ratio[s], resp[s], offset, end[s],
            0 if backward else N, *room(),
        )  # fmt: skip

    for _ in in_order(piece, -(-paths // together), threads):
        pass
    return Walk(log_first - log_last - ratio if backward else log_last - log_first + ratio, resp, end)


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
    """As compiled.gradient: the same bits for every number of threads."""
    if not _single(model):
        return compiled.gradient(
            model, key, source, step, particles, chosen, weights, of=of, threads=threads, stop=stop, schedule=schedule
        )
    d, N = model.dimension, model.steps
    means, variances, *rest = _tables(model, backward=False)
    A, width = means.shape
    place, rows = places(model, of)
    M = int(place.max()) + 1
    densities = np.zeros(rest[4].shape)
    densities[0, 0] += 1
    densities[N, 1] -= 1
    paths, spreads, weights = len(particles), np.sqrt(variances), np.ascontiguousarray(weights, dtype=float)
    log_weight, together = np.empty(paths), max(1, min(paths, PIECE_BYTES // (8 * width * (2 * N + 5))))
    loop, C, S = loops()["diagonal"].differentiate, len(rest[0]), rest[4].shape[1]
    shapes = ((N + 1) * together, width), ((N + 2) * together, width), ((N + 1) * together, C), (together, width)
    more = (together, width), (1, width), (C, width), (C, width), max(C, S), together
    room = PerThread(lambda: tuple(map(np.empty, (*shapes, *more))))

    def piece(n: int) -> tuple[Array, Array, Array]:
        s = slice(n * together, (n + 1) * together)
        found = np.zeros((M, width)), np.zeros((M, width)), np.zeros(A)
        loop(
            means, variances, spreads, *rest, densities, place, d, chosen[s], weights[s],
            particles.start + s.start, step, np.uint64(source), *key, log_weight[s], *found, *room(),
        )  # fmt: skip
        return found

    of_means, of_v, of_w = np.zeros((M, width)), np.zeros((M, width)), np.zeros(A)
    for some in in_order(piece, -(-paths // together), threads):
        for total, part in zip((of_means, of_v, of_w), some, strict=True):
            total += part
        if stop:
            stop()

    def bars(name: str, own: slice) -> Bars:
        widths = of_v[place[own], :d]
        one = model.mixtures[name].variances.ndim == 1
        return Bars(of_means[place[own], :d], widths.sum(1) if one else widths, of_w[own])

    return log_weight, {name: bars(name, own) for name, own in rows.items()}
