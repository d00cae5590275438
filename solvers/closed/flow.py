"""Solving the closed equations of a gradient flow, for all starts of a problem."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import results
from solvers.closed import batches, ensembles, given, systems
from solvers.closed.blocks import SMALLEST_RTOL, TOGETHER, Integrator, Point, velocity, width_unit
from solvers.closed.span import Span
from solvers.integrate import tolerances
from solvers.integrate.tolerances import of_expectations
from solvers.machine.arrays import BackendError, backend_module
from solvers.machine.code import usable
from solvers.machine.progress import Progress
from solvers.problem import Problem, ProblemError, demands
from solvers.problem.starts import Starts, starts

__all__ = ["solve", "velocity"]

Array = NDArray[np.float64]

#: Backends that integrate coordinates in the span by compiled code.
COMPILED = ("numba", "cupy")

#: By how many of its estimates an error of expectations may exceed them.
ALLOWANCE = 10.0


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what is not finite is told by the status
def solve(
    problem: Problem,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str | None = None,
    progress: Progress | None = None,
    drop: str | None = None,
    stop_at_equilibrium: bool = False,
    system: ModuleType | None = None,
    samples: range | None = None,
    begin: Starts | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Trajectories of the closed equations from every start of the problem.

    backend "numpy": LSODA (Adams and BDF, switching by stiffness) on blocks of trajectories; its error norm
    is the maximum over the block, so the tolerances hold for each of them. A block that fails is split until the
    failing trajectory is alone. "numba" and "cupy": solvers.closed.ensembles, compiled for the CPU or an NVIDIA GPU,
    for up to sixteen components and modes. By default numba where it can do the problem, else numpy; the dataset
    says which. With flow.batch the equations are those of the steps of stochastic gradient descent, and are iterated as
    such; a save time stands for the step nearest to it.
    samples: which starts, default all of them; begin: starts other than the problem's. threads: of "numba", default all
    cores. drop: a term to leave out; system: closed equations to solve instead of the problem's own, from systems.load.
    Both exclude compiled backends, which have their own text.

    stop_at_equilibrium: with "numba", leave a trajectory once it has come to rest at a stable equilibrium, and add
    `equilibrium` and `spectrum` of the last states (solvers.closed.ensembles.rest).

    Returns
        The dataset of RUN.nc (solvers.results): m, s, w, v, objective (nats), mode_mass, outcomes, status, and
        quadrature_error, the estimated error of the expectations at the save points.
    Raises
        BackendError, also for a backend other than numpy where variances differ or are learned, and for an rtol that
        the integrator cannot keep (numpy: below 2.3e-14; else ValueError, below 1e-14); ProblemError if no
        equations are derived for the flow, or memory or time for it is not there (solvers.problem.demands); TermError
        for an unknown `drop`; ValueError for an rtol from 1e-2 or an atol from 1 on, which make outcomes arbitrary.
    """
    tolerances.check(rtol, atol, smallest=False)
    problem.only_flow()
    demands.check_solve(problem, problem.init.samples if samples is None else len(samples))
    if system is not None:
        given.check(problem, system)
    module, own = system or systems.for_problem(problem, drop=drop), drop is None and system is None
    if backend is None:
        backend = "numba" if own and ensembles.by_default(problem) else "numpy"
    backend = usable(backend)
    if stop_at_equilibrium and backend != "numba":
        raise BackendError(f"{backend}: does not stop at equilibria; allowed with --stop-at-equilibrium: numba")
    if backend in COMPILED:
        if not own:
            raise BackendError(f"{backend}: cannot drop a term; allowed with --drop: numpy")
        begin = begin or starts(problem, samples)
        options: dict[str, Any] = {"rtol": rtol, "atol": atol, "threads": threads, "progress": progress}
        if stop_at_equilibrium:
            (s, m, theta, status), at_end = ensembles.to_rest(problem, begin, **options)
        else:
            (s, m, theta, status), at_end = ensembles.paths(problem, begin, backend=backend, **options), {}
        found = s, m, theta, _log_variances(problem, theta)
        ds = _dataset(problem, module, found, status, backend, rtol, atol, own, batches.gaussian_softmax)
        if at_end:
            at_end["equilibrium"].values[ds.status.values != 0] = -1
            at_end["spectrum"].values[ds.status.values != 0] = np.nan
        return ds.assign(at_end)
    backend_module(backend)  # refuses names that it does not know
    if rtol < SMALLEST_RTOL and problem.flow.batch is None:
        raise BackendError(f"numpy: rtol {rtol:g} is less than LSODA can keep; allowed: from 2.3e-14, or numba")
    if problem.time.end > 0 and problem.flow.batch is None:
        demands.check_workspace(problem, TOGETHER)
    if "variances" in problem.family.learn and rtol * width_unit(problem.dimension) < SMALLEST_RTOL:
        most = int(2 * ((rtol / SMALLEST_RTOL) ** 2 - 1))
        raise ProblemError(
            f"{problem.name}: dimension: is {problem.dimension}; must be at most {most} for variances learned with "
            f"--rtol {rtol:g}: it is to hold in units of √(2/d) of log v, and LSODA keeps 2.3e-14"
        )
    s, m, theta = begin or starts(problem, samples)
    first_states = s, m, theta, _log_variances(problem, theta)
    # A theory without one of its terms need not keep overlaps of vectors: it shall be seen as it is. And the noise of
    # finite batches adds directions.
    space = Span.of(problem, s, m) if own and problem.flow.batch is None else None
    times, count = problem.time.times, len(s)
    out = tuple(np.full((count, len(times), *a.shape[1:]), np.nan) for a in first_states)
    status = np.zeros(count, dtype=np.int8)
    for first in range(0, count, TOGETHER):
        block = slice(first, min(first + TOGETHER, count))

        def report(fraction: float, block: slice = block) -> None:
            if progress:
                progress((block.start + fraction * (block.stop - block.start)) / count)

        integrator = Integrator(problem, module, rtol, atol, report, space)
        paths, status[block] = integrator.run(tuple(a[block] for a in first_states))  # type: ignore[arg-type]
        for whole, part in zip(out, paths, strict=True):
            whole[block] = part
    return _dataset(problem, module, out, status, backend, rtol, atol, own)  # type: ignore[arg-type]


