"""Problems as compiled ensembles, on the CPU (backend "numba") or a GPU ("cupy"): coordinates, parameters, paths."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import cuda
from solvers.closed import compiled, mobility, systems
from solvers.closed.span import Span
from solvers.expectations.lanes.nodes import LARGEST
from solvers.integrate.tolerances import of_expectations
from solvers.machine.arrays import BackendError, backend_module
from solvers.problem import Problem, Schedule
from solvers.problem.starts import Starts
from solvers.problem.values import show

__all__ = ["build", "by_default", "driven", "parameters", "paths", "possible", "rest", "to_rest"]

Array = NDArray[np.float64]
Overlaps = tuple[Array, Array, Array, NDArray[np.int8]]

#: A state is at an equilibrium if that is closer than so many tolerances of the integrator in every coordinate.
NEAR = 100.0
#: A schedule that has ended so many times before anything is saved is one that has ended: what it did before, at most
#: log 1e100 / rate times the velocity, is less than rounding, and rate·T may not be finite.
LONG_OVER = 1e20
#: Singular values below this, in units of the largest, belong to directions along which equilibria continue.
RANK_CUT = 1e-10


def possible(problem: Problem) -> bool:
    """Whether `paths` can do the problem."""
    return _obstacle(problem) is None


def by_default(problem: Problem) -> bool:
    """Whether to do so unasked: compiling the forward KL takes longer than NumPy takes for a few starts."""
    return "forward-kl" not in problem.flow.objective and possible(problem)


def build(problem: Problem, space: Span) -> compiled.CompiledSystem:
    """The compiled system of a problem in a span.

    Raises  BackendError, naming what is not compiled, where `possible` says no; ProblemError if no equations are
    derived for the problem.
    """
    refuse(problem, "numba")
    return compiled.build(systems.read_compiled(problem), *_sizes(problem, space))


def refuse(problem: Problem, backend: str) -> None:
    """Raise BackendError for what is not compiled; on a GPU, that is the forward KL too, and roots of weights."""
    obstacle = _obstacle(problem)
    if obstacle is None and not systems.has_compiled(problem, backend):
        others = ["numpy", *(["numba"] if backend != "numba" and systems.has_compiled(problem, "numba") else [])]
        obstacle = (
            f"flow.objective = {show(problem.flow.objective)} is not among the kernels; allowed: {', '.join(others)}"
        )
    if obstacle is None and backend == "cupy" and any(power % 1 for power in _powers(problem).values()):
        obstacle = (
            f"rates of {problem.flow.metric}, {problem.flow.weights} are no whole powers of w; allowed: numpy, numba"
        )
    if obstacle:
        raise BackendError(f"{backend}: {obstacle}")


def _powers(problem: Problem) -> dict[str, float]:
    """The power of w_k in the rate of each group of states."""
    return mobility.exponents(problem.flow, systems.powers(systems.source(problem)))


def _obstacle(problem: Problem) -> str | None:
    """What a compiled system cannot do in a problem, and what can."""
    flow, K, L = problem.flow, problem.family.components, len(problem.target.weights)
    if max(K, L) > LARGEST:
        return f"{K} components and {L} modes; allowed: at most {LARGEST} of each, or numpy"
    if systems.own_variances(problem):
        return "variances that differ or are learned; allowed: numpy"
    if flow.batch is not None:
        return "flow.batch is descent by steps, which is not compiled; allowed: numpy"
    if not systems.has_compiled(problem, "numba"):
        return f"flow.objective = {show(flow.objective)} is not compiled; allowed: numpy"
    most = max(compiled.logits(systems.read_compiled(problem), K, L))
    if most > LARGEST:
        what = f"flow.objective = {show(flow.objective)} with {K} components and {L} modes"
        return f"{what} needs expectations of {most} logits; allowed: at most {LARGEST}, or numpy"
    return None


def driven(problem: Problem) -> list[float]:
    """States that follow from time alone, at its start: T, where the target is tempered. They come last.

    At temperature 1 there is none, and β is a parameter.
    """
    temperature, times = problem.flow.temperature, problem.time.times
    if isinstance(temperature, Schedule) and temperature.rate * min(times[times > 0], default=0.0) > LONG_OVER:
        return [1.0]
    return [problem.flow.at(0.0)] if temperature != 1 else []


def paths(
    problem: Problem,
    starts: Starts,
    *,
    rtol: float,
    atol: float,
    backend: str = "numba",
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Overlaps:
    """Trajectories from n starts at the T save times: s (n, T, K, K), m (n, T, K, L), theta (n, T, K), status (n,).

    What is integrated are coordinates of the mean vectors in their span with the modes, R ≤ K + rank(c) of them, θ and,
    where the target is tempered, T; the overlaps are those of these vectors. Rows that failed hold nan. threads: of
    backend "numba".
    Raises  BackendError for more than LARGEST components or modes, variances that differ or are learned, finite
    batches, and the forward KL of more than four components, which needs K² logits, or on a GPU.
    """
    space, y0, p = _begin(problem, starts, backend)
    times = problem.time.times
    if backend == "cupy":
        text = systems.read_compiled(problem, backend)
        gpu = cuda.build(backend_module(backend), text, *_sizes(problem, space))
        found = cuda.ensemble(gpu, y0, p, times, rtol=rtol, atol=atol, progress=progress)
    else:
        cpu = compiled.build(systems.read_compiled(problem), *_sizes(problem, space))
        found = compiled.ensemble(cpu, y0, p, times, rtol=rtol, atol=atol, threads=threads, progress=progress)
    return _overlaps(problem, space, found)


def to_rest(
    problem: Problem,
    starts: Starts,
    *,
    rtol: float,
    atol: float,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[Overlaps, dict[str, xr.Variable]]:
    """The same by numba, but trajectories are left once at rest at a stable equilibrium; `rest` of the last states."""
    space, y0, p = _begin(problem, starts, "numba")
    system = compiled.build(systems.read_compiled(problem), *_sizes(problem, space))
    found = compiled.ensemble(
        system,
        y0,
        p,
        problem.time.times,
        rtol=rtol,
        atol=atol,
        threads=threads,
        stop_at_equilibrium=True,
        progress=progress,
    )
    overlaps = _overlaps(problem, space, found)
    return overlaps, rest(problem, found.y[:, -1], system, p, rtol=rtol, atol=atol)


def _begin(problem: Problem, starts: Starts, backend: str) -> tuple[Span, Array, Array]:
    """The span of the starts with the modes, states (n, N) in its coordinates, parameters."""
    refuse(problem, backend)
    s, m, theta = starts
    space = Span.of(problem, s, m)
    at_start = np.tile(driven(problem), (len(s), 1))
    y0 = np.concatenate([space.coordinates(s, m).reshape(len(s), -1), theta, at_start], axis=1)
    return space, y0, parameters(problem, space)


def _sizes(problem: Problem, space: Span) -> tuple[int, int, int, int]:
    """K, L, R and DRIVEN, constants of the compilers."""
    return problem.family.components, len(problem.target.weights), space.directions, len(driven(problem))


def _overlaps(problem: Problem, space: Span, found: compiled.Paths) -> Overlaps:
    """The states of `paths`; those that failed become nan in `found` too."""
    K, y = problem.family.components, found.y
    y[found.status != 0] = np.nan
    x = y[..., : K * space.directions].reshape(*y.shape[:2], K, space.directions)
    return (*space.overlaps(x), y[..., K * space.directions : K * space.directions + K], found.status)


def rest(
    problem: Problem, y: Array, system: compiled.CompiledSystem, p: Array, *, rtol: float, atol: float
) -> dict[str, xr.Variable]:
    """Which of n compiled states y (n, N) are at an equilibrium, and the spectrum there, as variables of RUN.nc.

    Returns
        equilibrium (sample; int8): 1 if Newton's method would move the state by less than NEAR tolerances, 0 if more,
        -1 if the trajectory failed. spectrum (sample, direction): real parts of the eigenvalues of the Jacobian in
        coordinates of the learned means in their span, and θ, largest first; zeros among them are rotations about the
        modes and a constant in θ. nan where the state is at no equilibrium.
    """
    learn, K = problem.family.learn, problem.family.components
    others = len(driven(problem))
    kinds = ["means" in learn, "weights" in learn, False]
    moving = np.repeat(kinds, [system.size - K - others, K, others])
    known = np.asarray(np.isfinite(y).all(-1))
    y = y[known]
    velocity, slope = system.derivatives(y, p, of_expectations(rtol))
    # While a schedule runs nothing is at rest, though T itself has no eigenvalue among those of the flow.
    running = np.abs(velocity[:, system.size - others :]).max(-1, initial=0.0) > NEAR * atol
    velocity, slope = velocity[:, moving], slope[:, moving][:, :, moving]
    newton = (np.linalg.pinv(slope, rcond=RANK_CUT) @ velocity[..., None])[..., 0]
    tolerance = atol + rtol * np.abs(y[:, moving])
    # Where the Jacobian is singular, nothing must move either.
    near = (np.maximum(np.abs(newton), np.abs(velocity)) <= NEAR * tolerance).all(-1) & ~running
    equilibrium = np.where(known, 0, -1).astype(np.int8)
    equilibrium[np.flatnonzero(known)[near]] = 1
    spectrum = np.full((len(known), int(moving.sum())), np.nan)
    spectrum[equilibrium == 1] = -np.sort(-np.linalg.eigvals(slope[near]).real, axis=-1)
    about = f"at an equilibrium, to {NEAR:g} tolerances, at the last time: 1 yes, 0 no, -1 unknown"
    rates = "growth rates of small deviations from the equilibrium, largest first"
    return {
        "equilibrium": xr.Variable(("sample",), equilibrium, {"units": "1", "long_name": about}),
        "spectrum": xr.Variable(("sample", "direction"), spectrum, {"units": "1", "long_name": rates}),
    }


def parameters(problem: Problem, space: Span) -> Array:
    """The parameter array of the compiled system, in the order of its text."""
    p, learn, temperature = systems.parameters(problem), problem.family.learn, problem.flow.temperature
    text = systems.read_compiled(problem)
    ways, power = mobility.of(problem.flow), _powers(problem)
    # A factor of a rate, which is a number here, is one of the velocity.
    speeds = {group: (group in learn) * ways[group].factor(p["v"], p["d"]) for group in power}
    values = {
        "nu": space.target(),
        "c": p["c"],
        "log_pi": p["log_pi"],
        "pi": problem.target.weights,
        "v": p["v"],
        "u": p["u"],
        "d": p["d"],
        "log_v": np.log(p["v"]),
        "log_u": np.log(p["u"]),
        "learn_means": speeds["means"],
        "learn_weights": speeds["weights"],
        "power_means": power["means"],
        "power_weights": power["weights"],
        "beta": p["beta"],
        **problem.flow.parameters,
        "rate": temperature.rate if isinstance(temperature, Schedule) else 0.0,
    }
    names = re.findall(r"^P_(\w+) = ", text, re.MULTILINE)
    return np.concatenate([np.ravel(np.asarray(values[name.lower()], dtype=float)) for name in names])
