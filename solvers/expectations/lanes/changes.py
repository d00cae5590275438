"""Changes of averages of three and more logits with those of means and covariance, from moments of the softmax."""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.expectations.lanes.sums import places
from solvers.machine.options import FLAGS
from solvers.machine.simd import load, some, store

__all__ = ["change_many", "change_pairs"]

Array = Any


@njit(**FLAGS)
def change_many(
    work: Array, n: int, moments: int, softmax: int, d_mean: int, d_cov: int, d_softmax: int, d_lse: int
) -> None:
    """`expect_tangent` of one component for n > 2.

    With p the probabilities and δ the changes, the last logit being fixed:
        dE lse   = Σ_j E p_j δm_j + ½ Σ_ab E(δ_ab p_a − p_a p_b) δC_ab
        dE p_i   = Σ_j E(δ_ij p_i − p_i p_j) δm_j
                   + ½ Σ_ab E(δ_iab p_i − δ_ia p_i p_b − δ_ib p_i p_a − δ_ab p_i p_a + 2 p_i p_a p_b) δC_ab
    """
    size = n - 1
    moving = load(work, d_cov) != 0.0
    total = 0.0 * load(work, softmax)
    for i in range(size):
        first, spread = load(work, softmax + i), load(work, d_cov + i * n + i)
        total += first * (load(work, d_mean + i) + 0.5 * spread)
        store(work, d_softmax + i, first * (load(work, d_mean + i) + 0.5 * spread))
        for j in range(size):
            moving = moving | (load(work, d_cov + i * n + j) != 0.0)
    pair = moments
    for i in range(size):
        for j in range(i, size):
            second, spread = load(work, pair), load(work, d_cov + i * n + j)
            pair += 1
            total -= (0.5 if i == j else 1.0) * second * spread
            change = load(work, d_mean + j) + spread + 0.5 * load(work, d_cov + j * n + j)
            store(work, d_softmax + i, load(work, d_softmax + i) - second * change)
            if i != j:
                change = load(work, d_mean + i) + spread + 0.5 * load(work, d_cov + i * n + i)
                store(work, d_softmax + j, load(work, d_softmax + j) - second * change)
    store(work, d_lse, total)
    if some(moving):
        triple = pair
        for i in range(size):
            for j in range(i, size):
                across = load(work, d_cov + i * n + j)
                for k in range(j, size):
                    third = load(work, triple)
                    triple += 1
                    # Σ_ab p_i p_a p_b δC_ab: both orders of a ≠ b.
                    once = third * load(work, d_cov + j * n + k)
                    store(work, d_softmax + i, load(work, d_softmax + i) + (once if j == k else 2.0 * once))
                    if i != j:
                        once = third * load(work, d_cov + i * n + k)
                        store(work, d_softmax + j, load(work, d_softmax + j) + 2.0 * once)
                    if j != k:
                        once = third * across
                        store(work, d_softmax + k, load(work, d_softmax + k) + (once if i == j else 2.0 * once))
    last = 0.0 * total
    for i in range(size):
        last -= load(work, d_softmax + i)
    store(work, d_softmax + size, last)


@njit(**FLAGS)
def change_pairs(
    work: Array, n: int, moments: int, pairs: int, d_mean: int, d_cov: int, d_softmax: int, d_pairs: int
) -> None:
    """After `change_many` the change of second moments of one component.

    dE p_i p_j = E p_i p_j (δm_i + δm_j + ½ δC_ii + δC_ij + ½ δC_jj)
                 − Σ_a E p_i p_j p_a (2 δm_a + 2 δC_ia + 2 δC_ja + δC_aa) + 3 Σ_ab E p_i p_j p_a p_b δC_ab
    """
    size = n - 1
    moving = load(work, d_cov) != 0.0
    for i in range(size):
        for j in range(size):
            moving = moving | (load(work, d_cov + i * n + j) != 0.0)
    spreads = some(moving)
    for i in range(size):
        for j in range(i, size):
            change = load(work, d_mean + i) + load(work, d_mean + j) + load(work, d_cov + i * n + j)
            change += 0.5 * (load(work, d_cov + i * n + i) + load(work, d_cov + j * n + j))
            total = load(work, pairs + i * n + j) * change
            for a in range(size):
                change = load(work, d_mean + a) + load(work, d_cov + i * n + a) + load(work, d_cov + j * n + a)
                change = 2.0 * change + load(work, d_cov + a * n + a)
                triple, _ = places(size, i, j, a, a)
                total -= load(work, moments + triple) * change
                if spreads:
                    for b in range(a, size):
                        _, four = places(size, i, j, a, b)
                        often = 3.0 if a == b else 6.0
                        total += often * load(work, moments + four) * load(work, d_cov + a * n + b)
            store(work, d_pairs + i * n + j, total)
            store(work, d_pairs + j * n + i, total)
    # Over all entries of a row the products sum to one entry of the softmax.
    last = load(work, d_softmax + size)
    for i in range(size):
        rest = load(work, d_softmax + i)
        for j in range(size):
            rest -= load(work, d_pairs + i * n + j)
        store(work, d_pairs + i * n + size, rest)
        store(work, d_pairs + size * n + i, rest)
        last -= rest
    store(work, d_pairs + size * n + size, last)
