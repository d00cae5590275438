"""What the integrators share: trajectories taking turns in lanes, step-size control, save points.

A lane holds one trajectory, with its own time, step and error. When it is through, by whatever end, the next of the
queue takes the lane, so all lanes stay busy. No number of one lane enters another: results depend neither on the
company in the lanes nor on their order. Idle lanes hold nan: expensive expectations skip them.
"""

from __future__ import annotations

from collections import namedtuple
from math import exp, isfinite, log
from typing import Any

import numpy as np
from numba import njit

from solvers.machine.options import FLAGS
from solvers.machine.simd import W, load, store

Array = Any

REACHED, STEP_LIMIT, NOT_FINITE, STIFF, RESTING, PENDING = 0, 1, 2, 3, 4, -1
"""Status: the first three are final; STIFF and RESTING are handed back with a state to go on from."""

Trajectories = namedtuple("Trajectories", "y t h saved status steps evaluations rest paths times")
"""n trajectories between kernels.

y (n, N) states at t (n,) and h (n,) the step to try, 0 for "choose"; saved (n,) number of save points written;
status, steps (attempted), evaluations (right-hand sides) (n,); rest (n,) hand back as RESTING when the next step would
move by less than this many tolerances; paths (n, T, N) states at times (T,), the last of which is the end.
"""

# Rows of the array of numbers a lane has (float64) ...
T, H, TRIED, TAKEN, ERROR, ERROR_LOW, LAST, BOUND, THETA, CHANGE, SPREAD, MOVED, NUMBERS = range(13)
# ... and of the array of its counters (int64).
ROW, SAVED, STEPS, EVALUATIONS, REJECTED, STREAK, COUNTERS = range(7)

SMALLEST_ERROR = 1e-6  # of a step, for the controller: a vanishing error must not make its memory endless


@njit(**FLAGS)
def combine(weights: Array, k: Array, n: int, out: Array) -> None:
    """out_j = Σ_l weights_l k_lj, rows l n + j of k. States innermost: the compiler knows their number."""
    first = weights[0]
    for j in range(n):
        store(out, j, first * load(k, j))
    for l in range(1, len(weights)):
        weight = weights[l]
        if weight != 0.0:
            for j in range(n):
                store(out, j, load(out, j) + weight * load(k, l * n + j))


@njit(**FLAGS)
def take(z: int, cursor: int, queue: Array, many: Any, lane: Array, slot: Array, y: Array) -> int:
    """Put the next trajectory of the queue into lane z, or leave it idle; returns the new cursor."""
    lane[H, z] = lane[TRIED, z] = lane[TAKEN, z] = lane[THETA, z] = lane[LAST, z] = 0.0
    lane[MOVED, z], lane[BOUND, z] = 1.0, np.inf
    slot[ROW, z] = -1
    slot[REJECTED, z] = slot[STREAK, z] = 0
    while cursor < queue.size:
        row = queue[cursor]
        cursor += 1
        finite = True
        for j in range(y.shape[0]):
            y[j, z] = many.y[row, j]
            finite = finite and isfinite(y[j, z])
        slot[ROW, z], slot[SAVED, z] = row, many.saved[row]
        slot[STEPS, z], slot[EVALUATIONS, z] = many.steps[row], many.evaluations[row]
        lane[T, z], lane[H, z] = many.t[row], many.h[row]
        if finite:
            return cursor
        leave(z, NOT_FINITE, many, lane, slot, y)
    for j in range(y.shape[0]):
        y[j, z] = np.nan
    return cursor


@njit(**FLAGS)
def leave(z: int, status: int, many: Any, lane: Array, slot: Array, y: Array) -> None:
    """Hand the trajectory of lane z back; a failed one has nan at the save points it did not reach."""
    row, saved = slot[ROW, z], slot[SAVED, z]
    for j in range(y.shape[0]):
        many.y[row, j] = y[j, z]
    many.t[row], many.h[row] = lane[T, z], lane[H, z]
    many.saved[row], many.status[row] = saved, status
    many.steps[row], many.evaluations[row] = slot[STEPS, z], slot[EVALUATIONS, z]
    if status in (STEP_LIMIT, NOT_FINITE):
        many.paths[row, saved:] = np.nan
    slot[ROW, z] = -1
    lane[H, z] = 0.0


@njit(**FLAGS)
def norm(z: int, x: Array, y: Array, rtol: float, atol: float) -> float:
    """max_j |x_j| / (atol + rtol |y_j|) of lane z; nan if any is."""
    worst = 0.0
    for j in range(y.shape[0]):
        size = abs(x[j, z]) / (atol + rtol * abs(y[j, z]))
        if not size <= worst:
            worst = size
            if not isfinite(size):
                return np.nan
    return worst


