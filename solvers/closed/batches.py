"""gaussian_softmax of solvers.expectations for many logits at once by the compiled rules, on all cores."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.expectations import gaussian_softmax as numpy_softmax
from solvers.expectations.cells import ERROR
from solvers.expectations.fixed_covariance import known
from solvers.expectations.lanes.nodes import DIRECTORY, LARGEST, nodes
from solvers.expectations.quadrature import FLOOR, TIGHTEST
from solvers.machine.cores import cores

__all__ = ["gaussian_softmax"]

Array = NDArray[np.float64]

TOGETHER = 128
"""Distributions of one covariance that share a pass: their sums fit in the second cache."""


def gaussian_softmax(
    mean: Any, cov: Any, *, moments: bool = False, error: bool = False, tolerance: float = TIGHTEST
) -> tuple[Any, ...]:
    """E softmax and E logsumexp, arguments, results and errors as in solvers.expectations, for NumPy arrays.

    Values and error estimates are those of NumPy to rounding (see solvers/expectations/lanes/cubature.py), where there
    is no table of the covariance that trajectories were integrated with; else of that.
    Raises  ValueError if the shapes do not fit or there are more than LARGEST logits.
    """
    mean, cov = np.asarray(mean, dtype=float), np.asarray(cov, dtype=float)
    n = mean.shape[-1] if mean.ndim else 0
    if n < 3 or cov.shape[-2:] != (n, n):
        return numpy_softmax(mean, cov, moments=moments, error=error, tolerance=tolerance)
    if n > LARGEST:
        raise ValueError(f"{n} logits: must be at most {LARGEST}")
    batch = np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2])
    shape = (1,) * (len(batch) - cov.ndim + 2) + cov.shape[:-2]
    shared = next((a for a in range(len(batch), 0, -1) if shape[a - 1] != 1), 0)  # axes from here have one covariance
    count, rows = int(np.prod(batch[:shared])), int(np.prod(batch[shared:]))
    last = np.broadcast_to(mean[..., -1], batch)
    means = np.broadcast_to(mean[..., :-1] - mean[..., -1:], (*batch, n - 1)).reshape(count, rows, n - 1)
    across = cov[..., :-1, -1]
    spread = cov[..., :-1, :-1] - across[..., :, None] - across[..., None, :] + cov[..., -1:, -1:]
    spread = spread.reshape(*shape, n - 1, n - 1)[(..., *[0] * (len(batch) - shared), slice(None), slice(None))]
    spread = np.broadcast_to(spread, (*batch[:shared], n - 1, n - 1)).reshape(count, n - 1, n - 1)
    broken = ~np.isfinite(means).all(axis=-1) | ~np.isfinite(spread).all(axis=(-2, -1))[:, None]
    means = np.where(broken[..., None], 0.0, means)
    spread = np.where(np.isfinite(spread), spread, 0.0)
    values, errors = np.empty((count, rows, n + 1 + n * n * moments)), np.empty((count, rows if error else 0))
    table = known(spread[0], tolerance) if count == 1 and not moments else np.empty(0)
    left = np.arange(rows)
    if len(table):
        found = _look_up(table, means[0], values[0])
        errors[:, found if error else []] = max(table[ERROR], FLOOR)
        left = np.flatnonzero(~found)
    if count == 1 and 0 < len(left) < rows:
        values[:, left], errors[:, left if error else []] = _all(means[:, left], spread, moments, error, tolerance)
    elif len(left):
        values, errors = _all(means, spread, moments, error, tolerance)
    values[broken] = np.nan
    out = [values[..., :n].reshape(*batch, n), last + values[..., -1].reshape(batch)]
    if moments:
        out.append(values[..., n:-1].reshape(*batch, n, n))
    if error:
        errors[broken] = np.nan
        out.append(errors.reshape(batch))
    return tuple(out)


def _look_up(table: Array, means: Array, values: Array) -> NDArray[np.bool_]:
    """Averages (rows, n + 1) by a table at means (rows, n − 1), and which rows it has."""
    from solvers.closed.compiled import rules
    from solvers.machine.instructions import WIDTH

    means, found = np.ascontiguousarray(means), np.zeros(len(means), dtype=np.uint8)
    rules().pieces.ctypes(
        _at(table), len(table) // WIDTH, _at(means), len(means), values.shape[1] - 1, _at(values), _at(values), 0,
        found.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)),
    )  # fmt: skip
    return found.astype(bool)


def _all(means: Array, spread: Array, moments: bool, error: bool, tolerance: float) -> tuple[Array, Array]:
    """values (count, rows, n + 1), with moments n² more, and errors (count, rows or 0), on all cores."""
    (count, rows, size) = means.shape
    columns = size + 2 + (size + 1) ** 2 * moments
    values, errors = np.empty((count, rows, columns)), np.empty((count, rows if error else 0))
    pieces = [
        (slice(i, i + step), slice(k, k + TOGETHER))
        for step in (max(1, -(-count // (8 * cores()))),)
        for i in range(0, count, step)
        for k in range(0, rows, TOGETHER)
    ]
    with ThreadPoolExecutor(cores()) as pool:
        for (i, k), (value, estimate) in zip(
            pieces,
            pool.map(lambda piece: _call(means[piece], spread[piece[0]], moments, error, tolerance), pieces),
            strict=True,
        ):
            values[i, k] = value
            errors[i, k if error else slice(None)] = estimate
    return values, errors


@lru_cache(maxsize=4)
def _nodes(n: int, tolerance: float) -> Array:
    from solvers.machine.instructions import WIDTH

    return nodes(n, width=WIDTH, shifted=True, tolerance=tolerance)


def _call(means: Array, covs: Array, pairs: bool, error: bool, tolerance: float) -> tuple[Array, Array]:
    """values (count, rows, n + 1), with pairs n² more, and errors (count, rows or 0) for means (count, rows, n − 1)."""
    from solvers.closed.compiled import rules

    count, rows, n = means.shape[0], means.shape[1], means.shape[2] + 1
    means, covs, points = np.ascontiguousarray(means), np.array(covs, order="C"), _nodes(n, tolerance)
    values, errors = np.empty((count, rows, n + 1 + n * n * pairs)), np.empty((count, rows if error else 0))
    rules().entry.ctypes(
        _at(means), _at(covs), count, rows, n, _at(points), len(points), len(points) - DIRECTORY,
        _at(values), int(pairs), _at(values), 0, _at(errors), int(error),
    )  # fmt: skip
    return values, errors


def _at(array: Array) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
