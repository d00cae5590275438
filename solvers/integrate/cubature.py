"""E softmax, E logsumexp and their derivatives for three and more logits: the rules of solvers.expectations, compiled.

Rules and nodes are those of solvers/expectations/quadrature.py, so results agree with NumPy to rounding (where two
principal axes of the covariance coincide, to the error of the rule: nothing then fixes the axes). What is different is
the order of work. A vector holds W nodes, not W trajectories, since every covariance has nodes of its own; and one pass
over the nodes serves all distributions of one covariance, E_1 ... E_K of a trajectory and any number of trajectories
where it is that of the target. With logits m_k + f(z), f common,

    softmax_kj = W_kj e_j / Σ_i W_ki e_i,   e_j = exp(f_j − max f),   W_kj = exp(m_kj − max m_k),

so exponentials are shared and what is left for each k are two products of matrices, (k, j) with (j, node) and (k, node)
with (node, j). Nodes come in fours of equal weight, ±z and ±z' with some signs of z turned or another point: four norms
share one division and one logarithm.

Stability. The sum Σ W e is at least exp(−min(range of m_k, range of f)). Where both exceed SHARED, m_k is added to f
before the exponential and the sum lies between 1 and n.
"""

from __future__ import annotations

from math import ceil, exp, floor, isfinite, log, pi, sqrt
from typing import Any

import numpy as np
from numba import njit

from solvers.expectations.quadrature import (
    DIGITS,
    FLOOR,
    LEVEL,
    MAX_NODES,
    RADIUS,
    RANK_CUT,
    REACH,
    REPLICATES,
    T_QUANTILE,
    beyond,
)
from solvers.integrate.elementary import decay, logarithm, vectors
from solvers.integrate.lanes import FLAGS
from solvers.integrate.simd import W, load, select, store

__all__ = ["FOURS", "average", "integrate", "moment_rows", "principal_axes", "rule"]

Array = Any

SHARED = 150.0
"""Range of logits up to which exponentials are shared: four sums of e^−150 multiply to a normal number."""
FOURS = 4
"""Vectors of four nodes each that wait for being summed: their exponentials stay in the first cache."""
_RADII = np.array([RADIUS[rank] for rank in range(3)])
_BEYOND = np.array([beyond(rank) for rank in range(4)])


@njit(**FLAGS)
def moment_rows(size: int) -> int:
    """Products p_i p_j and p_i p_j p_k with i ≤ j ≤ k < size."""
    return size * (size + 1) // 2 + size * (size + 1) * (size + 2) // 6


@njit(**FLAGS)
def principal_axes(matrix: Array, variances: Array, axes: Array) -> None:
    """Eigenvalues, ascending, and eigenvectors (columns) of a symmetric matrix, which is destroyed: Jacobi rotations."""
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
        coarser = max(1.0, sqrt(pi * _RADII[2] ** 2 / (first * second) / MAX_NODES))
        first, second = first * coarser, second * coarser
    return rank, first, second, dropped


@njit(**FLAGS)
def fill(at: int, n: int, directions: int, z: Array, factor: Array, offset: Array, powers: Array, tops: Array) -> None:
    """Exponentials e_j and maxima of the four vectors of nodes ±z, ±z' (rows of z), in place `at` of FOURS."""
    for pair in range(2):
        high, low = 0.0 * load(z, 0), 0.0 * load(z, 0)
        for j in range(n - 1):
            field = factor[j, 0] * load(z, pair * directions)
            for a in range(1, directions):
                field += factor[j, a] * load(z, pair * directions + a)
            ahead, behind = offset[j] + field, offset[j] - field
            row = (j * FOURS + at) * 4 + 2 * pair
            store(powers, row, ahead)
            store(powers, row + 1, behind)
            high, low = select(ahead > high, ahead, high), select(behind > low, behind, low)
        for j in range(n - 1):
            row = (j * FOURS + at) * 4 + 2 * pair
            store(powers, row, decay(load(powers, row) - high))
            store(powers, row + 1, decay(load(powers, row + 1) - low))
        row = ((n - 1) * FOURS + at) * 4 + 2 * pair
        store(powers, row, decay(-high))
        store(powers, row + 1, decay(-low))
        store(tops, at * 4 + 2 * pair, high)
        store(tops, at * 4 + 2 * pair + 1, low)


