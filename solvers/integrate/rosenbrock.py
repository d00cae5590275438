"""Rodas5P in lanes: large steps where the motion is slow, whatever the fastest rate.

Two dangers of large steps are met here. An L-stable method damps an unstable direction as it damps a stable one once
h λ is large, so a trajectory close to a saddle would stay there for good: the step is therefore kept below 1/λ for the
largest rate of growth λ that a vector carried along by inverse iteration finds. And a matrix 1/(hγ) − J may need
pivoting: rows are exchanged, lane by lane, where a pivot is less than a tenth of the largest entry below it.
"""

from __future__ import annotations

from math import cos
from typing import Any

import numpy as np
from numba import njit

from solvers.integrate.lanes import (
    BOUND,
    COUNTERS,
    ERROR,
    EVALUATIONS,
    NOT_FINITE,
    NUMBERS,
    PENDING,
    RESTING,
    ROW,
    TAKEN,
    THETA,
    TRIED,
    H,
    combine,
    due,
    fate,
    finish_steps,
    first_step,
    judge,
    leave,
    norm,
    save_due,
    take,
    try_steps,
)
from solvers.integrate.protocol import ENTRY, FLAGS, N, jacobian, rhs
from solvers.integrate.simd import W, fabs, larger, load, select, some, store
from solvers.integrate.tableaus import RODAS5P

Array = Any

ROSENBROCK_ORDER, STEP_STAGES, CURVES = RODAS5P.error_order, RODAS5P.stages, len(RODAS5P.dense)
GAMMA, ALPHA, COUPLING, CURVE_WEIGHTS = RODAS5P.gamma, RODAS5P.a, RODAS5P.c, RODAS5P.dense

ROWS = (5 + STEP_STAGES + CURVES + N) * N + NUMBERS
"""Rows of scratch."""
SLOTS = COUNTERS + N


@njit(**FLAGS)
def factorise(jac: Array, lane: Array, swap: Array) -> bool:
    """Replace jac by the triangular factors of 1/(hγ) − jac, pivots inverted; whether any rows were exchanged."""
    shift = 1.0 / (GAMMA * load(lane, TRIED))
    for i in range(N):
        for j in range(N):
            entry = -load(jac, i * N + j)
            store(jac, i * N + j, entry + shift if i == j else entry)
    swapped = False
    for c in range(N):
        diagonal = fabs(load(jac, c * N + c))
        largest = diagonal
        for r in range(c + 1, N):
            largest = larger(largest, fabs(load(jac, r * N + c)))
        for z in range(W):
            swap[c, z] = c
        if some(largest > 10.0 * diagonal):
            swapped = True
            exchange(c, jac, swap)
        inverse = 1.0 / load(jac, c * N + c)
        store(jac, c * N + c, inverse)
        for r in range(c + 1, N):
            multiple = load(jac, r * N + c) * inverse
            store(jac, r * N + c, multiple)
            for q in range(c + 1, N):
                store(jac, r * N + q, load(jac, r * N + q) - multiple * load(jac, c * N + q))
    return swapped


@njit(**FLAGS)
def exchange(c: int, rows: Array, swap: Array) -> None:
    """Bring the largest entry of column c to the diagonal, in lanes whose diagonal is less than a tenth of it."""
    flat = rows.reshape(N * N, W)
    for z in range(W):
        best = c
        for r in range(c + 1, N):
            if abs(flat[r * N + c, z]) > abs(flat[best * N + c, z]):
                best = r
        if abs(flat[best * N + c, z]) > 10.0 * abs(flat[c * N + c, z]):
            swap[c, z] = best
            for q in range(N):
                flat[c * N + q, z], flat[best * N + q, z] = flat[best * N + q, z], flat[c * N + q, z]


