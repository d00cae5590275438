"""E softmax and E logsumexp for three and more Gaussian logits, by a rule for the directions they really have.

Logits are u = (m + F z, 0) with F Fᵀ the covariance of the differences to the last logit and z standard normal. Modes
in line make F a single column whatever their number; coincident means make it vanish. By the number r of columns:

    r = 0      no integral.
    r = 1, 2   trapezoid in z, one step per principal axis. Along column f the integrand is analytic while all phases
               stay in a half-plane, |Im z| < π/(max f − min f), 0 counted among the entries of f: the step follows from
               that width and the tolerance. A grid of more than MAX_NODES is coarsened to it: the error then grows, and
               the estimate with it (two directions of width 100: 1e-8 to 1e-4).
    r = 3      body-centred cubic lattice. Its step follows from the tolerance and the largest distance between two
               logits' rows of F; where that would need more than the nodes of LATTICE, it is that one lattice, which
               reaches 1e-6 at distances of 6 or so.
    r ≥ 4      REPLICATES sets of scrambled Sobol points with their antipodes, each set scaled to unit covariance, so
               that cubic polynomials are integrated exactly: narrow fields are accurate, wide ones err by up to 1e-3.
               Narrow ones need no more than some of the points for the tolerance, and have so many.

Before these, for n logits in n − 1 ≥ 2 or in more than three directions, factors.py is asked: rows of which it is sure
need no node here.

Lattice and Sobol points enter through the symmetric square root when F has full rank, and where they miss the tolerance
they are the same in every call: the results are then smooth in (m, covariance). Widths that steps are made for come in
levels; from one to the next a result changes by its error only, less than the tolerance. What one element of a batch
returns does not depend on the others.

Error estimates: the spread of replicates for Sobol points; otherwise the change when the whole grid is shifted by half
a step, which reverses the sign of the leading aliasing terms, plus the mass beyond the grid and in dropped directions.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import erfc, exp, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.expectations import factors
from solvers.machine import ranks
from solvers.machine.arrays import array_module, to_numpy

TIGHTEST, LOOSEST = 1e-11, 1e-2
"""Tolerances below and above which rules do not change."""
MAX_NODES = 1 << 18
"""Most nodes of a grid in one and two directions."""
LATTICE = 18.0
"""Most steps from the centre of the lattice to its border: 48,900 nodes."""
LATTICE_RADIUS = 6.5
"""Radius of the largest lattice where it misses the tolerance: aliasing is then the larger error."""
POINTS, REPLICATES = 1 << 12, 8
"""Sobol points of one replicate, antipodes included, at most, and the number of replicates."""
HALVINGS = 4
"""So often their number may be halved."""

RANK_CUT = ranks.AVERAGES
NARROW, LEVEL = 0.4, 1.2
"""The smallest width that steps are made for, and the ratio of successive ones."""
REACH = 12.0
"""No node of any rule lies beyond this."""

_BLOCK = 1 << 17  # numbers in one temporary array
FLOOR = 1e-13
T_QUANTILE = 3.5  # Student, REPLICATES − 1 degrees of freedom, two-sided 1 %

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def digits(tolerance: float) -> float:
    """D of the rules for a tolerance: each of the few terms of their errors is about e^{−D}."""
    return log(5 / min(max(tolerance, TIGHTEST), LOOSEST))


def softmax_of_differences(
    mean: Any, cov: Any, *, error: bool, moments: bool = False, tolerance: float = TIGHTEST
) -> tuple[Any, ...]:
    """E softmax(u), E logsumexp(u) and the error estimate for u = (N(mean, cov), 0).

    mean (..., n−1), cov broadcastable to (..., n−1, n−1), n > 2; returns (..., n), (...), (...).
    moments: before the estimate also E softmax_i(u) softmax_j(u), (..., n, n).
    tolerance: the error that will do, in units of max(1, |value|), where nodes suffice for it.
    Where the estimate costs extra work it is only a lower bound unless error is asked for. Not finite in, nan out.
    """
    xp, D = array_module(mean, cov), digits(tolerance)
    size = mean.shape[-1]
    batch = np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2])
    shared = np.arange(int(np.prod(cov.shape[:-2]))).reshape(cov.shape[:-2])
    cov_of = np.broadcast_to(shared, batch).ravel()  # which covariance an element of the batch has
    mean = xp.broadcast_to(mean, (*batch, size)).reshape(-1, size)
    cov = cov.reshape(-1, size, size)
    broken = ~xp.isfinite(cov).all(axis=(-2, -1))
    variances, axes = xp.linalg.eigh(xp.where(broken[:, None, None], 0, cov))
    rules, rule_of = _rules(to_numpy(variances), to_numpy(axes), D)

    n = size + 1
    columns = n * (n + 1) if moments else n  # softmax, then products of its entries; logsumexp is the last
    values, estimate = xp.empty((len(mean), columns + 1)), xp.empty(len(mean))
    rows = max(1, _BLOCK // size**2)
    left = np.ones(len(mean), dtype=bool)
    for source in np.flatnonzero((rules[rule_of, 0] >= 2) & ~to_numpy(broken)):
        same = np.flatnonzero((cov_of == source) & to_numpy(xp.isfinite(mean).all(axis=-1)))
        rank = int(rules[rule_of[source], 0])
        of_law = to_numpy(mean[same]), to_numpy(cov[source])
        if len(same):
            value, deviation, left[same] = factors.by_factors(*of_law, rank, D, moments)
            values[same], estimate[same] = xp.asarray(value), xp.asarray(deviation + FLOOR)
    for number, rule in enumerate(rules.tolist()):
        chosen = np.flatnonzero((rule_of[cov_of] == number) & left)
        for start in range(0, len(chosen), rows):
            block = chosen[start : start + rows]
            index, source = xp.asarray(block), xp.asarray(cov_of[block])
            value, deviation = _integrate(xp, rule, mean[index], variances[source], axes[source], columns, error, D)
            value[broken[source]] = np.nan
            values[index] = value
            estimate[index] = (deviation / xp.maximum(1, xp.abs(value))).max(axis=-1) + FLOOR
    # Sums over 1e5 nodes leave 1e-14 between the weights' total and one.
    values[:, :-1] /= values[:, :n].sum(axis=-1, keepdims=True)
    found = values[:, :n].reshape(*batch, n), values[:, -1].reshape(batch)
    second = [values[:, n:-1].reshape(*batch, n, n)] if moments else []
    return *found, *second, estimate.reshape(batch)


def _integrate(
    xp: Any, rule: list[int], mean: Any, variances: Any, axes: Any, columns: int, error: bool, D: float
) -> tuple[Any, Any]:
    """(softmax, its products if there are columns for them, logsumexp) and their deviations (B, columns + 1) by one
    rule, for covariances given by principal axes."""
    rank, first, second = rule
    size = mean.shape[-1]
    factor = xp.sqrt(xp.maximum(variances, 0))[:, None, :] * axes
    if rank > 3 or rank == 3 == size:
        factor = factor @ xp.swapaxes(axes, -1, -2)
    if rank > 3:
        sets = (sobol(size, copy, first) for copy in range(REPLICATES))
        replicates = xp.stack([_average(xp, mean, factor, columns, *points) for points in sets])
        return replicates.mean(axis=0), replicates.std(axis=0, ddof=1) * (T_QUANTILE / np.sqrt(REPLICATES))
    factor = factor[:, :, size - rank :]
    value = _average(xp, mean, factor, columns, *grid(rank, first, second, 0, D))
    dropped = xp.maximum(variances[:, : size - rank], 0).sum(axis=-1)
    change = xp.zeros_like(value)
    for shift in range(1, 1 + min(rank, 2) * error):
        moved = _average(xp, mean, factor, columns, *grid(rank, first, second, shift, D))
        change = xp.maximum(change, xp.abs(moved - value))
    mass, first_moment = beyond(rank, spacing(rank, first, second, D)[-1])
    # |logsumexp − its mean| grows with |z| at most as fast as the longest row does.
    steepest = xp.sqrt((factor**2).sum(axis=-1).max(axis=-1))
    change[:, -1] += 2 * first_moment * steepest
    change[:, :-1] += mass
    return value, change + dropped[:, None]


def _rules(
    variances: NDArray[np.float64], axes: NDArray[np.float64], D: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rules (rank, level, level) and, for every covariance, the number of its rule.

    Three directions have one level; more have the number of halvings in its place.
    """
    rank = directions(variances)
    roots = np.sqrt(np.maximum(variances, 0))[:, None, :] * axes
    top, low = np.maximum(roots.max(axis=1), 0), np.minimum(roots.min(axis=1), 0)
    width = (top - low)[:, :-3:-1]  # of the two largest columns
    many = rank > 2
    width[many, 0] = _diameters(roots[many])
    level = np.ceil(np.log(np.maximum(width / NARROW, 1)) / np.log(LEVEL)).astype(np.int64)
    level[np.arange(level.shape[1]) >= np.where(many, 1, rank)[:, None]] = 0
    level[rank > 3, 0] = [halvings(x, D) for x in width[rank > 3, 0]]
    rules, rule_of = np.unique(np.column_stack([rank, level]), axis=0, return_inverse=True)
    return rules, rule_of.ravel()