@njit(**FLAGS)
def add(
    count: int, n: int, weights: Array, shares: Array, tops: Array, powers: Array, inverse: Array, sums: Array
) -> None:
    """Add `count` times four vectors of nodes to the sums.

    weights (rows, n) W; sums (rows (n + 1) + 2, W): Σ share e_j / norm and Σ share log norm of every row, then
    Σ share and Σ share max f.
    """
    rows = len(weights)
    total, peak = load(sums, rows * (n + 1)), load(sums, rows * (n + 1) + 1)
    for q in range(count):
        share = load(shares, q)
        total += 4.0 * share
        peak += share * (
            load(tops, 4 * q) + load(tops, 4 * q + 1) + (load(tops, 4 * q + 2) + load(tops, 4 * q + 3))
        )
    store(sums, rows * (n + 1), total)
    store(sums, rows * (n + 1) + 1, peak)
    for k in range(rows):
        first = k * (n + 1)
        logs = load(sums, first + n)
        for q in range(count):
            weight = weights[k, 0]
            a, b = weight * load(powers, 4 * q), weight * load(powers, 4 * q + 1)
            c, d = weight * load(powers, 4 * q + 2), weight * load(powers, 4 * q + 3)
            for j in range(1, n):
                weight, row = weights[k, j], (j * FOURS + q) * 4
                a += weight * load(powers, row)
                b += weight * load(powers, row + 1)
                c += weight * load(powers, row + 2)
                d += weight * load(powers, row + 3)
            share, ab, cd = load(shares, q), a * b, c * d
            every = ab * cd
            logs += share * logarithm(every)
            each = share / every
            of_ab, of_cd = each * cd, each * ab
            store(inverse, 4 * q, of_ab * b)
            store(inverse, 4 * q + 1, of_ab * a)
            store(inverse, 4 * q + 2, of_cd * d)
            store(inverse, 4 * q + 3, of_cd * c)
        store(sums, first + n, logs)
        for j in range(n):
            a, row = load(sums, first + j), j * FOURS * 4
            b, c, d = 0.0 * a, 0.0 * a, 0.0 * a
            for q in range(count):
                a += load(inverse, 4 * q) * load(powers, row + 4 * q)
                b += load(inverse, 4 * q + 1) * load(powers, row + 4 * q + 1)
                c += load(inverse, 4 * q + 2) * load(powers, row + 4 * q + 2)
                d += load(inverse, 4 * q + 3) * load(powers, row + 4 * q + 3)
            store(sums, first + j, (a + b) + (c + d))


@njit(**FLAGS)
def add_moments(count: int, n: int, shares: Array, powers: Array, inverse: Array, moments: Array) -> None:
    """After `add` with one row of weights 1: add share p_i p_j and share p_i p_j p_k of the same nodes, i ≤ j ≤ k < n−1.

    powers becomes p; inverse, scratch.
    """
    size = n - 1
    for q in range(count):
        share = load(shares, q)
        some = select(share > 0.0, share, 1.0)
        for m in range(4 * q, 4 * q + 4):
            factor = load(inverse, m) / some
            for j in range(size):
                row = j * FOURS * 4 + m
                store(powers, row, factor * load(powers, row))
    pair, triple = 0, size * (size + 1) // 2
    for i in range(size):
        for j in range(i, size):
            total = load(moments, pair)
            for q in range(count):
                share = load(shares, q)
                for m in range(4 * q, 4 * q + 4):
                    product = share * load(powers, i * FOURS * 4 + m) * load(powers, j * FOURS * 4 + m)
                    store(inverse, m, product)
                    total += product
            store(moments, pair, total)
            pair += 1
            for k in range(j, size):
                a = load(moments, triple)
                b, c, d = 0.0 * a, 0.0 * a, 0.0 * a
                row = k * FOURS * 4
                for m in range(0, 4 * count, 4):
                    a += load(inverse, m) * load(powers, row + m)
                    b += load(inverse, m + 1) * load(powers, row + m + 1)
                    c += load(inverse, m + 2) * load(powers, row + m + 2)
                    d += load(inverse, m + 3) * load(powers, row + m + 3)
                store(moments, triple, (a + b) + (c + d))
                triple += 1


