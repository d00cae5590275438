"""`connected` of solvers/expectations/factors.py, W nodes a vector; stages leave each other rows of scratch."""

from __future__ import annotations

from math import exp, sqrt
from typing import Any

from numba import njit

from solvers.expectations.factors import KAPPAS, LEAST_PIVOT
from solvers.machine.options import FLAGS
from solvers.machine.simd import fabs, load, select, store

__all__ = ["connected", "scratch_rows"]

Array = Any


@njit(**FLAGS)
def scratch_rows(n: int) -> int:
    """Rows of scratch for n logits."""
    return 2 * n * n + 11 * n


@njit(**FLAGS)
def propagate(n: int, kappa: Array, delta: Array, work: Array) -> tuple[Any, Any]:
    """Δ' to the first n² rows of work; det(1 − Δ diag κ₂), and the least of the pivots that make it.

    κ_m of logit i: row KAPPAS i + m − 1.
    """
    column = 2 * n * n
    for i in range(n):
        for j in range(n):
            store(work, i * n + j, delta[i, j])
    determinant = 0.0 * load(kappa, 0) + 1.0
    least = determinant
    for i in range(n):
        stiffness = -load(kappa, KAPPAS * i + 1)
        pivot = 1.0 + stiffness * load(work, i * n + i)
        least = select(pivot < least, pivot, least)
        pivot = select(pivot > LEAST_PIVOT, pivot, LEAST_PIVOT)
        determinant *= pivot
        share = stiffness / pivot
        for j in range(n):
            store(work, column + j, load(work, (i * n + j) if i < j else (j * n + i)))
        for j in range(n):
            factor = share * load(work, column + j)
            for l in range(j, n):
                store(work, j * n + l, load(work, j * n + l) - factor * load(work, column + l))
    for i in range(n):
        for j in range(i):
            store(work, i * n + j, load(work, j * n + i))
    return determinant, least


