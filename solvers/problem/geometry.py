"""Where the modes are: named shapes, in units of half the smallest distance between two modes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from solvers.machine.chance import Stream, generator

__all__ = ["MOST_MODES", "SHAPES", "modes"]

Array = NDArray[np.float64]
#: Enough for any figure, and few enough that all distances between them take a moment.
MOST_MODES = 1000


class Shape(NamedTuple):
    """points (L, d, seed): coordinates (L, n), n ≤ d. room: dimensions that L modes need.

    fixed: the one number of modes there is; else least: the fewest. limits: the key to change where there is no room.
    drawn: whether points depend on d and the seed.
    """

    points: Callable[[int, int, int], Array]
    room: Callable[[int], int]
    fixed: int | None = None
    least: int = 2
    limits: str = "shape"
    drawn: bool = False


def _polygon(modes: int, dimension: int, seed: int) -> Array:
    angles = 2 * np.pi * np.arange(modes) / modes
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1) / math.sin(np.pi / modes)


def _simplex(modes: int, dimension: int, seed: int) -> Array:
    """Rows of Helmert's matrix: orthonormal columns, all orthogonal to (1, …, 1), so rows are √2 apart."""
    points = np.zeros((modes, modes - 1))
    for j in range(1, modes):
        points[:j, j - 1] = 1
        points[j, j - 1] = -j
        points[:, j - 1] /= math.sqrt(j * (j + 1))
    return math.sqrt(2) * points


def _sides(modes: int) -> tuple[int, int]:
    """The most nearly square rectangle of so many, the long side first."""
    short = next(n for n in range(math.isqrt(modes), 0, -1) if modes % n == 0)
    return modes // short, short


def _grid(modes: int, dimension: int, seed: int) -> Array:
    long, short = _sides(modes)
    y, x = np.divmod(np.arange(modes), long)
    points = np.stack([2 * x - (long - 1.0), 2 * y - (short - 1.0)], axis=-1)
    return points if short > 1 else points[:, :1]


def _random(modes: int, dimension: int, seed: int) -> Array:
    """ν_l ~ N(0, a² I_d) independently, turned into the first coordinates, with the a that the distance asks for.

    No vector of R^d is formed: Bartlett's triangle has the same overlaps.
    """
    from scipy.spatial.distance import pdist  # which takes longer to import than any file to read

    columns = min(modes, dimension)
    rng = generator(seed, 0, Stream.TARGET)
    points = rng.standard_normal((modes, columns))
    if columns == modes:
        points = np.tril(points, -1)
        points[range(modes), range(modes)] = np.sqrt(rng.chisquare(dimension - np.arange(modes)))
    return np.asarray(2 * points / pdist(points).min())


SHAPES = {
    "pair": Shape(lambda L, d, seed: np.array([[1.0], [-1.0]]), lambda L: 1, fixed=2),
    "square": Shape(lambda L, d, seed: np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1]]), lambda L: 2, fixed=4),
    "polygon": Shape(_polygon, lambda L: 2, least=3),
    "simplex": Shape(_simplex, lambda L: L - 1, limits="modes"),
    "grid": Shape(_grid, lambda L: min(_sides(L)[1], 2)),
    "orthogonal": Shape(lambda L, d, seed: math.sqrt(2) * np.eye(L), lambda L: L, limits="modes"),
    "random": Shape(_random, lambda L: 1, drawn=True),
}


def modes(section: Any, builder: Any) -> Array:
    """Coordinates (L, n), n ≤ d, of the modes of a target, in units of the mode width.

    section: [target], each value of it checked for itself. builder: with dimension, rows, bounded, factor and fail of a
    problem; fail refuses what does not fit together, naming its key.
    """
    if section.shape is None:
        for name in ("modes", "seed"):
            if (given := getattr(section, name)) is not None:
                builder.fail(f"target.{name}", f"is {given}; must be left out without target.shape")
    vectors: Array
    if section.overlaps is not None:
        key, value, vectors = "overlaps", None, builder.factor("target.overlaps", np.array(section.overlaps))
    elif section.means is not None:
        key, value, vectors = "means", section.means, builder.rows("target.means", section.means)
    else:
        key, value, vectors = "separation", section.separation, _shaped(section, builder.dimension, builder.fail)
    with np.errstate(over="ignore"):
        if key == "separation":
            vectors = vectors * section.separation
        if key != "overlaps":  # these were within the range when they were factored
            builder.bounded(f"target.{key}", value, vectors)
        vectors = vectors * section.scale
        builder.bounded("target.scale", section.scale, vectors)
    return vectors


def _shaped(section: Any, dimension: int, fail: Callable[[str, str], NoReturn]) -> Array:
    """Means (L, n) with 2 between the two that are nearest."""
    name, seed = section.shape or "pair", section.seed
    shape, of = SHAPES[name], f'with target.shape = "{name}"'
    if section.separation is None:
        fail("target.separation", f"missing; must be a number >= 0, half the smallest distance between modes, {of}")
    count: int | None = shape.fixed if section.modes is None else section.modes
    if count is None:
        fail("target.modes", f"missing; must be an integer >= {shape.least} {of}")
    if shape.fixed not in (None, count):
        fail("target.modes", f"is {count}; must be {shape.fixed} or left out {of}")
    if count < shape.least:
        fail("target.modes", f"is {count}; must be an integer >= {shape.least} {of}")
    if seed is not None and not shape.drawn:
        others = ", ".join(f'"{other}"' for other, one in SHAPES.items() if one.drawn)
        fail("target.seed", f"is {seed}; must be left out {of}, only {others} has one")
    if (room := shape.room(count)) > dimension:
        value = count if shape.limits == "modes" else f'"{name}"'
        fail(
            f"target.{shape.limits}",
            f"is {value}; must fit dimension = {dimension}, and {count} modes {of} need {room} dimensions",
        )
    return _kept(name, count, dimension if shape.drawn else 0, seed or 0)


@lru_cache(maxsize=32)
def _kept(name: str, modes: int, dimension: int, seed: int) -> Array:
    """Points of a sweep are checked and read again and again."""
    points = SHAPES[name].points(modes, dimension, seed)
    points.setflags(write=False)
    return points
