"""The functions of a system at many states."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from solvers.integrate.protocol import OUT, N, fixed, jacobian, observables, rhs
from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.machine.simd import W

Array = Any


@njit(**FLAGS)
def fetch(first: int, states: Array, y: Array) -> int:
    """States first, first + 1, ... into the lanes, nan into those left over; returns how many there are."""
    count = min(W, len(states) - first)
    for z in range(W):
        for j in range(N):
            y[j, z] = states[first + z, j] if z < count else np.nan
    return count


@entry(**FLAGS)
def observe(states: Array, p: Array, places: Array, outs: Any, area: Array, work: Array) -> None:
    """outs, a tuple of arrays (n, ·), of states (n, N): each some observables, from the one at its place on, or some
    rows of work, which these were made from, whose places come after the observables. area (N + OUT, W) and work
    (WORK + N, W) are scratch."""
    y, value = area[:N], area[N : N + OUT]
    fixed(p, work)
    for first in range(0, len(states), W):
        count = fetch(first, states, y)
        observables(y, p, value, work)
        for n in range(len(outs)):
            out, place = outs[n], places[n]
            if place < OUT:
                scatter(value, place, out, first, count)
            else:
                scatter(work, place - OUT, out, first, count)


@njit(**FLAGS)
def scatter(rows: Array, place: int, out: Array, first: int, count: int) -> None:
    """Rows from `place` on of so many lanes to those of out."""
    for z in range(count):
        for i in range(out.shape[1]):
            out[first + z, i] = rows[place + i, z]


@entry(**FLAGS)
def differentiate(states: Array, p: Array, velocity: Array, slope: Array, area: Array, work: Array) -> None:
    """velocity (n, N) and slope (n, N, N) = ∂velocity_i/∂y_j of states (n, N); area (2N + N², W) is scratch."""
    fixed(p, work)
    y, f, jac = area[:N], area[N : 2 * N], area[2 * N : (2 + N) * N].reshape(N, N, W)
    for first in range(0, len(states), W):
        count = fetch(first, states, y)
        rhs(y, p, f, work)
        jacobian(y, p, jac, work)
        for z in range(count):
            for i in range(N):
                velocity[first + z, i] = f[i, z]
                for j in range(N):
                    slope[first + z, i, j] = jac[i, j, z]
