"""Single values of a problem file: how they are shown, and how they are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

LARGEST_INTEGER = 2**53  # integers up to here are exact as float64


def show(value: object) -> str:
    """A value as TOML would spell it, on one line and cut short."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key} = {show(entry)}" for key, entry in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(entry) for entry in value) + "]"
    elif isinstance(value, float):
        text = f"{value:.10g}"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:56] + " ..."


def as_typed(value: object) -> str:
    """The same where an integer is asked for, and 3.0 is none."""
    return repr(value) if isinstance(value, float) else show(value)


def refuse(message: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message})


def is_number(value: object) -> bool:
    # TOML's true is not 1, and a float64 must be able to hold the value.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= LARGEST_INTEGER


def number(allowed: str, accepts: Callable[[float], bool] = lambda x: True) -> Callable[[object], float]:
    def check(value: object) -> float:
        if not is_number(value) or not accepts(float(value)):  # type: ignore[arg-type]
            raise refuse(f"is {show(value)}; must be {allowed}")
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
            raise refuse(f"entry {position} is {show(number)}; {entry}")
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
            raise refuse(f"row {position} holds {show(bad[0])}; every entry must be a finite number")
        found.append([float(entry) for entry in row])
    return found


def choice(allowed: Sequence[str], later: Sequence[str] = ()) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        choices = "allowed: " + ", ".join(show(choice) for choice in allowed)
        if isinstance(value, str) and value in later:
            raise refuse(f"is {show(value)}; not available in this version, {choices}")
        raise refuse(f"is {show(value)}; {choices}")

    return check


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    def only_one_of(self, *keys: str) -> None:
        given = [key for key in keys if getattr(self, key) is not None]
        if len(given) != 1:
            has = "none" if not given else " and ".join(given)
            raise refuse(f"has {has}; must have exactly one of {', '.join(keys)}")
