"""Solving the closed equations of a gradient flow, for all starts of a problem."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import results
from solvers.closed import systems
from solvers.closed.backends import SOLVERS
from solvers.closed.blocks import velocity
from solvers.closed.equations import Closed, Evaluated, Solved, Task
from solvers.integrate import tolerances
from solvers.integrate.tolerances import of_expectations
from solvers.machine import backends
from solvers.machine.code import usable
from solvers.machine.cores import at_most
from solvers.machine.progress import Progress
from solvers.problem import Problem, demands
from solvers.problem.starts import Starts

__all__ = ["solve", "velocity"]

Array = NDArray[np.float64]

#: States at which what follows from them is evaluated at a time.
TOGETHER = 2**18


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
    closed: Closed | None = None,
    samples: range | None = None,
    begin: Starts | None = None,
    threads: int | None = None,
    settle: Callable[[Closed, xr.Dataset], xr.Dataset] | None = None,
) -> xr.Dataset:
    """Trajectories of the closed equations from every start of the problem.

    backend "numpy": LSODA (Adams and BDF, switching by stiffness) on blocks of trajectories; its error norm
    is the maximum over the block, so the tolerances hold for each of them. A block that fails is split until the
    failing trajectory is alone. "numba" and "cupy": solvers.closed.ensembles, compiled for the CPU or an NVIDIA GPU,
    for up to 64 components and modes, on a GPU 16. By default numba where it can do the problem, else numpy; the
    dataset says which. With flow.batch the equations are those of the steps of stochastic gradient descent, and are
    iterated as such; a save time stands for the step nearest to it.
    samples: which starts, default all of them; begin: starts other than the problem's. threads: of "numba", default all
    cores. drop: a term to leave out; system: closed equations to solve instead of the problem's own, from systems.load.
    Both exclude compiled backends, which have their own text. closed: the equations, where the caller has read them.
    settle: what adds to the result, knowing the equations; see solvers.equilibria.rest.settled.

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
    closed = closed or Closed.of(problem, drop=drop, system=system)
    task = Task(closed, rtol, atol, stop_at_equilibrium, samples, begin, threads, progress)
    if backend is None:
        backend = backends.first_of(SOLVERS, task)
    backend = usable(backend)
    backends.check(SOLVERS, backend, task)
    with at_most(threads):
        found = SOLVERS[backend].solve(task)
        if isinstance(found, Solved):
            found = _evaluated(task, found, SOLVERS[backend].softmax)
        ds = _dataset(task, found, backend)
        return settle(closed, ds) if settle else ds


def _evaluated(task: Task, solved: Solved, softmax: Callable[..., tuple[Any, ...]] | None) -> Evaluated:
    """Everything that follows from the states: weights, objective, mode masses, the error of the expectations."""
    closed, problem, module = task.closed, task.problem, task.closed.module
    softmax = softmax or systems.expectations(module)
    s, m, theta, log_v, status, at_end = solved
    errors: list[Array] = []

    def expect(*law: Any, **asked: bool) -> tuple[Any, ...]:
        *values, error = softmax(*law, **asked, error=True, tolerance=of_expectations(task.rtol))
        errors.append(np.max(error, axis=-1))
        return tuple(values)

    good = np.flatnonzero(status == 0)
    shape = (*theta.shape[:2],)
    objective, mode_mass = np.full(shape, np.nan), np.full((*shape, m.shape[-1]), np.nan)
    quadrature_error, B = np.full(shape, np.nan), np.full((len(s), *m.shape[2:]), np.nan)
    times = problem.time.times
    # At constant temperature all save times together, else one after the other; so many starts that memory is small.
    steady = problem.flow.beta(0.0) == problem.flow.beta(times[-1])
    size = max(1, TOGETHER // (len(times) if steady else 1))
    blocks = [good[first : first + size] for first in range(0, len(good), size)]
    for block, at in product(blocks, [np.arange(len(times))] if steady else np.arange(len(times))[:, None]):
        errors.clear()
        here = np.ix_(block, at)
        time = float(times[at[-1]])
        states = (s[here], m[here], theta[here], log_v[here])
        values = closed.evaluate(*states, time=time, expect=expect)
        objective[here] = systems.call(module.objective, values)
        mode_mass[here] = systems.call(module.mode_mass, values)
        quadrature_error[here] = np.max(np.broadcast_arrays(*errors), axis=0)
        quadrature_error[here] += results.rounding(problem, m[here], s[here], np.exp(log_v[here])) / np.maximum(
            1.0, np.abs(objective[here])
        )
        B[block] = values["B"][:, -1]
    w = np.exp(module.log_weights(theta))
    return Evaluated(m, s, w, np.exp(log_v), objective, mode_mass, B, quadrature_error, status, at_end)


def _dataset(task: Task, found: Evaluated, backend: str) -> xr.Dataset:
    """The dataset of trajectories and all that follows from them."""
    *fields, status, at_end = found
    m, s, w, v, objective, mode_mass, B, quadrature_error = fields
    ds = results.run_dataset(
        task.problem,
        m=m,
        s=s,
        w=w,
        v=v,
        objective=objective,
        mode_mass=mode_mass,
        B=B,
        status=status,
        quadrature_error=quadrature_error,
        # A theory without one of its terms may descend anything.
        nonnegative=task.closed.own and task.problem.flow.nonnegative,
        system=task.closed.module.SYSTEM,
        backend=backend,
        rtol=task.rtol,
        atol=task.atol,
    )
    if at_end:  # the dataset may have found a sample to be none
        at_end["equilibrium"].values[ds.status.values != 0] = -1
        at_end["spectrum"].values[ds.status.values != 0] = np.nan
    return ds.assign(at_end)
