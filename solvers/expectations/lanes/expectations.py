"""What emitted systems ask for besides arithmetic: softmax weights, and expectations of softmax of Gaussian logits.

`work` (rows, W) holds all arrays of a system; the arguments are numbers of rows. Logits have their last one identically
zero. `expect` and `expect_tangent` serve all K components at once: component k has its mean in rows mean + k n, ...,
its results in softmax + k n, ... and lse + k; the covariance (n² rows) is common. Here for up to two logits, whose
E softmax and E logsumexp are the special function of solvers.expectations; many.py has the same for any number.

`expect_pairs` and `expect_pairs_tangent` have second moments of the softmax too, of component k in rows pairs + k n²:
E σ² = E σ − E σ' for two logits, from the same special function.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.extending import register_jitable

from solvers.expectations.compiled import (
    softplus_curve_rows,
    softplus_five_rows,
    softplus_jet_rows,
    softplus_line_rows,
    softplus_rows,
)
from solvers.expectations.lanes.elementary import decay, logarithm
from solvers.expectations.logistic_normal import coefficients
from solvers.machine.options import FLAGS
from solvers.machine.simd import larger, load, store

Array = Any

TABLE = coefficients()


@njit(**FLAGS)
def table_of(p: Array, law: int) -> int:
    """Where in p the table of a law with a fixed covariance begins. The last numbers of p say that, law 0 the last."""
    return int(p[p.size - 1 - law])


@register_jitable
def SLOPES(n: int) -> int:
    """Rows in which `expect` keeps what `expect_tangent` needs, for n logits and one component.

    One or two logits: the second and third derivative of E softplus. More: E p_i p_j and E p_i p_j p_k of the
    probabilities p of all logits but the last, i ≤ j ≤ k.
    """
    return 2 * (n - 1) if n < 3 else (n - 1) * n // 2 + (n - 1) * n * (n + 1) // 6


@register_jitable
def PAIR_SLOPES(n: int) -> int:
    """The same for `expect_pairs`: the third and fourth derivative of E softplus; E p_i p_j p_k p_l too."""
    return 2 * (n - 1) if n < 3 else SLOPES(n) + (n - 1) * n * (n + 1) * (n + 2) // 24


@njit(**FLAGS)
def log_softmax(work: Array, n: int, theta: int, log_w: int, w: int) -> None:
    """log w and w = softmax θ of n entries."""
    largest = load(work, theta)
    for k in range(1, n):
        largest = larger(largest, load(work, theta + k))
    total = 0.0 * largest
    for k in range(n):
        part = decay(load(work, theta + k) - largest)
        store(work, w + k, part)
        total += part
    shift, scale = (logarithm(total), 1.0 / total)
    for k in range(n):
        store(work, w + k, load(work, w + k) * scale)
        store(work, log_w + k, load(work, theta + k) - largest - shift)


@njit(**FLAGS)
def mobility(w: Any, log_w: Any, power: float) -> Any:
    """w^power, the same power in all lanes; 1 at power 0, also where w = 0."""
    if power == 1.0:
        return w
    if power == 0.0:
        return 0.0 * w + 1.0
    if power == -1.0:
        return 1.0 / w
    if power > 0.0:
        return decay(power * log_w)
    return 1.0 / decay(-power * log_w)


@njit(**FLAGS)
def expect(work: Array, K: int, n: int, mean: int, cov: int, softmax: int, lse: int, slope: int, slopes: bool) -> None:
    """E softmax and E logsumexp of n ≤ 2 logits under K components of these means and this covariance.

    slopes: also what `expect_tangent` needs, for component k in rows slope + k SLOPES(n), ....
    """
    for k in range(K):
        if n == 1:
            store(work, softmax + k, 1.0)
            store(work, lse + k, 0.0)
            continue
        if slopes:
            kept = slope + 2 * k
            softplus_jet_rows(work, mean + 2 * k, cov, lse + k, softmax + 2 * k, kept, kept + 1, TABLE)
        else:
            softplus_rows(work, mean + 2 * k, cov, lse + k, softmax + 2 * k, TABLE)
        store(work, softmax + 2 * k + 1, 1.0 - load(work, softmax + 2 * k))


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
    """The same for logits whose covariance does not move: for two, by a table of their own, see `table_of`."""
    if n != 2 or slopes:
        expect(work, K, n, mean, cov, softmax, lse, slope, slopes)
        return
    start = table_of(p, law)
    for k in range(K):
        softplus_line_rows(work, mean + 2 * k, lse + k, softmax + 2 * k, p, start)
        store(work, softmax + 2 * k + 1, 1.0 - load(work, softmax + 2 * k))


@njit(**FLAGS)
def expect_tangent(
    work: Array, K: int, n: int, slope: int, softmax: int, d_mean: int, d_cov: int, d_softmax: int, d_lse: int
) -> None:
    """Change of E softmax and E logsumexp with those of means and covariance; E softplus solves the heat equation."""
    for k in range(K):
        if n == 1:
            store(work, d_softmax + k, 0.0)
            store(work, d_lse + k, 0.0)
            continue
        change, spread = load(work, d_mean + 2 * k), 0.5 * load(work, d_cov)
        first, second = load(work, softmax + 2 * k), load(work, slope + 2 * k)
        store(work, d_lse + k, first * change + second * spread)
        value = second * change + load(work, slope + 2 * k + 1) * spread
        store(work, d_softmax + 2 * k, value)
        store(work, d_softmax + 2 * k + 1, -value)


@njit(**FLAGS)
def expect_pairs(
    work: Array, K: int, n: int, mean: int, cov: int, softmax: int, lse: int, pairs: int, slope: int, slopes: bool
) -> None:
    """`expect` with E softmax_i softmax_j of n ≤ 2 logits, (K, n, n) rows from `pairs`."""
    for k in range(K):
        table = pairs + k * n * n
        if n == 1:
            store(work, softmax + k, 1.0)
            store(work, lse + k, 0.0)
            store(work, table, 1.0)
            continue
        both = table + 1
        if slopes:
            kept = slope + 2 * k
            softplus_five_rows(work, mean + 2 * k, cov, lse + k, softmax + 2 * k, both, kept, kept + 1, TABLE)
        else:
            softplus_curve_rows(work, mean + 2 * k, cov, lse + k, softmax + 2 * k, both, TABLE)
        first, slope_of_first = load(work, softmax + 2 * k), load(work, both)
        store(work, softmax + 2 * k + 1, 1.0 - first)
        store(work, table, first - slope_of_first)
        store(work, table + 2, slope_of_first)
        store(work, table + 3, (1.0 - first) - slope_of_first)


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
    """`expect_tangent` with the change of second moments; derivatives of E softplus solve the heat equation too."""
    for k in range(K):
        table = d_pairs + k * n * n
        if n == 1:
            store(work, d_softmax + k, 0.0)
            store(work, d_lse + k, 0.0)
            store(work, table, 0.0)
            continue
        change, spread = load(work, d_mean + 2 * k), 0.5 * load(work, d_cov)
        first, second = load(work, softmax + 2 * k), load(work, pairs + 4 * k + 1)
        third, fourth = load(work, slope + 2 * k), load(work, slope + 2 * k + 1)
        store(work, d_lse + k, first * change + second * spread)
        value, both = second * change + third * spread, third * change + fourth * spread
        store(work, d_softmax + 2 * k, value)
        store(work, d_softmax + 2 * k + 1, -value)
        store(work, table, value - both)
        store(work, table + 1, both)
        store(work, table + 2, both)
        store(work, table + 3, -value - both)
