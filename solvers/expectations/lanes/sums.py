"""Sums over nodes for cubature.py: exponentials of the common field, then two products of matrices."""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.expectations.lanes.elementary import decay, logarithm
from solvers.machine.options import FLAGS
from solvers.machine.simd import load, select, store

__all__ = ["FOURS", "SIDE", "add", "add_moments", "add_pairs", "fill", "moment_rows", "pair_rows", "places"]

Array = Any

FOURS = 4
"""Vectors of four nodes each that wait for being summed: their exponentials stay in the first cache."""
SIDE = 3
"""Pairs, and distributions, whose sums are held in registers together."""


@njit(**FLAGS)
def moment_rows(size: int, order: int) -> int:
    """Products p_i p_j, p_i p_j p_k, p_i p_j p_k p_l of `order` factors or fewer, i ≤ j ≤ k ≤ l < size; 0, 2, 3, 4."""
    pairs, triples = size * (size + 1) // 2, size * (size + 1) * (size + 2) // 6
    return pairs * (order > 1) + triples * (order > 2) + triples * (size + 3) // 4 * (order > 3)


@njit(**FLAGS)
def places(size: int, a: int, b: int, c: int, d: int) -> tuple[int, int]:
    """Where p_a p_b p_c and p_a p_b p_c p_d are among `moment_rows(size, 4)`, for any order of a ≤ b and c ≤ d."""
    pairs, triples = size * (size + 1) // 2, size * (size + 1) * (size + 2) // 6
    # Triples i ≤ j ≤ k in the order of the alphabet: the last come first where labels are counted from behind.
    i, k = min(a, c), max(b, c)
    x, y, z = size - 1 - k, size - 1 - (a + b + c - i - k), size - 1 - i
    triple = pairs + triples - 1 - (z * (z + 1) * (z + 2) // 6 + y * (y + 1) // 2 + x)
    i, l = min(a, c), max(b, d)
    low, high = max(a, c), min(b, d)
    j, k = min(low, high), max(low, high)
    w, x, y, z = size - 1 - l, size - 1 - k, size - 1 - j, size - 1 - i
    fours = triples * (size + 3) // 4
    behind = z * (z + 1) * (z + 2) * (z + 3) // 24 + y * (y + 1) * (y + 2) // 6 + x * (x + 1) // 2 + w
    return triple, pairs + triples + fours - 1 - behind


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
    count: int,
    n: int,
    weights: Array,
    shares: Array,
    tops: Array,
    powers: Array,
    inverse: Array,
    sums: Array,
    squares: Array,
) -> None:
    """Add `count` times four vectors of nodes to the sums.

    weights (rows, n) W; sums (rows (n + 1) + 2, W): Σ share e_j / norm and Σ share log norm of every row, then
    Σ share and Σ share max f. squares: no rows, or room for share / norm² of every row instead of Σ share e_j / norm,
    which follow from the sums of `add_pairs`.
    """
    rows = len(weights)
    total, peak = load(sums, rows * (n + 1)), load(sums, rows * (n + 1) + 1)
    for q in range(count):
        share = load(shares, q)
        total += 4.0 * share
        peak += share * (load(tops, 4 * q) + load(tops, 4 * q + 1) + (load(tops, 4 * q + 2) + load(tops, 4 * q + 3)))
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
        if len(squares):
            square(count, k, shares, inverse, squares)
            continue
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
def pair_rows(n: int, rows: int) -> int:
    """Rows of the sums of `add_pairs`: those of pairs i ≤ j < n by those of distributions, in full blocks of SIDE²."""
    return -(-(n * (n + 1) // 2) // SIDE) * -(-rows // SIDE) * SIDE * SIDE


@njit(**FLAGS)
def square(count: int, k: int, shares: Array, inverse: Array, squares: Array) -> None:
    """share / norm² of these nodes from inverse, share / norm, for distribution k."""
    for q in range(count):
        share = load(shares, q)
        some = 1.0 / select(share > 0.0, share, 1.0)
        for m in range(4 * q, 4 * q + 4):
            each = load(inverse, m)
            store(squares, k * FOURS * 4 + m, each * each * some)


@njit(**FLAGS)
def add_pairs(count: int, n: int, rows: int, powers: Array, squares: Array, products: Array, pairs: Array) -> None:
    """Add Σ e_i e_j share / norm² of these nodes, i ≤ j, for every row of squares: a product of matrices, in blocks of
    SIDE pairs, one after another in the order of the alphabet, by SIDE rows. products: scratch."""
    nodes, i, j, block = 4 * count, 0, 0, 0
    while i < n:
        for z in range(SIDE):
            for m in range(nodes):
                product = load(powers, i * FOURS * 4 + m) * load(powers, j * FOURS * 4 + m)
                store(products, z * FOURS * 4 + m, product)
            j += 1
            if j == n:
                i += 1
                j = i
            if i == n:
                break
        for k in range(0, rows, SIDE):
            at, to = k * FOURS * 4, block * SIDE * SIDE
            block += 1
            a, b, c = load(pairs, to), load(pairs, to + 1), load(pairs, to + 2)
            d, e, f = load(pairs, to + 3), load(pairs, to + 4), load(pairs, to + 5)
            g, h, l = load(pairs, to + 6), load(pairs, to + 7), load(pairs, to + 8)
            for m in range(nodes):
                x, y, z_ = load(products, m), load(products, FOURS * 4 + m), load(products, 2 * FOURS * 4 + m)
                one = load(squares, at + m)
                a, b, c = a + one * x, b + one * y, c + one * z_
                two = load(squares, at + FOURS * 4 + m)
                d, e, f = d + two * x, e + two * y, f + two * z_
                three = load(squares, at + 2 * FOURS * 4 + m)
                g, h, l = g + three * x, h + three * y, l + three * z_
            store(pairs, to, a)
            store(pairs, to + 1, b)
            store(pairs, to + 2, c)
            store(pairs, to + 3, d)
            store(pairs, to + 4, e)
            store(pairs, to + 5, f)
            store(pairs, to + 6, g)
            store(pairs, to + 7, h)
            store(pairs, to + 8, l)


@njit(**FLAGS)
def add_moments(count: int, n: int, order: int, shares: Array, powers: Array, inverse: Array, moments: Array) -> None:
    """After `add` with one row of weights 1: add share p_i p_j, from order 3 share p_i p_j p_k, and for order 4 share
    p_i p_j p_k p_l of these nodes, i ≤ j ≤ k ≤ l < n−1.

    powers becomes p; inverse, scratch.
    """
    size = n - 1
    pair, triple, four = 0, size * (size + 1) // 2, moment_rows(size, 3)
    for q in range(count):
        share = load(shares, q)
        some = select(share > 0.0, share, 1.0)
        for m in range(4 * q, 4 * q + 4):
            factor = load(inverse, m) / some
            for j in range(size):
                row = j * FOURS * 4 + m
                store(powers, row, factor * load(powers, row))
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
            for k in range(j, size if order > 2 else j):
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
                if order < 4:
                    continue
                for m in range(4 * count):
                    store(inverse, 4 * FOURS + m, load(inverse, m) * load(powers, row + m))
                for l in range(k, size):
                    a, at = load(moments, four), l * FOURS * 4
                    b, c, d = 0.0 * a, 0.0 * a, 0.0 * a
                    for m in range(0, 4 * count, 4):
                        a += load(inverse, 4 * FOURS + m) * load(powers, at + m)
                        b += load(inverse, 4 * FOURS + m + 1) * load(powers, at + m + 1)
                        c += load(inverse, 4 * FOURS + m + 2) * load(powers, at + m + 2)
                        d += load(inverse, 4 * FOURS + m + 3) * load(powers, at + m + 3)
                    store(moments, four, (a + b) + (c + d))
                    four += 1
