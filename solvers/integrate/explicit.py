"""DOP853 in lanes, with the way out to the Rosenbrock method when stability, not accuracy, limits the step."""

from __future__ import annotations

from math import sqrt
from typing import Any

from numba import njit

from solvers.integrate.lanes import (
    CHANGE,
    COUNTERS,
    ERROR,
    ERROR_LOW,
    EVALUATIONS,
    NOT_FINITE,
    NUMBERS,
    PENDING,
    ROW,
    SPREAD,
    STIFF,
    STREAK,
    TAKEN,
    THETA,
    TRIED,
    H,
    T,
    combine,
    due,
    fate,
    finish_steps,
    first_step,
    judge,
    leave,
    save_due,
    take,
    try_steps,
)
from solvers.integrate.protocol import ENTRY, FLAGS, N, fixed, rhs
from solvers.integrate.simd import W, fabs, larger, load, select, some, store
from solvers.integrate.tableaus import DOP853

Array = Any

EXPLICIT_ORDER, STAGES, ALL_STAGES, DENSE = DOP853.error_order, DOP853.stages, len(DOP853.a), len(DOP853.dense)
A, ERRORS, DENSE_WEIGHTS, STABILITY = DOP853.a, DOP853.errors, DOP853.dense, DOP853.stability
SPREADS = A[STAGES, :STAGES] - A[STAGES - 1, :STAGES]

NEAR = 0.5
"""Share of the stability limit from where a step counts as near it."""
STIFF_STEPS = 4
"""So many more accepted steps near the stability limit than others count as stiff."""
WORTH = 30.0
"""A trajectory is handed over if this many explicit steps would still be needed at least."""

ROWS = (3 + ALL_STAGES + DENSE) * N + NUMBERS
SLOTS = COUNTERS


@njit(**FLAGS)
def stages(first: int, last: int, p: Array, y: Array, u: Array, k: Array, lane: Array, work: Array) -> None:
    """k_i for first ≤ i < last at the states y and steps TRIED; u is the argument of the last one."""
    h = load(lane, TRIED)
    for i in range(first, last):
        combine(A[i, :i], k, N, u)
        for j in range(N):
            store(u, j, load(y, j) + h * load(u, j))
        rhs(u, p, k[i * N : (i + 1) * N], work)


@njit(**FLAGS)
def estimate(rtol: float, atol: float, y: Array, u: Array, k: Array, sums: Array, lane: Array) -> None:
    """Both errors of the step, and CHANGE / SPREAD = h|λ| from h |f(u) − f(u')| / |u − u'|, u' the last stage's u."""
    h = load(lane, TRIED)
    combine(ERRORS[0], k, N, sums[:N])
    combine(ERRORS[1], k, N, sums[N : 2 * N])
    combine(SPREADS, k, N, sums[2 * N : 3 * N])
    for row in (ERROR, ERROR_LOW, CHANGE, SPREAD):
        store(lane, row, 0.0)
    for j in range(N):
        scale = 1.0 / (atol + rtol * larger(fabs(load(y, j)), fabs(load(u, j))))
        change = load(k, STAGES * N + j) - load(k, (STAGES - 1) * N + j)
        store(lane, ERROR, larger(load(lane, ERROR), fabs(h * load(sums, j)) * scale))
        store(lane, ERROR_LOW, larger(load(lane, ERROR_LOW), fabs(h * load(sums, N + j)) * scale))
        store(lane, CHANGE, larger(load(lane, CHANGE), fabs(change) * scale))
        store(lane, SPREAD, larger(load(lane, SPREAD), fabs(load(sums, 2 * N + j)) * scale))


@njit(**FLAGS)
def prepare(k: Array, dense: Array, lane: Array) -> None:
    """The coefficients of the dense output of this step."""
    h = load(lane, TRIED)
    for i in range(DENSE):
        combine(DENSE_WEIGHTS[i], k, N, dense[i * N : (i + 1) * N])
    for row in range(DENSE * N):
        store(dense, row, h * load(dense, row))


