"""Shortest solutions of singular systems of linear equations, one a lane: singular values by rotations (Jacobi).

The columns of a matrix are turned against each other, two at a time, until all are orthogonal: A V = U Σ. It is as
exact as any way to singular values, and has no branch that lanes could differ in. Source: Hestenes (1958).
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from numba import njit

from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, fabs, larger, load, select, some, store

Array = Any

SWEEPS = 40  # six to ten are usual
ORTHOGONAL = 1e-15  # cosines of columns below this are zero


@njit(**FLAGS)
def _turn(columns: Array, first: int, other: int, n: int, c: Any, s: Any) -> None:
    for i in range(n):
        a, b = load(columns, first + i), load(columns, other + i)
        store(columns, first + i, c * a - s * b)
        store(columns, other + i, s * a + c * b)


@njit(**FLAGS)
def _orthogonal(columns: Array, axes: Array, n: int) -> None:
    """Turn the columns of a matrix (n², W), and the axes with them, until columns are orthogonal."""
    for _ in range(SWEEPS):
        turned = False
        for p in range(n - 1):
            for q in range(p + 1, n):
                own = other = both = 0.0 * load(columns, 0)
                for i in range(n):
                    a, b = load(columns, p * n + i), load(columns, q * n + i)
                    own, other, both = own + a * a, other + b * b, both + a * b
                oblique = fabs(both) > ORTHOGONAL * sqrt(own * other)
                if not some(oblique):
                    continue
                turned = True
                half = (other - own) / (2.0 * both)
                tangent = 1.0 / (fabs(half) + sqrt(1.0 + half * half))
                tangent = select(oblique, select(half < 0.0, -tangent, tangent), 0.0 * own)
                c = 1.0 / sqrt(1.0 + tangent * tangent)
                _turn(columns, p * n, q * n, n, c, c * tangent)
                _turn(axes, p * n, q * n, n, c, c * tangent)
        if not turned:
            return


@entry(**FLAGS)
def shortest(matrices: Array, right: Array, cut: float, x: Array, area: Array) -> None:
    """x (m, n), of all solutions nearest to matrices (m, n, n) x = right (m, n) the shortest, as pinv of NumPy has it;
    singular values up to `cut` times the largest are zero. area (2 n² + 3 n, W) is scratch. All must be finite."""
    n = matrices.shape[1]
    columns, axes, f = area[: n * n], area[n * n : 2 * n * n], area[2 * n * n : 2 * n * n + n]
    sizes, shares = area[2 * n * n + n : 2 * n * n + 2 * n], area[2 * n * n + 2 * n : 2 * n * n + 3 * n]
    for first in range(0, len(matrices), W):
        count = min(W, len(matrices) - first)
        for z in range(W):
            row = first + min(z, count - 1)
            for j in range(n):
                f[j, z] = right[row, j]
                for i in range(n):
                    columns[j * n + i, z] = matrices[row, i, j]
                    axes[j * n + i, z] = 1.0 if i == j else 0.0
        _orthogonal(columns, axes, n)
        largest = 0.0 * load(columns, 0)
        for j in range(n):
            size = share = 0.0 * largest
            for i in range(n):
                value = load(columns, j * n + i)
                size, share = size + value * value, share + value * load(f, i)
            store(sizes, j, size)
            store(shares, j, share)
            largest = larger(largest, size)
        for i in range(n):
            store(f, i, 0.0 * largest)
        for j in range(n):
            size = load(sizes, j)
            share = select(size > cut * cut * largest, load(shares, j) / size, 0.0 * largest)
            for i in range(n):
                store(f, i, load(f, i) + share * load(axes, j * n + i))
        for z in range(count):
            for i in range(n):
                x[first + z, i] = f[i, z]
