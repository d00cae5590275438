"""Pieces of a computation in threads, their results in order: what is summed does not depend on the threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["PerThread", "in_order"]

_R = TypeVar("_R")


class PerThread(Generic[_R]):
    """Scratch that every thread makes for itself when it first needs it."""

    def __init__(self, make: Callable[[], _R]) -> None:
        self.make, self.local = make, threading.local()

    def __call__(self) -> _R:
        if not hasattr(self.local, "made"):
            self.local.made = self.make()
        made: _R = self.local.made
        return made


def in_order(work: Callable[[int], _R], count: int, threads: int) -> Iterator[_R]:
    """work(0), ..., work(count − 1) in this order; in so many threads, and not more than one a thread ahead."""
    if min(threads, count) < 2:
        yield from map(work, range(count))
        return
    with ThreadPoolExecutor(min(threads, count)) as pool:
        ahead: deque[Future[_R]] = deque()
        for n in range(count):
            ahead.append(pool.submit(work, n))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
