"""Rodas5P in lanes: large steps where the motion is slow, whatever the fastest rate.

One danger of large steps is met here. An L-stable method damps an unstable direction as it damps a stable one once h λ
is large, and may do so with the wrong sign: a trajectory close to a saddle would stay there, or leave it to the other
side. The step is therefore kept below 1/λ for the largest rate of growth λ that a vector carried along by inverse
iteration finds.
"""

from __future__ import annotations

from math import cos
from typing import Any

import numpy as np
from numba import njit

from solvers.integrate.linear import factorise, solve
from solvers.integrate.protocol import N, fixed, jacobian, rhs
from solvers.integrate.tableaus import RODAS5P
from solvers.machine.code.entries import entry
from solvers.machine.lanes import (
    BOUND,
    COUNTERS,
    ERROR,
    EVALUATIONS,
    MOVED,
    NOT_FINITE,
    NUMBERS,
    PENDING,
    REACHED,
    RESTING,
    ROW,
    SAVED,
    TAKEN,
    THETA,
    TRIED,
    H,
    T,
    accept,
    combine,
    due,
    fate,
    finish_steps,
    first_step,
    leave,
    norm,
    save,
    save_due,
    take,
    try_steps,
)
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, fabs, larger, load, select, store

Array = Any

ROSENBROCK_ORDER, STEP_STAGES, CURVES = RODAS5P.error_order, RODAS5P.stages, len(RODAS5P.dense)
GAMMA, ALPHA, COUPLING, CURVE_WEIGHTS = RODAS5P.gamma, RODAS5P.a, RODAS5P.c, RODAS5P.dense

FIXED = 1e-3
"""A trajectory that a step did not move by a bit stays if its velocity moves it by less to the end, in tolerances.

An unstable equilibrium met exactly, where the step is kept below 1/λ, would otherwise take for ever.
"""
ROWS = (5 + STEP_STAGES + CURVES + N) * N + NUMBERS
"""Rows of scratch."""
SLOTS = COUNTERS + N


@njit(**FLAGS)
def shifted(jac: Array, lane: Array) -> None:
    """Replace jac by 1/(hγ) − jac."""
    shift = 1.0 / (GAMMA * load(lane, TRIED))
    for i in range(N):
        for j in range(N):
            entry = -load(jac, i * N + j)
            store(jac, i * N + j, entry + shift if i == j else entry)


@njit(**FLAGS)
def bound_growth(factors: Array, swap: Array, swapped: bool, v: Array, w: Array, lane: Array) -> None:
    """BOUND = 1/λ, λ > 0 the Rayleigh quotient of J at v, after two inverse iterations of v; infinity for λ ≤ 0.

    With w = (1/(hγ) − J)^{-1} v: w·Jw / w·w = 1/(hγ) − w·v / w·w.
    """
    shift = 1.0 / (GAMMA * load(lane, TRIED))
    for _ in range(2):
        for j in range(N):
            store(w, j, load(v, j))
        solve(factors, N, swap, swapped, w)
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
    solve(factors, N, swap, swapped, k[:N])
    for i in range(1, STEP_STAGES):
        combine(ALPHA[i, :i], k, N, u)
        for j in range(N):
            store(u, j, load(y, j) + load(u, j))
        stage = k[i * N : (i + 1) * N]
        rhs(u, p, stage, work)
        combine(COUPLING[i, :i], k, N, coupled)
        for j in range(N):
            store(stage, j, load(stage, j) + per_step * load(coupled, j))
        solve(factors, N, swap, swapped, stage)
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


@entry(**FLAGS)
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
    fixed(p, work)
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
                elif lane[MOVED, z] == 0 and speed * (end - lane[T, z]) <= FIXED:
                    status = REACHED
                    lane[T, z] = end
                    while slot[SAVED, z] < times.size:
                        save(z, y, paths, slot)
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
        shifted(jac, lane)
        swapped = factorise(jac, N, swap)
        bound_growth(jac, swap, swapped, v, w, lane)
        increments(p, y, u, k, inside, jac, swap, swapped, lane, work)
        measure(rtol, atol, y, u, k, lane)
        for z in range(W):
            lane[TAKEN, z] = 0.0
            if slot[ROW, z] >= 0:
                slot[EVALUATIONS, z] += STEP_STAGES
                accept(z, lane[ERROR, z], ROSENBROCK_ORDER, lane, slot)
        if due(times, end, lane, slot):
            prepare_curve(k, curve)
            while due(times, end, lane, slot):
                follow_curve(y, u, curve, inside, lane)
                save_due(inside, paths, lane, slot)
        taken = load(lane, TAKEN) > 0.0
        moved = ~taken
        for j in range(N):
            moved = moved | (load(u, j) != load(y, j))
            store(y, j, select(taken, load(u, j), load(y, j)))
        store(lane, MOVED, select(moved, 1.0, 0.0))
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