@njit(**FLAGS)
def first_step(z: int, lane: Array, y: Array, f: Array, end: float, rtol: float, atol: float, order: int) -> bool:
    """Choose the first step of lane z from its state and velocity; False if the velocity is not finite.

    The change of the state by itself, or where that is larger, the step whose error would be a hundredth of the
    tolerance if all derivatives were as large as the first (Hairer, Nørsett, Wanner, section II.4, one evaluation
    short of it: a first step that fails costs less than an evaluation for every lane).
    """
    size, speed = norm(z, y, y, rtol, atol), norm(z, f, y, rtol, atol)
    if not isfinite(speed):
        return False
    remaining = end - lane[T, z]
    step = remaining
    if speed > 0:
        step = min(step, exp(log(0.01 / speed) / order))
        if size > 0:
            step = min(step, size / speed)
    lane[H, z] = step
    return True


@njit(**FLAGS)
def try_steps(end: float, lane: Array) -> None:
    """The steps to try: H, shortened to the end, or stretched to it rather than leave a sliver."""
    for z in range(W):
        remaining = end - lane[T, z]
        step = lane[H, z]
        lane[TRIED, z] = remaining if step > 0 and 1.0001 * step >= remaining else step


@njit(**FLAGS)
def accept(z: int, error: float, order: int, lane: Array, slot: Array) -> bool:
    """Accept or reject the step of lane z with this error, in tolerances, of that order in h; choose the next one.

    PI controller, h' = 0.9 h error^(−0.75/order) last^(0.3/order), between h/5 and 8h (Gustafsson 1991): its second
    term keeps the step just inside the stability limit instead of bouncing off it.
    """
    slot[STEPS, z] += 1
    step = lane[TRIED, z]
    if error <= 1:
        logarithm = log(max(error, SMALLEST_ERROR))
        factor = 0.9 * exp((0.3 * lane[LAST, z] - 0.75 * logarithm) / order)
        factor = min(8.0 if slot[REJECTED, z] == 0 else 1.0, max(0.2, factor))
        lane[LAST, z] = logarithm
        slot[REJECTED, z] = 0
        lane[H, z] = min(step * factor, lane[BOUND, z])
        lane[TAKEN, z] = 1.0
        return True
    lane[H, z] = step * (max(0.2, 0.9 * exp(-log(error) / order)) if isfinite(error) else 0.2)
    lane[TAKEN, z] = 0.0
    slot[REJECTED, z] = 1
    return False


@njit(**FLAGS)
def next_time(z: int, end: float, lane: Array) -> float:
    """Time of lane z after the step it tried; exactly `end` for a step that goes there."""
    remaining = end - lane[T, z]
    return end if lane[TRIED, z] == remaining else lane[T, z] + lane[TRIED, z]


@njit(**FLAGS)
def due(times: Array, end: float, lane: Array, slot: Array) -> bool:
    """Whether a lane has passed a save point inside its step; THETA is then where, in units of the step."""
    found = False
    for z in range(W):
        lane[THETA, z] = 0.0
        if lane[TAKEN, z] > 0 and slot[SAVED, z] < times.size:
            time = times[slot[SAVED, z]]
            if time < next_time(z, end, lane):
                lane[THETA, z] = (time - lane[T, z]) / lane[TRIED, z]
                found = True
    return found


@njit(**FLAGS)
def save(z: int, y: Array, paths: Array, slot: Array) -> None:
    """Write the state of lane z to its next save point."""
    for j in range(y.shape[0]):
        paths[slot[ROW, z], slot[SAVED, z], j] = y[j, z]
    slot[SAVED, z] += 1


@njit(**FLAGS)
def save_due(y: Array, paths: Array, lane: Array, slot: Array) -> None:
    """Save the states y interpolated at THETA, where that was asked for."""
    for z in range(W):
        if lane[THETA, z] > 0:
            save(z, y, paths, slot)


@njit(**FLAGS)
def finish_steps(end: float, y: Array, times: Array, paths: Array, lane: Array, slot: Array) -> None:
    """Move the lanes that took a step, with the state y already, to its end; save there if that is a save point."""
    for z in range(W):
        if lane[TAKEN, z] > 0:
            lane[T, z] = next_time(z, end, lane)
            if slot[SAVED, z] < times.size and times[slot[SAVED, z]] == lane[T, z]:
                save(z, y, paths, slot)


@njit(**FLAGS)
def fate(z: int, end: float, max_steps: int, lane: Array, slot: Array) -> int:
    """REACHED, STEP_LIMIT or NOT_FINITE if that is what has become of lane z, else PENDING."""
    if lane[TAKEN, z] > 0:
        if lane[T, z] == end:
            return REACHED
    elif not lane[T, z] + lane[H, z] > lane[T, z]:
        return NOT_FINITE
    return STEP_LIMIT if slot[STEPS, z] >= max_steps else PENDING
