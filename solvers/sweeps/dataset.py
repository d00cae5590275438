"""The dataset of a sweep: which variables it has, and how they follow from the journal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.results.intervals import CONFIDENCE
from solvers.results.outcomes import OUTCOMES
from solvers.sweeps import moments

__all__ = ["VIEW", "Layout", "described", "summaries", "windows"]

Array = NDArray[np.float64]

VIEW = 64  # points of the dataset that are written together, along each key


@dataclass(frozen=True)
class Layout:
    """Points of the grid by key, how many of them make a unit of work, and how many parts their starts have.

    coordinates: by key. block: points of a unit along each key. parts: of the starts of a point.
    """

    coordinates: dict[str, NDArray[Any]]
    block: tuple[int, ...]
    parts: int
    quantities: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.coordinates.values())

    @property
    def units(self) -> int:
        """How many units of work there are."""
        return math.prod(-(-n // b) for n, b in zip(self.shape, self.block, strict=True)) * self.parts


def windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Boxes of VIEW points along each key that make up a grid: the chunks of the dataset."""
    yield from itertools.product(*[[slice(i, min(i + VIEW, n)) for i in range(0, n, VIEW)] for n in shape])


def summaries(sums: Array, quantities: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Variables of the dataset from the journal (*shape, parts, Q + 1, 3); points with parts missing are nan."""
    total = moments.merged(sums)
    out: dict[str, NDArray[Any]] = {}
    for i, quantity in enumerate(quantities):
        out[quantity] = moments.mean(total[..., i, :])
        if quantity in OUTCOMES:
            out[f"{quantity}_low"], out[f"{quantity}_high"] = moments.wilson(total[..., i, :])
        else:
            out[f"{quantity}_se"] = moments.standard_error(total[..., i, :])
    known = ~np.isnan(total[..., -1, moments.COUNT])
    for name, column in (("samples", moments.COUNT), ("failed", moments.SUM)):
        out[name] = np.where(known, total[..., -1, column], 0).astype(np.int64)
    return out


def described(quantities: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The variables of the dataset, each with its units and meaning."""
    names = summaries(np.full((1, len(quantities) + 1, 3), np.nan), quantities)
    return {name: {"units": _units(name), "long_name": _meaning(name)} for name in names}


def _units(name: str) -> str:
    return "nat" if name in ("objective", "objective_se", "mode_mass_distance", "mode_mass_distance_se") else "1"


def _meaning(name: str) -> str:
    if name in ("samples", "failed"):
        return {"samples": "starts solved, 0 where none yet", "failed": "of these, starts that failed"}[name]
    if name in OUTCOMES:
        return f"probability that {OUTCOMES[name].event}"
    base, _, suffix = name.rpartition("_")
    if suffix in ("low", "high") and base in OUTCOMES:
        return f"{'lower' if suffix == 'low' else 'upper'} end of the {CONFIDENCE:.0%} Wilson interval of {base}"
    return f"standard error of {base}" if suffix == "se" else f"mean of {name} over samples, at the last time"
