"""E softmax and E logsumexp of logits with |z|² in them: a few Gaussian directions and a chi-square, exactly in d.

Logits are U_j = mean_j + a_j·z + curvature_j |z|², z ~ N(0, I_d), a_i·a_j = cov_ij: those of a mixture whose components
have different variances. Only differences to the last logit count. With r the rank of their covariance and N = d − r,

    U_j = m_j + F_j·y + g_j (|y|² + ϱ − d),      y ~ N(0, I_r),  ϱ ~ χ²_N independent:

|z|² is counted from its mean, beside which d would leave no digit; ϱ − N is made as such, not as a difference.
r + 1 dimensions of integration, or r where N = 0 or all g_j vanish. solvers/expectations/radial_grids.py chooses nodes.
Two more dimensions weigh every node by ϱ/N, since ϱ p_N(ϱ) = N p_{N+2}(ϱ); for N < 2 they are nodes of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.quadrature import TIGHTEST, digits
from solvers.expectations.radial_grids import Grid, grids
from solvers.machine.arrays import array_module, to_numpy
from solvers.machine.ranks import AVERAGES

__all__ = ["centred_softmax", "quadratic_softmax"]

Array = NDArray[np.float64]

_BLOCK = 1 << 18  # numbers in one temporary array
_FLOOR = 1e-13
_MOST = 1e140  # of what is squared


def quadratic_softmax(
    mean: Any, cov: Any, curvature: Any, d: int, *, error: bool = False, tolerance: float = TIGHTEST
) -> tuple[Any, ...]:
    """The same of logits U_j = mean_j + a_j·z + curvature_j |z|² and with E[|z|² softmax], for d of moderate size."""
    mean, curvature = (np.asarray(to_numpy(a), dtype=float) for a in (mean, curvature))
    softmax, radius, *others = centred_softmax(
        mean + curvature * d, cov, curvature, d, error=error, tolerance=tolerance
    )
    return softmax, radius + d * softmax, *others


def centred_softmax(
    mean: Any, cov: Any, curvature: Any, d: int, *, error: bool = False, tolerance: float = TIGHTEST
) -> tuple[Any, ...]:
    """E softmax, E (|z|² − d) softmax, E⁺ slope and E logsumexp of U_j = mean_j + a_j·z + curvature_j (|z|² − d).

    A deterministic function: nodes are fixed, nothing is drawn. Computed on the host.

    Args
        mean (..., n), cov (..., n, n), curvature (..., n)   the law of U above; leading dimensions broadcast.
        d      dimension of z, at least the rank of cov.
        error  also return the error estimate, at two to four times the work.
        tolerance   error that will do, as in gaussian_softmax.
    Returns
        softmax (..., n); radius (..., n), E[(|z|² − d) softmax_j], of sum 0; slope (..., n, n), the expectation of
        softmax_i (δ_ij − softmax_j) over z in d + 2 dimensions; logsumexp (...);
        with error: (...) estimate of the largest error in units of max(1, |value|), of radius in units of √(2d).
    Errors
        n = 1: exact. One and two dimensions of integration: the tolerance, 1e-11 at best, while nodes suffice; three:
        1e-8 or better up to widths of 6 or so; more: 1e-5 to 1e-3. See radial_grids.
    Raises  ValueError if the shapes do not fit.
    Source  theory.md, section 3: |x − μ_j|² = |x_∥ − a_j|² + ϱ with ϱ ~ v_k χ²_{d−r}.
    """
    xp = array_module(mean, cov, curvature)
    mean, cov, curvature = (np.asarray(to_numpy(a), dtype=float) for a in (mean, cov, curvature))
    n = mean.shape[-1] if mean.ndim else 0
    if n == 0 or cov.shape[-2:] != (n, n) or curvature.shape[-1:] != (n,):
        shapes = f"mean {mean.shape}, cov {cov.shape}, curvature {curvature.shape}"
        raise ValueError(f"{shapes}: need (..., n), (..., n, n) and (..., n), n ≥ 1")
    batch = np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2], curvature.shape[:-1])
    mean, curvature = (np.broadcast_to(a, (*batch, n)).reshape(-1, n) for a in (mean, curvature))
    law = _Law.of(mean, np.broadcast_to(cov, (*batch, n, n)).reshape(-1, n, n), curvature, int(d))

    D = digits(tolerance) + 1.0  # for the factor |z|²
    values, estimate = np.empty((len(mean), 2 * n + 1 + n * n)), np.zeros(len(mean))
    for (rank, degrees), index in law.groups():
        value, deviation = _of_group(law, index, rank, degrees, int(d), D, error)
        values[index] = value
        scale = np.maximum(1.0, np.abs(value))
        scale[:, n : 2 * n] = np.sqrt(2.0 * d)
        estimate[index] = (deviation / scale).max(axis=-1) + (_FLOOR if n > 1 else 0.0)
    values[law.broken] = np.nan
    slope = -values[:, 2 * n + 1 :].reshape(-1, n, n)
    slope *= 1 - np.eye(n)
    slope -= slope.sum(axis=-1)[:, :, None] * np.eye(n)
    out = (
        values[:, :n].reshape(*batch, n),
        values[:, n : 2 * n].reshape(*batch, n),
        slope.reshape(*batch, n, n),
        (values[:, 2 * n] + mean[:, -1]).reshape(batch),
        *([estimate.reshape(batch)] if error else []),
    )
    return tuple(xp.asarray(a) for a in out)


class _Law(NamedTuple):
    """Differences to the last logit: m (B, n−1), factor (B, n−1, n−1) smallest column first, g (B, n−1).

    rank (B,): r. degrees (B,): N, or −1 where ϱ does not matter. broken (B,): not finite, nor are squares.
    """

    m: Array
    factor: Array
    g: Array
    rank: NDArray[np.int64]
    degrees: NDArray[np.int64]
    broken: NDArray[np.bool_]

    @classmethod
    def of(cls, mean: Array, cov: Array, curvature: Array, d: int) -> _Law:
        across = cov[:, :-1, -1]
        spread = cov[:, :-1, :-1] - across[:, :, None] - across[:, None, :] + cov[:, -1:, -1:]
        m, g = mean[:, :-1] - mean[:, -1:], curvature[:, :-1] - curvature[:, -1:]
        broken = ~np.logical_and.reduce([
            (np.abs(spread) < _MOST).all((-2, -1)), (np.abs(m) < _MOST).all(-1), (np.abs(g) < _MOST).all(-1)
        ])  # fmt: skip
        m, g, spread = (np.where(broken.reshape(-1, *[1] * (a.ndim - 1)), 0.0, a) for a in (m, g, spread))
        if not m.shape[1]:
            none = np.zeros(len(m), dtype=np.int64)
            return cls(m, spread, g, none, none - 1, broken)
        variances, axes = np.linalg.eigh(spread)
        rank = np.minimum((variances > AVERAGES * np.maximum(1.0, variances[:, -1:])).sum(axis=-1), d)
        factor = np.sqrt(np.maximum(variances, 0.0))[:, None, :] * axes
        return cls(m, factor, g, rank, np.where((g == 0).all(axis=-1), -1, d - rank), broken)

    def groups(self) -> list[tuple[tuple[int, int], NDArray[np.int64]]]:
        """(r, N) and the elements that have it."""
        kinds, which = np.unique(np.column_stack([self.rank, self.degrees]), axis=0, return_inverse=True)
        return [((int(r), int(N)), np.flatnonzero(which.ravel() == i)) for i, (r, N) in enumerate(kinds)]


def _of_group(
    law: _Law, index: NDArray[np.int64], rank: int, degrees: int, d: int, D: float, error: bool
) -> tuple[Array, Array]:
    """Values (B, 2n + 1 + n²) and deviations, of elements with the same r and N."""
    m, g = law.m[index], law.g[index]
    n = m.shape[1] + 1
    factor = law.factor[index][:, :, n - 1 - rank :]
    line = np.zeros((len(m), n - 1, int(degrees == 1)))  # one degree of freedom is one more Gaussian direction
    # Where the logits know nothing of ϱ, it stands for its mean.
    directions, mean = np.concatenate([factor, line], axis=2), d if degrees >= 0 else rank
    value, deviation = _integrate(m, directions, g, degrees - (degrees == 1), mean, D, error)
    if 0 <= degrees < 2:
        raised, change = _integrate(m, factor, g, degrees + 2, mean, D, error, lowered=True)
        value[:, 2 * n + 1 :], deviation[:, 2 * n + 1 :] = raised[:, 2 * n + 1 :], change[:, 2 * n + 1 :]
    return value, deviation


def _integrate(
    m: Array, factor: Array, g: Array, degrees: int, d: int, D: float, error: bool, lowered: bool = False
) -> tuple[Array, Array]:
    """The integrals over y and χ² of `degrees`, logits with g (|y|² + ϱ − d).

    lowered: E⁺ is over these degrees themselves, not two more.
    """
    n, count = m.shape[1] + 1, len(m)
    value, deviation = np.empty((count, 2 * n + 1 + n * n)), np.zeros((count, 2 * n + 1 + n * n))
    for chosen, turn, nodes in grids(factor, g, degrees, D, error=error):
        parts = [_averages(m[chosen], factor[chosen], g[chosen], turn, grid, d, lowered) for grid in nodes]
        value[chosen] = parts[0] if not nodes[0].replicate else np.mean(parts, axis=0)
        if len(parts) > 1:
            deviation[chosen] = (
                nodes[0].quantile * np.std(parts, axis=0, ddof=1)
                if nodes[0].replicate
                else np.max(np.abs(np.array(parts[1:]) - parts[0]), axis=0)
            )
    return value, deviation


def _averages(m: Array, factor: Array, g: Array, turn: Array, grid: Grid, d: int, lowered: bool) -> Array:
    """Means over nodes of softmax, (|z|² − d) softmax, logsumexp and, with the weights of E⁺, softmax_i softmax_j."""
    count, size = m.shape
    n = size + 1
    total, mass, mass_raised = np.zeros((count, 2 * n + 1 + n * n)), np.zeros(count), np.zeros(count)
    if not grid.size:  # fields so much wider than others that the nodes there are leave none within
        return np.full_like(total, np.nan)
    nodes = min(grid.size, max(1, _BLOCK // n))
    rows = max(1, _BLOCK // (n * nodes))
    for start in range(0, count, rows):
        some = slice(start, start + rows)
        for low in range(0, grid.size, nodes):
            y, excess, weight = grid.points(turn[some], low, low + nodes)  # (b, r, p), (b, p), (b, p)
            square = excess + (np.sum(y**2, axis=1) - (d - max(grid.degrees, 0)))
            u = np.matmul(factor[some], y) + m[some][:, :, None] + g[some][:, :, None] * square[:, None, :]
            u = np.concatenate([u, np.zeros((len(u), 1, u.shape[2]))], axis=1)
            top = u.max(axis=1, keepdims=True)
            u = np.exp(u - top)
            norm = u.sum(axis=1, keepdims=True)
            u /= norm
            raised = weight if lowered or grid.degrees < 2 else weight * (1 + excess / grid.degrees)
            total[some, :n] += np.matmul(u, weight[:, :, None])[:, :, 0]
            total[some, n : 2 * n] += np.matmul(u, (weight * square)[:, :, None])[:, :, 0]
            total[some, 2 * n] += np.sum(weight * (top + np.log(norm))[:, 0], axis=-1)
            pairs = np.matmul(u * raised[:, None, :], np.swapaxes(u, 1, 2))
            total[some, 2 * n + 1 :] += pairs.reshape(len(pairs), -1)
            mass[some] += weight.sum(axis=-1)
            mass_raised[some] += raised.sum(axis=-1)
    total[:, : 2 * n + 1] /= mass[:, None]
    total[:, 2 * n + 1 :] /= mass_raised[:, None]
    # E (|z|² − d) = 0: what nodes too few for ϱ leave of it is no part of the values, nor of their errors.
    total[:, n : 2 * n] -= total[:, n : 2 * n].sum(axis=-1, keepdims=True) * total[:, :n]
    return total