@njit(**FLAGS)
def connected(n: int, kappa: Array, delta: Array, work: Array, slopes: Array) -> tuple[Any, Any]:
    """E Π H(y + ξ) / Π H(y), and what the last line adds to its logarithm; slopes (n, W): d log E Π H / dy_i.

    kappa (KAPPAS n, W), delta (n, n), work (scratch_rows(n), W).
    """
    determinant, least = propagate(n, kappa, delta, work)
    square, a_, b_, c_, q_ = n * n, 2 * n * n + n, 2 * n * n + 2 * n, 2 * n * n + 3 * n, 2 * n * n + 4 * n
    pair_, triple_, leg_, four_ = (2 * n * n + 5 * n, 2 * n * n + 6 * n, 2 * n * n + 7 * n, 2 * n * n + 8 * n)
    around_, bar_ = 2 * n * n + 9 * n, 2 * n * n + 10 * n
    total = 0.0 * determinant
    for i in range(n):
        a = 0.0 * determinant
        for j in range(n):
            a += load(work, i * n + j) * load(kappa, KAPPAS * j)
        k1, k3, k4 = load(kappa, KAPPAS * i), load(kappa, KAPPAS * i + 2), load(kappa, KAPPAS * i + 3)
        d = load(work, i * n + i)
        store(work, a_ + i, a)
        store(work, b_ + i, 0.5 * k3 * (a * a + d))
        store(work, c_ + i, k3 * a)
        store(work, q_ + i, k4 * a)
        total += 0.5 * k1 * a + k3 * a * (a * a * (1.0 / 6.0) + 0.5 * d)
        total += k4 * (a * a * (a * a * (1.0 / 24.0) + 0.25 * d) + 0.125 * d * d)
    last = 0.0 * determinant
    for i in range(n):
        around, pair, triple, leg, four = total * 0.0, total * 0.0, total * 0.0, total * 0.0, total * 0.0
        for j in range(n):
            p = load(work, i * n + j)
            square_p = p * p
            cube = square_p * p
            around += p * load(work, b_ + j)
            pair += square_p * load(work, c_ + j)
            triple += cube * load(kappa, KAPPAS * j + 2)
            leg += cube * load(work, q_ + j)
            four += square_p * square_p * load(kappa, KAPPAS * j + 3)
        store(work, around_ + i, around)
        store(work, pair_ + i, pair)
        store(work, triple_ + i, triple)
        store(work, leg_ + i, leg)
        store(work, four_ + i, four)
        k3, k4 = load(kappa, KAPPAS * i + 2), load(kappa, KAPPAS * i + 3)
        total += 0.5 * load(work, b_ + i) * around + 0.25 * load(work, c_ + i) * pair + (1.0 / 12.0) * k3 * triple
        last += (1.0 / 6.0) * load(work, q_ + i) * triple + (1.0 / 48.0) * k4 * four
    total += last
    # Backwards. First what a and D do: bar = ∂/∂a beyond ½ κ₁·a.
    for i in range(n):
        a, d, around = load(work, a_ + i), load(work, i * n + i), load(work, around_ + i)
        k3, k4 = load(kappa, KAPPAS * i + 2), load(kappa, KAPPAS * i + 3)
        bar = k3 * (0.5 * (a * a + d) + a * around + 0.5 * load(work, pair_ + i))
        bar += k4 * (a * (a * a * (1.0 / 6.0) + 0.5 * d) + (1.0 / 6.0) * load(work, triple_ + i))
        store(work, bar_ + i, bar)
    for i in range(n):
        k3, k4, c, q = (
            load(kappa, KAPPAS * i + 2), load(kappa, KAPPAS * i + 3), load(work, c_ + i), load(work, q_ + i),
        )  # fmt: skip
        for j in range(i, n):
            p = load(work, i * n + j)
            o3, o4 = load(kappa, KAPPAS * j + 2), load(kappa, KAPPAS * j + 3)
            value = 0.5 * c * load(work, c_ + j)
            value += p * (0.25 * (k3 * o3 + q * o3 + load(work, q_ + j) * k3) + (1.0 / 12.0) * p * k4 * o4)
            value *= p
            if i == j:
                a = load(work, a_ + i)
                value += 0.5 * k3 * (a + load(work, around_ + i)) + 0.25 * k4 * (a * a + p)
            store(work, square + j * n + i, value)
    for i in range(n):
        moved, through = 0.0 * total, 0.0 * total
        for j in range(n):
            p = load(work, i * n + j)
            moved += p * load(work, bar_ + j)
            inner = load(work, square + j * n + j) * p
            for l in range(j):
                inner += load(work, square + j * n + l) * (2.0 * load(work, i * n + l))
            through += p * inner
        a, d, around = load(work, a_ + i), load(work, i * n + i), load(work, around_ + i)
        triple, leg = load(work, triple_ + i), load(work, leg_ + i)
        of_two = 0.5 * (a * a + d + around * around) + a * moved + through
        of_three = a * (a * a * (1.0 / 6.0) + 0.5 * d) + 0.5 * around * (a * a + d) + 0.5 * a * load(work, pair_ + i)
        of_three += (1.0 / 6.0) * (triple + leg)
        of_four = a * a * (a * a * (1.0 / 24.0) + 0.25 * d) + 0.125 * d * d
        of_four += (1.0 / 24.0) * load(work, four_ + i) + (1.0 / 6.0) * a * triple
        k = KAPPAS * i
        store(
            slopes,
            i,
            load(kappa, k) + (a + moved) * load(kappa, k + 1) + of_two * load(kappa, k + 2)
            + of_three * load(kappa, k + 3) + of_four * load(kappa, k + 4),
        )  # fmt: skip
    # Where nothing is left of the product the series may be anything.
    total = select(total < 30.0, total, 30.0)
    return exp(total) / sqrt(determinant), select(least > LEAST_PIVOT, fabs(last), 1.0)