@njit(**FLAGS)
def solve(factors: Array, swap: Array, swapped: bool, x: Array) -> None:
    """Solve in place with the factors of `factorise`."""
    if swapped:
        for c in range(N):
            for z in range(W):
                r = swap[c, z]
                x[c, z], x[r, z] = x[r, z], x[c, z]
    for c in range(N):
        value = load(x, c)
        for r in range(c + 1, N):
            store(x, r, load(x, r) - load(factors, r * N + c) * value)
    for c in range(N - 1, -1, -1):
        value = load(x, c) * load(factors, c * N + c)
        store(x, c, value)
        for r in range(c):
            store(x, r, load(x, r) - load(factors, r * N + c) * value)


@njit(**FLAGS)
def bound_growth(factors: Array, swap: Array, swapped: bool, v: Array, w: Array, lane: Array) -> None:
    """BOUND = 1/λ, λ > 0 the Rayleigh quotient of J at v, after two inverse iterations of v; infinity for λ ≤ 0.

    With w = (1/(hγ) − J)^{-1} v: w·Jw / w·w = 1/(hγ) − w·v / w·w.
    """
    shift = 1.0 / (GAMMA * load(lane, TRIED))
    for _ in range(2):
        for j in range(N):
            store(w, j, load(v, j))
        solve(factors, swap, swapped, w)
        largest, along, square = (fabs(load(w, 0)), load(w, 0) * load(v, 0), load(w, 0) * load(w, 0))
        for j in range(1, N):
            value = load(w, j)
            largest = larger(largest, fabs(value))
            along += value * load(v, j)
            square += value * value
        growth = shift - along / square
        # Where rounding decides the sign, λ is below 1e-15 / h and its bound beyond reach.
        store(lane, BOUND, select(growth > 0.0, 1.0 / growth, np.inf))
        sane = (largest > 0.0) & (largest < np.inf)
        for j in range(N):
            store(v, j, select(sane, load(w, j) / largest, load(v, j)))


@njit(**FLAGS)
def increments(
    p: Array,
    y: Array,
    u: Array,
    k: Array,
    coupled: Array,
    factors: Array,
    swap: Array,
    swapped: bool,
    lane: Array,
    work: Array,
) -> None:
    """k_i of all stages, k_0 being f(y) before; u = result of the step; coupled (N, W) is scratch."""
    per_step = 1.0 / load(lane, TRIED)
    solve(factors, swap, swapped, k[:N])
    for i in range(1, STEP_STAGES):
        combine(ALPHA[i, :i], k, N, u)
        for j in range(N):
            store(u, j, load(y, j) + load(u, j))
        stage = k[i * N : (i + 1) * N]
        rhs(u, p, stage, work)
        combine(COUPLING[i, :i], k, N, coupled)
        for j in range(N):
            store(stage, j, load(stage, j) + per_step * load(coupled, j))
        solve(factors, swap, swapped, stage)
    for j in range(N):
        store(u, j, load(u, j) + load(k, (STEP_STAGES - 1) * N + j))


@njit(**FLAGS)
def measure(rtol: float, atol: float, y: Array, u: Array, k: Array, lane: Array) -> None:
    """ERROR of the step, in tolerances."""
    store(lane, ERROR, 0.0)
    for j in range(N):
        scale = atol + rtol * larger(fabs(load(y, j)), fabs(load(u, j)))
        error = fabs(load(k, (STEP_STAGES - 1) * N + j)) / scale
        store(lane, ERROR, larger(load(lane, ERROR), error))


@njit(**FLAGS)
def prepare_curve(k: Array, curve: Array) -> None:
    """The coefficients of the dense output of this step."""
    for i in range(CURVES):
        combine(CURVE_WEIGHTS[i], k, N, curve[i * N : (i + 1) * N])


@njit(**FLAGS)
def follow_curve(y: Array, u: Array, curve: Array, out: Array, lane: Array) -> None:
    """out = state at THETA within the step from y to u."""
    theta = load(lane, THETA)
    rest = 1.0 - theta
    for j in range(N):
        value = load(curve, (CURVES - 1) * N + j)
        for i in range(CURVES - 2, -1, -1):
            value = load(curve, i * N + j) + theta * value
        store(out, j, rest * load(y, j) + theta * (load(u, j) + rest * value))


