"""Sums over nodes for cubature.py: exponentials of the common field, then two products of matrices."""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.expectations.lanes.elementary import decay, logarithm
from solvers.machine.options import FLAGS
from solvers.machine.simd import load, select, store

__all__ = ["FOURS", "add", "add_moments", "fill", "moment_rows"]

Array = Any

FOURS = 4
"""Vectors of four nodes each that wait for being summed: their exponentials stay in the first cache."""


@njit(**FLAGS)
def moment_rows(size: int) -> int:
    """Products p_i p_j and p_i p_j p_k with i ≤ j ≤ k < size."""
    return size * (size + 1) // 2 + size * (size + 1) * (size + 2) // 6


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
    """After `add` with one row of weights 1: add share p_i p_j and share p_i p_j p_k of these nodes, i ≤ j ≤ k < n−1.

    powers becomes p; inverse, scratch. If moments has no rows for them, the products of three are left out.
    """
    size = n - 1
    third = len(moments) > size * (size + 1) // 2
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
            for k in range(j, size if third else j):
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
