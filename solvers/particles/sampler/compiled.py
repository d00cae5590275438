"""The chain of sampler_chain.py compiled for CPUs: paths both ways, and pathwise gradients by reverse mode.

The loops are in loops/. Random numbers are those of streams.py, drawn there. Paths are cut into pieces that do not
depend on the machine, and what is summed over them is added piece by piece in their order, so threads change no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from solvers.machine.pieces import PerThread, in_order
from solvers.particles.compiled import loops
from solvers.particles.sampler.chain import Drift, Model, Walk
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.schedule import Schedule
from solvers.particles.streams import TILE

__all__ = ["Tables", "coefficients", "fixed", "gradient", "places", "structure", "walk"]

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
BLOCK_BYTES, MOST_PATHS = 2**17, 256
"""Of the paths walked together, old and new points: a part of the cache of a core."""
CALL_NORMALS = 2**26  # drawn in one call, a tenth of a second: compiled code hears of no Ctrl-C
PIECE_BYTES = (
    2**21
)  # of all points and residuals of the paths whose derivatives are summed in one go: half a millisecond


@dataclass(frozen=True, eq=False)
class _Structure:
    """What the arrays of Tables have in common for all parameters: see there."""

    keys: tuple[tuple[str, bool], ...]
    slot: Whole
    base: Whole
    live: NDArray[np.bool_]
    move: Array
    reverse: Array
    which: Whole
    counts: Whole


@lru_cache(maxsize=64)
def structure(
    method: str, reference: str, control: str, steps: int, sizes: tuple[tuple[str, int], ...], backward: bool
) -> _Structure:
    """Of a model whose mixtures have these numbers of components."""
    empty = Model(method, reference, control, steps, 0.0, {})
    drifts = [empty.drifts(n) if steps else ({}, {}) for n in range(steps + 1)]
    keys: list[tuple[str, bool]] = [("prior", False), ("target", False)]
    keys += sorted({k for pair in drifts for drift in pair for k in drift if k[0] != "x"} - set(keys))
    count, first, A = dict(sizes), 0, sum(size for _, size in sizes)
    own = {}
    for name, size in sizes:
        own[name] = range(first, first + size)
        first += size
    slot = np.repeat(np.arange(len(keys)), [count[name] for name, _ in keys])
    base = np.concatenate([own[name] for name, _ in keys])
    live = np.zeros((steps + 1, len(keys)), dtype=bool)
    live[0, 0] = live[steps, 1] = True
    sides = coefficients(empty, tuple(keys), backward)
    if backward:
        live = live[::-1]
    for side, used in enumerate((slice(0, steps), slice(1, None))):
        live[used] |= sides[side, used, 1:] != 0
    which, counts = np.zeros((3, steps + 1, A), dtype=np.int64), np.zeros((3, steps + 1), dtype=np.int64)
    for i, needed in enumerate((live, live & (sides[0, :, 1:] != 0), live & (sides[1, :, 1:] != 0))):
        for n in range(steps + 1):
            found = np.unique(base[needed[n, slot]])
            which[i, n, : len(found)], counts[i, n] = found, len(found)
    parts = (slot, base, live, *sides, which, counts)  # of any other annealing: what is 0 here is 0 there
    return _Structure(tuple(keys), *(np.ascontiguousarray(a) for a in parts))


def coefficients(model: Model, keys: tuple[tuple[str, bool], ...], backward: bool) -> Array:
    """Of x and of these scores, in the drift that moves and in that of the reverse kernel (2, N+1, 1 + S), in the order
    in which steps are walked."""

    def row(drift: Drift) -> list[float]:
        return [drift.get(key, 0.0) for key in [("x", False), *keys]]

    N = model.steps
    drifts = [model.drifts(n) if N else ({}, {}) for n in range(N + 1)]
    sides = np.array([[row(pair[side]) for pair in drifts] for side in (0, 1)])
    return np.ascontiguousarray(sides[::-1, ::-1] if backward else sides)


@dataclass(frozen=True, eq=False)
class Tables:
    """The model as arrays, C components of S scores, at each of the N + 1 steps in the order in which they are walked.

    means (A, d filled up to whole tiles). slot, base (C,): score of a component, and which mean it has; scale, inverse,
    constant (N+1, C): its mean is scale·means[base], its precision and what its exponent has besides; live (N+1, S):
    whether a score is needed; move, reverse (N+1, 1 + S): coefficients of x and of the scores in the drift that moves
    and in that of the reverse kernel; which (3, N+1, A), counts (3, N+1): means that live scores have, those in `move`
    and those in `reverse`; eta (N,).
    """

    means: Array
    slot: Whole
    base: Whole
    scale: Array
    inverse: Array
    constant: Array
    live: NDArray[np.bool_]
    move: Array
    reverse: Array
    which: Whole
    counts: Whole
    eta: Array

    @classmethod
    def of(cls, model: Model, backward: bool) -> Tables:
        N, d = model.steps, model.dimension
        sizes = tuple((name, len(m.variances)) for name, m in model.mixtures.items())
        made = structure(model.method, model.reference, model.control, N, sizes, backward)
        means = np.zeros((sum(size for _, size in sizes), -(-d // TILE) * TILE))
        means[:, :d] = np.concatenate([m.means for m in model.mixtures.values()])
        v = np.concatenate([m.variances for m in model.mixtures.values()])[made.base]
        log_w = np.concatenate([m.log_weights for m in model.mixtures.values()])[made.base]
        squares = np.einsum("ad,ad->a", means, means)[made.base]
        way, eta = (-1 if backward else 1), model.eta
        decay = model.decay[::way, None]
        move, reverse = made.move, made.reverse
        if model.annealing is not None:
            move, reverse = coefficients(model, made.keys, backward)
        noised = np.array([noised for _, noised in made.keys])[made.slot]
        scale, v = np.where(noised, decay, 1.0), np.where(noised, 1 + (v - 1) * decay**2, v)
        constant = log_w - 0.5 * d * np.log(2 * np.pi * v) - scale**2 * squares / (2 * v)
        parts = (
            made.slot,
            made.base,
            scale,
            1 / v,
            constant,
            made.live,
            move,
            reverse,
            made.which,
            made.counts,
            np.ascontiguousarray(eta[::way]),
        )
        return cls(means, *parts)


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
    """sampler_chain.walk, with the numbers of `source` for these particles; end points only if `ends`.

    split: after so many steps the numbers are those of source + 1: clones of the paths without it. wider: starts so
    many times as far from the mean of their component.
    """
    d, N, tables = model.dimension, model.steps, Tables.of(model, backward)
    first = model.mixtures["target" if backward else "prior"]
    offset = len(model.mixtures["prior"].variances)
    modes = len(model.mixtures["target"].variances)
    origin = chosen + (offset if backward else 0)
    spread = wider * np.sqrt(first.variances[chosen])
    paths, width = len(particles), tables.means.shape[1]
    sources = np.full(N + 1, source, dtype=np.uint64)
    sources[N + 1 if split is None else split + 1 :] += np.uint64(1)
    block = max(4, min(MOST_PATHS, BLOCK_BYTES // (16 * width)))
    log_first, log_last, ratio, resp = np.empty(paths), np.empty(paths), np.empty(paths), np.empty((paths, modes))
    end = np.empty((paths if ends else 0, d))
    compiled, arrays = loops()["chain"].walk, tuple(vars(tables).values())
    together = block * max(1, min(CALL_NORMALS // (block * width * (N + 1)), -(-paths // (block * threads))))

    def made() -> tuple[Array, ...]:
        A, C, S = len(tables.means), len(tables.slot), tables.live.shape[1]
        rows = [np.empty((count, width)) for count in (block, block, 1)]
        return *rows, *map(np.empty, ((A, block), block, (S + 1, block), (C, block), (2, 1 + A, block)))

    room = PerThread(made)

    def piece(n: int) -> None:
        s = slice(n * together, (n + 1) * together)
        compiled(
            *arrays, d, origin[s], spread[s], particles.start + s.start, sources, *key,
            int(backward), int(not backward), log_first[s], log_last[s], ratio[s], resp[s], offset, end[s],
            0 if backward else N, *room(),
        )  # fmt: skip

    for _ in in_order(piece, -(-paths // together), threads):
        pass
    log_weight = log_first - log_last - ratio if backward else log_last - log_first + ratio
    return Walk(log_weight, resp, end)


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
    block: int | None = None,
    stop: Callable[[], None] | None = None,
    schedule: Schedule | None = None,
) -> tuple[Array, dict[str, Bars]]:
    """sampler_chain.gradient for the mixtures `of`, with the numbers of `source` and the steps from `step` on.

    Takes
        block: most paths held at a time, default those of a piece; stop: called between pieces, may raise; schedule:
        of sampler_chain.gradient.
    Returns
        log W (path,) and the derivatives, the same bits for every number of threads and every block.
    """
    given = (model, key, source, step, particles, chosen, weights, weights)
    return _differentiated(*given, False, of=of, threads=threads, block=block, stop=stop, schedule=schedule)


def fixed(
    model: Model,
    key: NDArray[np.uint64],
    source: int,
    particles: range,
    chosen: NDArray[np.intp],
    by_forward: Array,
    by_backward: Array,
    *,
    of: Iterable[str],
    wider: float = 1.0,
    threads: int = 1,
    stop: Callable[[], None] | None = None,
) -> dict[str, Bars]:
    """sampler_chain.fixed for the mixtures `of`, at the paths that `walk` walks with these numbers."""
    given = (model, key, source, 0, particles, chosen, -by_backward, by_forward)
    return _differentiated(*given, True, of=of, wider=wider, threads=threads, stop=stop)[1]


def _differentiated(
    model: Model, key: NDArray[np.uint64], source: int, step: int, particles: range, chosen: NDArray[np.intp],
    weights: Array, ahead: Array, fixed: bool, *, of: Iterable[str], wider: float = 1.0, threads: int = 1,
    block: int | None = None, stop: Callable[[], None] | None = None, schedule: Schedule | None = None,
) -> tuple[Array, dict[str, Bars]]:  # fmt: skip
    """As loops.adjoint.differentiate: weights of −log P̃ and of log Q."""
    d, N, tables = model.dimension, model.steps, Tables.of(model, backward=False)
    A, width = tables.means.shape
    place, rows = places(model, of)
    M = int(place.max()) + 1
    variances = np.concatenate([m.variances for m in model.mixtures.values()])
    densities = np.zeros(tables.live.shape)
    densities[0, 0] += 1
    densities[N, 1] -= 1
    spread = wider * np.sqrt(variances[chosen])
    weights, ahead = (np.ascontiguousarray(a, dtype=float) for a in (weights, ahead))
    paths, kept = len(particles), 8 * width * (2 * N + 4 + M)
    log_weight, together = np.empty(paths), max(1, PIECE_BYTES // kept)
    held = min(block or together, together, paths)
    compiled, arrays = loops()["adjoint"].differentiate, (*vars(tables).values(), variances, densities, place)

    def made() -> tuple[Array, ...]:
        C, S = len(tables.slot), tables.live.shape[1]
        rows = [np.empty((count * held, width)) for count in (N + 1, N + 2, 1, M)]
        kept = ((N + 1) * A, held), (N + 1, held), (N + 1, C, held), (2 * N + 2, 1 + A, held)
        scratch = (S + 1, held), (1, 1 + A, held), (3, A, held), (C, held), (A, held), (A, held), (4, held), A
        return *rows, *map(np.empty, (*kept, *scratch))

    room = PerThread(made)

    def piece(n: int) -> tuple[Array, Array, Array]:
        s = slice(n * together, (n + 1) * together)
        of_means, of_rest = np.zeros((M, width)), np.zeros((2, A))
        of_schedule = np.zeros((0 if schedule is None else 4, N + 1))
        compiled(
            *arrays, d, chosen[s], spread[s], weights[s], ahead[s], fixed, particles.start + s.start, step,
            np.uint64(source), *key, log_weight[s], of_means, of_rest, of_schedule, *room(),
        )  # fmt: skip
        return of_means, of_rest, of_schedule

    total_means, total_rest = np.zeros((M, width)), np.zeros((2, A))
    for of_means, of_rest, of_schedule in in_order(piece, -(-paths // together), threads):
        total_means += of_means
        total_rest += of_rest
        if schedule is not None:  # the time left at n is made of all steps from n on
            moves, residuals, times, betas = of_schedule
            schedule.steps[:] += moves[:N] + residuals[1:] + np.cumsum(times)[:N]
            if model.reference == "annealed":
                schedule.annealing[1:N] += betas[1:N]
        if stop:
            stop()
    return log_weight, {name: Bars(total_means[place[own], :d], *total_rest[:, own]) for name, own in rows.items()}


def places(model: Model, of: Iterable[str]) -> tuple[Whole, dict[str, slice]]:
    """Of each of all A means, in the order of the mixtures, the row where derivatives in it are added, −1: nowhere; and
    of each of the mixtures `of` which of the A means it has."""
    place, rows, first, wanted = list[int](), dict[str, slice](), 0, set(of)
    for name, mixture in model.mixtures.items():
        K, next_row = len(mixture.means), max([-1, *place]) + 1
        place += range(next_row, next_row + K) if name in wanted else [-1] * K
        if name in wanted:
            rows[name] = slice(first, first + K)
        first += K
    return np.array(place), rows
