"""The chain of sampler_chain.py compiled for CPUs: a block of paths is walked from end to end while it is in the cache.

Scores enter through inner products x·μ_a and |x|², from which come a shrinking of x and a pull along each mean; then x
is moved, and the residual of the other kernel evaluated, coordinate by coordinate in R^d. The random numbers are those
of streams.py, drawn by the compiled loop of compiled.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from solvers.particles.compiled import draw, exp, log
from solvers.particles.sampler_chain import Drift, Model, Walk
from solvers.particles.streams import TILE

__all__ = ["fill", "walk"]

Array = NDArray[np.float64]
BLOCK_BYTES, MOST_PATHS = 2**17, 256
"""Of the paths walked together, old and new points: a part of the cache of a core."""
CALL_NORMALS = 2**26  # drawn in one call, a tenth of a second: compiled code hears of no Ctrl-C

_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
_reordered = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
_exact = njit(nogil=True, cache=True, error_model="numpy")


@_compiled
def _fill(x, first, step, source, k0, k1):  # type: ignore[no-untyped-def]
    for p in range(x.shape[0]):
        draw(x, p, 0, x.shape[1], np.uint64(first + p), step, source, k0, k1)


def fill(key: NDArray[np.uint64], step: int, source: int, particles: range, d: int) -> Array:
    """Standard normal numbers (particle, d): those of streams.normals for one replica."""
    x = np.empty((len(particles), -(-d // TILE) * TILE))
    _fill(x, particles.start, np.uint64(step), np.uint64(source), *key)
    return x[:, :d]


@dataclass(frozen=True, eq=False)
class _Tables:
    """The model as arrays, C components of S scores, at each of the N + 1 steps in the order in which they are walked.

    slot, base (C,): score of a component, and which mean it has; scale, inverse, constant (N+1, C): its mean is
    scale·means[base], its precision and what its exponent has besides; live (N+1, S): whether a score is needed;
    move, judge (N+1, 1 + S): coefficients of x and of the scores in the drift that moves, and in the other.
    """

    means: Array
    slot: NDArray[np.int64]
    base: NDArray[np.int64]
    scale: Array
    inverse: Array
    constant: Array
    live: NDArray[np.bool_]
    move: Array
    judge: Array

    @classmethod
    def of(cls, model: Model, backward: bool) -> _Tables:
        N, d = model.steps, model.dimension
        drifts = [model.drifts(n) if N else ({}, {}) for n in range(N + 1)]
        names = list(model.mixtures)
        keys: list[tuple[str, bool]] = [("prior", False), ("target", False)]
        keys += sorted({k for pair in drifts for drift in pair for k in drift if k[0] != "x"} - set(keys))
        offset = np.cumsum([0] + [len(model.mixtures[name].variances) for name in names])
        means = np.zeros((offset[-1], -(-d // TILE) * TILE))
        means[:, :d] = np.concatenate([m.means for m in model.mixtures.values()])
        slot = np.concatenate([np.full(len(model.mixtures[key[0]].variances), s) for s, key in enumerate(keys)])
        base = np.concatenate(
            [offset[names.index(name)] + np.arange(len(model.mixtures[name].variances)) for name, _ in keys]
        )
        scale, inverse, constant = (np.empty((N + 1, len(slot))) for _ in range(3))
        live = np.zeros((N + 1, len(keys)), dtype=bool)
        live[0, 0] = live[N, 1] = True
        sides = np.zeros((2, N + 1, 1 + len(keys)))
        for n in range(N + 1):
            for s, key in enumerate(keys):
                part, mixture, own = slot == s, model.score_of(key, n), model.mixtures[key[0]]
                decay = float(np.exp(n * model.eta - model.horizon)) if key[1] else 1.0
                v = mixture.variances
                scale[n, part], inverse[n, part] = decay, 1 / v
                square = decay**2 * (own.means**2).sum(1)
                constant[n, part] = mixture.log_weights - 0.5 * d * np.log(2 * np.pi * v) - square / (2 * v)
            for side, drift in enumerate(drifts[n]):
                sides[side, n] = _row(drift, keys)
                used = n < N if side == 0 else n > 0
                live[n] |= used & (sides[side, n, 1:] != 0)
        order = slice(None, None, -1 if backward else 1)
        move, judge = sides[::-1] if backward else sides
        rows = (scale, inverse, constant, live, move, judge)
        return cls(means, slot, base, *(np.ascontiguousarray(a[order]) for a in rows))


def _row(drift: Drift, keys: list[tuple[str, bool]]) -> list[float]:
    return [drift.get(key, 0.0) for key in [("x", False), *keys]]


@_reordered
def _dot(x, row, y, other):  # type: ignore[no-untyped-def]
    one, two = x[row], y[other]
    total = 0.0
    for j in range(one.size):
        total += one[j] * two[j]
    return total


@_compiled
def _start(x, row, means, a, spread, d):  # type: ignore[no-untyped-def]
    part, mean = x[row], means[a]
    for j in range(part.size):
        part[j] = mean[j] + spread * part[j]
    for j in range(d, part.size):
        part[j] = 0.0


@_compiled
def _multiply(x, row, y, other, factor, scale, d):  # type: ignore[no-untyped-def]
    """x becomes factor·y + scale·x, 0 beyond d."""
    one, two = x[row], y[other]
    for j in range(one.size):
        one[j] = factor * two[j] + scale * one[j]
    for j in range(d, one.size):
        one[j] = 0.0


@_compiled
def _add(x, row, y, other, factor):  # type: ignore[no-untyped-def]
    one, two = x[row], y[other]
    for j in range(one.size):
        one[j] += factor * two[j]


@_exact
def _scores(dots, square, slot, base, scale, inverse, constant, live, move, judge, count, top, r, out):  # type: ignore[no-untyped-def]
    """Responsibilities r (C, path), log-densities top (S, path) of the live scores, and what the drifts are made of.

    out (2, 1 + A, path): factor of x and of each mean, for the drift that moves and for the one that judges.
    """
    C, S = slot.size, live.size
    for p in range(count):
        out[0, 0, p] = move[0]
        out[1, 0, p] = judge[0]
    out[:, 1:, :count] = 0.0
    for s in range(S):
        if not live[s]:
            continue
        for p in range(count):
            top[s, p] = -np.inf
        for c in range(C):
            if slot[c] == s:
                a, e, i, k = base[c], scale[c], inverse[c], constant[c]
                for p in range(count):
                    r[c, p] = (e * dots[a, p] - 0.5 * square[p]) * i + k
                for p in range(count):
                    top[s, p] = r[c, p] if r[c, p] > top[s, p] else top[s, p]
        total = top[S]
        for p in range(count):
            total[p] = 0.0
        for c in range(C):
            if slot[c] == s:
                for p in range(count):
                    r[c, p] = exp(r[c, p] - top[s, p])
                for p in range(count):
                    total[p] += r[c, p]
        for c in range(C):
            if slot[c] == s:
                a, e, i = base[c], scale[c], inverse[c]
                f, g = move[1 + s] * i, judge[1 + s] * i
                for p in range(count):
                    r[c, p] /= total[p]
                for p in range(count):
                    out[0, 0, p] -= f * r[c, p]
                    out[1, 0, p] -= g * r[c, p]
                for p in range(count):
                    out[0, 1 + a, p] += f * e * r[c, p]
                    out[1, 1 + a, p] += g * e * r[c, p]
        for p in range(count):
            top[s, p] += log(total[p])


@_compiled
def _walk(  # type: ignore[no-untyped-def]
    means, slot, base, scale, inverse, constant, live, move, judge, eta, d, origin, spread, first, sources, k0, k1,
    block, first_slot, last_slot, log_first, log_last, ratio, resp, resp_at, end, end_at,
):  # fmt: skip
    """Walk paths first ≤ i < first + origin.size. Writes log-densities at both ends, the log-ratio of the kernels, the
    responsibilities of the target (path, L) and the point at the data end, step `end_at` of those walked. sources
    (N+1,): whose numbers each step draws."""
    N, A, S, C, width = scale.shape[0] - 1, means.shape[0], live.shape[1], slot.size, means.shape[1]
    x, y = np.empty((block, width)), np.empty((block, width))
    dots, square = np.empty((A, block)), np.empty(block)
    top, r, out = np.empty((S + 1, block)), np.empty((C, block)), np.empty((2, 1 + A, block))
    noise = math.sqrt(2 * eta)
    for begin in range(0, origin.size, block):
        count = min(block, origin.size - begin)
        for n in range(N + 1):
            step = np.uint64(n)
            for p in range(count):
                draw(y, p, 0, width, np.uint64(first + begin + p), step, sources[n], k0, k1)
                if n == 0:
                    ratio[begin + p] = 0.0
                    _start(y, p, means, origin[begin + p], spread[begin + p], d)
                else:
                    for j in range(d, width):
                        y[p, j] = 0.0
                    ratio[begin + p] += 0.5 * _dot(y, p, y, p)
                    _multiply(y, p, x, p, 1 + eta * out[0, 0, p], noise, d)
                    for a in range(A):
                        if out[0, 1 + a, p] != 0.0:
                            _add(y, p, means, a, eta * out[0, 1 + a, p])
                square[p] = _dot(y, p, y, p)
                for a in range(A):
                    dots[a, p] = _dot(y, p, means, a)
            _scores(dots, square, slot, base, scale[n], inverse[n], constant[n], live[n], move[n], judge[n], count,
                    top, r, out)  # fmt: skip
            if n > 0:
                for p in range(count):
                    _multiply(x, p, y, p, -1 - eta * out[1, 0, p], 1.0, d)
                    for a in range(A):
                        if out[1, 1 + a, p] != 0.0:
                            _add(x, p, means, a, -eta * out[1, 1 + a, p])
                    ratio[begin + p] -= _dot(x, p, x, p) / (4 * eta)
            if n == 0:
                log_first[begin : begin + count] = top[first_slot, :count]
            if n == N:
                log_last[begin : begin + count] = top[last_slot, :count]
            if n == end_at:
                for l in range(resp.shape[1]):
                    for p in range(count):
                        resp[begin + p, l] = r[resp_at + l, p]
                for p in range(min(count, end.shape[0] - begin)):
                    for j in range(d):
                        end[begin + p, j] = y[p, j]
            x, y = y, x


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
) -> Walk:
    """sampler_chain.walk, with the numbers of `source` for these particles; end points only if `ends`.

    split: after so many steps the numbers are those of source + 1: clones of the paths without it.
    """
    d, N, tables = model.dimension, model.steps, _Tables.of(model, backward)
    first = model.mixtures["target" if backward else "prior"]
    offset = len(model.mixtures["prior"].variances)
    modes = len(model.mixtures["target"].variances)
    origin = chosen + (offset if backward else 0)
    spread = np.sqrt(first.variances[chosen])
    paths, width = len(particles), tables.means.shape[1]
    sources = np.full(N + 1, source, dtype=np.uint64)
    sources[N + 1 if split is None else split + 1 :] += np.uint64(1)
    block = max(4, min(MOST_PATHS, BLOCK_BYTES // (16 * width)))
    log_first, log_last, ratio, resp = np.empty(paths), np.empty(paths), np.empty(paths), np.empty((paths, modes))
    end = np.empty((paths if ends else 0, d))
    compiled: Any = _walk
    arrays = tuple(vars(tables).values())
    at_once = block * max(1, CALL_NORMALS // (block * width * (N + 1)))
    for begin in range(0, paths, at_once):
        s = slice(begin, begin + at_once)
        compiled(
            *arrays, model.eta, d, origin[s], spread[s], particles.start + begin, sources, *key, block,
            int(backward), int(not backward), log_first[s], log_last[s], ratio[s], resp[s], offset, end[s],
            0 if backward else N,
        )  # fmt: skip
    log_weight = log_first - log_last - ratio if backward else log_last - log_first + ratio
    return Walk(log_weight, resp, end)
