"""Polynomials on the cells of a box: the tables of fixed_covariance.py.

A cell is a cube. On it the averages are polynomials of total degree at most g in δ ∈ [−1, 1]^r, of which a cell keeps
what it needs: the mode with the largest logit, j, is one minus the others; of logsumexp the mean m_j is taken off;
modes that nowhere in the cell matter are left out, and so are the degrees that do not matter.

A table is one array of float64, see `layout`: HEAD numbers; ξ, counted in cells, from the mean of the logits, and back;
for every cell, CELL numbers; then for every cell its modes, its coefficients of logsumexp, and those of each mode.
|∂ⁿΦ| ≤ √n! in units of the standard deviation, whatever f ≤ 1 was: that decides degree and width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from math import ceil, comb, factorial, pi, prod, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from solvers.expectations.affine import Lattice, Law

__all__ = ["CELL", "ERROR", "HEAD", "Cells", "Layout", "Size", "layout", "look_up", "monomials", "sizes"]

Array = NDArray[np.float64]

HEAD, RANK, LOGITS, TOLERANCE, ERROR, COUNTS = 8, 0, 1, 2, 3, 4
"""The first numbers of a table: how many, r, n, tolerance, largest measured error, cells along each of three axes."""
CELL = 4
"""Of a cell: start, modes beside the largest, degree, the largest."""
ALIGNED = 16
"""Rows of coefficients are whole vectors, filled up with zeros."""
DEGREES = (8, 10, 12, 14)
"""Largest degrees; that of the first table which is SMALL is taken, for low ones are fast."""
SMALL = 1 << 21
ABSENT = 0
"""In place of where a table begins, for a law without one."""
LEAST = 1e-3
"""Part of the tolerance below which a value of a lattice is none."""
GROUP = 1 << 22
"""Numbers worked on at a time."""


class Layout(NamedTuple):
    """Where parts of a table begin."""

    shift: int
    """(r,): t = shift + forth @ m, cells from the corner of the box."""
    forth: int
    """(r, n − 1)"""
    corner: int
    """(n − 1,): m = corner + t @ back."""
    back: int
    """(r, n − 1)"""
    cells: int
    """(cells, CELL), the last axis of the box fastest."""
    pieces: int


def layout(n: int, r: int, cells: int) -> Layout:
    """For n logits, r directions and so many cells."""
    parts = (r, r * (n - 1), n - 1, r * (n - 1), cells * CELL)
    *starts, end = itertools.accumulate(parts, initial=HEAD)
    return Layout._make([*starts, up(end)])


def up(count: Any) -> Any:
    """The next multiple of ALIGNED."""
    return -(-count // ALIGNED) * ALIGNED


@lru_cache(maxsize=64)
def monomials(r: int, degree: int) -> NDArray[np.int64]:
    """Exponents (terms, r), a degree after the other: those of one are x times all of the degree before, y times those
    of it without x, and z times the one without x and y."""
    blocks = [[(0,) * r]]
    for _ in range(degree):
        blocks.append(
            [(*e[:a], e[a] + 1, *e[a + 1 :]) for a in range(r) for e in blocks[-1] if not any(e[:a])],
        )
    return np.array([e for block in blocks for e in block], dtype=np.int64).reshape(-1, r)


class Size(NamedTuple):
    """degree; half: of the width of a cell; counts (r,) of cells along the axes."""

    degree: int
    half: float
    counts: tuple[int, ...]


def sizes(n: int, low: Array, high: Array, tolerance: float, room: int) -> Size | None:
    """Degree and cells of a table for n logits on a box; None if it has certainly more numbers than `room`."""
    for degree in DEGREES:
        N, r = degree + 1, len(low)
        # 2 (H/2)^N √N! / N! for one axis; a few times that for several.
        half = 2 * float((tolerance * sqrt(factorial(N)) / 8) ** (1 / N))
        counts = tuple(ceil(x / (2 * half)) for x in high - low)
        numbers = prod(counts) * (comb(degree + r, r) * min(n, 2**r) + CELL)
        if numbers <= SMALL or (degree == DEGREES[-1] and prod(counts) * CELL <= room):
            return Size(degree, half, counts)
    return None


class Cells:
    """The table of one law."""

    def __init__(self, law: Law, tolerance: float, radius: float, size: Size) -> None:
        self.law, self.tolerance, self.radius, self.size = law, tolerance, radius, size
        self.n, self.r = law.columns.shape
        degree = size.degree
        self.centres = [
            low + size.half * (2 * np.arange(count) + 1) for low, count in zip(law.low, size.counts, strict=True)
        ]
        self.exponents = monomials(self.r, degree)
        self.terms = [comb(g + self.r, self.r) for g in range(degree + 1)]
        # From coefficients of T_i T_j … to those of monomials, of the same total degrees.
        single = np.zeros((degree + 1, degree + 1))
        for i in range(degree + 1):
            single[i, : i + 1] = chebyshev.cheb2poly(np.eye(degree + 1)[i])[: i + 1]
        e = self.exponents
        self.to_monomials = np.prod([single[np.ix_(e[:, a], e[:, a])] for a in range(self.r)], axis=0)

    def table(self, lattice: Lattice, room: int) -> Array:
        """From averages on a lattice; empty if it has more numbers than `room`."""
        matrices = [
            self.projection(side, c, 1 - lattice.variance) for side, c in zip(lattice.sides, self.centres, strict=True)
        ]
        largest = self.law.logits(self.centres).argmax(axis=0).ravel()
        cells, modes, rows, degrees = [], [], [], []
        for mode in [*range(self.n), -1]:
            for cell, row in self.mode(mode, lattice, matrices, largest):
                size = np.abs(row)
                matters = size.sum(axis=1) > self.tolerance / (8 * self.n) if mode >= 0 else np.ones(len(row), bool)
                tails = np.stack([size[:, t:].sum(axis=1) for t in self.terms], axis=1)
                cells.append(cell[matters])
                modes.append(np.full(matters.sum(), mode))
                rows.append(row[matters])
                degrees.append((tails > self.tolerance / 8).sum(axis=1)[matters])
                if sum(map(len, cells)) > 4 * room // (self.terms[-1] + 1):
                    return np.empty(0)
        cell, mode, degree = (np.concatenate(part) for part in (cells, modes, degrees))
        order = np.lexsort((mode, cell))
        return self.packed(cell[order], mode[order], degree[order], np.concatenate(rows)[order], largest, room)

    def projection(self, side: Array, centres: Array, variance: float) -> Array:
        """(cells, degree + 1, points): values on a side of the lattice to coefficients of T_i, by that Gaussian."""
        N = self.size.degree + 1
        nodes = np.cos(np.pi * (np.arange(N) + 0.5) / N)
        to_coefficients = chebyshev.chebvander(nodes, N - 1).T * (2 / N)
        to_coefficients[0] /= 2
        apart = centres[:, None, None] + self.size.half * nodes[:, None] - side
        kernel = np.exp(-(apart**2) / (2 * variance)) * ((side[1] - side[0]) / sqrt(2 * pi * variance))
        return np.asarray(to_coefficients @ kernel)

    def mode(
        self, mode: int, lattice: Lattice, matrices: list[Array], largest: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], Array]]:
        """Cells and their coefficients (cells, terms) of T_i T_j …: of the softmax of a mode where it is not the
        largest; with mode −1 of logsumexp less the largest."""
        for of in np.unique(largest) if mode < 0 else [mode]:
            wanted = (largest == of) if mode < 0 else (largest != of)
            wanted = wanted.reshape(self.size.counts)
            if mode < 0:
                values = lattice.logsumexp - self.law.logits(lattice.sides, np.array([of]))[0]
                ranges = [
                    np.flatnonzero(wanted.any(axis=tuple(b for b in range(self.r) if b != a))) for a in range(self.r)
                ]
            else:
                values = lattice.softmax[mode]
                seen = values > LEAST * self.tolerance
                ranges = []
                for a, side in enumerate(lattice.sides):
                    at = side[seen.any(axis=tuple(b for b in range(self.r) if b != a))]
                    reach = self.radius + self.size.half
                    c = self.centres[a]
                    ranges.append(
                        np.flatnonzero((c > at[0] - reach) & (c < at[-1] + reach)) if len(at) else np.empty(0, int)
                    )
            if any(len(x) == 0 for x in ranges):
                continue
            yield from self.block(values, lattice, matrices, [(x[0], x[-1] + 1) for x in ranges], wanted)

    def block(
        self,
        values: Array,
        lattice: Lattice,
        matrices: list[Array],
        ranges: list[tuple[int, int]],
        wanted: NDArray[np.bool_],
    ) -> Iterator[tuple[NDArray[np.intp], Array]]:
        N, e = self.size.degree + 1, self.exponents
        parts, used = [], []
        for a, (first, last) in enumerate(ranges):
            side, c = lattice.sides[a], self.centres[a]
            reach = self.radius + self.size.half
            near = slice(*np.searchsorted(side, [c[first] - reach, c[last - 1] + reach]))
            parts.append(matrices[a][first:last, :, near])
            used.append(near)
        values = values[tuple(used)]
        for a in range(1, self.r):
            matrix = parts[a].reshape(-1, parts[a].shape[2])
            values = np.moveaxis(np.tensordot(matrix, values, (1, a)), 0, a)
        shape = [k for part in parts[1:] for k in part.shape[:2]]
        values = values.reshape(len(values), -1)
        together = max(1, GROUP // (N * values.shape[1]))
        cell_id = np.arange(prod(self.size.counts)).reshape(self.size.counts)[tuple(slice(*x) for x in ranges)]
        chosen = wanted[tuple(slice(*x) for x in ranges)]
        for first in range(0, len(parts[0]), together):
            part = parts[0][first : first + together]
            out = (part.reshape(-1, part.shape[2]) @ values).reshape(len(part), N, *shape)
            out = np.moveaxis(out, range(1, 2 * self.r, 2), range(self.r, 2 * self.r))
            mine = chosen[first : first + together]
            yield cell_id[first : first + together][mine], out[mine][(slice(None), *e.T)]

    def packed(
        self,
        cell: NDArray[np.intp],
        mode: NDArray[np.intp],
        degree: NDArray[np.intp],
        rows: Array,
        largest: NDArray[np.intp],
        room: int,
    ) -> Array:
        """The table; rows by cell, of logsumexp first, and then by mode."""
        count = prod(self.size.counts)
        places = layout(self.n, self.r, count)
        starts = np.searchsorted(cell, np.arange(count + 1))
        others = np.diff(starts) - 1
        highest = np.maximum.reduceat(degree, starts[:-1])
        stride = np.array([up(t) for t in self.terms])[highest]
        heads = up(others)
        begin = places.pieces + np.concatenate([[0], np.cumsum(heads + stride * (others + 1))])
        if begin[-1] > room:
            return np.empty(0)
        raw = np.zeros(int(begin[-1]) + ALIGNED)
        first = (-raw.ctypes.data // 8) % ALIGNED
        table = raw[first : first + int(begin[-1])]
        law, width = self.law, 2 * self.size.half
        table[[RANK, LOGITS, TOLERANCE]] = self.r, self.n, self.tolerance
        table[COUNTS : COUNTS + self.r] = self.size.counts
        forth = law.inverse.T / width
        table[places.shift : places.forth] = -(law.low / width) - forth @ law.base[:-1]
        table[places.forth : places.corner] = forth.ravel()
        table[places.corner : places.back] = law.base[:-1] + law.columns[:-1] @ law.low
        table[places.back : places.cells] = (law.columns[:-1].T * width).ravel()
        directory = np.stack([begin[:-1], others, highest, largest], axis=1)
        table[places.cells : places.cells + directory.size] = directory.ravel()
        rank = np.arange(len(cell)) - starts[cell]
        table[begin[cell[rank > 0]] + rank[rank > 0] - 1] = mode[rank > 0]
        at = begin[cell] + heads[cell] + rank * stride[cell]
        for g, terms in enumerate(self.terms):
            mine = highest[cell] == g
            # Terms of higher degrees go before T_i T_j … become monomials, which share coefficients.
            table[at[mine, None] + np.arange(terms)] = rows[mine, :terms] @ self.to_monomials[:terms, :terms]
        return table


def look_up(table: Array, means: Array) -> Array:
    """(softmax, logsumexp) (points, n + 1) at means (points, n − 1); nan outside the box. Slow: for checks."""
    r, n = int(table[RANK]), int(table[LOGITS])
    counts = table[COUNTS : COUNTS + r].astype(int)
    places = layout(n, r, int(np.prod(counts)))
    out = np.full((len(means), n + 1), np.nan)
    for m, values in zip(means, out, strict=True):
        t = table[places.shift : places.forth] + table[places.forth : places.corner].reshape(r, -1) @ m
        if not ((t >= 0) & (t < counts)).all():
            continue
        at = np.floor(t).astype(int)
        begin = places.cells + CELL * int(np.ravel_multi_index(tuple(at), tuple(counts)))
        start, others, degree, largest = table[begin : begin + CELL].astype(int)
        e = monomials(r, degree)
        basis = np.prod((2 * (t - at) - 1) ** e, axis=1)
        rows = table[start + up(others) :][: (others + 1) * up(len(e))].reshape(others + 1, -1)[:, : len(e)]
        found = rows @ basis
        values[:n] = 0.0
        values[table[start : start + others].astype(int)] = found[1:]
        values[largest] = 1 - found[1:].sum()
        values[n] = found[0] + np.append(m, 0.0)[largest]
    return out
