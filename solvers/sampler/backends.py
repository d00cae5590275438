"""Who runs paths of the reduced chain: the one table of it. All use the same random numbers, and agree to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from solvers.problem import Problem
from solvers.sampler import chain, compiled, device
from solvers.sampler.model import Mixture
from solvers.sampler.paths import Paths
from solvers.sampler.tables import possible

__all__ = ["PLAIN", "WALKERS", "Task", "Walker"]


class Walker(NamedTuple):
    """forward, backward, gradient, ratio: as those of solvers.sampler.chain, which are the plainest. refuse: of
    solvers.machine.backends.Contract. whole: whether gradients take all paths at a time, and make blocks themselves.
    threaded: whether there are threads of this machine to be had."""

    forward: Callable[..., Paths]
    backward: Callable[..., Paths]
    gradient: Callable[..., tuple[Paths, dict[str, Mixture]]]
    ratio: Callable[..., tuple[Paths, dict[str, Mixture]]]
    refuse: Callable[[Task], str | None] = lambda task: None
    whole: bool = False
    threaded: bool = False

    def within(self, threads: int | None) -> Walker:
        """The same in at most so many threads; None for all cores."""
        if not self.threaded:
            return self
        return self._replace(
            forward=partial(self.forward, threads=threads),
            backward=partial(self.backward, threads=threads),
            gradient=partial(self.gradient, threads=threads),
            ratio=partial(self.ratio, threads=threads),
        )


class Task(NamedTuple):
    """What a backend is asked: the sampler of a problem, whole or without one of its terms."""

    problem: Problem
    drop: str | None = None


def _refused(largest: int, task: Task) -> str | None:
    """What machine code cannot do, whose mixtures have at most `largest` numbers in their means."""
    if task.drop is not None:
        return "cannot drop a term"
    problem, options = task.problem, task.problem.sampler
    assert options is not None
    K, L = problem.family.components, len(problem.target.c)
    most = options.refine.until if options.refine else K
    directions = min(problem.dimension, most + L)
    if possible(max(most, L), directions, largest):
        return None
    return f"{most} components in up to {directions} directions; allowed: at most {largest} numbers"


WALKERS = {
    "numpy": Walker(chain.forward, chain.backward, chain.gradient, chain.ratio),
    "numba": Walker(
        compiled.forward,
        compiled.backward,
        compiled.gradient,
        compiled.ratio,
        partial(_refused, compiled.LARGEST),
        whole=True,
        threaded=True,
    ),
    "cupy": Walker(
        device.forward,
        device.backward,
        device.gradient,
        device.ratio,
        partial(_refused, device.LARGEST),
        whole=True,
    ),
}
PLAIN = WALKERS["numpy"]
