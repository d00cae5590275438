"""Line breaks for emitted code."""

from __future__ import annotations

__all__ = ["at_sums"]


def at_sums(value: str, width: int) -> list[str]:
    """The rows of an expression broken between the terms of its outermost sum; one row if it is short."""
    if len(value) <= width:
        return [value]
    depth, pieces, start = 0, [], 0
    for n, char in enumerate(value):
        depth += (char in "([") - (char in ")]")
        if depth == 0 and char in "+-" and value[n - 1 : n] == " " and value[n + 1 : n + 2] == " ":
            pieces.append(value[start:n].strip())
            start = n
    pieces.append(value[start:].strip())
    rows = [pieces[0]]
    for piece in pieces[1:]:
        if len(rows[-1]) + len(piece) < width:
            rows[-1] += f" {piece}"
        else:
            rows.append(piece)
    return rows
