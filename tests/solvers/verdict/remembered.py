"""Simulations know nothing of the theory: each is run once for all the theories that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from solvers.verdict import comparison

__all__ = ["remembered"]


@contextmanager
def remembered() -> Iterator[pytest.MonkeyPatch]:
    """Comparisons of the same problem, at the same point or from the same start, with the same options and numbers
    drawn, share what was simulated. At t = 0 all theories are at the same point."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replicas_path", "velocities"):
            patch.setattr(comparison, name, _once(getattr(comparison, name)))
        yield patch


def _once(simulate: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    def call(problem: Any, *arrays: Any, progress: Any = None, **options: Any) -> Any:
        given = [(name, _exactly(value)) for name, value in sorted(options.items())]
        key = problem.text, problem.init.seed, *map(_exactly, arrays), *given
        if key not in known:
            shown = {} if progress is None else {"progress": progress}
            known[key] = simulate(problem, *arrays, **shown, **options)
        return known[key]

    return call


def _exactly(value: Any) -> Any:
    """An array by its bytes."""
    return (value.shape, value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value
