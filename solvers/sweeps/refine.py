"""Adaptive boundaries: which points of the grid to compute, when only those near a contour are wanted.

The first round computes every 2^levels-th point along each numerical key. A cell, a box between neighbouring points of
a round, is crossed if among the points known in it, faces included, there are some on either side of the contour, or
one whose interval contains it. The next round halves the crossed cells; where that shows the contour to leave a
crossed cell by a face into one that was not, that one is crossed too. What the last round computes has the spacing of
the grid itself. A loop of the contour inside one cell of the first round is not seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rounds"]

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


class Rounds:
    """The rounds of one sweep. shape: of the grid; refined: along which keys cells are halved, the others are whole."""

    def __init__(self, shape: tuple[int, ...], refined: tuple[bool, ...], levels: int) -> None:
        self.shape, self.levels = shape, levels
        self.refined = refined
        # knots[j][axis]: the positions that round j has along an axis; the last round has all of them.
        self.knots = [tuple(map(self._knots, shape, refined, [level] * len(shape))) for level in range(levels + 1)]

    def _knots(self, size: int, is_refined: bool, level: int) -> list[int]:
        """Every stride-th position and the last; a round of half the stride contains those of this one."""
        stride = 2 ** (self.levels - level) if is_refined else 1
        return sorted({*range(0, size, stride), size - 1})

    def wanted(self, level: int, low: Array, high: Array, contour: float) -> Mask:
        """The points that rounds up to `level` need, given intervals (*shape) that are nan where not computed.

        Ask again with what was computed until nothing new is wanted; then the round is complete.
        """
        wanted = np.zeros(self.shape, dtype=bool)
        wanted[np.ix_(*self.knots[0])] = True
        above, below = low > contour, high < contour
        near = (low <= contour) & (high >= contour)
        for j in range(level):
            for cell in self._cells(j):
                if near[cell].any() or (above[cell].any() and below[cell].any()):
                    finer = [
                        [k for k in knots if s.start <= k < s.stop]
                        for s, knots in zip(cell, self.knots[j + 1], strict=True)
                    ]
                    wanted[np.ix_(*finer)] = True
        return wanted

    def _cells(self, level: int) -> Iterator[tuple[slice, ...]]:
        """Closed cells between neighbouring points of a round."""
        sides = []
        for knots, is_refined in zip(self.knots[level], self.refined, strict=True):
            if is_refined and len(knots) > 1:
                sides.append([slice(a, b + 1) for a, b in itertools.pairwise(knots)])
            else:
                sides.append([slice(k, k + 1) for k in knots])
        yield from itertools.product(*sides)
