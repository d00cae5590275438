"""What a computation asks of this machine at the least, told from its problem, and refused where that is not there.

All numbers are lower bounds, so that nothing is refused that could be done: of memory, the arrays that are certainly
there together; of time, what the cheapest step or the drawing of the random numbers takes on fast machines. Measured
peaks are two to five times the bound (tests/solvers/problem/test_demands.py).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np

from solvers.door import ARGUMENTS
from solvers.machine.cores import available_memory, cores
from solvers.problem import Problem, ProblemError
from solvers.problem.gram import span
from solvers.problem.values import show

__all__ = ["check_sampler", "check_simulation", "check_solve", "check_workspace", "memory", "steps"]

FLOAT = 8
#: Bytes that are asked for without looking whether they are there.
SMALL = 2**26
#: Seconds that a computation may take at the least on all cores of this machine: a month.
LONGEST = 30 * 86400.0
#: Seconds, on fast machines: one step of a group of replicas, one coordinate drawn.
REPLICA_STEP, COORDINATE = 2e-5, 2.5e-10
#: Bytes of a list of numbers, for each of them.
LISTED = 32
#: What is usual, by key: the key whose value is farthest beyond it is the one that is refused.
USUAL = {
    "init.samples": 1000,
    "time.save": 51,
    "family.components": 16,
    "sampler.refine.until": 16,
    "sampler.refine.candidates": 256,
    "sampler.steps": 256,
    "sampler.paths": 2**16,
    "replicas": 64,
    "particles": 4096,
    "steps": 10_000,
    "learning.steps": 10_000,
    "learning.batch": 4096,
}

Demands = Mapping[str, int]


def memory(problem: Problem, *, samples: int | None = None, times: int | None = None) -> int:
    """Bytes that `solve` of a problem needs at the least, for so many starts and save times instead of its own."""
    return int(_solving(problem)(_demands(problem, samples, times)))


def check_solve(problem: Problem, samples: int) -> None:
    """Refuse to solve a problem from so many starts where memory is not there.

    Raises  ProblemError that names the key, the size it needs, the size there is, and the value that would do.
    """
    _fits(problem.name, _demands(problem, samples), _solving(problem))


def check_workspace(problem: Problem, together: int) -> None:
    """Refuse blocks of so many trajectories whose integrator, LSODA with room for a Jacobian, gets no memory.

    It is the system that is asked: memory that is reserved and not used may be more than there is.
    Raises  ProblemError.
    """

    def need(at: Demands) -> float:
        K, learn = at["family.components"], problem.family.learn
        size = ("means" in learn) * (K * (K + 1) // 2 + K * len(problem.target.weights))
        size += K * (("weights" in learn) + ("variances" in learn))
        n = min(problem.init.samples, together)
        return float(FLOAT * size * size * (3 * n if n > 1 else 1))

    if need({"family.components": problem.family.components}) > available_memory():
        try:
            np.empty(int(need({"family.components": problem.family.components})), dtype=np.int8)
        except (MemoryError, ValueError):
            _fits(problem.name, {"family.components": problem.family.components}, need)


def check_simulation(problem: Problem, *, particles: int, replicas: int, step: float) -> None:
    """Refuse a simulation likewise; particles and step as in solvers.particles.flow.simulate.

    Raises  ProblemError.
    """
    learning = problem.learning
    demands = {**_demands(problem), "replicas": replicas, "particles": particles}
    if learning is not None:
        demands |= {"learning.steps": learning.steps, "learning.batch": learning.batch or particles}

    def need(at: Demands) -> float:
        K, L, T = _prior(at), len(problem.target.weights), at["time.save"]
        each = K * problem.dimension if problem.family.diagonal is not None else 0  # variances of coordinates
        mean = T * (K * K + K * L + 2 * K + each + L + 1) * FLOAT
        # Means and standard errors, stacked and then in the dataset; what is kept of each replica of a start. Paths of
        # a sampler: component, weight, responsibilities; and the weights both ways at all times, of all replicas.
        weights = at["particles"] * (2 + L + 4 * T * at["replicas"])
        paths = (weights + 2 * at.get("learning.batch", 0)) * FLOAT if problem.sampler else 0
        return 4 * at["init.samples"] * mean + at["replicas"] * mean + paths

    _fits(problem.name, demands, need)
    count = steps(problem, step)
    key = "step" if problem.flow.batch is None else "flow.batch.step"
    listed = 0.0 if problem.sampler else LISTED * count
    if listed > SMALL and listed > (there := available_memory()):
        _refuse_step(
            problem, key, step, count, f"a list of {_size(listed)}", there / LISTED, f"{_size(there)} may be used"
        )
    objective, modes, components = problem.flow.objective, len(problem.target.weights), problem.family.components
    sources = ("forward-kl" in objective) * modes + ("reverse-kl" in objective) * components
    if problem.sampler is not None:
        sources = problem.sampler.steps + 1
    drawn = demands.get("learning.batch", particles) * replicas * sources * problem.dimension * COORDINATE
    seconds = problem.init.samples * count * max(drawn, -(-replicas // 8) * REPLICA_STEP) / cores()
    paths = ("learning.steps", "learning.batch") if learning and learning.batch else ("learning.steps", "particles")
    options = ("init.samples", "replicas", *(paths if learning else ("particles",)))
    by = {name: demands[name] for name in options}  # steps that are given are one of the demands
    _in_time(problem, None if learning else key, step, count, seconds, by)


def check_sampler(problem: Problem, samples: int) -> None:
    """Refuse a sampler whose random numbers, or results of so many starts, do not fit in memory.

    Raises  ProblemError.
    """
    options = problem.sampler
    assert options is not None
    directions = span(problem.target.vectors)[0].shape[1]
    if problem.init.scale:
        directions = min(problem.dimension, directions + problem.family.components)
    outside = min(problem.dimension - directions, 2)  # ξ₁ and χ² of the directions that no mean has

    def need(at: Demands) -> float:
        return float(at["sampler.paths"] * ((at["sampler.steps"] + 1) * (directions + outside) + 1) * FLOAT)

    _fits(problem.name, _demands(problem, samples), _solving(problem))
    _fits(problem.name, {"sampler.steps": options.steps, "sampler.paths": options.paths}, need)
    # Log-weights both ways, of all runs of learning and all times.
    _fits(
        problem.name,
        {"time.save": len(problem.time.times), "sampler.paths": options.paths},
        lambda at: float(4 * at["time.save"] * at["sampler.paths"] * FLOAT),
    )
    if options.refine is not None and isinstance(options.refine.source, str):
        # Points and their noise, of one step at the least.
        _fits(
            problem.name,
            {"sampler.refine.candidates": options.refine.candidates},
            lambda at: float(at["sampler.refine.candidates"] * (2 * (directions + outside) + 1) * FLOAT),
        )


def steps(problem: Problem, step: float) -> float:
    """Steps of one trajectory of a simulation, or of a descent by finite batches."""
    times = problem.time.times
    if problem.learning is not None:
        return float(problem.learning.steps)
    if problem.flow.batch is not None:
        return float(times[-1] / step)
    with np.errstate(over="ignore"):  # inf steps are refused
        return float(np.ceil(np.diff(times, prepend=0.0) / step * (1 - 1e-12)).sum())


def _demands(problem: Problem, samples: int | None = None, times: int | None = None) -> dict[str, int]:
    refine = problem.sampler.refine if problem.sampler else None
    return {
        "init.samples": problem.init.samples if samples is None else samples,
        "time.save": len(problem.time.times) if times is None else times,
        **({"sampler.refine.until": refine.until} if refine else {"family.components": problem.family.components}),
    }


def _prior(at: Demands) -> int:
    return at.get("family.components", 0) or at["sampler.refine.until"]


def _solving(problem: Problem) -> Callable[[Demands], float]:
    L = len(problem.target.weights)

    def need(at: Demands) -> float:
        n, T, K = at["init.samples"], at["time.save"], _prior(at)
        state = K * K + K * L + K
        # The trajectories, and the same again with what follows from them in the dataset; the starts.
        return float(n * (T * (2 * state + K + L + 2) + state) * FLOAT)

    return need


def _fits(name: str, demands: Demands, need: Callable[[Demands], float]) -> None:
    needed = need(demands)
    if needed <= SMALL or needed <= (there := available_memory()):
        return
    key = max(demands, key=lambda key: demands[key] / USUAL[key])
    value = demands[key]
    fits = bisect.bisect_right(range(1, value), there, key=lambda n: need({**demands, key: n}))
    must = f"at most {fits}" if fits else "less, and other sizes too"
    others = ", ".join(f"{other} = {demands[other]}" for other in demands if other != key)
    beside = f"with {others} " if others else ""
    raise ProblemError(
        f"{_label(name, key)}: is {show(value)}; must be {must}: {beside}it needs {_size(needed)} of memory or more, "
        f"and {_size(there)} may be used here"
    )


def _in_time(problem: Problem, key: str | None, step: float, count: float, seconds: float, demands: Demands) -> None:
    """Refuse what takes too long, by whichever of the step (`key`, None: it is not asked) and the demands is farthest
    beyond what is usual."""
    if seconds <= LONGEST:
        return
    needs, share = f"{seconds / 86400:.3g} days or more", LONGEST / seconds
    most = max(demands, key=lambda key: demands[key] / USUAL[key])
    if key is not None and count / USUAL["steps"] > demands[most] / USUAL[most]:
        _refuse_step(problem, key, step, count, needs, count * share, "a month is the most")
    raise ProblemError(
        f"{_label(problem.name, most)}: is {demands[most]}; must be at most {int(demands[most] * share)}: with "
        f"{count:.3g} steps it needs {needs}, and a month is the most on this machine"
    )


def _label(name: str, key: str) -> str:
    """A key of the problem with its file; an option of the commands by itself."""
    return key if key in ARGUMENTS else f"{name}: {key}"


def _refuse_step(
    problem: Problem, key: str, step: float, count: float, needs: str, fits: float, there: str
) -> NoReturn:
    end = float(problem.time.times[-1])
    raise ProblemError(
        f"{_label(problem.name, key)}: is {step:.3g}; must be at least {end / fits:.3g}, or time.end, samples"
        f" and particles smaller: {count:.3g} steps need {needs}, and {there} on this machine"
    )


def _size(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
