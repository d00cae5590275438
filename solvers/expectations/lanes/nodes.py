"""Fixed nodes of the rules for three and more directions, as rows of vectors for compiled code. No numba here."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.quadrature import HALVINGS, REPLICATES, TIGHTEST, digits, lattice, sobol

__all__ = ["DIRECTORY", "LARGEST", "nodes"]

Array = NDArray[np.float64]

LARGEST = 64
"""Logits that compiled expectations can do: components, and modes."""
DIRECTORY = LARGEST
"""The last rows, one for each number of differences of logits: [start row, number of vectors, the same of half of the
points, of a quarter, ...].

Row 3 is for the lattice, whatever the number of differences; rows 1 and 2, for the lattice shifted two ways. Row 0 is
[D, ...], the digits that the rules aim at.
"""


def nodes(*logits: int, width: int, first: int = 0, shifted: bool = False, tolerance: float = TIGHTEST) -> Array:
    """All nodes for expectations of so many logits, and the directory: (rows, width), to be appended to `first` rows.

    A vector of the lattice is x, y, z ≥ 0 in units of its step, nearest first, and the share of the weight that each
    of the eight nodes (±x, ±y, ±z) has. A vector of Sobol points is two points z, z'; their antipodes go with them.
    Replicates follow each other. shifted: the lattice also in the two positions that error estimates compare it with.
    tolerance: of the expectations, see solvers.expectations.
    """
    sizes = {n - 1 for n in logits}
    parts = {(size, half): _points(size, half, width) for size in sizes if size > 3 for half in range(HALVINGS + 1)}
    if any(size >= 3 for size in sizes):
        parts |= {(shift or 3, 0): _lattice(shift, width) for shift in range(3 if shifted else 1)}
    directory = np.zeros((DIRECTORY, width))
    directory[0] = digits(tolerance)
    for (place, half), part in parts.items():
        directory[place, 2 * half : 2 * half + 2] = first, part.shape[0]
        first += part.shape[0] * part.shape[1]
    rows = [part.reshape(-1, width) for part in parts.values()]
    return np.concatenate([*rows, directory])


@lru_cache(maxsize=4)
def _lattice(shift: int, width: int) -> Array:
    """(vectors, 4, width)."""
    z = lattice(shift)
    octant = z[(z >= 0).all(axis=1)]
    on_plane = (octant == 0).sum(axis=1)  # a node on a plane is its own mirror image
    return _vectors(np.column_stack([octant, 0.5**on_plane]), width)


@lru_cache(maxsize=16 * (HALVINGS + 1))
def _points(size: int, half: int, width: int) -> Array:
    """(vectors, 2 size, width)."""
    halves = []
    for copy in range(REPLICATES):
        z, _ = sobol(size, copy, half)
        halves.append(z[: len(z) // 2].reshape(-1, 2 * size))
    return _vectors(np.concatenate(halves), width)


def _vectors(rows: Array, width: int) -> Array:
    """(m, c) as (⌈m / width⌉, c, width), padded with zeros."""
    count = -(-len(rows) // width)
    padded = np.pad(rows, ((0, count * width - len(rows)), (0, 0)))
    return np.ascontiguousarray(padded.reshape(count, width, -1).swapaxes(1, 2))
