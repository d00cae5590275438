"""`expect`, `expect_pairs` and their tangents of expectations.py for any number of logits: sums over nodes for three
and more.

Their fixed points are the last rows of `work`, see nodes.py. A vector of `work` has a trajectory a lane, a vector of
cubature.py a node a lane: lanes are therefore gathered by covariance here and scattered again. What is done with them
is called by the name that solvers.closed.compiled gives to the machine code of library.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from solvers.expectations.cells import ABSENT
from solvers.expectations.lanes import expectations
from solvers.expectations.lanes.changes import change_many, change_pairs
from solvers.expectations.lanes.expectations import PAIR_SLOPES, SLOPES, table_of
from solvers.expectations.lanes.linked import ARGUMENTS, PIECES, PIECES_ARGUMENTS, SYMBOL
from solvers.expectations.lanes.nodes import DIRECTORY
from solvers.expectations.lanes.sums import moment_rows
from solvers.machine.options import FLAGS
from solvers.machine.simd import W

__all__ = [
    "PAIR_SLOPES",
    "SLOPES",
    "expect",
    "expect_fixed",
    "expect_pairs",
    "expect_pairs_tangent",
    "expect_tangent",
]

Array = Any

_integrate: Any = types.ExternalFunction(SYMBOL, types.void(*ARGUMENTS))
_pieces: Any = types.ExternalFunction(PIECES, types.void(*PIECES_ARGUMENTS))
_expect_two, _change_two = expectations.expect, expectations.expect_tangent
_expect_two_fixed = expectations.expect_fixed
_pairs_of_two, _change_pairs_of_two = expectations.expect_pairs, expectations.expect_pairs_tangent


@njit(**FLAGS)
def expect(work: Array, K: int, n: int, mean: int, cov: int, softmax: int, lse: int, slope: int, slopes: bool) -> None:
    """E softmax and E logsumexp of n logits under K components of these means and this covariance.

    slopes: also what `expect_tangent` needs, for component k in rows slope + k SLOPES(n), ....
    """
    if n > 2:
        expect_many(work, K, n, mean, cov, softmax, lse, -1, slope, 3 if slopes else 0)
    else:
        _expect_two(work, K, n, mean, cov, softmax, lse, slope, slopes)


@njit(**FLAGS)
def expect_fixed(
    work: Array,
    p: Array,
    law: int,
    K: int,
    n: int,
    mean: int,
    cov: int,
    softmax: int,
    lse: int,
    slope: int,
    slopes: bool,
) -> None:
    """The same for logits whose covariance does not move: by its table where there is one and it reaches."""
    if n > 2:
        expect_many_fixed(work, p, table_of(p, law), K, n, mean, cov, softmax, lse, slope, slopes)
    else:
        _expect_two_fixed(work, p, law, K, n, mean, cov, softmax, lse, slope, slopes)


@njit(**FLAGS)
def expect_tangent(
    work: Array, K: int, n: int, slope: int, softmax: int, d_mean: int, d_cov: int, d_softmax: int, d_lse: int
) -> None:
    """Change of E softmax and E logsumexp with those of the means and of the covariance.

    In the means the derivative of the formula; in the covariance half of the second derivative in the means (Price, the
    heat equation), on the same nodes: exact for two logits, beyond that up to the error of the rule.
    """
    if n > 2:
        for k in range(K):
            kept = slope + k * SLOPES(n)
            change_many(work, n, kept, softmax + k * n, d_mean + k * n, d_cov, d_softmax + k * n, d_lse + k)
    else:
        _change_two(work, K, n, slope, softmax, d_mean, d_cov, d_softmax, d_lse)


@njit(**FLAGS)
def expect_pairs(
    work: Array, K: int, n: int, mean: int, cov: int, softmax: int, lse: int, pairs: int, slope: int, slopes: bool
) -> None:
    """`expect` with E softmax_i softmax_j, (K, n, n) rows from `pairs`; slopes: PAIR_SLOPES(n) rows for a component."""
    if n > 2:
        expect_many(work, K, n, mean, cov, softmax, lse, pairs, slope, 4 if slopes else 0)
    else:
        _pairs_of_two(work, K, n, mean, cov, softmax, lse, pairs, slope, slopes)


@njit(**FLAGS)
def expect_pairs_tangent(
    work: Array,
    K: int,
    n: int,
    slope: int,
    softmax: int,
    d_mean: int,
    d_cov: int,
    d_softmax: int,
    d_lse: int,
    pairs: int,
    d_pairs: int,
) -> None:
    """`expect_tangent` with the change of second moments."""
    if n > 2:
        for k in range(K):
            kept, first, table = slope + k * PAIR_SLOPES(n), k * n, k * n * n
            change_many(work, n, kept, softmax + first, d_mean + first, d_cov, d_softmax + first, d_lse + k)
            change_pairs(work, n, kept, pairs + table, d_mean + first, d_cov, d_softmax + first, d_pairs + table)
    else:
        _change_pairs_of_two(work, K, n, slope, softmax, d_mean, d_cov, d_softmax, d_lse, pairs, d_pairs)


@njit(**FLAGS)
def expect_many(
    work: Array, K: int, n: int, mean: int, cov: int, softmax: int, lse: int, pairs: int, slope: int, order: int
) -> None:
    """`expect` for n > 2: one pass over the nodes for all lanes and components that have the same covariance.

    pairs: where second moments go, −1 for none. order: of the moments that go to `slope`, 0 for none.
    """
    size, place = n - 1, work.shape[0] - DIRECTORY
    products = 1 if pairs >= 0 else 0
    columns, kept = n + n * n * products, moment_rows(size, order)
    matrix, means, values = np.empty((size, size)), np.empty((W * K, size)), np.empty((W * K, columns + 1))
    moments = np.empty((W * K, kept))
    lanes, components = np.empty(W * K, np.int64), np.empty(W * K, np.int64)
    pending = np.ones(W, np.bool_)
    for z in range(W):
        if not pending[z]:
            continue
        finite = True
        for i in range(size):
            for j in range(size):
                matrix[i, j] = work[cov + i * n + j, z]
                finite = finite and np.isfinite(matrix[i, j])
        count = 0
        for other in range(z, W):
            same = pending[other]
            for i in range(size):
                for j in range(size):
                    same = same and (work[cov + i * n + j, other] == matrix[i, j] or other == z)
            if not same:
                continue
            pending[other] = False
            for k in range(K):
                known = finite
                for j in range(size):
                    means[count, j] = work[mean + k * n + j, other]
                    known = known and np.isfinite(means[count, j])
                if known:
                    lanes[count], components[count] = other, k
                    count += 1
                else:  # nan in, nan out, at no cost: idle lanes hold nan
                    for j in range(n):
                        work[softmax + k * n + j, other] = np.nan
                    work[lse + k, other] = np.nan
                    for j in range(n * n * products):
                        work[pairs + k * n * n + j, other] = np.nan
                    for m in range(kept):
                        work[slope + k * kept + m, other] = np.nan
        if count:
            _integrate(
                means.ctypes, matrix.ctypes, 1, count, n, work.ctypes, work.shape[0], place,
                values.ctypes, products, moments.ctypes, order, values.ctypes, 0,
            )  # fmt: skip
        for row in range(count):
            k, lane = components[row], lanes[row]
            for j in range(n):
                work[softmax + k * n + j, lane] = values[row, j]
            work[lse + k, lane] = values[row, columns]
            for j in range(n * n * products):
                work[pairs + k * n * n + j, lane] = values[row, n + j]
            for m in range(kept):
                work[slope + k * kept + m, lane] = moments[row, m]


@njit(**FLAGS)
def expect_many_fixed(
    work: Array,
    p: Array,
    start: int,
    K: int,
    n: int,
    mean: int,
    cov: int,
    softmax: int,
    lse: int,
    slope: int,
    slopes: bool,
) -> None:
    """`expect_fixed` for n > 2. With slopes, E p_i p_j only: the covariance does not move."""
    size, place = n - 1, work.shape[0] - DIRECTORY
    products, kept = (1, n * size // 2) if slopes else (0, 0)
    matrix, means, values = np.empty((size, size)), np.empty((W * K, size)), np.empty((W * K, n + 1))
    pairs, at, found = np.empty((W * K, kept)), np.empty(W * K, np.int64), np.zeros(W * K, np.uint8)
    count = 0
    for z in range(W):
        for k in range(K):
            known = True
            for j in range(size):
                means[count, j] = work[mean + k * n + j, z]
                known = known and np.isfinite(means[count, j])
            if known:
                at[count] = z * K + k
                count += 1
            else:
                scatter(
                    work, z, k, n, softmax, lse, slope, np.nan * values[:1].reshape(-1), np.nan * pairs[:1].reshape(-1)
                )
    if start != ABSENT:
        _pieces(
            p[start:].ctypes, (p.size - start) // W, means.ctypes, count, n,
            values.ctypes, pairs.ctypes, products, found.ctypes,
        )  # fmt: skip
    left = 0
    for row in range(count):
        if found[row]:
            scatter(work, at[row] // K, at[row] % K, n, softmax, lse, slope, values[row], pairs[row])
        else:
            at[left] = at[row]
            for j in range(size):
                means[left, j] = means[row, j]
            left += 1
    if left:
        for i in range(size):
            for j in range(size):
                matrix[i, j] = work[cov + i * n + j, 0]
        _integrate(
            means.ctypes, matrix.ctypes, 1, left, n, work.ctypes, work.shape[0], place,
            values.ctypes, 0, pairs.ctypes, 2 * products, values.ctypes, 0,
        )  # fmt: skip
        for row in range(left):
            scatter(work, at[row] // K, at[row] % K, n, softmax, lse, slope, values[row], pairs[row])


@njit(**FLAGS)
def scatter(
    work: Array, z: int, k: int, n: int, softmax: int, lse: int, slope: int, values: Array, moments: Array
) -> None:
    """Results of component k to lane z."""
    for j in range(n):
        work[softmax + k * n + j, z] = values[j]
    work[lse + k, z] = values[n]
    for m in range(len(moments)):
        work[slope + k * SLOPES(n) + m, z] = moments[m]