@njit(**FLAGS)
def sweep(
    rank: int,
    first: float,
    second: float,
    variant: int,
    n: int,
    factor: Array,
    offset: Array,
    weights: Array,
    points: Array,
    place: int,
    sums: Array,
    moments: Array,
) -> None:
    """Sums over all nodes of a rule, see `add`; moments too unless that has no rows.

    variant: 0, or a grid shifted one or two ways, or one replicate of the points. points, place: see `average`.
    """
    size = n - 1
    directions = 2 if rank < 3 else (3 if rank == 3 else size)
    z, shares, tops = vectors(2 * directions), vectors(FOURS), vectors(4 * FOURS)
    powers, inverse, lanes = vectors(4 * FOURS * n), vectors(4 * FOURS), vectors(1)
    for i in range(W):
        lanes[0, i] = i
    # Nodes in rows and columns: of the plane, of vectors of points, or of those and their mirror images.
    shift = 0.5 if variant == 1 and rank < 3 else 0.0
    across = 0.5 if variant > 0 and rank == 2 else 0.0
    square_radius = _RADII[min(rank, 2)] ** 2
    start, height = 0, 4 if rank == 3 else 2 * size
    rows = 1 + (floor(sqrt(square_radius) / second - across) if rank == 2 else 0)
    if rank > 2:
        # Where shifted lattices stand in the directory: see `nodes`.
        place += size if rank > 3 else (3 if variant == 0 else variant)
        start, rows = int(points[place, 0]), int(points[place, 1])
        if rank > 3 and variant > 0:
            rows //= REPLICATES
            start += (variant - 1) * rows * height
    count = 0
    for i in range(rows):
        y = (i + across) * second
        reach = square_radius - y * y
        columns = W * (2 if rank == 3 else 1)
        if rank < 3 and rank > 0:
            columns = 1 + max(0, floor(sqrt(max(0.0, reach)) / first - shift))
        for j in range(0, columns, W):
            if rank < 3:
                step = load(lanes, 0) + (j + shift)
                x = step * first
                store(z, 0, x)
                store(z, 1, y)
                store(z, 2, x)
                store(z, 3, -y)
                # A node on an axis is its own mirror image.
                weight = (0.5 if i + across == 0.0 else 1.0) * decay(-0.5 * (x * x + y * y))
                weight = select(step == 0.0, 0.5 * weight, select(0.0 * step < rank, weight, 0.0))
                store(shares, count, select(x * x < reach, weight, 0.0))
            elif rank == 3:
                for a in range(3):
                    value = load(points, start + height * i + a)
                    store(z, a, -value if a == 2 and j > 0 else value)
                    store(z, 3 + a, -value if a == 0 or (a == 2 and j > 0) else value)
                store(shares, count, load(points, start + height * i + 3))
            else:
                for a in range(2 * size):
                    store(z, a, load(points, start + height * i + a))
                store(shares, count, 1.0)
            fill(count, n, directions, z, factor, offset, powers, tops)
            count += 1
            if count == FOURS or (i == rows - 1 and j + W >= columns):
                add(count, n, weights, shares, tops, powers, inverse, sums)
                if len(moments):
                    add_moments(count, n, shares, powers, inverse, moments)
                count = 0


@njit(**FLAGS)
def whole(sums: Array, row: int) -> float:
    """Sum over the entries of a vector."""
    total = 0.0
    for z in range(W):
        total += sums[row, z]
    return total


