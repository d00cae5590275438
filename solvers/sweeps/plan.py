"""Sweep files: which problem, over which grid, summarised how. Refusals name file, key, value and what is allowed."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import NDArray

from solvers.problem import Problem
from solvers.problem.keys import replaced
from solvers.problem.text import ProblemError, dotted, read_text, scalars, tables
from solvers.problem.values import LARGEST_INTEGER, as_typed, is_number, show, suggestion
from solvers.results.mechanisms import LABELS
from solvers.results.outcomes import OUTCOMES

__all__ = ["Axis", "Refine", "Sweep"]

Table = dict[str, Any]
Index = tuple[int, ...]

QUANTITIES = (*OUTCOMES, "objective")
SPACINGS: dict[str, Any] = {"linear": np.linspace, "log": np.geomspace}
MOST_POINTS = 10**8
MOST_VALUES = 10**6  # of one key
#: Up to so many points each is checked before the sweep begins; of more, so many values one key at a time, and corners.
CHECKED = 20_000


@dataclass(frozen=True)
class Axis:
    """One key of the grid, a dotted path into the problem, and its values in order."""

    key: str
    values: tuple[Any, ...]

    @property
    def numerical(self) -> bool:
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)

    @property
    def coordinate(self) -> NDArray[Any]:
        """Numbers as numbers, strings as strings, anything else as TOML spells it."""
        if self.numerical:
            found = np.array(self.values)
            # Integers beyond 64 bits.
            return found if found.dtype != object else np.array(self.values, dtype=np.float64)
        labels = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in self.values]
        return np.array(labels, dtype=object)


@dataclass(frozen=True)
class Refine:
    """Compute the grid only where `quantity` crosses `contour`, from every 2^levels-th point on; see sweeps.refine."""

    quantity: str
    contour: float
    levels: int


@dataclass(frozen=True)
class Sweep:
    """A checked sweep. text, name: the TOML and what messages call it. base: the problem, with base_text its TOML."""

    text: str
    name: str
    base: Table
    base_text: str
    axes: tuple[Axis, ...]
    quantities: tuple[str, ...]
    refine: Refine | None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sweep:
        """Read a sweep file; its base is looked for beside it.

        Raises  ProblemError if it, its base, or a point of its grid is not valid.
        """
        return cls.parse(read_text(path, "a sweep file in TOML"), os.fspath(path), Path(path).parent)

    @classmethod
    def parse(cls, text: str, name: str = "sweep", folder: str | os.PathLike[str] = ".") -> Sweep:
        """Read a sweep from TOML text; base is relative to `folder`.

        Raises  ProblemError with one line `name: key: what is wrong, what is allowed`.
        """
        reader = _Reader(name)
        content = reader.toml(text)
        reader.known("", content, ("base", "problem", "grid", "output", "refine"))
        base_text = reader.base(content, Path(folder))
        axes = reader.axes(content.get("grid"))
        quantities = reader.quantities(content.get("output", {}))
        sweep = cls(
            text=text,
            name=name,
            base=tomllib.loads(base_text),
            base_text=base_text,
            axes=axes,
            quantities=quantities,
            refine=reader.refine(content["refine"], quantities, axes) if "refine" in content else None,
        )
        if sweep.points > MOST_POINTS:
            reader.fail("grid", f"has {sweep.points} points; must have at most {MOST_POINTS}")
        for index in sweep.to_check():
            sweep.problem(index)
        return sweep

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def points(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def samples(self) -> NDArray[np.int64]:
        """Starts of every point, with length 1 along the keys that do not change their number."""
        free = [axis.key in ("init", "init.samples") for axis in self.axes]
        shape = tuple(size if moves else 1 for size, moves in zip(self.shape, free, strict=True))
        counts = [self.problem(index).init.samples for index in itertools.product(*map(range, shape))]
        return np.array(counts, dtype=np.int64).reshape(shape)

    @property
    def starts(self) -> int:
        """Of all points together."""
        return int(self.samples.sum()) * self.points // self.samples.size

    def problem_text(self, index: Index) -> str:
        """TOML of the problem at a grid point; it reproduces that point by `python -m solvers solve`."""
        values = {axis.key: axis.values[i] for axis, i in zip(self.axes, index, strict=True)}
        return replaced(self.base, values, self.where(index))

    def where(self, index: Index) -> str:
        """A grid point in words, for messages."""
        values = zip(self.axes, index, strict=True)
        return f"{self.name} ({', '.join(f'{axis.key} = {show(axis.values[i])}' for axis, i in values)})"

    def problem(self, index: Index) -> Problem:
        """The problem at a grid point. Raises ProblemError, naming the point, if there is none."""
        return Problem.parse(self.problem_text(index), self.where(index))

    def to_check(self) -> Iterator[Index]:
        """Points that are looked at before a sweep begins: all, or so many along every key and at the corners."""
        if self.points <= CHECKED:
            yield from itertools.product(*map(range, self.shape))
            return
        for position, size in enumerate(self.shape):
            for value in np.unique(np.linspace(0, size - 1, min(size, CHECKED)).astype(int)).tolist():
                yield tuple(value if i == position else 0 for i in range(len(self.shape)))
        corners = itertools.product(*[(0, size - 1) if size > 1 else (0,) for size in self.shape])
        yield from itertools.islice(corners, CHECKED)


def _hashable(value: object) -> object:
    """The same for equal values, so that many can be told apart in one pass."""
    if isinstance(value, list):
        return tuple(_hashable(entry) for entry in value)
    if isinstance(value, dict):
        return frozenset((key, _hashable(entry)) for key, entry in value.items())
    return value


@dataclass(frozen=True)
class _Reader:
    name: str

    def fail(self, key: str, message: str) -> Any:
        raise ProblemError(f"{self.name}: {key}: {message}")

    def toml(self, text: str) -> Table:
        content = tables(text, self.name)
        for path, value in scalars(content):
            if isinstance(value, int) and abs(value) > sys.float_info.max:
                self.fail(dotted(path), f"is {show(value)}; no number is beyond the range of float64 (1.8e308)")
        return content

    def known(self, table: str, content: object, allowed: Sequence[str]) -> Table:
        if not isinstance(content, dict):
            return self.fail(table, f"is {show(content)}; must be a table")  # type: ignore[no-any-return]
        for key in content:
            if key not in allowed:
                self.fail(f"{table}.{dotted([key])}".lstrip("."), f"unknown key; {suggestion(key, allowed)}")
        return content

    def base(self, content: Table, folder: Path) -> str:
        """TOML text of the problem that the grid varies."""
        if ("base" in content) == ("problem" in content):
            both = "base and problem" if "base" in content else "neither base nor problem"
            self.fail("base", f"the file has {both}; must have exactly one of them")
        if "problem" in content:
            if not isinstance(content["problem"], dict):
                self.fail("problem", f"is {show(content['problem'])}; must be a table")
            return tomli_w.dumps(content["problem"])
        if not isinstance(content["base"], str):
            self.fail("base", f"is {show(content['base'])}; must be the name of a problem file")
        path = folder / content["base"]
        text = read_text(path, "a problem file in TOML")
        _Reader(os.fspath(path)).toml(text)
        return text

    def axes(self, grid: object) -> tuple[Axis, ...]:
        if not isinstance(grid, dict) or not grid:
            what = "missing" if grid is None else f"is {show(grid)}"
            self.fail("grid", f'{what}; must be a table of keys of the problem, such as "target.separation"')
        assert isinstance(grid, dict)
        axes = tuple(Axis(key, self.values(key, value)) for key, value in grid.items())
        for a, b in itertools.permutations(axes, 2):
            if b.key.startswith(a.key + "."):
                self.fail(f"grid.{b.key}", f"is part of {a.key}, which the grid varies as well; must have one of them")
        return axes

    def values(self, key: str, given: object) -> tuple[Any, ...]:
        label = f"grid.{json.dumps(key if len(key) <= 60 else key[:56] + ' ...')}"
        if isinstance(given, dict):
            if "start" not in given:
                nested = next(iter(given), "key")
                self.fail(
                    label,
                    f'is a table without start; must be a list or {{start, stop, count}}; quote "{key}.{nested}"',
                )
            return self.range(label, given)
        if not isinstance(given, list) or not given:
            self.fail(label, f"is {show(given)}; must be a list of values or {{start, stop, count}}")
        assert isinstance(given, list)
        if len(given) > MOST_VALUES:
            self.fail(label, f"has {len(given)} values; must have at most {MOST_VALUES}")
        before: set[object] = set()
        for value in given:
            if _hashable(value) in before:
                self.fail(label, f"has {show(value)} twice; values must differ")
            before.add(_hashable(value))
            if isinstance(value, float) and not math.isfinite(value):
                self.fail(label, f"has {value}; numbers must be finite")
        return tuple(given)

    def range(self, label: str, given: Table) -> tuple[float | int, ...]:
        self.known(label, given, ("start", "stop", "count", "spacing"))
        for name in ("start", "stop", "count"):
            if name not in given:
                self.fail(f"{label}.{name}", "missing; must be a number")
        start, stop, count = given["start"], given["stop"], given["count"]
        for name, value in (("start", start), ("stop", stop)):
            if not is_number(value):
                self.fail(f"{label}.{name}", f"is {show(value)}; must be a finite number")
        if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MOST_VALUES:
            self.fail(f"{label}.count", f"is {as_typed(count)}; must be an integer from 2 to {MOST_VALUES}")
        if start == stop:
            self.fail(f"{label}.stop", f"is {show(stop)}, as start; must differ")
        spacing = given.get("spacing", "linear")
        if not isinstance(spacing, str) or spacing not in SPACINGS:
            self.fail(f"{label}.spacing", f"is {show(spacing)}; allowed: {', '.join(map(show, SPACINGS))}")
        if spacing == "log" and min(start, stop) <= 0:
            self.fail(label, f"runs from {show(start)} to {show(stop)}; must be > 0 with logarithmic spacing")
        with np.errstate(all="ignore"):
            values = SPACINGS[spacing](float(start), float(stop), count)
            differ = np.all(np.diff(values) != 0)
        if not (differ and np.all(np.isfinite(values))):
            self.fail(
                label, f"runs from {show(start)} to {show(stop)}; must hold {count} numbers that differ in float64"
            )
        whole = np.round(values)
        # A range of integers between integers stays one, so that it can be a dimension.
        integers = all(isinstance(value, int) and abs(value) <= LARGEST_INTEGER for value in (start, stop))
        if integers and np.allclose(values, whole, rtol=1e-12, atol=0):
            return tuple(int(value) for value in whole)
        return tuple(values.tolist())

    def quantities(self, output: object) -> tuple[str, ...]:
        output = self.known("output", output, ("quantities",))
        given = output.get("quantities", list(QUANTITIES))
        if not isinstance(given, list) or not given or not all(isinstance(name, str) for name in given):
            self.fail(
                "output.quantities", f"is {show(given)}; must be a list of names such as {show(list(QUANTITIES))}"
            )
        if len(set(given)) < len(given):
            self.fail("output.quantities", f"is {show(given)}; names must differ")
        return tuple(given)

    def refine(self, given: object, quantities: tuple[str, ...], axes: tuple[Axis, ...]) -> Refine:
        given = self.known("refine", given, ("quantity", "contour", "levels"))
        quantity, contour, levels = (
            given.get("quantity", "collapsed"),
            given.get("contour", 0.5),
            given.get("levels", 3),
        )
        if quantity not in quantities:
            self.fail(
                "refine.quantity", f"is {show(quantity)}; must be one of output.quantities: {', '.join(quantities)}"
            )
        if quantity in LABELS:
            self.fail("refine.quantity", f"is {show(quantity)}, which is a word; must be a number or a probability")
        if not is_number(contour):
            self.fail("refine.contour", f"is {show(contour)}; must be a number")
        if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= 20:
            self.fail("refine.levels", f"is {as_typed(levels)}; must be an integer from 1 to 20")
        if not any(axis.numerical and len(axis.values) > 2 for axis in axes):
            self.fail("refine", "no key of the grid has three numbers or more; there is nothing to refine")
        return Refine(quantity, float(contour), levels)
