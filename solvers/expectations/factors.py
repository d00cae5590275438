"""E softmax and E logsumexp of n Gaussian logits that are almost independent given one common factor, or none.

With independent Gumbel variables G_j, logsumexp(u) = E max_j(u_j + G_j) − γ, and softmax_j(u) is the probability that
j is the largest. A covariance that is

    C = diag(d) + b bᵀ + Δ      modulo C → C + c 1ᵀ + 1 cᵀ, which changes no difference of logits,

leaves F(x | z) = Π_j H_j(x − m_j − b_j z) as the distribution function of that maximum given z ~ N(0, 1), where H_j is
that of G_j + N(0, d_j) (gumbel_normal.py), and `connected` gives what Δ makes of the product. So

    E logsumexp = x₀ − γ + ∫ (1 − F) dx,    E softmax_j = ∫ ∂F/∂y_j dx,

F = 0 below x₀, by trapezoidal sums in x, and in z where there is a factor. Some fifty nodes do for each, whatever n.

`connected` is log E Π_i H_i(y_i + ξ_i) for ξ ~ N(0, Δ). With κ_m the m-th derivatives of log H_i at y_i, what κ₁ and κ₂
make is a Gaussian integral, done exactly: its propagator is Δ' = (1 − Δ diag κ₂)⁻¹ Δ, its mean a = Δ'κ₁. What κ₃ and κ₄
add is complete to the fourth order in Δ:

    Σ log H + ½ κ₁·a − ½ log det(1 − Δ diag κ₂)
    + Σ_i κ₃(a³/6 + D a/2) + κ₄(a⁴/24 + D a²/4 + D²/8),          D_i = Δ'_ii
    + ½ b·Δ'b + ¼ Σ_ij Δ'² c_i c_j + 1/12 Σ Δ'³ κ₃ κ₃,           b = κ₃(a² + D)/2,  c = κ₃ a
    + 1/6 Σ Δ'³ (κ₄ a)_i κ₃_j + 1/48 Σ Δ'⁴ κ₄ κ₄.

The last line is larger than what is left out, and is the estimate of the error.

Source: theory.md, section 15, where Δ is expanded in to the third order without the resummation.
"""

from __future__ import annotations

from math import ceil, exp, sqrt
from typing import Any

import numpy as np

from solvers.expectations.gumbel_normal import gumbel_normal
from solvers.expectations.splits import (
    EXACT,
    digits_of_sums,
    enough,
    error_of_points,
    factor_step,
    reach,
    split,
    step_for,
)

__all__ = ["by_factors", "factored"]

Array = Any

EULER = 0.5772156649015329
KAPPAS = 5
"""Derivatives of log H that values and slopes of the series need."""
LEAST_PIVOT = 0.05
"""Least pivot that the Gaussian integral bears: less is found far out on the left, where nothing is left of Π H."""
WIDEST, FARTHEST = 400.0, 1e6
"""Largest variance of a logit's own, and largest distance of means."""
NEGATIVE = 1e-12
"""Of the largest variance of its own: what is less is rounding."""
NOTHING = 1e-15
"""Where Π H is less, the sum has ended."""
MISSED = 4.0
"""By how much trapezoidal sums err, in units of what the sum of the softmax misses of one, and e^−D."""
ALMOST = 1e-6
"""Where Π H is nearer to one, the series adds less than rounding."""


