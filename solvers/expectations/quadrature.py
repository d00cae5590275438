"""E softmax and E logsumexp for three and more Gaussian logits, by a rule chosen from the directions they really have.

Logits are u = (m + F z, 0) with F Fᵀ the covariance of the differences to the last logit and z standard normal. Modes
in line make F a single column whatever their number; coincident means make it vanish. By the number r of columns:

    r = 0      no integral.
    r = 1, 2   trapezoid in z, one step per principal axis. Along column f the integrand is analytic while all phases
               stay in a half-plane, |Im z| < π/(max f − min f), 0 counted among the entries of f; steps are set from
               that width for an aliasing error of 1e-11. A tensor grid of more than MAX_NODES is coarsened to it: the
               error then grows, and the estimate with it (two directions of width 100: 1e-8 to 1e-4).
    r = 3      one body-centred cubic lattice of fixed step: 1e-6 up to logit differences of standard deviation 6 or so.
    r ≥ 4      REPLICATES sets of scrambled Sobol points with their antipodes, each set scaled to unit covariance, so
               that cubic polynomials are integrated exactly: narrow fields are accurate, wide ones err by up to 1e-3.

Lattice and Sobol points are the same in every call and enter through the symmetric square root when F has full rank, so
that the results are smooth in (m, covariance) also where they are not accurate; the steps of r ≤ 2 come in levels and
change the result by their own error only. What one element of a batch returns does not depend on the others.

Error estimates: the spread of replicates for Sobol points; otherwise the change when the whole grid is shifted by half
a step, which reverses the sign of the leading aliasing terms, plus the mass beyond the grid and in dropped directions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc, ndtri

from solvers.arrays import array_module, to_numpy

MAX_NODES = 1 << 18
"""Most nodes of a grid in two directions."""
POINTS, REPLICATES = 1 << 12, 8
"""Sobol points of one replicate, antipodes included, and the number of replicates."""

RANK_CUT = 1e-14
"""Variance of a direction, in units of max(1, largest), below which it is rounding."""
LEVEL = 1.2
"""Ratio of successive widths that steps are made for."""
DIGITS = 27.0
"""Aliasing errors are e^−DIGITS."""
RADIUS = {0: 1.0, 1: 7.5, 2: 7.5, 3: 6.0}
"""Grids in so many directions stop at |z| = radius ..."""
REACH = 10.0
"""... and no node of any rule lies beyond this."""

_BLOCK = 1 << 17  # numbers in one temporary array
_LATTICE_STEP = 0.36
FLOOR = 1e-13
T_QUANTILE = 3.5  # Student, REPLICATES − 1 degrees of freedom, two-sided 1 %

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def softmax_of_differences(mean: Any, cov: Any, *, error: bool) -> tuple[Any, Any, Any]:
    """E softmax(u), E logsumexp(u) and the error estimate for u = (N(mean, cov), 0).

    mean (..., n−1), cov broadcastable to (..., n−1, n−1), n > 2; returns (..., n), (...), (...).
    Where the estimate costs extra work it is only a lower bound unless error is asked for. Not finite in, nan out.
    """
    xp = array_module(mean, cov)
    size = mean.shape[-1]
    batch = np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2])
    shared = np.arange(int(np.prod(cov.shape[:-2]))).reshape(cov.shape[:-2])
    cov_of = np.broadcast_to(shared, batch).ravel()  # which covariance an element of the batch has
    mean = xp.broadcast_to(mean, (*batch, size)).reshape(-1, size)
    cov = cov.reshape(-1, size, size)
    broken = ~xp.isfinite(cov).all(axis=(-2, -1))
    variances, axes = xp.linalg.eigh(xp.where(broken[:, None, None], 0, cov))
    rules, rule_of = _rules(to_numpy(variances), to_numpy(axes))

    values, estimate = xp.empty((len(mean), size + 2)), xp.empty(len(mean))
    rows = max(1, _BLOCK // size**2)
    for number, rule in enumerate(rules.tolist()):
        chosen = np.flatnonzero(rule_of[cov_of] == number)
        for start in range(0, len(chosen), rows):
            block = chosen[start : start + rows]
            index, source = xp.asarray(block), xp.asarray(cov_of[block])
            value, deviation = _integrate(xp, rule, mean[index], variances[source], axes[source], error)
            value[broken[source]] = np.nan
            values[index] = value
            estimate[index] = (deviation / xp.maximum(1, xp.abs(value))).max(axis=-1) + FLOOR
    # Sums over 1e5 nodes leave 1e-14 between the weights' total and one.
    values[:, :-1] /= values[:, :-1].sum(axis=-1, keepdims=True)
    return values[:, :-1].reshape(*batch, size + 1), values[:, -1].reshape(batch), estimate.reshape(batch)


def _integrate(xp: Any, rule: list[int], mean: Any, variances: Any, axes: Any, error: bool) -> tuple[Any, Any]:
    """(softmax, logsumexp) and their deviations (B, n + 1) by one rule, for covariances given by principal axes."""
    rank, *levels = rule
    size = mean.shape[-1]
    factor = xp.sqrt(xp.maximum(variances, 0))[:, None, :] * axes
    if rank > 3 or rank == 3 == size:
        factor = factor @ xp.swapaxes(axes, -1, -2)
    if rank > 3:
        replicates = xp.stack([_average(xp, mean, factor, *sobol(size, copy)) for copy in range(REPLICATES)])
        return replicates.mean(axis=0), replicates.std(axis=0, ddof=1) * (T_QUANTILE / np.sqrt(REPLICATES))
    factor = factor[:, :, size - rank :]
    value = _average(xp, mean, factor, *grid(rank, *levels, 0))
    dropped = xp.maximum(variances[:, : size - rank], 0).sum(axis=-1)
    change = xp.zeros_like(value)
    for shift in range(1, 1 + min(rank, 2) * error):
        change = xp.maximum(change, xp.abs(_average(xp, mean, factor, *grid(rank, *levels, shift)) - value))
    return value, change + beyond(rank) + dropped[:, None]


def _rules(variances: NDArray[np.float64], axes: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct rules (rank, level, level) and, for every covariance, the number of its rule."""
    rank = (variances > RANK_CUT * np.maximum(1, variances[:, -1:])).sum(axis=-1)
    roots = np.sqrt(np.maximum(variances, 0))[:, None, :] * axes
    top, low = np.maximum(roots.max(axis=1), 0), np.minimum(roots.min(axis=1), 0)
    width = (top - low)[:, :-3:-1]  # of the two largest columns
    level = np.ceil(np.log(np.maximum(width, 0.4)) / np.log(LEVEL)).astype(np.int64)
    level[(np.arange(level.shape[1]) >= rank[:, None]) | (rank[:, None] > 2)] = 0
    rules, rule_of = np.unique(np.column_stack([rank, level]), axis=0, return_inverse=True)
    return rules, rule_of.ravel()


