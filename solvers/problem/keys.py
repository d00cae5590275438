"""Dotted keys of a problem, such as "target.separation" or "target.weights.0": what stands there, and other values."""

from __future__ import annotations

import copy
import math
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import tomli_w

from solvers.problem import Problem
from solvers.problem.text import DEEPEST, ProblemError, dotted
from solvers.problem.values import is_number, show

__all__ = ["changed", "number", "replaced"]

Table = dict[str, Any]


@lru_cache(maxsize=8)
def _content(text: str) -> Table:
    """What the TOML says, not to be changed. Branches ask for a thousand values of one key."""
    return tomllib.loads(text)


def number(problem: Problem, key: str) -> float:
    """The number at a dotted key. Raises ProblemError if the problem does not have it."""
    found: Any = _content(problem.text)
    try:
        for name in key.split("."):
            found = found[int(name) if isinstance(found, list) else name]
    except (KeyError, ValueError, IndexError, TypeError):
        found = None
    if not is_number(found):
        raise ProblemError(f"{problem.name}: {key}: is no number in the problem; must be a dotted key of one")
    return float(found)


def changed(problem: Problem, key: str, value: float) -> Problem:
    """The problem with the number at a dotted key replaced, see `replaced`.

    Raises  ProblemError if the key is not there or the new problem is not valid.
    """
    number(problem, key)
    text = replaced(_content(problem.text), {key: float(value)}, problem.name)
    return Problem.parse(text, f"{problem.name} ({key} = {value:.12g})")


def replaced(content: Table, values: Mapping[str, Any], name: str) -> str:
    """TOML of a problem, given as the table that its TOML is, with the dotted keys of `values` set to them.

    Tables that are not there are made. An entry of a list is named by its position, from 0; the other weights of a list
    of weights are scaled to sum to one with those given.
    Raises  ProblemError, calling the problem `name`, if a key leads through something else.
    """
    content = copy.deepcopy(content)
    given: dict[int, tuple[list[float], set[int]]] = {}  # lists of weights by identity, with the places named
    for key, value in values.items():
        *path, last = key.split(".")
        if len(path) >= DEEPEST:
            raise ProblemError(f"{name}: {dotted([key])}: has {len(path) + 1} parts; must have at most {DEEPEST}")
        holder: Any = content
        for depth, part in enumerate(path):
            if isinstance(holder, dict):
                holder = holder.setdefault(part, {})
            else:
                holder = holder[_place(holder, part, name, key)]
            if not isinstance(holder, dict | list):
                here = ".".join(path[: depth + 1])
                raise ProblemError(f"{name}: {key}: {here} is {show(holder)} in the problem; must be a table or a list")
        place = last if isinstance(holder, dict) else _place(holder, last, name, key)
        holder[place] = value
        if isinstance(holder, list) and path[-1] == "weights":
            given.setdefault(id(holder), (holder, set()))[1].add(int(place))
    for weights, places in given.values():
        _complete(weights, places)
    return tomli_w.dumps(content)


def _place(holder: list[Any], part: str, name: str, key: str) -> int:
    # Its length first: Python converts integers only up to a limit.
    if not (part.isascii() and part.isdecimal() and len(part) < 20 and int(part) < len(holder)):
        allowed = f"must be from 0 to {len(holder) - 1}" if holder else "it is empty"
        raise ProblemError(f"{name}: {key}: {dotted([part])} is no entry of the list; {allowed}")
    return int(part)


def _complete(weights: list[float], places: set[int]) -> None:
    """Scale the weights that are not in these places so that all sum to one."""
    others = [i for i in range(len(weights)) if i not in places]
    # Weights that are none are refused when the problem is read.
    if others and all(is_number(w) and 0 < w <= 1 for w in weights):
        factor = (1 - math.fsum(weights[i] for i in places)) / math.fsum(weights[i] for i in others)
        for i in others:
            weights[i] *= factor
