"""Averages by the tables of solvers/expectations/fixed_covariance.py, compiled. A vector holds W terms of a polynomial.

In the cell of a mean, Σ_m c_m δ^m for logsumexp and for each mode that matters there, all with the same monomials δ^m;
their derivatives give that of a softmax in the means.
"""

from __future__ import annotations

from math import comb, floor
from typing import Any

import numpy as np
from numba import njit

from solvers.expectations.cells import ALIGNED, CELL, COUNTS, DEGREES, HEAD, RANK, TOLERANCE
from solvers.expectations.fixed_covariance import DIRECTIONS
from solvers.expectations.lanes.elementary import vectors
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, across, load

__all__ = ["look_up"]

Array = Any

assert ALIGNED % W == 0
TERMS = -(-comb(DEGREES[-1] + DIRECTIONS, DIRECTIONS) // W) * W
"""Most monomials, in whole vectors."""
ROUNDING = 1e-13
"""Of a mean, in units of it and of its distance from the corner of the box."""


@njit(**FLAGS)
def powers(r: int, degree: int, delta: Array, basis: Array) -> int:
    """Monomials of δ (r,) in the order of `monomials` of cells.py; returns how many."""
    basis[0] = 1.0
    begin, end = 0, 1
    for g in range(1, degree + 1):
        at = end
        for a in range(r):
            # Those of the last degree without the variables before this one are its last ones.
            first = begin if a == 0 else (end - g if a == 1 and r == 3 else end - 1)
            for m in range(first, end):
                basis[at] = delta[a] * basis[m]
                at += 1
        begin, end = end, at
    return end


@njit(**FLAGS)
def slopes_of_powers(r: int, degree: int, delta: Array, basis: Array, slopes: Array) -> None:
    """Their derivatives, slopes (r, terms), after `powers`."""
    slopes[:, 0] = 0.0
    begin, end = 0, 1
    for g in range(1, degree + 1):
        at = end
        for a in range(r):
            first = begin if a == 0 else (end - g if a == 1 and r == 3 else end - 1)
            for m in range(first, end):
                for b in range(r):
                    slopes[b, at] = delta[a] * slopes[b, m]
                slopes[a, at] += basis[m]
                at += 1
        begin, end = end, at


@njit(**FLAGS)
def product(table: Array, row: int, basis: Array, first: int, count: int) -> float:
    """Σ over `count` vectors from row `row` of the table and from `first` of the basis."""
    total = load(table, row) * load(basis, first)
    for v in range(1, count):
        total += load(table, row + v) * load(basis, first + v)
    return across(total)


@njit(**FLAGS)
def look_up(rows: Array, means: Array, values: Array, pairs: Array, found: Array) -> None:
    """(softmax, logsumexp) to values (count, n + 1) for means (count, n − 1), and whether a row was found.

    rows (…, W): the table. A mean that is not finite, not in the box, or off the columns of F is not found.
    pairs (count, n (n − 1) / 2) or (count, 0): E p_i p_j, i ≤ j < n − 1, so far as they act on changes of the mean
    along F: systems whose covariance does not move ask for no other.
    """
    count, size = means.shape
    table = rows.reshape(-1)
    r = int(table[RANK])
    forth = HEAD + r
    corner = forth + r * size
    back = corner + size
    directory = back + r * size
    area = vectors((1 + r) * (TERMS // W))
    flat = area.reshape(-1)
    basis, slopes = flat[:TERMS], flat[TERMS:].reshape(r, TERMS)
    t, delta, gradient = np.empty(r), np.empty(r), np.empty((size + 1, r))
    for i in range(count):
        inside, cell = True, 0
        for a in range(r):
            position = table[HEAD + a]
            for j in range(size):
                position += table[forth + a * size + j] * means[i, j]
            cells = table[COUNTS + a]
            inside = inside and position >= 0.0 and position < cells
            if inside:
                whole = floor(position)
                t[a], delta[a] = position, 2.0 * (position - whole) - 1.0
                cell = cell * int(cells) + int(whole)
        for j in range(size if inside else 0):
            at, begin = means[i, j], table[corner + j]
            expected = begin
            for a in range(r):
                expected += table[back + a * size + j] * t[a]
            allowed = 0.1 * table[TOLERANCE] + ROUNDING * (abs(at) + abs(begin))
            inside = inside and abs(at - expected) <= allowed
        found[i] = inside
        if not inside:
            continue
        entry = directory + CELL * cell
        start, others = int(table[entry]), int(table[entry + 1])
        degree, largest = int(table[entry + 2]), int(table[entry + 3])
        terms = powers(r, degree, delta, basis)
        wide = -(-terms // ALIGNED) * (ALIGNED // W)
        row = (start + -(-others // ALIGNED) * ALIGNED) // W
        for j in range(size + 1):
            values[i, j] = 0.0
        rest = 1.0
        for q in range(others):
            part = product(rows, row + (q + 1) * wide, area, 0, wide)
            values[i, int(table[start + q])] = part
            rest -= part
        values[i, largest] = rest
        values[i, size + 1] = product(rows, row, area, 0, wide) + (means[i, largest] if largest < size else 0.0)
        if pairs.shape[1]:
            slopes_of_powers(r, degree, delta, basis, slopes)
            gradient[:] = 0.0
            for q in range(others):
                mode = int(table[start + q])
                for a in range(r):
                    slope = product(rows, row + (q + 1) * wide, area, (1 + a) * (TERMS // W), wide)
                    gradient[mode, a] = slope
                    gradient[largest, a] -= slope
            products(size, r, values[i], gradient, table, forth, back, pairs[i])


@njit(**FLAGS)
def products(
    size: int, r: int, softmax: Array, gradient: Array, table: Array, forth: int, back: int, pairs: Array
) -> None:
    """δ_ij p_i − S_ij, with the symmetric S for which S F = ∂p/∂δ, least in the norm of F⁻¹."""
    inner = np.zeros((r, r))
    for a in range(r):
        for b in range(r):
            for j in range(size):
                inner[a, b] += 0.25 * (
                    table[back + a * size + j] * gradient[j, b] + table[back + b * size + j] * gradient[j, a]
                )
    pair = 0
    for i in range(size):
        for j in range(i, size):
            total = 0.0
            for a in range(r):
                mine, other = 2.0 * table[forth + a * size + i], 2.0 * table[forth + a * size + j]
                total += gradient[i, a] * other + mine * gradient[j, a]
                for b in range(r):
                    total -= mine * inner[a, b] * (2.0 * table[forth + b * size + j])
            pairs[pair] = (softmax[i] if i == j else 0.0) - total
            pair += 1
