"""The rule of solvers/expectations/factors.py, compiled: a vector holds W nodes in x.

The functions H_j are power series about the points of one grid (gumbel.py), on which all sums run: a mean shifts the
grid by whole steps and a remainder, the same at every node, so no node costs an exponential or a look into a table.
"""

from __future__ import annotations

from math import ceil, exp, floor, log, sqrt
from typing import Any

import numpy as np
from numba import njit

from solvers.expectations import splits
from solvers.expectations.factors import ALMOST, EULER, FARTHEST, KAPPAS, MISSED, NEGATIVE, NOTHING, WIDEST
from solvers.expectations.lanes.connected import connected, scratch_rows
from solvers.expectations.lanes.elementary import vectors
from solvers.expectations.lanes.gumbel import DEGREES, degree_for, gumbel_table, taylor_rows
from solvers.expectations.splits import EXACT
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, across, load, load_from, select, some, store

__all__ = ["factored", "many"]

Array = Any

TABLE = gumbel_table()
HIGHEST_DEGREE = DEGREES.stop - 1
SPARE = 2.0
"""Digits of the power series beyond those of the sums."""

split, step_for, factor_step, reach = (
    njit(**FLAGS)(rule) for rule in (splits.split, splits.step_for, splits.factor_step, splits.reach)
)
enough, digits_of_sums, error_of_points = (
    njit(**FLAGS)(rule) for rule in (splits.enough, splits.digits_of_sums, splits.error_of_points)
)


@njit(**FLAGS)
def evaluate(
    n: int, at: int, shifts: Array, offsets: Array, lefts: Array, counts: Array, series: Array, step: float,
    first_only: bool, kappa: Array,
) -> Any:  # fmt: skip
    """Π H at W nodes from x = at·step on, and the derivatives of log H of every logit, the first or all KAPPAS.

    shifts, offsets (n): means in whole steps, and what is left, in steps.
    """
    degree, width = series.shape[1] - 1, series.shape[2]
    product = 0.0 * load(kappa, 0) + 1.0
    scale = 1.0 / step
    for i in range(n):
        place = at - shifts[i] - lefts[i]
        if place >= counts[i]:  # H = 1
            for m in range(KAPPAS):
                store(kappa, KAPPAS * i + m, 0.0)
            continue
        start, f = i * (degree + 1) * width + max(place, 0), offsets[i]
        # p_m = H^(m) step^m / m!: Horner's rule, for all of them at once.
        p0 = load_from(series, start + degree * width)
        p1 = 0.0 * p0
        p2, p3, p4, p5 = p1, p1, p1, p1
        if first_only:
            for k in range(degree - 1, -1, -1):
                p1 = p1 * f + p0
                p0 = p0 * f + load_from(series, start + k * width)
        else:
            for k in range(degree - 1, -1, -1):
                p5 = p5 * f + p4
                p4 = p4 * f + p3
                p3 = p3 * f + p2
                p2 = p2 * f + p1
                p1 = p1 * f + p0
                p0 = p0 * f + load_from(series, start + k * width)
        sane = p0 > 1e-200
        product *= select(sane, p0, 0.0)
        inverse = 1.0 / select(sane, p0, 1.0)
        inverse, a = inverse * scale, p1 * inverse * scale
        store(kappa, KAPPAS * i, a)
        if first_only:
            continue
        inverse *= 2.0 * scale
        b = p2 * inverse
        inverse *= 3.0 * scale
        c = p3 * inverse
        inverse *= 4.0 * scale
        d, two = p4 * inverse, a * a
        e = p5 * inverse * (5.0 * scale)
        store(kappa, KAPPAS * i + 1, b - two)
        store(kappa, KAPPAS * i + 2, c + a * (2.0 * two - 3.0 * b))
        store(kappa, KAPPAS * i + 3, d - 4.0 * a * c - 3.0 * b * b + two * (12.0 * b - 6.0 * two))
        last = e - 5.0 * a * d - 10.0 * b * c + 20.0 * two * c
        store(kappa, KAPPAS * i + 4, last + a * (30.0 * b * b + two * (24.0 * two - 60.0 * b)))
    return product