def directions(variances: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many directions differences of logits have, (...), by the eigenvalues (..., n − 1) of their covariance."""
    return np.asarray((variances > RANK_CUT * np.maximum(1, variances[..., -1:])).sum(axis=-1))


def _diameters(factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest distance between two rows of factor (B, n, r), a further row of zeros among them."""
    product = factor @ np.swapaxes(factor, 1, 2)
    square = np.diagonal(product, axis1=1, axis2=2)
    between = square[:, :, None] + square[:, None, :] - 2 * product
    return np.asarray(np.sqrt(np.maximum(between.max(axis=(1, 2)), square.max(axis=1))))


def halvings(width: float, D: float) -> int:
    """How often the number of Sobol points is halved for logits with that largest distance.

    Errors were at most 0.15 width⁴/(1 + width²) over the points of a replicate, in 4 to 15 directions, from 256 points
    and widths of 0.1 on (eight replicates, laws and means at random); here twice that is allowed for.
    """
    enough = 0.3 * width**4 / (1.0 + width * width) / (5.0 * exp(-D))
    count, points = 0, POINTS // 2
    while count < HALVINGS and points >= enough:
        count += 1
        points //= 2
    return count


def _average(xp: Any, mean: Any, factor: Any, columns: int, z: NDArray[np.float64], weight: NDArray[np.float64]) -> Any:
    """Weighted mean over nodes of (softmax, its products, logsumexp) of (mean + factor z, 0): from (B, n−1) and
    (B, n−1, r) to (B, columns + 1)."""
    count, size = mean.shape
    total = xp.zeros((count, columns + 1))
    nodes = min(len(z), _BLOCK // (size + 1))
    rows = max(1, _BLOCK // ((size + 1) * nodes))
    for low in range(0, len(z), nodes):
        points, share = xp.asarray(z[low : low + nodes].T), xp.asarray(weight[low : low + nodes])
        for start in range(0, count, rows):
            some = slice(start, start + rows)
            # Logits on the leading axis: reductions over them are then over whole rows.
            u = xp.matmul(xp.swapaxes(factor[some], 0, 1), points) + mean[some].T[:, :, None]
            top = xp.maximum(u.max(axis=0), 0)
            u = xp.exp(xp.concatenate([u - top, -top[None]]))
            norm = u.sum(axis=0)
            u = u / norm
            total[some, : size + 1] += xp.matmul(u, share).T
            if columns > size + 1:
                products = xp.matmul(xp.swapaxes(u * share, 0, 1), u.transpose(1, 2, 0))
                total[some, size + 1 : -1] += products.reshape(len(products), -1)
            total[some, -1] += xp.matmul(top + xp.log(norm), share)
    return total


@lru_cache(maxsize=32)
def grid(rank: int, first: int, second: int, shift: int, D: float) -> Points:
    """Nodes and weights of a trapezoidal rule in `rank` directions; shift 1, 2 moves it by half a step two ways."""
    if rank == 0:
        return np.zeros((1, 0)), np.ones(1)
    one, two, radius = spacing(rank, first, second, D)
    if rank == 3:
        z = one * lattice(shift)
    else:
        steps = np.array([two, one])[-rank:]  # smallest axis first
        sides = [np.arange(-np.ceil(radius / step) - 1, np.ceil(radius / step) + 1) for step in steps]
        move = np.array([[0.0, 0.0], [0.5, 0.5], [0.5, 0.0]])[shift, :rank]
        z = (np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, rank) + move) * steps
    square = (z**2).sum(axis=-1)
    inside = square < radius**2
    weight = np.exp(-square[inside] / 2)
    return z[inside], weight / weight.sum()


@cache
def lattice(shift: int) -> NDArray[np.float64]:
    """Nodes (p, 3) of the body-centred cubic lattice within LATTICE, nearest first; shift as in `grid`."""
    side = np.arange(-np.ceil(LATTICE) - 1, np.ceil(LATTICE) + 1)
    corners = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    move = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])[shift]
    z = np.concatenate([corners, corners + 0.5]) + move
    square = (z**2).sum(axis=-1)
    nearest = np.argsort(square, kind="stable")
    return np.asarray(z[nearest[: int((square < LATTICE**2).sum())]])


