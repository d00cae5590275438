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

from math import exp, floor, sqrt
from typing import Any

import numpy as np
from numba import njit

from solvers.expectations import quadrature
from solvers.expectations.lanes.elementary import decay, vectors
from solvers.expectations.lanes.factor import many
from solvers.expectations.lanes.rules import rule
from solvers.expectations.lanes.sums import FOURS, SIDE, add, add_moments, add_pairs, fill, pair_rows
from solvers.expectations.quadrature import FLOOR, REACH, REPLICATES, T_QUANTILE
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, load, select, store

__all__ = ["average", "integrate"]

Array = Any

SHARED = 150.0
"""Range of logits up to which exponentials are shared: four sums of e^−150 multiply to a normal number."""
beyond = njit(**FLAGS)(quadrature.beyond)


@njit(**FLAGS)
def within(points: Array, start: int, count: int, square: float) -> int:
    """How many of so many vectors of the lattice, nearest first, have a node within that squared length."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        row = start + 4 * middle
        if points[row, 0] ** 2 + points[row + 1, 0] ** 2 + points[row + 2, 0] ** 2 < square:
            low = middle + 1
        else:
            high = middle
    return low


@njit(**FLAGS)
def sweep(
    law: tuple[int, float, float, float, float],
    variant: int,
    n: int,
    factor: Array,
    offset: Array,
    weights: Array,
    points: Array,
    place: int,
    sums: Array,
    pairs: Array,
    order: int,
    moments: Array,
) -> None:
    """Sums over all nodes of a rule, see `add`; moments up to that order too unless that is 0.

    law: from `rule`. variant: 0, or a grid shifted one or two ways, or one replicate of the points. points, place: see
    `average`.
    """
    rank, first, second, radius, _ = law
    size = n - 1
    directions = 2 if rank < 3 else (3 if rank == 3 else size)
    z, shares, tops = vectors(2 * directions), vectors(FOURS), vectors(4 * FOURS)
    powers, inverse, lanes = vectors(4 * FOURS * n), vectors(8 * FOURS), vectors(1)
    # Where products of two are summed: rows of squares in full blocks.
    room = 4 * FOURS * SIDE * (1 if len(pairs) else 0)
    squares, products = vectors(room * -(-len(weights) // SIDE)), vectors(room)
    for i in range(W):
        lanes[0, i] = i
    # Nodes in rows and columns: of the plane, of vectors of points, or of those and their mirror images.
    shift = 0.5 if variant == 1 and rank < 3 else 0.0
    across = 0.5 if variant > 0 and rank == 2 else 0.0
    square_radius = radius * radius
    start, height = 0, 4 if rank == 3 else 2 * size
    rows = 1 + (floor(sqrt(square_radius) / second - across) if rank == 2 else 0)
    if rank > 2:
        # Where shifted lattices stand in the directory: see `nodes`.
        place += size if rank > 3 else (3 if variant == 0 else variant)
        column = 2 * int(first) if rank > 3 else 0
        start, rows = int(points[place, column]), int(points[place, column + 1])
        if rank > 3 and variant > 0:
            rows //= REPLICATES
            start += (variant - 1) * rows * height
        if rank == 3:
            rows = within(points, start, rows, square_radius / (first * first))
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
                square = 0.0 * load(lanes, 0)
                for a in range(3):
                    value = first * load(points, start + height * i + a)
                    square += value * value
                    store(z, a, -value if a == 2 and j > 0 else value)
                    store(z, 3 + a, -value if a == 0 or (a == 2 and j > 0) else value)
                weight = load(points, start + height * i + 3) * decay(-0.5 * square)
                store(shares, count, select(square < square_radius, weight, 0.0))
            else:
                for a in range(2 * size):
                    store(z, a, load(points, start + height * i + a))
                store(shares, count, 1.0)
            fill(count, n, directions, z, factor, offset, powers, tops)
            count += 1
            if count == FOURS or (i == rows - 1 and j + W >= columns):
                add(count, n, weights, shares, tops, powers, inverse, sums, squares)
                if len(pairs):
                    add_pairs(count, n, len(weights), powers, squares, products, pairs)
                if order > 0:
                    add_moments(count, n, order, shares, powers, inverse, moments)
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
    law: tuple[int, float, float, float, float],
    factor: Array,
    variant: int,
    points: Array,
    place: int,
    values: Array,
    order: int,
    moments: Array,
) -> None:
    """Expectations of many distributions of one covariance: (softmax, logsumexp) to values (rows, n + 1).

    Where values has n² columns more, products of two entries of the softmax stand between.
    means (rows, n − 1), finite, of logits whose last is zero; law and factor from `rule`. variant as in `sweep`.
    points: rows of vectors as made by `nodes`, place: where their directory starts (only read for ranks above two).
    moments (rows, moment_rows(n − 1, order)): E p_i p_j, E p_i p_j p_k, ..., in the order of `add_moments`.
    """
    rows, n = len(means), means.shape[1] + 1
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
    left, products = 0, values.shape[1] > n + 1
    for k in range(rows):
        high, low = 0.0, 0.0
        for j in range(n - 1):
            high, low = max(high, means[k, j]), min(low, means[k, j])
        if order == 0 and min(high - low, spread) <= SHARED:
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
        sums, pairs = vectors(count * (n + 1) + 2), vectors(pair_rows(n, count) if products else 0)
        higher = vectors(0 if shared else moments.shape[1])
        sweep(law, variant, n, factor, offset, share, points, place, sums, pairs, 0 if shared else order, higher)
        for k in range(count):
            row = chosen[k] if shared else alone[turn]
            finish(n, k, share[k], tops[k] if shared else 0.0, count, sums, pairs, values[row])
            for m in range(len(higher)):
                moments[row, m] = whole(higher, m) / whole(sums, n + 1)


@njit(**FLAGS)
def finish(n: int, k: int, weights: Array, top: float, rows: int, sums: Array, pairs: Array, values: Array) -> None:
    """From the sums of row k to its softmax, products of that if there are, and logsumexp."""
    total, norm, last = whole(sums, rows * (n + 1)), 0.0, len(values) - 1
    block, place = k // SIDE, SIDE * (k % SIDE)
    for j in range(n):
        values[j] = 0.0 if len(pairs) else weights[j] * whole(sums, k * (n + 1) + j)
    if len(pairs):
        for i in range(n):
            for j in range(i, n):
                product = weights[i] * weights[j] * whole(pairs, block * SIDE * SIDE + place)
                place += 1
                if place % SIDE == 0:
                    block, place = block + -(-rows // SIDE), place - SIDE
                values[n + i * n + j] = values[n + j * n + i] = product
                values[i] += product
                if i != j:
                    values[j] += product
    for j in range(n):
        norm += values[j]
    for j in range(last):
        values[j] /= norm
    values[last] = top + (whole(sums, k * (n + 1) + n) + whole(sums, rows * (n + 1) + 1)) / total


@njit(**FLAGS)
def integrate(
    means: Array, covs: Array, points: Array, place: int, values: Array, order: int, moments: Array, errors: Array
) -> None:
    """Expectations under K distributions of each of `count` covariances: values (count, K, n + 1), or n² columns more.

    means (count, K, n − 1), covs (count, n − 1, n − 1), both finite; the covariances are destroyed.
    points, place: as in `average`; the tolerance comes with them. moments: (count, K, moment_rows(n − 1, order)), see
    `average`. errors: (count, K) error estimates, or (count, 0), as in
    solvers/expectations/quadrature.py; they need nodes made with `shifted`.
    """
    (count, K, size), columns = means.shape, values.shape[2]
    factor, by_factors = np.empty((size, size)), np.empty((size, size))
    left, doubt = np.empty(K, np.int64), np.empty(K)
    for i in range(count):
        by_factors[:] = covs[i]
        law = rule(covs[i], factor, points[place, 0])
        rows = K
        if moments.shape[2] == 0:
            rows = many(means[i], by_factors, law[0], points[place, 0], values[i], doubt, left)
            for k in range(errors.shape[1]):
                errors[i, k] = doubt[k] + FLOOR
        if rows == K:
            by_nodes(means[i], law, factor, points, place, values[i], order, moments[i], errors[i])
        elif rows:
            some_means, some_values = np.empty((rows, size)), np.empty((rows, columns))
            some_errors = np.empty(rows if errors.shape[1] else 0)
            for k in range(rows):
                some_means[k] = means[i, left[k]]
            by_nodes(some_means, law, factor, points, place, some_values, 0, np.empty((rows, 0)), some_errors)
            for k in range(rows):
                values[i, left[k]] = some_values[k]
                if errors.shape[1]:
                    errors[i, left[k]] = some_errors[k]


@njit(**FLAGS)
def by_nodes(
    means: Array,
    law: tuple[int, float, float, float, float],
    factor: Array,
    points: Array,
    place: int,
    values: Array,
    order: int,
    moments: Array,
    errors: Array,
) -> None:
    """`integrate` of one covariance by the nodes of its rule; errors (K) or (0)."""
    (K, size), columns, rank = means.shape, values.shape[1], law[0]
    other, change, nothing = np.empty((K, columns)), np.zeros((K, columns)), np.empty((K, 0))
    variants = (min(rank, 2) if rank < 4 else REPLICATES) if len(errors) else 0
    for variant in range(variants + 1):
        plain = variant == 0
        found, higher = (values, moments) if plain else (other, nothing)
        average(means, law, factor, variant, points, place, found, order if plain else 0, higher)
        for k in range(K):
            for j in range(columns):
                difference = abs(found[k, j] - values[k, j])
                change[k, j] = max(change[k, j], difference) if rank < 4 else change[k, j] + difference**2
    mass, first_moment = beyond(rank, law[3])
    steepest = 0.0
    for j in range(size):
        square = 0.0
        for a in range(size):
            square += factor[j, a] ** 2
        steepest = max(steepest, sqrt(square))
    for k in range(len(errors)):
        errors[k] = 0.0
        for j in range(columns):
            if rank < 4:
                outside = mass if j < columns - 1 else 2 * first_moment * steepest
                deviation = change[k, j] + law[4] + outside
            else:
                deviation = sqrt(change[k, j] / (REPLICATES - 1)) * T_QUANTILE / sqrt(float(REPLICATES))
            errors[k] = max(errors[k], deviation / max(1.0, abs(values[k, j])))
        errors[k] += FLOOR
