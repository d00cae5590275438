"""The text of problem and sweep files: read from a path, and as tables. What is neither is refused with one line."""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from solvers.door import one_line

__all__ = ["DEEPEST", "ProblemError", "dotted", "read_text", "scalars", "tables"]

LARGEST_FILE = 2**24  # bytes; a million numbers
DEEPEST = 32  # levels of tables and lists; an entry of a matrix is on the sixth
#: Decimal integers beyond float64, outside of other words and numbers. Python refuses to convert long ones.
_DIGITS = re.compile(r"(?<![\w.+-])[+-]?[1-9](?:_?\d){309,}+(?![\w.])")
#: A key with more parts than there are levels. tomllib takes time quadratic in their number.
_LONG_KEY = re.compile(
    r"(?<![\w.-])(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){" + str(DEEPEST) + "}", re.ASCII
)


class ProblemError(ValueError):
    """A problem that cannot be used; str() is one line, `file: key: what is wrong, what is allowed`.

    It has at most solvers.door.LONGEST characters, none of which a terminal obeys.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """The text of a file, without a mark of byte order, its lines ended by line feeds.

    Raises  ProblemError with `what` it must be: if it is missing, forbidden, no regular file, empty, larger than
    LARGEST_FILE, or not UTF-8.
    """
    name = os.fspath(path)
    try:
        # Asked before it is opened: opening a pipe waits for whoever writes into it, and a device may have no end.
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise ProblemError(f"{name}: is no regular file; must be {what}")
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ProblemError(f"{name}: cannot be read ({error.strerror or error}); must be {what}") from None
    except ProblemError:
        raise
    except ValueError as error:  # of a path
        raise ProblemError(f"{name}: cannot be read ({error}); must be {what}") from None
    if len(data) > LARGEST_FILE:
        raise ProblemError(f"{name}: has more than {LARGEST_FILE} bytes; must be {what}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProblemError(f"{name}: not TOML: byte {error.start} is not UTF-8") from None
    if not text.strip():
        raise ProblemError(f"{name}: is empty; must be {what}")
    return io.StringIO(text, newline=None).read()


def tables(text: str, name: str) -> dict[str, Any]:
    """What the TOML says. A mark of byte order at its beginning is none of it.

    Raises  ProblemError, calling the text `name`, if it is no TOML, or deeper than DEEPEST.
    """
    text = text.removeprefix("\ufeff")
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise ProblemError(f"{name}: line {line}: a key has more than {DEEPEST} parts; no key of a problem has")
    try:
        content = tomllib.loads(_DIGITS.sub(_hexadecimal, text))
    except RecursionError:
        raise ProblemError(f"{name}: line {_deep_line(text)}: {_DEEP}") from None
    except ValueError as error:
        raise ProblemError(f"{name}: not TOML: {' '.join(str(error).split())}") from None
    for path, value in _walk(content, leaves=False):
        if len(path) >= DEEPEST and isinstance(value, dict | list):
            raise ProblemError(f"{name}: {dotted(path[:3])}: {_DEEP}")
    return content


def _deep_line(text: str) -> int:
    """The first line that is too deep, if brackets in strings and comments are in pairs."""
    depth = 0
    for bracket in re.finditer(r"[][{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > DEEPEST:
            return text.count("\n", 0, bracket.start()) + 1
    return 1


_DEEP = f"is nested more than {DEEPEST} levels deep; no table or list of a problem is"


def scalars(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Everything in these tables that is no table and no list, with its path."""
    return ((path, value) for path, value in _walk(content, leaves=True) if not isinstance(value, dict | list))


def _walk(content: Mapping[str, Any], *, leaves: bool) -> Iterator[tuple[tuple[str, ...], Any]]:
    left: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while left:
        path, value = left.pop()
        yield path, value
        if len(path) < DEEPEST and isinstance(value, dict | list):
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            left += [((*path, str(k)), entry) for k, entry in entries if leaves or isinstance(entry, dict | list)]


def _hexadecimal(found: re.Match[str]) -> str:
    """An integer of as many digits, a power of two. Python converts decimal ones only up to a limit, and slowly."""
    digits = sum(c.isdecimal() for c in found[0])
    zeros, exponent = divmod(math.ceil((digits - 1) * math.log2(10)), 4)
    return f"0x{2**exponent}" + "0" * zeros


def dotted(path: Sequence[str]) -> str:
    """A key as TOML spells it; parts that are longer than any of ours are cut short."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", part) else _quoted(part) for part in path)


def _quoted(part: str) -> str:
    return json.dumps(part) if len(part) <= 40 else json.dumps(part[:40])[:-1] + ' ..."'
