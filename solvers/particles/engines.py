"""Who draws the particles and averages: array code, code compiled for CPUs, or a CUDA kernel. One answer from all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from solvers.machine.arrays import backend_module
from solvers.particles.estimate import Averages, estimate


@dataclass(frozen=True)
class Engine:
    """xp: the module of its arrays. sample: as estimate.estimate, which it equals to rounding."""

    xp: Any
    sample: Callable[..., Averages]


def engine(backend: str) -> Engine:
    """The engine of a backend.

    Raises  BackendError if there is none of that name, or it cannot be used here.
    """
    if backend == "numba":
        from solvers.particles.compiled import sample  # loads numba, seconds for those who do not want it

        return Engine(backend_module("numpy"), sample)
    xp = backend_module(backend, also=("numba",))
    if backend == "numpy":
        return Engine(xp, estimate)
    from solvers.particles.device import sample as on_device

    return Engine(xp, on_device)