def _log_variances(problem: Problem, theta: Array) -> Array:
    """Those of the start, (..., K) as theta."""
    return np.broadcast_to(np.log(problem.family.variances), theta.shape)


def _dataset(
    problem: Problem,
    module: ModuleType,
    paths: Point,
    status: NDArray[np.int8],
    backend: str,
    rtol: float,
    atol: float,
    own: bool,
    softmax_of: Callable[..., tuple[Any, ...]] | None = None,
) -> xr.Dataset:
    """Everything that follows from the states: weights, objective, mode masses, the error of the expectations.

    own: the equations are the problem's own. softmax_of: instead of the expectations that the system asks for.
    """
    errors: list[Array] = []
    s, m, theta, log_v = paths

    def expect(*law: Any) -> tuple[Any, ...]:
        softmax = softmax_of or systems.expectations(module)
        *values, error = softmax(*law, error=True, tolerance=of_expectations(rtol))
        errors.append(np.max(error, axis=-1))
        return tuple(values)

    good = status == 0
    shape = (*theta.shape[:2],)
    objective, mode_mass = np.full(shape, np.nan), np.full((*shape, m.shape[-1]), np.nan)
    quadrature_error, B = np.full(shape, np.nan), np.full((len(s), *m.shape[2:]), np.nan)
    times = problem.time.times
    # At constant temperature all save times together, else one after the other.
    steady = problem.flow.beta(0.0) == problem.flow.beta(times[-1])
    for at in ([np.arange(len(times))] if steady else np.arange(len(times))[:, None]) if good.any() else []:
        errors.clear()
        here = np.ix_(good, at)
        time = float(times[at[-1]])
        states = (s[here], m[here], theta[here], log_v[here])
        values = systems.evaluate(problem, module, *states, time=time, expect=expect)
        objective[here] = systems.call(module.objective, values)
        mode_mass[here] = systems.call(module.mode_mass, values)
        quadrature_error[here] = np.max(np.broadcast_arrays(*errors), axis=0)
        quadrature_error[here] += results.rounding(problem, m[here], s[here], np.exp(log_v[here])) / np.maximum(
            1.0, np.abs(objective[here])
        )
        B[good] = values["B"][:, -1]
    if own and problem.flow.temperature == 1:
        # A divergence is not negative. What is, beyond the errors of its parts, has come of overlaps that are none.
        terms = results.rounding(problem, m, s, np.exp(log_v)) / (2 * np.finfo(float).eps)
        status[good & (objective < -ALLOWANCE * quadrature_error * (1 + terms)).any(axis=1)] = 2
    return results.run_dataset(
        problem,
        m=m,
        s=s,
        w=np.exp(module.log_weights(theta)),
        v=np.exp(log_v),
        objective=objective,
        mode_mass=mode_mass,
        B=B,
        status=status,
        quadrature_error=quadrature_error,
        system=module.SYSTEM,
        backend=backend,
        rtol=rtol,
        atol=atol,
    )