def connected(kappa: Array, delta: Array) -> tuple[Array, Array, Array]:
    """E Π H(y + ξ) / Π H(y), its logarithmic derivatives in y (p, n), and the size of the last line, at p nodes.

    kappa (KAPPAS, p, n), delta (n, n).
    """
    k1, k2, k3, k4, k5 = kappa
    n = len(delta)
    points = len(k1)
    green = np.broadcast_to(delta, (points, n, n)).copy()
    determinant, least = np.ones(points), np.ones(points)
    for i in range(n):
        pivot = 1.0 - k2[:, i] * green[:, i, i]
        least = np.minimum(least, pivot)
        pivot = np.maximum(pivot, LEAST_PIVOT)
        determinant *= pivot
        green += (k2[:, i] / pivot)[:, None, None] * green[:, :, i, None] * green[:, i, None, :]
    d = np.diagonal(green, axis1=1, axis2=2)

    def through(x: Array, power: int = 1) -> Array:
        return np.einsum("pij,pj->pi", green**power, x)

    a = through(k1)
    b, c, q = 0.5 * k3 * (a * a + d), k3 * a, k4 * a
    around, pair, triple, leg, four = through(b), through(c, 2), through(k3, 3), through(q, 3), through(k4, 4)
    total = 0.5 * k1 * a + k3 * a * (a * a / 6 + d / 2) + k4 * (a * a * (a * a / 24 + d / 4) + d * d / 8)
    total = (total + 0.5 * b * around + 0.25 * c * pair + k3 * triple / 12).sum(axis=1)
    last = (q * triple / 6 + k4 * four / 48).sum(axis=1)

    # Backwards: bar = d/da beyond ½ κ₁·a, inner = d/dΔ' of sums over pairs.
    bar = k3 * (0.5 * (a * a + d) + a * around + 0.5 * pair) + k4 * (a * (a * a / 6 + d / 2) + triple / 6)
    inner = 0.5 * green * c[:, :, None] * c[:, None, :] + green**3 * k4[:, :, None] * k4[:, None, :] / 12
    mixed = q[:, :, None] * k3[:, None, :]
    inner += 0.25 * green**2 * (k3[:, :, None] * k3[:, None, :] + mixed + np.swapaxes(mixed, 1, 2))
    inner[:, np.arange(n), np.arange(n)] += 0.5 * k3 * (a + around) + 0.25 * k4 * (a * a + d)
    moved = through(bar)
    of_two = 0.5 * (a * a + d + around * around) + a * moved + np.einsum("pij,pjl,pli->pi", green, inner, green)
    of_three = a * (a * a / 6 + d / 2) + 0.5 * around * (a * a + d) + 0.5 * a * pair + (triple + leg) / 6
    of_four = a * a * (a * a / 24 + d / 4) + d * d / 8 + four / 24 + a * triple / 6
    slopes = k1 + (a + moved) * k2 + of_two * k3 + of_three * k4 + of_four * k5
    ratio = np.exp(np.minimum(total + last, 30.0)) / np.sqrt(determinant)
    return ratio, slopes, np.where(least > LEAST_PIVOT, np.abs(last), 1.0)


def derivatives_of_log(h: Array) -> Array:
    """κ₁ … κ₅ from H and its first five derivatives (6, ...); zero where H is."""
    sane = h[0] > 1e-200
    a, b, c, d, e = np.where(sane, h[1:] / np.where(sane, h[0], 1.0), 0.0)
    k4 = d - 4 * a * c - 3 * b * b + 12 * a * a * b - 6 * a**4
    k5 = e - 5 * a * d - 10 * b * c + 20 * a * a * c + 30 * a * b * b - 60 * a**3 * b + 24 * a**5
    return np.stack([a, b - a * a, c - 3 * a * b + 2 * a**3, k4, k5])


