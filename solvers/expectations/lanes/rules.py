"""Which rule a covariance gets: principal axes, rank and steps, as in solvers/expectations/quadrature.py."""

from __future__ import annotations

from math import ceil, log, pi, sqrt
from typing import Any

import numpy as np
from numba import njit

from solvers.expectations import quadrature
from solvers.expectations.quadrature import LATTICE, LATTICE_RADIUS, LEVEL, MAX_NODES, NARROW, RANK_CUT
from solvers.machine.options import FLAGS

__all__ = ["principal_axes", "rule"]

Array = Any

halvings = njit(**FLAGS)(quadrature.halvings)


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
def spacing(width: float, D: float) -> float:
    """Step of the trapezoidal rule for a column of that width."""
    level = ceil(log(max(width / NARROW, 1.0)) / log(LEVEL))
    c = min(pi / (NARROW * LEVEL**level), sqrt(2 * D))
    return 2 * pi * c / (D + c * c / 2)


@njit(**FLAGS)
def extent(factor: Array, column: int) -> float:
    """Largest difference between two entries of a column, a further zero among them."""
    high, low = 0.0, 0.0
    for i in range(len(factor)):
        high, low = max(high, factor[i, column]), min(low, factor[i, column])
    return high - low


@njit(**FLAGS)
def diameter(factor: Array) -> float:
    """Largest distance between two rows, a further row of zeros among them."""
    largest = 0.0
    for i in range(len(factor)):
        for j in range(i + 1):
            square = 0.0
            for a in range(len(factor)):
                square += (factor[i, a] - (factor[j, a] if j < i else 0.0)) ** 2
            largest = max(largest, square)
    return sqrt(largest)


@njit(**FLAGS)
def rule(matrix: Array, factor: Array, D: float) -> tuple[int, float, float, float, float]:
    """The rule for a covariance (size, size), which is destroyed: rank, two steps, radius, variance that is dropped.

    D: see `digits`. factor (size, size): of its columns the first is the longest for ranks 1 and 2, then the next; for
    rank 3 the first three count; for higher ranks, and rank 3 = size, it is the symmetric root. Steps are 0 where they
    mean nothing; for higher ranks the first is the number of halvings.
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
    for a in range(rank if rank < 3 or rank == 3 < size else 0):
        # The longest axis first in the plane; in space as in NumPy.
        column = rank - 1 - a if rank < 3 else a
        root = sqrt(max(0.0, variances[size - rank + a]))
        for i in range(size):
            factor[i, column] = root * axes[i, size - rank + a]
    first, second, radius = 0.0, 0.0, sqrt(2 * D + (4 if rank < 3 else 5))
    if rank == 1:
        first = max(spacing(extent(factor, 0), D), 2 * radius / MAX_NODES)
    elif rank == 2:
        first, second = spacing(extent(factor, 0), D), spacing(extent(factor, 1), D)
        coarser = max(1.0, sqrt(pi * radius**2 / (first * second) / MAX_NODES))
        first, second = first * coarser, second * coarser
    elif rank == 3:
        first = sqrt(2.0) * spacing(diameter(factor), D)
        if radius > LATTICE * first:
            radius = min(radius, LATTICE_RADIUS)
            first = radius / LATTICE
    elif rank > 3:
        first = float(halvings(diameter(factor), D))
    return rank, first, second, radius, dropped
