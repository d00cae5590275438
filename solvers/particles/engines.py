"""Who draws the particles and averages, and walks paths of a sampler in R^d: the one table of it. All draw the same
random numbers, and agree to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from solvers.machine.arrays import ARRAYS, backend_module
from solvers.machine.backends import BACKENDS, looked_up
from solvers.particles import compiled, device, estimate
from solvers.particles.estimate import Averages
from solvers.particles.sampler import by_coordinate, plain
from solvers.particles.sampler import compiled as sampler_compiled
from solvers.particles.sampler import device as sampler_device
from solvers.particles.sampler.chain import Walk
from solvers.particles.sampler.mixtures import Bars
from solvers.problem import Problem

__all__ = ["ENGINES", "Engine", "arrays", "engine"]


class Engine(NamedTuple):
    """sample: as estimate.estimate. walk, gradient, fixed: as those of sampler/plain.py. refuse: of
    solvers.machine.backends.Contract. whole: whether all particles of a block are held as arrays, and those of all
    replicas carried together; else a few at a time, in threads of its own. block_bytes: of the particles of a block; 0
    on a GPU, which holds them in registers. splits: whether `walk` knows clones. fixed: None where problems that
    need it are refused."""

    sample: Callable[..., Averages]
    walk: Callable[..., Walk]
    gradient: Callable[..., tuple[Any, dict[str, Bars]]]
    refuse: Callable[[Problem], str | None] = lambda problem: None
    whole: bool = False
    block_bytes: int = 0
    splits: bool = True
    fixed: Callable[..., dict[str, Bars]] | None = None


ENGINES = {
    "numba": Engine(
        compiled.sample, by_coordinate.walk, by_coordinate.gradient, block_bytes=2**18, fixed=sampler_compiled.fixed
    ),
    "numpy": Engine(estimate.estimate, plain.walk, plain.gradient, whole=True, block_bytes=2**19, fixed=plain.fixed),
    "cupy": Engine(device.sample, sampler_device.walk, sampler_device.gradient, device.refused, splits=False),
}


def engine(backend: str) -> Engine:
    """The engine of a backend. Raises  BackendError if there is none of that name."""
    return looked_up(ENGINES, backend)


def arrays(backend: str) -> Any:
    """The module of its arrays. Raises  BackendError if it cannot be used here."""
    others = tuple(name for name in ENGINES if name not in ARRAYS)
    return backend_module(BACKENDS[backend].arrays, also=others)
