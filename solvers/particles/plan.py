"""What a simulation asks of the machine, decided before it starts: how replicas and particles are cut, and refusals."""

from __future__ import annotations

import bisect
import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solvers.arrays import backend_module
from solvers.problem import Problem, ProblemError

# Particles of one block fit in a core's cache on a CPU; a GPU wants blocks large enough to occupy it.
BLOCK_BYTES = {"numpy": 2**19, "cupy": 2**28}
FEWEST_PARTICLES = 8  # of one block, so that the means are not read from memory for each particle
REPLICAS_TOGETHER = 8  # at most, on a CPU: enough to hide the cost of Python at d = 2, few enough to share out

# The part of the free memory a simulation may take.
SHARE = 0.8
FLOAT = 8


class SimulationError(ProblemError):
    """A simulation that cannot be run as asked; str() is one line, `option: what is wrong, what is allowed`."""


@dataclass(frozen=True)
class Plan:
    """How a simulation is cut.

    groups: the replicas carried together. block: particles of each of them held at a time. workers: threads. size:
    bytes of all its large arrays, at most.
    """

    groups: tuple[range, ...]
    block: int
    workers: int
    size: int


def plan(problem: Problem, *, particles: int, replicas: int, backend: str, step: float | None = None) -> Plan:
    """Cut a simulation so that memory stays bounded, and refuse what cannot give an answer.

    Memory grows with d, K, L and the threads, not with the number of particles. The cut does not depend on the machine,
    except for the number of threads: the same seed gives the same numbers.

    Takes
        step: of explicit Euler; None for a single point.
    Raises
        SimulationError if there are no particles, fewer than two replicas (no standard error), the step makes explicit
        Euler unstable (a mean relaxes at a rate of up to w_k/v or w_k/u, and w_k may grow to 1), or the arrays do not
        fit: then with the size needed, the size there is and the dimension that would fit. BackendError.
    """
    xp = backend_module(backend)
    if particles < 1:
        raise SimulationError(f"particles: is {particles}; must be at least 1")
    if replicas < 2:
        raise SimulationError(f"replicas: is {replicas}; must be at least 2, since standard errors are over replicas")
    smallest = min(problem.family.variances.min(), problem.target.variances.min())
    if step is not None and not 0 < step <= smallest:
        raise SimulationError(
            f"step: is {step:.6g}; must be > 0 and, for explicit Euler to be stable, at most the smallest variance, "
            f"{smallest:.6g}"
        )
    K, L, times = problem.family.components, len(problem.target.weights), len(problem.time.times)

    def cut(d: int) -> tuple[int, int, int, int]:
        row = d * FLOAT
        particle = row + 4 * (K + L) * FLOAT  # x, and log-densities and responsibilities on the way
        together = max(1, min(BLOCK_BYTES[backend] // (particles * particle), replicas))
        if backend == "numpy":
            together = min(together, REPLICAS_TOGETHER)
        block = min(particles, max(BLOCK_BYTES[backend] // (together * particle), FEWEST_PARTICLES))
        # A worker holds means, velocity and gradient sums (K d each), the stacked means (K + L), and a product as large
        # as the means, beside its block. Shared: start, target and, twice to gather it, what is kept of each replica.
        worker = together * (row * (5 * K + L) + block * particle)
        kept = replicas * (K * row if step is None else times * (K * K + 2 * K * L + K + 1) * FLOAT)
        return together, block, worker, 2 * kept + row * 4 * (K + L)

    together, block, worker, shared = cut(problem.dimension)
    allowed = SHARE * _available(xp)
    if worker + shared > allowed:
        fits = bisect.bisect_right(range(1, problem.dimension), allowed, key=lambda d: sum(cut(d)[2:]))
        needed, available = (f"{size / 2**30:.3g} GiB" for size in (worker + shared, allowed))
        raise SimulationError(
            f"{problem.name}: dimension: {problem.dimension} with {K} components and {L} modes needs {needed}; "
            f"{available} may be used here, enough for dimension {fits}"
        )
    groups = tuple(range(first, min(first + together, replicas)) for first in range(0, replicas, together))
    workers = 1
    if backend == "numpy":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(cores, len(groups), int((allowed - shared) // worker))
    return Plan(groups, block, workers, shared + workers * worker)


def _available(xp: Any) -> float:
    """Bytes free for this process: on the GPU for cupy, else of main memory, within a container's limit."""
    if xp is not np:
        return float(xp.cuda.runtime.memGetInfo()[0] + xp.get_default_memory_pool().free_bytes())
    limits = [float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")]
    files = {"/proc/meminfo": 1024, "/sys/fs/cgroup/memory.max": 1, "/sys/fs/cgroup/memory/memory.limit_in_bytes": 1}
    for path, unit in files.items():
        with contextlib.suppress(OSError):
            if found := re.search(r"(?:^|MemAvailable:\s*)(\d+)", Path(path).read_text()):
                limits.append(float(found[1]) * unit)
    return min(limits)