def spacing(rank: int, first: int, second: int, D: float) -> tuple[float, float, float]:
    """Steps along the longest axes for columns of these levels, the second 1 where it means nothing, and the radius.

    For three directions the first step is the edge of a cube of the lattice, whose planes are that by √2 apart.
    """
    radius = sqrt(2 * D + (4 if rank < 3 else 5))
    if rank == 0:
        return 1.0, 1.0, radius
    if rank == 3:
        step = sqrt(2) * _step(first, D)
        if radius > LATTICE * step:
            radius = min(radius, LATTICE_RADIUS)
            step = radius / LATTICE
        return step, 1.0, radius
    one = _step(first, D)
    if rank == 1:
        return max(one, 2 * radius / MAX_NODES), 1.0, radius
    two = _step(second, D)
    coarser = max(1.0, sqrt(pi * radius**2 / (one * two) / MAX_NODES))
    return one * coarser, two * coarser, radius


def _step(level: int, D: float) -> float:
    """Largest step whose aliasing error is about e^{−D} for a column of that width.

    Moving the line of integration up by c costs e^{−2πc/h} and gains the Gaussian's e^{c²/2}; poles stop it at π/width.
    """
    c = min(pi / (NARROW * LEVEL**level), sqrt(2 * D))
    return 2 * pi * c / (D + c * c / 2)


def beyond(rank: int, radius: float) -> tuple[float, float]:
    """The probability of |z| > radius, and E |z| over there (to the next order in 1/radius²)."""
    if rank == 0:
        return 0.0, 0.0
    line, plane = erfc(radius / sqrt(2.0)), exp(-0.5 * radius * radius)
    mass = line if rank == 1 else plane if rank == 2 else line + sqrt(2 / pi) * radius * plane
    return mass, mass * (radius + 1 / radius)


@lru_cache(maxsize=256)
def sobol(size: int, copy: int, half: int) -> Points:
    """One replicate: POINTS / 2^half standard normal points of dimension `size`, of mean 0 and covariance 1 exactly."""
    from scipy.special import ndtri  # slow to import, both, for rules that few problems need
    from scipy.stats import qmc

    uniform = qmc.Sobol(size, scramble=True, rng=copy).random(POINTS // 2 >> half)
    z = ndtri(np.clip(uniform, 1e-12, 1 - 1e-12))
    variances, axes = np.linalg.eigh(z.T @ z / len(z))
    z = z @ (axes / np.sqrt(variances)) @ axes.T
    return np.concatenate([z, -z]), np.full(2 * len(z), 0.5 / len(z))
