"""DOP853 in lanes, with the way out to the Rosenbrock method when stability, not accuracy, limits the step."""

from __future__ import annotations

from math import sqrt
from typing import Any

from numba import njit

from solvers.integrate.protocol import N, fixed, rhs
from solvers.integrate.tableaus import DOP853
from solvers.integrate.unrolled import define, weighted_sum
from solvers.machine.code.entries import entry
from solvers.machine.lanes import (
    CHANGE,
    COUNTERS,
    ERROR,
    ERROR_LOW,
    EVALUATIONS,
    NOT_FINITE,
    NUMBERS,
    PENDING,
    ROW,
    SAVED,
    SPREAD,
    STIFF,
    STREAK,
    TAKEN,
    THETA,
    TRIED,
    H,
    T,
    accept,
    due,
    fate,
    finish_steps,
    first_step,
    leave,
    next_time,
    save_due,
    take,
    try_steps,
)
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, fabs, larger, load, select, some, store

Array = Any

EXPLICIT_ORDER, STAGES, ALL_STAGES, DENSE = DOP853.error_order, DOP853.stages, len(DOP853.a), len(DOP853.dense)
A, ERRORS, DENSE_WEIGHTS, STABILITY = DOP853.a, DOP853.errors, DOP853.dense, DOP853.stability
SPREADS = A[STAGES, :STAGES] - A[STAGES - 1, :STAGES]
PENDING_ROWS = (3 + ALL_STAGES) * N
"""Of the steps that wait for their dense output: y, two for scratch, and all stages."""

NEAR = 0.5
"""Share of the stability limit from where a step counts as near it."""
STIFF_STEPS = 4
"""So many more accepted steps near the stability limit than others count as stiff."""
WORTH = 30.0
"""A trajectory is handed over if this many explicit steps would still be needed at least."""

ROWS = (3 + ALL_STAGES + DENSE) * N + NUMBERS + PENDING_ROWS + NUMBERS
SLOTS = 2 * COUNTERS


def _stages(first: int, last: int) -> Any:
    """k_i for first ≤ i < last at the states y and steps TRIED; u is the argument of the last one."""
    body = ["h = load(lane, TRIED)"]
    for i in range(first, last):
        body += ["for j in range(N):", f"    store(u, j, load(y, j) + h * ({weighted_sum(A[i, :i])}))"]
        body += [f"rhs(u, p, k[{i} * N : {i + 1} * N], work)"]
    return define("stages", "p, y, u, k, lane, work", body, globals())


step_stages, dense_stages = _stages(1, STAGES + 1), _stages(STAGES + 1, ALL_STAGES)
# Of state j: the two errors and u − u', each for h = 1; and the coefficients of the dense output.
differences = define(
    "differences", "k, j", [f"return {', '.join(f'({weighted_sum(w)})' for w in (*ERRORS, SPREADS))}"], globals()
)
prepare = define(
    "prepare",
    "k, dense, lane",
    ["h = load(lane, TRIED)", "for j in range(N):"]
    + [f"    store(dense, {i} * N + j, h * ({weighted_sum(w)}))" for i, w in enumerate(DENSE_WEIGHTS)],
    globals(),
)


@njit(**FLAGS)
def estimate(rtol: float, atol: float, y: Array, u: Array, k: Array, lane: Array) -> None:
    """Both errors of the step, and CHANGE / SPREAD = h|λ| from h |f(u) − f(u')| / |u − u'|, u' the last stage's u."""
    h = load(lane, TRIED)
    error = low = change = spread = 0.0 * h
    for j in range(N):
        scale = 1.0 / (atol + rtol * larger(fabs(load(y, j)), fabs(load(u, j))))
        first, second, moved = differences(k, j)
        error = larger(error, fabs(h * first) * scale)
        low = larger(low, fabs(h * second) * scale)
        change = larger(change, fabs(load(k, STAGES * N + j) - load(k, (STAGES - 1) * N + j)) * scale)
        spread = larger(spread, fabs(moved) * scale)
    store(lane, ERROR, error)
    store(lane, ERROR_LOW, low)
    store(lane, CHANGE, change)
    store(lane, SPREAD, spread)


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


@njit(**FLAGS)
def put_off(z: int, c: int, times: Array, end: float, area: Array, lane: Array, slot: Array) -> None:
    """Copy what dense output of the step of lane z needs to column c of the pending ones; its points count as saved.

    The last stages of the dense output are worth computing for full vectors only: few lanes pass a save point at once.
    """
    y, k = area[:N], area[3 * N : (3 + STAGES + 1) * N]
    pending = area[len(area) - PENDING_ROWS - NUMBERS :]
    later, waiting = pending[PENDING_ROWS:], slot[COUNTERS:]
    for j in range(N):
        pending[j, c] = y[j, z]
    for row in range((STAGES + 1) * N):
        pending[3 * N + row, c] = k[row, z]
    for row in (T, TRIED, TAKEN):
        later[row, c] = lane[row, z]
    waiting[ROW, c], waiting[SAVED, c] = slot[ROW, z], slot[SAVED, z]
    reached = next_time(z, end, lane)
    while slot[SAVED, z] < times.size and times[slot[SAVED, z]] < reached:
        slot[SAVED, z] += 1
    slot[EVALUATIONS, z] += ALL_STAGES - STAGES - 1


@njit(**FLAGS)
def save_pending(times: Array, end: float, paths: Array, p: Array, area: Array, work: Array, slot: Array) -> None:
    """Dense output at the save points of all pending steps."""
    dense = area[(3 + ALL_STAGES) * N : (3 + ALL_STAGES + DENSE) * N]
    pending = area[len(area) - PENDING_ROWS - NUMBERS :]
    y, inside, k = pending[:N], pending[N : 2 * N], pending[3 * N : PENDING_ROWS]
    later, waiting = pending[PENDING_ROWS:], slot[COUNTERS:]
    dense_stages(p, y, inside, k, later, work)
    prepare(k, dense, later)
    while due(times, end, later, waiting):
        interpolate(y, dense, inside, later)
        save_due(inside, paths, later, waiting)
    store(later, TAKEN, 0.0)


@entry(**FLAGS)
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
    y, u = area[:N], area[N : 2 * N]
    k = area[3 * N : (3 + ALL_STAGES) * N]
    lane = area[(3 + ALL_STAGES + DENSE) * N :]
    # Not in the loop: looking into `many` touches the reference counts of all its arrays.
    times, paths = many.times, many.paths
    end = times[-1]
    cursor, new, active, pending = 0, True, 0, 0
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
        step_stages(p, y, u, k, lane, work)
        estimate(rtol, atol, y, u, k, lane)
        for z in range(W):
            lane[TAKEN, z] = 0.0
            if slot[ROW, z] >= 0:
                slot[EVALUATIONS, z] += STAGES
                high, low = lane[ERROR, z], lane[ERROR_LOW, z]
                error = high / sqrt(1.0 + 0.01 * (low / high) ** 2) if high > 0 else high
                if accept(z, error, EXPLICIT_ORDER, lane, slot):
                    near = lane[CHANGE, z] > NEAR * STABILITY * lane[SPREAD, z]
                    slot[STREAK, z] = max(slot[STREAK, z] + (1 if near else -1), 0)
        if due(times, end, lane, slot):
            for z in range(W):
                if lane[THETA, z] > 0:
                    put_off(z, pending, times, end, area, lane, slot)
                    pending += 1
                    if pending == W:
                        save_pending(times, end, paths, p, area, work, slot)
                        pending = 0
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
    if pending > 0:
        save_pending(times, end, paths, p, area, work, slot)
