"""Pieces of a computation in threads, their results in order: what is summed does not depend on the threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

_R = TypeVar("_R")


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