def _average(xp: Any, mean: Any, factor: Any, z: NDArray[np.float64], weight: NDArray[np.float64]) -> Any:
    """Weighted mean over nodes of (softmax, logsumexp) of (mean + factor z, 0): (B, n−1), (B, n−1, r) -> (B, n + 1)."""
    count, size = mean.shape
    total = xp.zeros((count, size + 2))
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
            total[some, :-1] += xp.matmul(u / norm, share).T
            total[some, -1] += xp.matmul(top + xp.log(norm), share)
    return total


@lru_cache(maxsize=32)
def grid(rank: int, first: int, second: int, shift: int) -> Points:
    """Nodes and weights of a trapezoidal rule in `rank` directions; shift 1, 2 moves it by half a step two ways."""
    if rank == 0:
        return np.zeros((1, 0)), np.ones(1)
    radius = RADIUS[rank]
    move = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])[shift, :rank]
    cells = (0.0, 0.5) if rank == 3 else (0.0,)
    steps = (
        np.full(3, _LATTICE_STEP) if rank == 3 else np.array([_step(second), _step(first)])[-rank:]
    )  # smallest axis first
    if rank == 2:
        steps *= max(1.0, float(np.sqrt(np.pi * radius**2 / steps.prod() / MAX_NODES)))
    sides = [np.arange(-np.ceil(radius / step) - 1, np.ceil(radius / step) + 1) for step in steps]
    corners = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, rank)
    z = np.concatenate([(corners + cell + move) * steps for cell in cells])
    square = (z**2).sum(axis=-1)
    inside = square < radius**2
    weight = np.exp(-square[inside] / 2)
    return z[inside], weight / weight.sum()


def _step(level: int) -> float:
    """Largest step whose aliasing error is about e^{−DIGITS} for a column of that width.

    Moving the line of integration up by c costs e^{−2πc/h} and gains the Gaussian's e^{c²/2}; poles stop it at π/width.
    """
    c = min(np.pi / LEVEL**level, np.sqrt(2 * DIGITS))
    return float(2 * np.pi * c / (DIGITS + c * c / 2))


def beyond(rank: int) -> float:
    """Bound of what a grid leaves out beyond its radius: E |z| over there, for fields that grow like |z|."""
    return float(3 * RADIUS[rank] * gammaincc(rank / 2, RADIUS[rank] ** 2 / 2)) if rank else 0.0


@lru_cache(maxsize=256)
def sobol(size: int, copy: int) -> Points:
    """One replicate: POINTS standard normal points of dimension `size`, mean zero and unit covariance exactly."""
    from scipy.stats import qmc  # half a second to import, for rules that few problems need

    uniform = qmc.Sobol(size, scramble=True, rng=copy).random(POINTS // 2)
    z = ndtri(np.clip(uniform, 1e-12, 1 - 1e-12))
    variances, axes = np.linalg.eigh(z.T @ z / len(z))
    z = z @ (axes / np.sqrt(variances)) @ axes.T
    return np.concatenate([z, -z]), np.full(2 * len(z), 0.5 / len(z))
