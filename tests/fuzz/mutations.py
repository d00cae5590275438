"""Mutations of TOML: of its bytes, of its words, and of the tables that it says. A number names each of them."""

from __future__ import annotations

import copy
import datetime
import random
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w

ROOT = Path(__file__).parents[2]
PROBLEMS = ROOT / "figures" / "problems"
SWEEPS = ROOT / "figures" / "sweeps"

BYTES = [
    *(b"\xef\xbb\xbf", b"\x00", b"\xff", b"\x1b[31m", b"\r", b"\n", b"\xe2\x80\xae", b"\xc2\x85", b"\xed\xa0\x80"),
    *(b'"', b"[", b"'"),
]  # fmt: skip
#: Values as TOML spells them.
WORDS = [
    *("nan", "inf", "-inf", "-0.0", "0", "0.0", "1", "-1", "2", "3", "0.5", "1e-3", "17", "1e3", "true", "false"),
    *("1e400", "1e308", "1e200", "1e160", "1e100", "1e16", "1e-16", "1e-160", "1e-308", "1e-320", "5e-324"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "100000000000000000000", "1" + "0" * 400),
    *("9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "0o" + "7" * 5000, "0b" + "1" * 9000, "1." + "3" * 5000),
    *('""', '"x"', '"means"', '"a\\nb"', '"\\u202e"', '"' + "x" * 5000 + '"', "'\u009b31m'", '"""\n\n"""'),
    *("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[]", "{}", "[[]]", "[1.0, true]", "[[1.0], 2.0]"),
    *('[1.0, "x"]', "[[3.0], [-1.0]]", '"random"', '"orthogonal"'),
    *("[[1e200, 0.0], [0.0, 1.0]]", "[1e308, 1e308]", "[0.5, 0.5]", "[1.0]", "[nan]", "{start = 4.0, rat = 1.0}"),
    *("{start = 1e-17, rate = 0.1}", "{size = 4, step = 1e-300}", "{a = {b = {}}}", "[" * 2000 + "]" * 2000),
    *("[" * 40 + "]" * 40, "{a=" * 300 + "1" + "}" * 300, "[" + "0, " * 3000 + "0]", "1_000", "0xdead", "+5", "007"),
]  # fmt: skip
#: Keys and heads as TOML spells them.
KEYS = [
    *('""', '"\\u0000"', '"a\\u202eb"', "x" * 3000, ".".join("a" * 400), ".".join(["a"] * 40), "'\u009b'", "target"),
    *("dimension", "target.separation", "scale", "weights", "variances", "learn", "seed", '"init.seed"', "é", "end"),
    *("shape", "modes"),
]  # fmt: skip
VALUES: list[Any] = [
    *(0, 1, -1, 2, 3, 17, 10**20, 2**63, 10**400, 0.0, -0.0, 0.5, 1.0, float("nan"), float("inf")),
    *(1e308, 1e160, 1e-320, True, "", "x", "means", "\u202e\x1b[31m", "y" * 3000),
    *([], {}, [[]], [1.0, "x"], {"x": 1}, [0.5, 0.5], [[1.0], [2.0]]),
    *(datetime.date(1979, 5, 27), datetime.time(7, 32), ["means", "weights"], {"start": 1.0, "stop": 2.0, "count": 3}),
]  # fmt: skip


def examples() -> dict[str, str]:
    """The TOML of all example problems and sweeps by their paths; grids of three points a key, so that none is slow."""
    found = {}
    for path in [*sorted(PROBLEMS.glob("*.toml")), *sorted(SWEEPS.glob("*.toml"))]:
        text = path.read_text(encoding="utf-8")
        found[path.relative_to(ROOT).as_posix()] = re.sub(r"\bcount = \d+", "count = 3", text)
    return found


def mutated(number: int, texts: dict[str, str]) -> tuple[str, bytes]:
    """Path of the example and bytes of the mutation of this number."""
    draw = random.Random(number)
    path = draw.choice(list(texts))
    data = texts[path].encode()
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        data = draw.choice(MUTATIONS)(data, draw)
    return path, data


def _bytes(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data) + 1)
    match draw.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[at + draw.randrange(1, 20) :]
        case 2:
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        case 3:
            return data[:at] + draw.choice(BYTES) + data[at:]
        case _:
            end = at + draw.randrange(1, 200)
            return data[:end] + data[at:end] + data[end:]


def _words(data: bytes, draw: random.Random) -> bytes:
    """One value, or one number, becomes another."""
    text = data.decode("utf-8", "surrogateescape")
    places = list(re.finditer(r"(?<== )[^\n#]+|[-+]?\b\d[\d.e+-]*\b", text))
    if not places:
        return data
    found = draw.choice(places)
    return (text[: found.start()] + draw.choice(WORDS) + text[found.end() :]).encode("utf-8", "surrogateescape")


def _numbers(data: bytes, draw: random.Random) -> bytes:
    """One number becomes another of its size."""
    text = data.decode("utf-8", "surrogateescape")
    places = list(re.finditer(r"(?<![\w.])\d{1,15}(?:\.\d{1,15})?(?![\w.])", text))
    if not places:
        return data
    found = draw.choice(places)
    factor = draw.choice([0.0, 0.01, 0.5, 0.999999, 1.000001, 1.5, 2.0, 10.0, 1000.0, -1.0])
    new = f"{float(found[0]) * factor:.17g}" if "." in found[0] else str(int(found[0]) + draw.choice([-1, 1, 2, 10]))
    return (text[: found.start()] + new + text[found.end() :]).encode("utf-8", "surrogateescape")


def _keys(data: bytes, draw: random.Random) -> bytes:
    """One key or head is misspelt, becomes another, or stands twice."""
    text = data.decode("utf-8", "surrogateescape")
    places = list(re.finditer(r"[\w.\"]+(?= *=)|(?<=\[)[a-z.]+(?=\])", text))
    if not places:
        return data
    found = draw.choice(places)
    word, at = found[0], draw.randrange(len(found[0]))
    new = draw.choice(
        [word[:at] + word[at + 1 :], word[: at + 1] + word[at:], draw.choice(KEYS), draw.choice(places)[0]]
    )
    return (text[: found.start()] + new + text[found.end() :]).encode("utf-8", "surrogateescape")


def _lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case _:
            lines.insert(i, f"{draw.choice(KEYS)} = {draw.choice(WORDS)}".encode())
    return b"\n".join(lines)


def _tables(data: bytes, draw: random.Random) -> bytes:
    """One node of the tables is replaced, taken out, moved, or wrapped."""
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []
    left: list[Any] = [content]
    while left:
        holder = left.pop()
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            places.append((holder, key))
            if isinstance(value, dict | list):
                left.append(value)
    if not places:
        return data
    holder, key = draw.choice(places)
    other, its = draw.choice(places)
    match draw.randrange(5):
        case 0:
            del holder[key]
        case 1:
            holder[key] = copy.deepcopy(other[its])
        case 2:
            holder[key] = [holder[key]]
        case 3:
            holder[key] = {draw.choice(["x", "start", "s", "0"]): holder[key]}
        case _:
            holder[key] = copy.deepcopy(draw.choice(VALUES))
    try:
        return tomli_w.dumps(content).encode()
    except (ValueError, TypeError, RecursionError):  # integers that Python does not print
        return data


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    *(_bytes, _words, _words, _numbers, _numbers, _numbers, _numbers, _keys, _lines, _tables, _tables)
]