@njit(**FLAGS)
def average(
    means: Array,
    law: tuple[int, float, float, float],
    factor: Array,
    variant: int,
    points: Array,
    place: int,
    values: Array,
    moments: Array,
) -> None:
    """Expectations of many distributions of one covariance: (softmax, logsumexp) to values (rows, n + 1).

    means (rows, n − 1), finite, of logits whose last is zero; law and factor from `rule`. variant as in `sweep`.
    points: rows of vectors as made by `nodes`, place: where their directory starts (only read for ranks above two).
    moments (rows, moment_rows(n − 1)) or (rows, 0): E p_i p_j and E p_i p_j p_k, in the order of `add_moments`.
    """
    rows, n = len(means), means.shape[1] + 1
    rank, first, second, _ = law
    spread = 0.0  # of the field, |f_i − f_j|, at most
    for i in range(n):
        for j in range(i):
            square = 0.0
            for a in range(n - 1):
                difference = (factor[i, a] if i < n - 1 else 0.0) - factor[j, a]
                square += difference * difference
            spread = max(spread, sqrt(square) * REACH)
    weights, tops, chosen = np.empty((rows, n)), np.zeros(rows), np.empty(rows, np.int64)
    alone, together, zero, one = np.empty(rows, np.int64), 0, np.zeros(n - 1), np.ones((1, n))
    left = 0
    for k in range(rows):
        high, low = 0.0, 0.0
        for j in range(n - 1):
            high, low = max(high, means[k, j]), min(low, means[k, j])
        if moments.shape[1] == 0 and min(high - low, spread) <= SHARED:
            for j in range(n):
                weights[together, j] = exp((means[k, j] if j < n - 1 else 0.0) - high)
            chosen[together], tops[together] = k, high
            together += 1
        else:
            alone[left] = k
            left += 1
    for turn in range(left + 1):
        shared = turn == left
        count = together if shared else 1
        if count == 0:
            break
        share = weights[:together] if shared else one
        offset = zero if shared else means[alone[turn]]
        sums, products = vectors(count * (n + 1) + 2), vectors(0 if shared else moments.shape[1])
        sweep(rank, first, second, variant, n, factor, offset, share, points, place, sums, products)
        for k in range(count):
            row = chosen[k] if shared else alone[turn]
            finish(n, k, share[k], tops[k] if shared else 0.0, count, sums, values[row])
            for m in range(len(products)):
                moments[row, m] = whole(products, m) / whole(sums, n + 1)


@njit(**FLAGS)
def finish(n: int, k: int, weights: Array, top: float, rows: int, sums: Array, values: Array) -> None:
    """From the sums of row k to its softmax and logsumexp."""
    total = whole(sums, rows * (n + 1))
    norm = 0.0
    for j in range(n):
        values[j] = weights[j] * whole(sums, k * (n + 1) + j)
        norm += values[j]
    for j in range(n):
        values[j] /= norm
    values[n] = top + (whole(sums, k * (n + 1) + n) + whole(sums, rows * (n + 1) + 1)) / total


@njit(**FLAGS)
def integrate(
    means: Array, covs: Array, points: Array, place: int, values: Array, moments: Array, errors: Array
) -> None:
    """Expectations under K distributions of each of `count` covariances: values (count, K, n + 1).

    means (count, K, n − 1), covs (count, n − 1, n − 1), both finite; the covariances are destroyed.
    moments: (count, K, moment_rows(n − 1)) or (count, K, 0), see `average`. errors: (count, K) error estimates, or
    (count, 0), as in solvers/expectations/quadrature.py; they need nodes made with `shifted`.
    """
    (count, K, size), columns = means.shape, values.shape[2]
    factor, other, change = np.empty((size, size)), np.empty((K, columns)), np.empty((K, columns))
    nothing = np.empty((K, 0))
    for i in range(count):
        law = rule(covs[i], factor)
        rank, change[:] = law[0], 0.0
        variants = (min(rank, 2) if rank < 4 else REPLICATES) if errors.shape[1] else 0
        for variant in range(variants + 1):
            plain = variant == 0
            found, products = (values[i], moments[i]) if plain else (other, nothing)
            average(means[i], law, factor, variant, points, place, found, products)
            for k in range(K):
                for j in range(columns):
                    difference = abs(found[k, j] - values[i, k, j])
                    change[k, j] = max(change[k, j], difference) if rank < 4 else change[k, j] + difference**2
        for k in range(errors.shape[1]):
            errors[i, k] = 0.0
            for j in range(columns):
                if rank < 4:
                    deviation = change[k, j] + law[3] + _BEYOND[rank]
                else:
                    deviation = sqrt(change[k, j] / (REPLICATES - 1)) * T_QUANTILE / sqrt(float(REPLICATES))
                errors[i, k] = max(errors[i, k], deviation / max(1.0, abs(values[i, k, j])))
            errors[i, k] += FLOOR
