"""E softmax and E logsumexp of three and more logits whose covariance does not move, as polynomials on cells.

The logits of the target's modes have a covariance C = F Fᵀ that no trajectory changes, and means that are affine in
vectors of the span, m = m₀ + F ξ. With r ≤ 3 columns of F the averages are smooth functions of r numbers,

    Φ(ξ) = E f(m₀ + F (ξ + z)),   f the softmax or logsumexp,   z standard normal in R^r,

made here once, on a box of ξ, instead of by a quadrature at every step of every trajectory:

1. f on a lattice. Its step follows from the nearest poles of f, where two modes meet. Where it has to be fine, sums
   with a Gaussian of variance SMOOTHED leave a lattice of a third of a standard deviation.
2. What is left of the Gaussian, axis by axis, and polynomials of it on cells: solvers/expectations/cells.py.
3. The table is compared with direct sums on another lattice at points of the box. Its error is the largest difference;
   a table that misses the tolerance is made once more, with smaller cells, and else not used.
"""

from __future__ import annotations

import itertools
import threading
from math import ceil, pi, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.affine import Lattice, Law
from solvers.expectations.cells import ERROR, Cells, look_up, sizes
from solvers.expectations.quadrature import LOOSEST, TIGHTEST, digits

__all__ = ["DIRECTIONS", "fixed_covariance", "known"]

Array = NDArray[np.float64]

DIRECTIONS = 3
"""Most columns of F."""
ROOM = 1 << 25
"""Most numbers of a table, and of any array on the way to it: 256 MB."""
LOGITS = 1 << 28
"""Most logits that are computed, if 2^r modes matter at a point."""
SMOOTHED = 0.2
"""Variance of the first Gaussian, of 1."""
SMALLEST = 35.0
"""Modes whose logits are nowhere so near the largest are left out."""
CHECKED = 1 << 23
"""About so many logits are spent on the comparison with direct sums, at 6 to 64 points."""


def fixed_covariance(means: Array, cov: Array, tolerance: float) -> Array:
    """The table of cells.py for logits with that covariance (n − 1, n − 1), and a last one that is zero.

    means (points, n − 1): the box holds these, which differ by F ξ, and some room around them.
    tolerance: of both averages, in units of max(1, |value|), as in solvers.expectations.

    Returns the table, read-only, for it is kept; table[ERROR] is its largest measured error. Empty where there is none:
    not finite, no column of F or more than DIRECTIONS, or it takes more than ROOM or LOGITS, or misses the tolerance.
    """
    means, cov = np.ascontiguousarray(means, dtype=float), np.ascontiguousarray(cov, dtype=float)
    tolerance = min(max(tolerance, TIGHTEST), LOOSEST)
    key = (means.tobytes(), cov.tobytes(), tolerance)
    with _lock:
        if key not in _kept:
            while len(_kept) >= KEPT:
                del _kept[next(iter(_kept))]
            table = _made(means, cov, tolerance)
            table.flags.writeable = False
            _kept[key] = cov, tolerance, table
        return _kept[key][2]


def known(cov: Array, tolerance: float) -> Array:
    """A table that was made for that covariance, to rounding, and tolerance; empty if there is none."""
    size, tolerance = len(cov), min(max(tolerance, TIGHTEST), LOOSEST)
    with _lock:
        for other, reached, table in reversed(_kept.values()):
            alike = reached == tolerance and len(table) and len(other) == size
            if alike and np.allclose(cov, other, rtol=0.0, atol=1e-13 * float(np.abs(other).max())):
                return table
    return np.empty(0)


KEPT = 8
_kept: dict[tuple[bytes, bytes, float], tuple[Array, float, Array]] = {}
_lock = threading.Lock()


def _made(means: Array, cov: Array, tolerance: float) -> Array:
    if not (np.isfinite(means).all() and np.isfinite(cov).all()):
        return np.empty(0)
    law = Law.of(means, cov)
    if 0 < law.columns.shape[1] <= DIRECTIONS and law.points() <= LOGITS:
        maker = _Maker(law, tolerance)
        for share in (0.5, 0.05):
            found = maker.table(share)
            if len(found) == 0 or found[ERROR] <= tolerance:
                return found
    return np.empty(0)


