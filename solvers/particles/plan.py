"""What a simulation asks of the machine, decided before it starts: how replicas and particles are cut, and refusals."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.machine.backends import BACKENDS, refusal
from solvers.machine.cores import available_memory, cores
from solvers.particles.engines import ENGINES, Engine, arrays, engine
from solvers.particles.motion import drawn_from, parts
from solvers.particles.streams import LARGEST_COUNT, TILE
from solvers.problem import Problem, ProblemError

FEWEST_PARTICLES = 8  # of one block, so that sums over particles are not read from memory for each particle
MOST_PARTICLES = 256  # of one block, beyond which nothing is gained
REPLICAS_TOGETHER = 8  # at most, on a CPU: enough to hide the cost of Python at d = 2, few enough to share out
TOGETHER_BYTES = 2**22  # of particles a step: where there are more, Python costs nothing and memory is saved
PARTIAL_BYTES = 2**28  # of sums that blocks of a GPU make side by side
GPU_BLOCKS = 2048  # of threads, at least, to occupy any GPU; a constant, so that all GPUs add in one order
PLAIN_ROWS = 9  # arrays as long as the normals that array code makes on the way to them

# The part of the free memory a simulation may take.
SHARE = 0.8
FLOAT = 8


class SimulationError(ProblemError):
    """A simulation that cannot be run as asked; str() is one line, `option: what is wrong, what is allowed`."""


@dataclass(frozen=True)
class Plan:
    """How a simulation is cut.

    engine: who draws and averages, on arrays of the module xp. groups: the replicas carried together. block: particles
    of each of them held at a time; on a GPU, particles for which one block of threads adds. workers: threads, each with
    a group. within: threads that a worker may have for its particles. size: bytes of all its large arrays, at most.
    """

    engine: Engine
    xp: Any
    groups: tuple[range, ...]
    block: int
    workers: int
    within: int
    size: int


def plan(problem: Problem, *, particles: int, replicas: int, backend: str, step: float | None = None) -> Plan:
    """Cut a simulation so that memory stays bounded, and refuse what cannot give an answer.

    Memory grows with d, K, L and the threads, not with the number of particles. The cut does not depend on the machine,
    except for the number of threads: the same seed gives the same numbers.

    Takes
        step: of explicit Euler; None for a single point.
    Raises
        SimulationError if there are no particles, fewer than two replicas (no standard error), the step makes explicit
        Euler unstable (a mean relaxes at a rate of up to w_k/v or w_k β/u, and w_k may grow to 1), or the arrays do not
        fit: then with the size needed, the size there is and the dimension that would fit. BackendError.
    """
    chosen, xp = engine(backend), arrays(backend)
    if not 1 <= particles < LARGEST_COUNT:
        raise SimulationError(f"particles: is {particles}; must be at least 1 and at most {LARGEST_COUNT - 1}")
    if replicas < 2:
        raise SimulationError(f"replicas: is {replicas}; must be at least 2, since standard errors are over replicas")
    if not problem.flow.tempered and problem.flow.temperature != 1:
        raise SimulationError(
            f"{problem.name}: flow.temperature: must be 1 without a reverse-kl: the forward KL draws from p, and "
            "p^(1/T) is no mixture"
        )
    ends = [parts(problem, time) for time in (0.0, problem.time.end)]
    coldest = max([beta for end in ends for beta, _ in end.reverse], default=1.0)
    smallest = min(problem.family.variances.min(), problem.target.variances.min() / coldest)
    smallest /= max(end.steepness for end in ends) or 1.0
    if step is not None and not 0 < step <= smallest:
        raise SimulationError(
            f"step: is {step:.6g}; must be > 0 and, for explicit Euler to be stable, at most the smallest variance"
            f"{'' if coldest <= 1 else ' or temperature times variance of a mode'}, {smallest:.6g}"
        )
    K, L, times = problem.family.components, len(problem.target.weights), len(problem.time.times)

    refuse(problem, backend)
    times_of_q, of_p = drawn_from(problem)
    sources = times_of_q * K + of_p * L * K  # means that averages hold

    def cut(d: int) -> tuple[int, int, int, int]:
        row = d * FLOAT
        sums = sources * row
        if BACKENDS[backend].device:
            together = max(1, min(replicas, PARTIAL_BYTES // (4 * sums), 65_535))  # as many as a grid may be deep
            pieces = max(
                1, min(GPU_BLOCKS // (together * max(K, of_p * L)), PARTIAL_BYTES // (together * sums), particles)
            )
            block = -(-particles // pieces)
            held = -(-particles // block) * together * sums
        else:
            padded = -(-d // TILE) * TILE * FLOAT * (1 + PLAIN_ROWS * chosen.whole)
            particle = padded + 4 * (K + L) * FLOAT  # x, and log-densities and responsibilities on the way
            together = max(1, min(TOGETHER_BYTES // (particles * particle), REPLICAS_TOGETHER, replicas // 4))
            at_once = together if chosen.whole else 1
            most = particles if chosen.whole else min(particles, MOST_PARTICLES)
            block = min(most, max(chosen.block_bytes // (at_once * particle), FEWEST_PARTICLES))
            held = at_once * block * particle
        # A worker holds means, velocity and gradients on their way (6 K d), the stacked means twice, sums and averages,
        # beside its block. Shared: start, target and, twice to gather it, what is kept of each replica.
        worker = held + together * (row * (6 * K + 2 * (K + L)) + 3 * sums)
        kept = replicas * (K * row if step is None else times * (K * K + 2 * K * L + 2 * K + 1) * FLOAT)
        return together, block, worker, 2 * kept + row * 4 * (K + L)

    together, block, worker, shared = cut(problem.dimension)
    allowed = SHARE * _available(xp)
    if worker + shared > allowed:
        fits = bisect.bisect_right(range(1, problem.dimension), allowed, key=lambda d: sum(cut(d)[2:]))
        needed, available = (f"{size / 2**30:.3g} GiB" for size in (worker + shared, allowed))
        if not fits and problem.dimension > 1 and step is not None:  # whatever the dimension: what is kept of replicas
            label, value = ("family.components", K) if replicas < K else ("replicas", replicas)
            where = "" if label == "replicas" else f"{problem.name}: "
            raise SimulationError(
                f"{where}{label}: is {value}; must be less: with {times} save times it needs {needed}, and {available} "
                "may be used here"
            )
        raise SimulationError(
            f"{problem.name}: dimension: {problem.dimension} with {K} components and {L} modes needs {needed}; "
            f"{available} may be used here, enough for dimension {fits}"
        )
    groups = tuple(range(first, min(first + together, replicas)) for first in range(0, replicas, together))
    workers = within = 1
    if not BACKENDS[backend].device:
        most = min(cores(), int((allowed - shared) // worker))
        workers = min(most, len(groups))
        within = 1 if chosen.whole else most // workers
    return Plan(chosen, xp, groups, block, workers, within, shared + workers * within * worker)


def threads(problem: Problem, held: int, groups: int) -> tuple[int, int]:
    """How many of so many groups run at once on a CPU, and in how many threads each, if a thread holds so many bytes.

    Raises  SimulationError if there is no room for one.
    """
    allowed = SHARE * _available(np)
    if held > allowed:
        needed, available = (f"{size / 2**30:.3g} GiB" for size in (held, allowed))
        raise SimulationError(
            f"{problem.name}: dimension: {problem.dimension} needs {needed}; {available} may be used here"
        )
    most = min(cores(), int(allowed // held))
    workers = min(most, groups)
    return workers, most // workers


def refuse(problem: Problem, backend: str) -> None:
    """Raise SimulationError for what a backend cannot simulate, naming what can."""
    if reason := refusal(ENGINES, backend, problem):
        raise SimulationError(f"{problem.name}: {reason}")


def _available(xp: Any) -> float:
    """Bytes free for this process: on the GPU for cupy, else of main memory, within a container's limit."""
    if xp is not np:
        return float(xp.cuda.runtime.memGetInfo()[0] + xp.get_default_memory_pool().free_bytes())
    return available_memory()