@njit(**FLAGS)
def factored(means: Array, cov: Array, factor: bool, D: float, bar: float, values: Array, errors: Array) -> bool:
    """Expectations under many distributions of one covariance: (softmax, logsumexp) to values (rows, n + 1), or between
    them, if there are n² columns more, E softmax_i softmax_j.

    means (rows, n), cov (n, n), n ≥ 3. errors (rows), D, bar, and when False is returned, with nothing done: as in
    factors.factored.
    """
    rows, n = means.shape
    d, b, rest = np.empty(n), np.empty(n), np.empty((n, n))
    split(cov, factor, d, b, rest)
    largest, widest = 0.0, 0.0
    for i in range(n):
        widest = max(widest, d[i])
        for j in range(n):
            largest = max(largest, abs(rest[i, j]))
    for i in range(n):
        if rest[i, i] < -NEGATIVE * widest:
            return False
        rest[i, i] = 0.0
    if widest > WIDEST:
        return False
    exact, columns = largest <= EXACT * widest, values.shape[1] - 1
    pairs = columns > n
    if pairs and not exact:
        return False
    D = digits_of_sums(D, bar, exact)
    between, half = 1.0, 0
    if factor:
        between = factor_step(d, b, D)
        half = ceil(sqrt(2.0 * D + 4.0) / between)
    step = step_for(d, D)
    lefts, counts, span = np.empty(n, np.int64), np.empty(n, np.int64), 0
    low, high = np.empty(n), np.empty(n)
    for i in range(n):
        low[i], high[i] = reach(d[i], D + 4.0)
        lefts[i] = floor(low[i] / step) - 1
        counts[i] = ceil(high[i] / step) + 1 - lefts[i]
        span = max(span, counts[i])
    narrowest = d.min()
    degree = min(degree_for(narrowest, step, D / log(10.0) + SPARE), HIGHEST_DEGREE)
    width = (span + 2 * W) // W * W + W
    series = vectors(n * (degree + 1) * width // W).reshape(n, degree + 1, width)
    for i in range(n):
        taylor_rows(d[i], lefts[i] * step, step, counts[i], degree, TABLE, series[i])
        for q in range(counts[i], width):
            series[i, 0, q] = 1.0
            for k in range(1, degree + 1):
                series[i, k, q] = 0.0
    kappa, work, slopes, lanes = vectors(KAPPAS * n), vectors(scratch_rows(n)), vectors(n), vectors(1)
    sums, shifts, offsets = vectors(n + 2), np.empty(n, np.int64), np.empty(n)
    products = vectors(n * (n - 1) // 2 if pairs else 0)
    for lane in range(W):
        lanes[0, lane] = lane
    for row in range(rows):
        values[row] = 0.0
        errors[row] = 0.0
        weights = 0.0  # of nodes
        for node in range(-half, half + 1):
            z = node * between
            weight = exp(-0.5 * z * z)
            weights += weight
            first, last = -1e300, -1e300
            for i in range(n):
                mean = means[row, i] + b[i] * z
                first, last = max(first, mean + low[i]), max(last, mean + high[i])
                shifts[i] = floor(mean / step + 0.5)
                offsets[i] = shifts[i] - mean / step
            start, stop = floor(first / step), ceil(last / step)
            for j in range(n + 2):
                store(sums, j, 0.0)
            for j in range(len(products)):
                store(products, j, 0.0)
            for at in range(start, stop + 1, W):
                product = evaluate(n, at, shifts, offsets, lefts, counts, series, step, exact, kappa)
                inside = load(lanes, 0) < 1.0 * (stop + 1 - at)
                alive = (product > NOTHING) & inside
                # Where hardly any logit is above x, the series adds less than rounding.
                if exact or not some(alive & (product < 1.0 - ALMOST)):
                    for j in range(n):
                        store(slopes, j, load(kappa, KAPPAS * j))
                    whole, doubt = product, 0.0 * product
                else:
                    ratio, doubt = connected(n, kappa, rest, work, slopes)
                    whole = product * ratio
                whole = select(alive, whole, 0.0)
                store(sums, n, load(sums, n) + select(inside, 1.0 - whole, 0.0))
                store(sums, n + 1, load(sums, n + 1) + select(alive, whole * doubt, 0.0))
                for j in range(n):
                    store(sums, j, load(sums, j) + select(alive, whole * load(slopes, j), 0.0))
                pair = 0
                for i in range(1, n if pairs else 0):
                    of_one = select(alive, whole * load(slopes, i), 0.0)
                    for j in range(i):
                        store(products, pair, load(products, pair) + of_one * load(slopes, j))
                        pair += 1
            for j in range(n):
                values[row, j] += weight * step * across(load(sums, j))
            values[row, columns] += weight * (start * step - EULER + step * (across(load(sums, n)) - 0.5))
            pair = 0
            for i in range(1, n if pairs else 0):
                for j in range(i):
                    values[row, n + n * i + j] += weight * step * across(load(products, pair))
                    pair += 1
            errors[row] += weight * step * across(load(sums, n + 1))
        total = 0.0
        for j in range(columns + 1):
            values[row, j] /= weights
            total += values[row, j] if j < n else 0.0
        errors[row] = errors[row] / weights + MISSED * (abs(total - 1.0) + exp(-D))
        for j in range(columns):
            values[row, j] /= total
        for i in range(n if pairs else 0):
            # The softmax sums to one, so the square is what the products leave of it.
            square = values[row, i]
            for j in range(n):
                if j > i:
                    values[row, n + n * i + j] = values[row, n + n * j + i]
                square -= values[row, n + n * i + j] if j != i else 0.0
            values[row, n + n * i + i] = square
    return True


@njit(**FLAGS)
def many(means: Array, cov: Array, rank: int, D: float, values: Array, errors: Array, left: Array) -> int:
    """The same for differences to the last logit, means (rows, n − 1) and cov (n − 1, n − 1), without a factor or with
    one; rank: of cov. Returns how many rows are left for other rules, and which, in left (rows): see
    factors.by_factors. What becomes of a row does not depend on the others.
    """
    rows: int = means.shape[0]
    size: int = means.shape[1]
    n, count = size + 1, 0
    for row in range(rows):
        left[row] = row
    if rank < 2 or (rank < size and rank < 4):
        return rows
    if size == 2 and (cov[0, 1] < 0.0 or cov[0, 0] < cov[0, 1] or cov[1, 1] < cov[0, 1]):
        return rows  # an obtuse triangle
    whole, width = np.zeros((n, n)), 0.0
    for i in range(size):
        for j in range(size):
            whole[i, j] = cov[i, j]
    for i in range(n):
        for j in range(i):
            width = max(width, whole[i, i] + whole[j, j] - 2.0 * whole[i, j])
    shifted, asked = np.zeros((rows, n)), np.empty(rows, np.int64)
    other, deviations = np.empty(values.shape), np.empty(rows)
    of_points = error_of_points(width)
    bar = enough(rank, 5.0 * exp(-D), of_points)
    errors[:rows] = np.inf
    for turn in range(1 if rank < 4 else 2):
        count = 0
        for row in range(rows):
            near = True
            for j in range(size):
                near = near and abs(means[row, j]) <= FARTHEST
            if near and errors[row] > bar:
                asked[count] = row
                for j in range(size):
                    shifted[count, j] = means[row, j]
                count += 1
        if count == 0:
            break
        if factored(shifted[:count], whole, turn == 1, D, bar, other[:count], deviations[:count]):
            for k in range(count):
                row = asked[k]
                if deviations[k] < errors[row]:
                    values[row], errors[row] = other[k], deviations[k]
    # Where neither is good: three directions have a lattice, and points err by less than this.
    last = max(bar, of_points) if rank > 3 else bar
    count = 0
    for row in range(rows):
        if not errors[row] <= last:
            left[count] = row
            count += 1
    return count
