"""What this process may use of the machine, and what it has used."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

__all__ = ["at_most", "available_memory", "cores", "peak_memory"]

_MOST: ContextVar[int | None] = ContextVar("most", default=None)


def cores() -> int:
    """Cores this process may use, or as many threads as its caller allows, see `at_most`."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _MOST.get() or there


@contextlib.contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Within this block computations of this thread have so many threads; None: as before."""
    token = _MOST.set(threads or _MOST.get())
    try:
        yield
    finally:
        _MOST.reset(token)


def available_memory() -> float:
    """Bytes of main memory free for this process, within the limit of a container; inf where nothing says so."""
    limits = [float("inf")]
    with contextlib.suppress(AttributeError, ValueError, OSError):
        limits.append(float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES"))
    files = {"/proc/meminfo": 1024, "/sys/fs/cgroup/memory.max": 1, "/sys/fs/cgroup/memory/memory.limit_in_bytes": 1}
    for path, unit in files.items():
        with contextlib.suppress(OSError):
            if found := re.search(r"(?:^|MemAvailable:\s*)(\d+)", Path(path).read_text()):
                limits.append(float(found[1]) * unit)
    return min(limits)


def peak_memory() -> float:
    """Bytes this process had at most; nan where the system does not say."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak * (1 if sys.platform == "darwin" else 1024))
