"""The dataset of a sweep: which variables it has, and how they follow from the journal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.results.datasets import SAMPLER_QUANTITIES
from solvers.results.intervals import CONFIDENCE
from solvers.results.mechanisms import LABELS
from solvers.results.outcomes import OUTCOMES
from solvers.sweeps import moments

__all__ = ["EVENTS", "VIEW", "Columns", "Layout", "described", "summaries", "windows", "words"]

Array = NDArray[np.float64]

VIEW = 64  # points of the dataset that are written together, along each key

#: Quantities that are yes or no, and what their probability is the probability of.
EVENTS = {name: outcome.event for name, outcome in OUTCOMES.items()} | {
    "equilibrium": "the last state is an equilibrium, to 100 tolerances"
}


def words(quantity: str) -> tuple[str, ...]:
    """What a quantity of LABELS can be, in the order of its sums; of any other nothing."""
    return tuple(name for name in LABELS[quantity].names.values() if name != "unknown") if quantity in LABELS else ()


@dataclass(frozen=True)
class Columns:
    """The sums of a point, in their order: of every quantity, and the failed starts last.

    A number or an event has one; a word one for each thing it can be; mechanism that of every mode, `modes` of them.
    labels: the words of each quantity that is one.
    """

    quantities: tuple[str, ...]
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    modes: int = 0

    @classmethod
    def of(cls, quantities: tuple[str, ...], modes: int) -> Columns:
        labels = {quantity: words(quantity) for quantity in quantities if quantity in LABELS}
        return cls(quantities, labels, modes if "mechanism" in quantities else 0)

    def shape(self, quantity: str) -> tuple[int, ...]:
        if quantity not in self.labels:
            return ()
        modes = (self.modes,) if quantity == "mechanism" else ()
        return (*modes, len(self.labels[quantity]))

    def dims(self, name: str) -> tuple[str, ...]:
        """Dimensions of a variable besides the keys of the grid."""
        base = name if name in self.quantities else name.rpartition("_")[0]
        if base not in self.labels:
            return ()
        return ("mode", "label") if base == "mechanism" else ("label",)

    @property
    def count(self) -> int:
        return sum(math.prod(self.shape(quantity)) for quantity in self.quantities) + 1

    @property
    def every(self) -> tuple[str, ...]:
        """All words, along the dimension label."""
        return tuple(dict.fromkeys(word for found in self.labels.values() for word in found))


@dataclass(frozen=True)
class Layout:
    """Points of the grid by key, how many of them make a unit of work, and how many parts their starts have.

    coordinates: by key. block: points of a unit along each key. parts: of the starts of a point.
    """

    coordinates: dict[str, NDArray[Any]]
    block: tuple[int, ...]
    parts: int
    columns: Columns

    @property
    def dimensions(self) -> dict[str, NDArray[Any]]:
        """All coordinates: those of the grid, and labels."""
        labels = self.columns.every
        return self.coordinates | ({"label": np.array(labels, dtype=object)} if labels else {})

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


def summaries(sums: Array, columns: Columns) -> dict[str, NDArray[Any]]:
    """Variables of the dataset from the journal (*shape, parts, columns, 3); points with parts missing are nan."""
    total = moments.merged(sums)
    out: dict[str, NDArray[Any]] = {}
    first = 0
    for quantity in columns.quantities:
        shape = columns.shape(quantity)
        own = total[..., first : first + math.prod(shape), :].reshape(*total.shape[:-2], *shape, 3)
        first += math.prod(shape)
        found = {"": moments.mean(own)}
        if quantity in EVENTS or shape:
            found["_low"], found["_high"] = moments.wilson(own)
        else:
            found["_se"] = moments.standard_error(own)
        for suffix, values in found.items():
            out[quantity + suffix] = _along(values, columns.labels[quantity], columns.every) if shape else values
    known = ~np.isnan(total[..., -1, moments.COUNT])
    for name, column in (("samples", moments.COUNT), ("failed", moments.SUM)):
        out[name] = np.where(known, total[..., -1, column], 0).astype(np.int64)
    return out


def _along(values: Array, labels: tuple[str, ...], every: tuple[str, ...]) -> Array:
    """Values (..., labels) along all words; nan for words that are none of this quantity."""
    out = np.full((*values.shape[:-1], len(every)), np.nan)
    out[..., [every.index(word) for word in labels]] = values
    return out


def described(columns: Columns) -> dict[str, dict[str, str]]:
    """The variables of the dataset, each with its units and meaning."""
    names = summaries(np.full((1, columns.count, 3), np.nan), columns)
    return {name: {"units": _units(name), "long_name": _meaning(name)} for name in names}


def _units(name: str) -> str:
    base = name.removesuffix("_se")
    if base in SAMPLER_QUANTITIES:
        return SAMPLER_QUANTITIES[base][0]
    return "nat" if base in ("objective", "mode_mass_distance") else "1"


def _meaning(name: str) -> str:
    if name in ("samples", "failed"):
        return {"samples": "starts solved, 0 where none yet", "failed": "of these, starts that failed"}[name]
    if name in EVENTS:
        return f"probability that {EVENTS[name]}"
    if name in LABELS:
        return f"probability of each label: {LABELS[name].meaning}"
    if name == "recovered_at":
        return "mean of min(recovered_at, last time) over samples: the restricted mean time with a lost mode"
    base, _, suffix = name.rpartition("_")
    if suffix in ("low", "high") and (base in EVENTS or base in LABELS):
        return f"{'lower' if suffix == 'low' else 'upper'} end of the {CONFIDENCE:.0%} Wilson interval of {base}"
    return f"standard error of {base}" if suffix == "se" else f"mean of {name} over samples, at the last time"
