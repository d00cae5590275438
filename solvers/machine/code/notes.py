"""What the cache says: one line for each kind of trouble, once a process, and once for all workers of a process."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable

__all__ = ["CacheWarning", "printable", "reason", "said", "say", "take_as_said"]

_LONGEST = 80  # characters of a path in a message


class CacheWarning(UserWarning):
    """Machine code could not be kept or loaded. Results do not depend on it; the time to make it again does."""


_said: set[tuple[str, str]] = set()
_lock = threading.Lock()


def say(kind: str, about: str, message: str) -> None:
    """Warn with a one-line message, unless this kind of trouble was told before about the same thing (a folder)."""
    with _lock:
        if (kind, about) in _said:
            return
        _said.add((kind, about))
    warnings.warn(message, CacheWarning, stacklevel=3)


def said() -> tuple[tuple[str, str], ...]:
    """What this process has said, for those that it starts: see take_as_said."""
    with _lock:
        return tuple(_said)


def take_as_said(by_parent: Iterable[tuple[str, str]]) -> None:
    """In a worker: do not repeat what its parent has said."""
    with _lock:
        _said.update(by_parent)


def reason(error: Exception) -> str:
    """What an error says, on one line; of the system's with the name of the file."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{printable(os.fsdecode(error.filename))}: {error.strerror}"
    return str(getattr(error, "strerror", None) or error)


def printable(text: object) -> str:
    """On one line and not too long: a path may hold any character."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST // 2]} … {plain[-_LONGEST // 2 :]}"
