"""What emitted systems ask for besides arithmetic: softmax weights, and expectations of softmax of Gaussian logits.

`work` (rows, W) holds all arrays of a system; the arguments are numbers of rows. Up to two logits: E softmax and
E logsumexp are then the special function of solvers.expectations. Logits have their last one identically zero.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.extending import intrinsic, register_jitable

from solvers.expectations.compiled import softplus_jet_rows, softplus_line_rows, softplus_rows
from solvers.expectations.fixed_variance import LINE
from solvers.expectations.instructions import Lanes, exponential
from solvers.expectations.logistic_normal import coefficients
from solvers.integrate.lanes import FLAGS
from solvers.integrate.simd import W, larger, load, select, store

Array = Any

TABLE = coefficients()
LARGEST = 2
"""Logits that `expect` can do."""


@register_jitable
def SLOPES(n: int) -> int:
    """Rows in which `expect` keeps what `expect_tangent` needs, for n logits."""
    return 2 * (n - 1)


@intrinsic
def decay(typing: Any, x: Any) -> Any:
    """e^x for x ≤ 0, to two units in the last place."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return exponential(Lanes(builder, W).real(args[0])).value

    return x(x), emit


@njit(**FLAGS)
def logarithm(x: Any) -> Any:
    """log x for 1 ≤ x ≤ 22, to 1e-16: halved into [1/√2, √2), then 2 artanh((x − 1)/(x + 1))."""
    halvings = 0.0 * x
    for _ in range(4):
        large = x > 1.4142135623730951
        x = select(large, 0.5 * x, x)
        halvings += select(large, 1.0, 0.0)
    ratio = (x - 1.0) / (x + 1.0)
    square = ratio * ratio
    series = square * (1.0 / 21.0) + 1.0 / 19.0
    for n in range(17, 0, -2):
        series = series * square + 1.0 / n
    return halvings * 0.6931471805599453 + 2.0 * ratio * series


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
def expect(work: Array, n: int, mean: int, cov: int, softmax: int, lse: int, slope: int, slopes: bool) -> None:
    """E softmax and E logsumexp of n ≤ 2 logits of that mean (n rows) and covariance (n² rows).

    slopes: also the second and third derivative of E softplus in the mean, for `expect_tangent`.
    """
    if n == 1:
        store(work, softmax, 1.0)
        store(work, lse, 0.0)
        return
    if slopes:
        softplus_jet_rows(work, mean, cov, lse, softmax, slope, slope + 1, TABLE)
    else:
        softplus_rows(work, mean, cov, lse, softmax, TABLE)
    store(work, softmax + 1, 1.0 - load(work, softmax))


@njit(**FLAGS)
def expect_fixed(
    work: Array, p: Array, law: int, n: int, mean: int, cov: int, softmax: int, lse: int, slope: int, slopes: bool
) -> None:
    """The same for logits whose covariance does not move: for two, by a table of their own, one of those that end p."""
    if n != 2 or slopes:
        expect(work, n, mean, cov, softmax, lse, slope, slopes)
        return
    softplus_line_rows(work, mean, lse, softmax, p, p.size - (law + 1) * LINE)
    store(work, softmax + 1, 1.0 - load(work, softmax))


@njit(**FLAGS)
def expect_tangent(
    work: Array, n: int, slope: int, softmax: int, d_mean: int, d_cov: int, d_softmax: int, d_lse: int
) -> None:
    """Change of E softmax and E logsumexp with that of mean and covariance; E softplus solves the heat equation."""
    if n == 1:
        store(work, d_softmax, 0.0)
        store(work, d_lse, 0.0)
        return
    change, spread = load(work, d_mean), 0.5 * load(work, d_cov)
    first, second = load(work, softmax), load(work, slope)
    store(work, d_lse, first * change + second * spread)
    value = second * change + load(work, slope + 1) * spread
    store(work, d_softmax, value)
    store(work, d_softmax + 1, -value)
