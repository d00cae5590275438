"""Who solves closed equations: the one table of it. All agree to the tolerances of their integrators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from solvers.closed import batches, blocks, ensembles
from solvers.closed.equations import Evaluated, Solved, Task

__all__ = ["SOLVERS", "Solver"]


class Solver(NamedTuple):
    """view: of the text that it takes, how names in solvers/generated/ end. refuse: of
    solvers.machine.backends.Contract. solve: the trajectories. softmax: expectations for what follows from the states,
    None for those that the system asks for."""

    view: str
    refuse: Callable[[Task], str | None]
    solve: Callable[[Task], Solved | Evaluated]
    softmax: Callable[..., tuple[Any, ...]] | None = None


SOLVERS = {
    "numpy": Solver("py", blocks.refused, blocks.solve),
    "numba": Solver("numba", ensembles.refused_on_cpu, ensembles.on_cpu, batches.gaussian_softmax),
    "cupy": Solver("cu", ensembles.refused_on_gpu, ensembles.on_gpu, batches.gaussian_softmax),
}
