"""Systems of linear equations, one a lane: triangular factors with rows exchanged only where that is needed.

Matrices are arrays (n, n, W), or (n², W). A lane exchanges rows where its pivot is less than a tenth of the largest
entry below; for 1/(hγ) − J that hardly ever happens, and then no other lane takes part.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.machine.options import FLAGS
from solvers.machine.simd import W, fabs, larger, load, some, store

Array = Any

SMALL = 10.0  # a pivot so many times smaller than an entry below it is exchanged


@njit(**FLAGS)
def factorise(matrix: Array, n: int, swap: Array) -> bool:
    """Replace a matrix by its triangular factors, pivots inverted; swap (n, W) int64 gets the exchanges, if any."""
    swapped = False
    for c in range(n):
        diagonal = fabs(load(matrix, c * n + c))
        largest = diagonal
        for r in range(c + 1, n):
            largest = larger(largest, fabs(load(matrix, r * n + c)))
        for z in range(W):
            swap[c, z] = c
        if some(largest > SMALL * diagonal):
            swapped = True
            exchange(c, matrix.reshape(n * n, W), n, swap)
        inverse = 1.0 / load(matrix, c * n + c)
        store(matrix, c * n + c, inverse)
        for r in range(c + 1, n):
            multiple = load(matrix, r * n + c) * inverse
            store(matrix, r * n + c, multiple)
            for q in range(c + 1, n):
                store(matrix, r * n + q, load(matrix, r * n + q) - multiple * load(matrix, c * n + q))
    return swapped


@njit(**FLAGS)
def exchange(c: int, rows: Array, n: int, swap: Array) -> None:
    """Bring the largest entry of column c, from the diagonal down, to the diagonal in the lanes that need it."""
    for z in range(W):
        best = c
        for r in range(c + 1, n):
            if abs(rows[r * n + c, z]) > abs(rows[best * n + c, z]):
                best = r
        if abs(rows[best * n + c, z]) > SMALL * abs(rows[c * n + c, z]):
            swap[c, z] = best
            for q in range(n):
                rows[c * n + q, z], rows[best * n + q, z] = rows[best * n + q, z], rows[c * n + q, z]


@njit(**FLAGS)
def solve(factors: Array, n: int, swap: Array, swapped: bool, x: Array) -> None:
    """Replace x (n, W) by the solution for it as right-hand side, with what `factorise` left."""
    if swapped:
        for c in range(n):
            for z in range(W):
                r = swap[c, z]
                x[c, z], x[r, z] = x[r, z], x[c, z]
    for c in range(n):
        value = load(x, c)
        for r in range(c + 1, n):
            store(x, r, load(x, r) - load(factors, r * n + c) * value)
    for c in range(n - 1, -1, -1):
        value = load(x, c) * load(factors, c * n + c)
        store(x, c, value)
        for r in range(c):
            store(x, r, load(x, r) - load(factors, r * n + c) * value)
