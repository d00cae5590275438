"""Which rule a covariance gets: principal axes, rank and steps, as in solvers/expectations/quadrature.py."""

from __future__ import annotations

from math import ceil, log, pi, sqrt
from typing import Any

import numpy as np
from numba import njit

from solvers.expectations.quadrature import DIGITS, LEVEL, MAX_NODES, RADIUS, RANK_CUT
from solvers.integrate.lanes import FLAGS

__all__ = ["principal_axes", "rule"]

Array = Any

_RADIUS = RADIUS[2]


@njit(**FLAGS)
def principal_axes(matrix: Array, variances: Array, axes: Array) -> None:
    """Ascending eigenvalues and eigenvectors (columns) of a symmetric matrix, which is destroyed: Jacobi rotations."""
    size = len(matrix)
    axes[:] = 0.0
    whole = 0.0
    for i in range(size):
        axes[i, i] = 1.0
        for j in range(size):
            whole += matrix[i, j] ** 2
    for _ in range(40):
        off = 0.0
        for i in range(size):
            for j in range(i):
                off += matrix[i, j] ** 2
        if off <= 1e-36 * whole:
            break
        for i in range(size):
            for j in range(i + 1, size):
                if matrix[i, j] == 0.0:
                    continue
                slope = (matrix[j, j] - matrix[i, i]) / (2 * matrix[i, j])
                tangent = 1 / (abs(slope) + sqrt(slope * slope + 1))
                if slope < 0:
                    tangent = -tangent
                cosine = 1 / sqrt(tangent * tangent + 1)
                sine = tangent * cosine
                for l in range(size):
                    a, b = matrix[l, i], matrix[l, j]
                    matrix[l, i], matrix[l, j] = cosine * a - sine * b, sine * a + cosine * b
                for l in range(size):
                    a, b = matrix[i, l], matrix[j, l]
                    matrix[i, l], matrix[j, l] = cosine * a - sine * b, sine * a + cosine * b
                for l in range(size):
                    a, b = axes[l, i], axes[l, j]
                    axes[l, i], axes[l, j] = cosine * a - sine * b, sine * a + cosine * b
    for i in range(size):
        variances[i] = matrix[i, i]
    for i in range(size):
        least = i
        for j in range(i + 1, size):
            if variances[j] < variances[least]:
                least = j
        if least != i:
            variances[i], variances[least] = variances[least], variances[i]
            for l in range(size):
                axes[l, i], axes[l, least] = axes[l, least], axes[l, i]


@njit(**FLAGS)
def spacing(factor: Array, column: int) -> float:
    """Step of the trapezoidal rule along a column of the factor."""
    high, low = 0.0, 0.0
    for i in range(len(factor)):
        high, low = max(high, factor[i, column]), min(low, factor[i, column])
    level = ceil(log(max(high - low, 0.4)) / log(LEVEL))
    c = min(pi / LEVEL**level, sqrt(2 * DIGITS))
    return 2 * pi * c / (DIGITS + c * c / 2)


@njit(**FLAGS)
def rule(matrix: Array, factor: Array) -> tuple[int, float, float, float]:
    """Rank and steps of the rule for a covariance (size, size), which is destroyed, its factor, and what is dropped.

    factor (size, size): of its columns the first is the longest for ranks 1 and 2, then the next; for rank 3 the first
    three count; for higher ranks, and rank 3 = size, it is the symmetric root. Steps are 0 where they mean nothing.
    """
    size = len(matrix)
    variances, axes = np.empty(size), np.empty((size, size))
    principal_axes(matrix, variances, axes)
    rank, dropped = 0, 0.0
    for a in range(size):
        if variances[a] > RANK_CUT * max(1.0, variances[size - 1]):
            rank += 1
    for a in range(size - rank):
        dropped += max(0.0, variances[a])
    factor[:] = 0.0
    if rank > 3 or rank == 3 == size:
        for a in range(size):
            root = sqrt(max(0.0, variances[a]))
            for i in range(size):
                for j in range(size):
                    factor[i, j] += root * axes[i, a] * axes[j, a]
        return rank, 0.0, 0.0, 0.0 if rank > 3 else dropped
    for a in range(rank):
        # The longest axis first in the plane; in space as in NumPy.
        column = rank - 1 - a if rank < 3 else a
        root = sqrt(max(0.0, variances[size - rank + a]))
        for i in range(size):
            factor[i, column] = root * axes[i, size - rank + a]
    first = spacing(factor, 0) if 1 <= rank <= 2 else 0.0
    second = spacing(factor, 1) if rank == 2 else 0.0
    if rank == 2:
        coarser = max(1.0, sqrt(pi * _RADIUS**2 / (first * second) / MAX_NODES))
        first, second = first * coarser, second * coarser
    return rank, first, second, dropped