def factored(
    means: Array, cov: Array, factor: bool, D: float, bar: float, moments: bool = False
) -> tuple[Array, Array] | None:
    """(softmax, logsumexp) (rows, n + 1) and error estimates (rows) under distributions of one covariance.

    moments: n² columns more before the last, E softmax_i softmax_j.

    means (rows, n), cov (n, n), n ≥ 3. The estimate is what the last order of the series adds to the logsumexp, its
    sign left out before it is summed, and MISSED times what trapezoidal sums miss. D: of the tolerance; bar: the
    estimate that will do.
    None where this cannot be done: a logit would be left with a negative variance of its own, or one beyond WIDEST;
    second moments unless the split is exact.
    """
    n = len(cov)
    d, b, rest = np.empty(n), np.empty(n), np.empty((n, n))
    split(cov, factor, d, b, rest)
    widest = d.max()
    if np.diagonal(rest).min() < -NEGATIVE * widest or widest > WIDEST:
        return None
    np.fill_diagonal(rest, 0.0)
    exact = bool(np.abs(rest).max() <= EXACT * widest)
    if moments and not exact:
        return None
    D = digits_of_sums(D, bar, exact)
    step = step_for(d, D)
    low, high = np.array([reach(each, D + 4.0) for each in d]).T
    between, half = 1.0, 0
    if factor:
        between = factor_step(d, b, D)
        half = ceil(sqrt(2.0 * D + 4.0) / between)
    columns = n + n * n * moments
    values, errors, weights = np.zeros((len(means), columns + 1)), np.zeros(len(means)), 0.0
    for node in range(-half, half + 1):
        weight = exp(-0.5 * (node * between) ** 2)
        weights += weight
        shifted = means + b * (node * between)
        start = np.floor((shifted + low).max(axis=1) / step)
        stop = np.ceil((shifted + high).max(axis=1) / step)
        steps = start[:, None] + np.arange(int((stop - start).max()) + 1)
        inside = steps <= stop[:, None]
        y = step * steps[:, :, None] - shifted[:, None, :]
        h = np.stack(gumbel_normal(y.reshape(-1, n), d, order=2 if exact else KAPPAS + 1))
        product = h[0].prod(axis=1)
        if exact:
            slopes = h[1] / np.where(h[0] > 1e-200, h[0], 1.0)
            whole, doubt = product, np.zeros_like(product)
        else:
            kappa = derivatives_of_log(h)
            ratio, slopes, doubt = np.ones_like(product), kappa[0].copy(), np.zeros_like(product)
            far = (product > NOTHING) & (product < 1 - ALMOST)
            ratio[far], slopes[far], doubt[far] = connected(kappa[:, far], rest)
            whole = product * ratio
        shape = inside.shape
        whole = np.where((product > NOTHING).reshape(shape) & inside, whole.reshape(shape), 0.0)
        slopes = slopes.reshape(*shape, n)
        values[:, :n] += weight * step * np.einsum("rp,rpj->rj", whole, slopes)
        if moments:
            products = np.einsum("rp,rpi,rpj->rij", whole, slopes, slopes).reshape(len(means), -1)
            values[:, n:columns] += weight * step * products
        values[:, columns] += weight * step * (start - 0.5 + np.where(inside, 1 - whole, 0).sum(axis=1))
        errors += weight * step * (whole * doubt.reshape(shape)).sum(axis=1)
    values, errors = values / weights, errors / weights
    total = values[:, :n].sum(axis=1)
    values[:, columns] -= EULER
    values[:, :columns] /= total[:, None]
    if moments:
        # The softmax sums to one, so the square is what the products leave of it.
        second = values[:, n:columns].reshape(-1, n, n)
        own = np.arange(n)
        second[:, own, own] = 0.0
        second[:, own, own] = values[:, :n] - second.sum(axis=2)
    return values, errors + MISSED * (np.abs(total - 1) + exp(-D))


def by_factors(means: Array, cov: Array, rank: int, D: float, moments: bool = False) -> tuple[Array, Array, Array]:
    """The same for differences to the last logit, means (rows, n − 1) and cov (n − 1, n − 1), without a factor or with
    one: values, error estimates, and which rows are left for other rules.

    rank: of cov. A factor is tried beyond three directions, where it pays, for rows that need it. Rows are left where
    neither is what to take: there are cheaper rules for more logits in one and two directions, and more accurate ones,
    up to three directions, where this one misses the tolerance. What becomes of a row does not depend on the others.
    """
    rows, size = means.shape
    values, errors = np.empty((rows, size + 2 + (size + 1) ** 2 * moments)), np.full(rows, np.inf)
    if rank < 2 or (rank < size and rank < 4):
        return values, errors, np.ones(rows, dtype=bool)
    whole = np.pad(cov, ((0, 1), (0, 1)))
    variances = np.diagonal(whole)
    of_points = error_of_points(float((variances[:, None] + variances - 2 * whole).max()))
    bar = enough(rank, 5.0 * exp(-D), of_points)
    near = np.abs(means).max(axis=1) <= FARTHEST
    for factor in (False, True)[: 1 if rank < 4 else 2]:
        asked = np.flatnonzero(near & (errors > bar))
        shifted = np.pad(means[asked], ((0, 0), (0, 1)))
        if len(asked) and (found := factored(shifted, whole, factor, D, bar, moments)):
            better = found[1] < errors[asked]
            values[asked[better]], errors[asked[better]] = found[0][better], found[1][better]
    # Where neither is good three directions have a lattice, and points err by less than this.
    return values, errors, ~(errors <= (max(bar, of_points) if rank > 3 else bar))
