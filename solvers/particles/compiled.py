"""The estimator of estimate.py compiled for CPUs: drawn, evaluated and reduced a few particles at a time.

The loops are in loops/, and their machine code in the cache of solvers.machine.code. Sums over particles run in their
order within pieces that depend on the problem only, and pieces are added in their order, so neither blocks nor threads
change a bit of the result.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from solvers.machine.code import package
from solvers.machine.pieces import PerThread, in_order
from solvers.particles.estimate import Averages, Draws, Mixtures, Report, sources
from solvers.particles.streams import TILE

Array = NDArray[np.float64]

PIECE_NORMALS = 2**18  # of one replica, added up in one go: half a millisecond
FEWEST_PARTICLES = 32  # of a piece, however large d is: then sums cost little beside them


@cache
def loops() -> dict[str, ModuleType]:
    """The modules of loops/, by name."""
    here = Path(__file__).parent
    names = [path.stem for path in sorted((here / "loops").glob("[!_]*.py"))]
    return package(
        tuple((name, (here / "loops" / f"{name}.py").read_text(encoding="utf-8")) for name in names),
        inside=tuple((f"solvers.particles.loops.{name}", name) for name in names),
        beside=(here / "streams.py", *(here.parent / "machine" / f"{name}.py" for name in ("options", "stack"))),
    )


def sample(
    at: Mixtures,
    forward: bool,
    draws: Draws,
    *,
    particles: int,
    block: int,
    report: Report | None = None,
    threads: int = 1,
) -> Averages:
    """What estimate.py computes, compiled: the same averages from the same random numbers, to rounding.

    Takes
        block: particles held at a time by each thread; report: called with the number of particles finished, of all
        sources and replicas, some times a second.
    Returns
        Averages, the same bits for every block and any number of threads.
    """
    replicas, A, d = at.means.shape
    K, drawn_from = at.components, len(sources(at, forward))
    width = -(-d // TILE) * TILE
    means = np.zeros((replicas, A, width))
    means[..., :d] = at.means
    gram = at.gram
    rows, coefficients = (replicas, drawn_from), K if forward else 1
    shapes: list[tuple[int, ...]] = [(*rows, coefficients, width), (*rows, A), (*rows, 1 + coefficients)]
    numbers = draws.keys, np.uint64(draws.step), draws.common, float(draws.sign)
    inputs = means, at.variances, at.constants(gram), gram, K, at.beta, forward, *numbers
    together = max(FEWEST_PARTICLES, PIECE_NORMALS // (drawn_from * width))
    held = min(block, together)
    room = PerThread(lambda: (np.empty((held, width)), np.empty((2 * A + 4, held))))

    def piece(n: int) -> list[Array]:
        sums = [np.zeros(shape) for shape in shapes]
        last = min((n + 1) * together, particles)
        loops()["estimator"].accumulate(*inputs, n * together, last, d, *room(), *sums)
        return sums

    totals = [np.zeros(shape) for shape in shapes]
    for n, sums in enumerate(in_order(piece, -(-particles // together), threads)):
        for total, part in zip(totals, sums, strict=True):
            total += part
        if report:
            report(replicas * drawn_from * min(together, particles - n * together))
    moment, table, scalar = (total / particles for total in totals)
    return Averages(moment[..., :d], table, scalar[..., 0], scalar[..., 1:])
