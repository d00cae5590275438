"""Versions behind a result: which they are, and how two records of them differ."""

from __future__ import annotations

import json
import platform
from functools import cache
from importlib import metadata

__all__ = ["differences", "versions"]


@cache
def versions(*packages: str) -> str:
    """Of Python and these packages, as JSON."""
    return json.dumps({"python": platform.python_version()} | {name: metadata.version(name) for name in packages})


def differences(begun: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two records of versions, in words."""
    both = sorted(begun.keys() & now.keys())
    return [f"{name} {begun[name]}, here {now[name]}" for name in both if begun[name] != now[name]]