@njit(**ENTRY)
def rosenbrock(
    queue: Array,
    many: Any,
    p: Array,
    rtol: float,
    atol: float,
    max_steps: int,
    stop: Array,
    area: Array,
    work: Array,
    slot: Array,
) -> None:
    """Integrate the trajectories `queue` of `many` to the last save point, or until one is at rest (many.rest).

    area (ROWS, W), work (WORK + N, W) and slot (SLOTS, W) are scratch, zero at first;
    stop[0] ≠ 0 ends it.
    """
    y, u, inside = area[:N], area[N : 2 * N], area[2 * N : 3 * N]
    v, w = area[3 * N : 4 * N], area[4 * N : 5 * N]
    k = area[5 * N : (5 + STEP_STAGES) * N]
    curve = area[(5 + STEP_STAGES) * N : (5 + STEP_STAGES + CURVES) * N]
    jac = area[(5 + STEP_STAGES + CURVES) * N : (5 + STEP_STAGES + CURVES + N) * N].reshape(N, N, W)
    lane = area[(5 + STEP_STAGES + CURVES + N) * N :]
    swap = slot[COUNTERS:]
    # Not in the loop: looking into `many` touches the reference counts of all its arrays.
    times, paths, rest = many.times, many.paths, many.rest
    end = times[-1]
    cursor, active = 0, 0
    for z in range(W):
        cursor = take(z, cursor, queue, many, lane, slot, y)
        spread(z, v)
    while stop[0] == 0:
        new = True
        while new:
            # The velocity of the others is computed again, to the same bits.
            new, active = False, 0
            rhs(y, p, k[:N], work)
            for z in range(W):
                if slot[ROW, z] < 0:
                    continue
                active += 1
                status = PENDING
                speed = norm(z, k, y, rtol, atol)
                if lane[H, z] == 0 and not first_step(z, lane, y, k, end, rtol, atol, ROSENBROCK_ORDER):
                    status = NOT_FINITE
                elif speed * lane[H, z] <= rest[slot[ROW, z]]:
                    status = RESTING
                if status != PENDING:
                    leave(z, status, many, lane, slot, y)
                    cursor = take(z, cursor, queue, many, lane, slot, y)
                    spread(z, v)
                    new = True
        if active == 0:
            break
        try_steps(end, lane)
        jacobian(y, p, jac, work)
        swapped = factorise(jac, lane, swap)
        bound_growth(jac, swap, swapped, v, w, lane)
        increments(p, y, u, k, inside, jac, swap, swapped, lane, work)
        measure(rtol, atol, y, u, k, lane)
        for z in range(W):
            lane[TAKEN, z] = 0.0
            if slot[ROW, z] >= 0:
                slot[EVALUATIONS, z] += STEP_STAGES
                judge(z, lane[ERROR, z], ROSENBROCK_ORDER, lane, slot)
        if due(times, end, lane, slot):
            prepare_curve(k, curve)
            while due(times, end, lane, slot):
                follow_curve(y, u, curve, inside, lane)
                save_due(inside, paths, lane, slot)
        taken = load(lane, TAKEN) > 0.0
        for j in range(N):
            store(y, j, select(taken, load(u, j), load(y, j)))
        finish_steps(end, y, times, paths, lane, slot)
        for z in range(W):
            if slot[ROW, z] < 0:
                continue
            status = fate(z, end, max_steps, lane, slot)
            if status != PENDING:
                leave(z, status, many, lane, slot, y)
                cursor = take(z, cursor, queue, many, lane, slot, y)
                spread(z, v)


@njit(**FLAGS)
def spread(z: int, v: Array) -> None:
    """Start the vector of lane z that looks for growth, with a share in every direction."""
    for j in range(N):
        v[j, z] = cos(1.0 + j * j)
