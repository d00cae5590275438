"""Times and sizes as one reads them."""

from __future__ import annotations

__all__ = ["duration", "size"]


def duration(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds:.2g} s"


def size(count: float) -> str:
    """Of so many bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if not count >= 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