@njit(**FLAGS)
def interpolate(y: Array, dense: Array, out: Array, lane: Array) -> None:
    """out = state at THETA within the step."""
    theta = load(lane, THETA)
    rest = 1.0 - theta
    for j in range(N):
        value = theta * load(dense, (DENSE - 1) * N + j)
        for i in range(DENSE - 2, -1, -1):
            value = (value + load(dense, i * N + j)) * (rest if i % 2 else theta)
        store(out, j, load(y, j) + value)


@njit(**ENTRY)
def explicit(
    queue: Array,
    many: Any,
    p: Array,
    rtol: float,
    atol: float,
    max_steps: int,
    hand_over: bool,
    stop: Array,
    area: Array,
    work: Array,
    slot: Array,
) -> None:
    """Integrate the trajectories `queue` of `many` to the last save point, or until one turns out stiff (hand_over).

    area (ROWS, W), work (WORK + N, W) and slot (SLOTS, W) are scratch, zero at first; stop[0] ≠ 0 ends it.
    """
    y, u, inside = area[:N], area[N : 2 * N], area[2 * N : 3 * N]
    k = area[3 * N : (3 + ALL_STAGES) * N]
    dense = area[(3 + ALL_STAGES) * N : (3 + ALL_STAGES + DENSE) * N]
    lane = area[(3 + ALL_STAGES + DENSE) * N :]
    # Not in the loop: looking into `many` touches the reference counts of all its arrays.
    times, paths = many.times, many.paths
    end = times[-1]
    cursor, new, active = 0, True, 0
    fixed(p, work)
    for z in range(W):
        cursor = take(z, cursor, queue, many, lane, slot, y)
    while stop[0] == 0:
        while new:
            # The velocity of the others is computed again, to the same bits.
            new, active = False, 0
            rhs(y, p, k[:N], work)
            for z in range(W):
                if slot[ROW, z] >= 0:
                    active += 1
                    if lane[H, z] == 0:
                        slot[EVALUATIONS, z] += 1
                        if not first_step(z, lane, y, k, end, rtol, atol, EXPLICIT_ORDER):
                            leave(z, NOT_FINITE, many, lane, slot, y)
                            cursor = take(z, cursor, queue, many, lane, slot, y)
                            new = True
        if active == 0:
            break
        try_steps(end, lane)
        stages(1, STAGES + 1, p, y, u, k, lane, work)
        estimate(rtol, atol, y, u, k, dense, lane)
        for z in range(W):
            lane[TAKEN, z] = 0.0
            if slot[ROW, z] >= 0:
                slot[EVALUATIONS, z] += STAGES
                high, low = lane[ERROR, z], lane[ERROR_LOW, z]
                error = high / sqrt(1.0 + 0.01 * (low / high) ** 2) if high > 0 else high
                if judge(z, error, EXPLICIT_ORDER, lane, slot):
                    near = lane[CHANGE, z] > NEAR * STABILITY * lane[SPREAD, z]
                    slot[STREAK, z] = max(slot[STREAK, z] + (1 if near else -1), 0)
        if due(times, end, lane, slot):
            stages(STAGES + 1, ALL_STAGES, p, y, inside, k, lane, work)
            prepare(k, dense, lane)
            for z in range(W):
                if lane[THETA, z] > 0:
                    slot[EVALUATIONS, z] += ALL_STAGES - STAGES - 1
            while due(times, end, lane, slot):
                interpolate(y, dense, inside, lane)
                save_due(inside, paths, lane, slot)
        taken = load(lane, TAKEN) > 0.0
        if some(taken):
            for j in range(N):
                store(y, j, select(taken, load(u, j), load(y, j)))
                store(k, j, select(taken, load(k, STAGES * N + j), load(k, j)))
        finish_steps(end, y, times, paths, lane, slot)
        for z in range(W):
            if slot[ROW, z] < 0:
                continue
            status = fate(z, end, max_steps, lane, slot)
            if (
                status == PENDING
                and hand_over
                and slot[STREAK, z] >= STIFF_STEPS
                and end - lane[T, z] > WORTH * lane[H, z]
            ):
                status = STIFF
            if status != PENDING:
                leave(z, status, many, lane, slot, y)
                cursor = take(z, cursor, queue, many, lane, slot, y)
                new = True
