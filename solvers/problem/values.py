"""Single values of a problem file: how they are shown, and how they are refused."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from solvers.door import escaped
from solvers.problem.text import dotted

LARGEST_INTEGER = 2**53  # integers up to here are exact as float64


def show(value: object) -> str:
    """A value as TOML would spell it, on one line and cut short; different numbers look different."""
    if isinstance(value, dict):
        pairs = (f"{dotted([str(key)])} = {show(entry)}" for key, entry in _first(value.items()))
        text = "{" + ", ".join(pairs) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(entry) for entry in _first(value)) + "]"
    elif isinstance(value, float):
        text = repr(value).removesuffix(".0")
    elif isinstance(value, int) and value.bit_length() > 200:
        text = f"an integer of {int(math.log10(abs(value))) + 1} digits"
    else:
        text = escaped(json.dumps(value[:60] if isinstance(value, str) else value, ensure_ascii=False, default=str))
    return text if len(text) <= 60 else text[:56] + " ..."


def _first(entries: Iterable[Any]) -> Iterable[Any]:
    """More of them than will be shown."""
    return itertools.islice(entries, 30)


def suggestion(word: str, known: Sequence[str]) -> str:
    """`did you mean "..."?` when one of the known words is near, else the list of them."""
    near = difflib.get_close_matches(word[:60], known, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else "allowed: " + ", ".join(known)


def unknown_key(word: str, known: Sequence[str]) -> PydanticCustomError:
    """Refusal of a key of a table inside a value, which has no Section of its own."""
    message = f"unknown key; {suggestion(word, known)}"
    return PydanticCustomError("refused", "{message}", {"message": message, "within": (word,)})


def as_typed(value: object) -> str:
    """The same where an integer is asked for, and 3.0 is none."""
    return repr(value) if isinstance(value, float) else show(value)


def refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message})


def is_number(value: object) -> bool:
    # TOML's true is not 1, and a float64 must be able to hold the value.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


def _within(value: object) -> str:
    """What is wrong with a number that is too large, whatever else is allowed."""
    too_large = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > sys.float_info.max
    return ", within the range of float64 (1.8e308)" if too_large else ""


def number(allowed: str, accepts: Callable[[float], bool] = lambda x: True) -> Callable[[object], float]:
    def check(value: object) -> float:
        if not is_number(value) or not accepts(float(value)):  # type: ignore[arg-type]
            raise refuse(f"is {show(value)}; must be {allowed}{_within(value)}")
        return float(value)  # type: ignore[arg-type]

    return check


def integer(smallest: int, largest: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
            limit = f" and <= {largest}" if isinstance(value, int) and value > largest else ""
            raise refuse(f"is {as_typed(value)}; must be an integer >= {smallest}{limit}")
        return value

    return check


def numbers(value: object, entry: str, accepts: Callable[[float], bool] = lambda x: True) -> list[float]:
    if not isinstance(value, list):
        raise refuse(f"is {show(value)}; must be a list of numbers")
    for position, number in enumerate(value, start=1):
        if not is_number(number) or not accepts(float(number)):
            raise refuse(f"entry {position} is {show(number)}; {entry}{_within(number)}")
    return [float(number) for number in value]


def rows(value: object) -> list[list[float]]:
    """A list of rows of finite numbers, not all equally long."""
    if not isinstance(value, list) or not value:
        raise refuse(f"is {show(value)}; must be a list of rows of numbers, such as [[3.0], [-1.0]]")
    found = []
    for position, row in enumerate(value, start=1):
        if not isinstance(row, list):
            raise refuse(f"row {position} is {show(row)}; every row must be a list of numbers")
        if bad := [entry for entry in row if not is_number(entry)]:
            raise refuse(f"row {position} holds {show(bad[0])}; every entry must be a finite number{_within(bad[0])}")
        found.append([float(entry) for entry in row])
    return found


def choice(allowed: Sequence[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise refuse(f"is {show(value)}; allowed: {', '.join(map(show, allowed))}")

    return check


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def only_one_of(self, *keys: str, together: Sequence[str] = ()) -> None:
        """Refuse none of these keys, and more than one of them unless it is those that may go together."""
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) != 1 and (not given or given != list(together)):
            has = "none" if not given else " and ".join(given)
            raise refuse(f"has {has}; must have exactly one of {', '.join(keys)}")