class _Maker:
    """Tables of one law for one tolerance."""

    def __init__(self, law: Law, tolerance: float) -> None:
        self.law, self.tolerance = law, tolerance
        self.n, self.r = law.columns.shape
        self.D = digits(tolerance)
        self.radius = sqrt(2 * self.D + 4)
        self.pole = pi / max(law.widest(), 0.4)

    def step(self, variance: float) -> float:
        """Largest step of a lattice for f and a Gaussian of that variance, see `_step` of quadrature.py."""
        c = min(self.pole, sqrt(2 * self.D * variance))
        return 2 * pi * c / (self.D + c * c / (2 * variance))

    def table(self, share: float) -> Array:
        """share: of the tolerance, for the polynomials."""
        size = sizes(self.n, self.law.low, self.law.high, share * self.tolerance, ROOM)
        lattice = None if size is None else self.lattice(size.half)
        if size is None or lattice is None:
            return np.empty(0)
        table = Cells(self.law, self.tolerance, self.radius, size).table(lattice, ROOM)
        if len(table):
            table[ERROR] = self.error(table)
        return table

    def lattice(self, half: float) -> Lattice | None:
        """For cells of half that width; None if it is too large."""
        # Aliasing of the second sum: e^{−D} where s (1 − s) (2π/step)²/2 = D, s the variance of the first.
        step = 2 * pi * sqrt(SMOOTHED * (1 - SMOOTHED) / (2 * self.D))
        parts = ceil(step / self.step(SMOOTHED))
        if self.step(1.0) > step / 2:
            step, parts = self.step(1.0), 1
        low = self.law.low - self.radius
        counts = [ceil(x / step) + 1 for x in self.law.high + 2 * half + self.radius - low]
        if self.n * prod(counts) > ROOM or min(self.n, 2**self.r) * prod(counts) * parts**self.r > LOGITS:
            return None
        if parts == 1:
            sides = [a + step * np.arange(count) for a, count in zip(low, counts, strict=True)]
            softmax = np.zeros((self.n, *counts))
            p, top, kept = _softmax(self.law.logits(sides))
            softmax[kept] = p
            return Lattice(sides, softmax, top, 0.0)
        return self.smoothed(low, step, parts, counts)

    def smoothed(self, low: Array, step: float, parts: int, counts: list[int]) -> Lattice:
        """The lattice from `low` on, from one that is finer by `parts`, in tiles of whole steps."""
        group, wide = (32, 6, 8)[self.r - 1], ceil(self.radius * sqrt(SMOOTHED) / step)
        tiles = [-(-(count + 2 * wide) // group) for count in counts]
        shape = [tile * group + 2 * wide for tile in tiles]
        softmax, logsumexp = np.zeros((self.n, *shape)), np.zeros(shape)
        fine = np.arange(group * parts) * (step / parts)
        apart = step * np.arange(-wide, group + wide)[:, None] - fine
        kernel = np.exp(-(apart**2) / (2 * SMOOTHED)) * (np.abs(apart) < step * (wide + 0.5 / parts))
        # Symmetric, and normalised over all tiles: linear functions stay what they are.
        kernel /= np.exp(-((step / parts * np.arange(-wide * parts, wide * parts + 1)) ** 2) / (2 * SMOOTHED)).sum()
        for tile in itertools.product(*map(range, tiles)):
            begin = [a + (t * group - wide) * step for a, t in zip(low, tile, strict=True)]
            tile_sides = [b + fine for b in begin]
            modes = self.near(tile_sides, max(1, parts // 2))
            p, top, kept = _softmax(self.law.logits(tile_sides, modes))
            window = tuple(slice(t * group, (t + 1) * group + 2 * wide) for t in tile)
            reached: Any = (modes[kept], *window)
            softmax[reached] += _along(p, kernel, self.r)
            logsumexp[window] += _along(top, kernel, self.r)
        whole = tuple(slice(2 * wide, tile * group) for tile in tiles)  # which all tiles have reached
        sides = [a + step * np.arange(tile * group - 2 * wide) for a, tile in zip(low, tiles, strict=True)]
        return Lattice(sides, softmax[(slice(None), *whole)], logsumexp[whole], SMOOTHED)

    def near(self, sides: list[Array], every: int) -> NDArray[np.intp]:
        """Modes that may matter on a grid, by some of its points."""
        u = self.law.logits([side[::every] for side in sides]).reshape(self.n, -1)
        slack = self.r * np.ptp(self.law.columns, axis=0).max() * every * (sides[0][1] - sides[0][0])
        return np.flatnonzero((u - u.max(axis=0)).max(axis=1) > -SMALLEST - min(slack, SMALLEST))

    def error(self, table: Array) -> float:
        """The largest difference to direct sums at points of the box, in units of max(1, |value|)."""
        radius, step = self.radius + 1.0, 0.93 * self.step(1.0)
        side = np.arange(-radius, radius, step)
        square = np.sum(np.meshgrid(*[side**2] * self.r, indexing="ij"), axis=0)
        inside = square < radius**2
        weight = np.exp(-square[inside] / 2)
        weight /= weight.sum()
        points = int(np.clip(CHECKED // (self.n * inside.size), 6, 64))
        xi = np.random.default_rng(0).uniform(self.law.low, self.law.high, (points, self.r))
        found = look_up(table, self.law.base[:-1] + xi @ self.law.columns[:-1].T)
        worst = 0.0
        for at, row in zip(xi, found, strict=True):
            modes = self.near([x + side for x in at], max(1, round(0.5 / step)))
            p, top, kept = _softmax(self.law.logits([x + side for x in at], modes)[:, inside])
            exact = np.zeros(self.n + 1)
            exact[modes[kept]], exact[-1] = p @ weight, top @ weight
            worst = max(worst, float(np.max(np.abs(row - exact) / np.maximum(1.0, np.abs(exact)))))
        return worst


def _along(values: Array, matrix: Array, r: int) -> Array:
    """The matrix applied along each of the last r axes, in products so small that no library shares them out."""
    values = values @ matrix.T
    if r > 1:
        values = matrix @ values
    if r > 2:
        lead, (x, *rest) = values.shape[: values.ndim - 3], values.shape[-3:]
        values = (matrix @ values.reshape(*lead, x, -1)).reshape(*lead, len(matrix), *rest)
    return values


def _softmax(u: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Softmax of the modes that matter and logsumexp along the first axis, and which modes these are."""
    top = u.max(axis=0)
    u = u - top
    kept = u.reshape(len(u), -1).max(axis=1) > -SMALLEST
    u = np.exp(u[kept])
    norm = u.sum(axis=0)
    return u / norm, top + np.log(norm), kept
