"""Progress of a part as progress of the whole."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "part", "within"]

#: Takes the fraction done, from 0 to 1.
Progress = Callable[[float], None]


def within(progress: Progress | None, begin: float, end: float) -> Progress | None:
    """For a part that takes the whole from `begin` to `end`; None where nobody asked."""
    if progress is None:
        return None
    return lambda done: progress(begin + (end - begin) * done)


def part(progress: Progress | None, i: int, count: int) -> Progress | None:
    """For part i of `count` that take as long as each other."""
    return within(progress, i / count, (i + 1) / count)
