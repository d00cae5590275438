"""What one asks of a problem: to be solved, simulated, compared; as a gradient flow, or as a sampler.

The one place that looks whether a problem has a [sampler]. Below it, flows and samplers know nothing of each other's
doors. Defaults are those of the commands. Imports are where they are used: asking one thing does not load the others.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from solvers.machine.backends import DEFAULT
from solvers.machine.progress import Progress
from solvers.problem import Problem, ProblemError

if TYPE_CHECKING:
    import xarray as xr

    from solvers.closed.plan import Plan
    from solvers.equilibria import Equilibrium
    from solvers.verdict.report import Report

__all__ = ["compare", "equilibria", "plan", "simulate", "solve"]


#: Of simulations, where neither the user nor flow.batch says otherwise.
PARTICLES, REPLICAS, STEP = 256, 32, 0.05


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
    threads: int | None = None,
    rest: bool = True,
    draws: int | None = None,
    runs: int | None = None,
) -> xr.Dataset:
    """The closed equations of a problem, from every start; of a sampler, its prior learned by the reduced chain.

    Takes
        rtol, atol: of the integrator. backend: "numba", "numpy" or "cupy", default the fastest that can do the problem
        on a CPU. progress: called with the fraction done, from 0 to 1. drop: a term of the theory to leave out.
        samples: which starts, default all. threads: of "numba", default all cores. Of flows only:
        stop_at_equilibrium, to leave trajectories where they rest; system: other closed equations, from systems.load;
        rest: whether to find out on what each run rests (solvers.equilibria.rest), which takes the Jacobians of all.
        Of samplers only: draws, how many samples of x_N to write of each start, with their log-weights; runs, of
        learning from each start, default solvers.problem.sampler_section.RUNS.
    Returns
        The dataset of RUN.nc, see solvers.closed.flow.solve and solvers.sampler.solve.solve.
    Raises  BackendError, ProblemError, TermError; see there.
    """
    if problem.sampler is None:
        from solvers.closed import flow
        from solvers.equilibria.rest import settled
        from solvers.results.samples import check

        check(problem, draws, 0.0)
        settle = settled if rest and drop is None and system is None else None
        return flow.solve(
            problem, rtol=rtol, atol=atol, backend=backend, progress=progress, drop=drop,
            stop_at_equilibrium=stop_at_equilibrium, system=system, samples=samples, threads=threads, settle=settle,
        )  # fmt: skip
    from solvers.machine.backends import BackendError
    from solvers.sampler.solve import solve as solve_sampler

    if stop_at_equilibrium:
        raise BackendError("--stop-at-equilibrium: is for flows; leave it out with a [sampler]")
    if system is not None:
        raise BackendError("system: is for flows; leave it out with a [sampler]")
    return solve_sampler(
        problem, rtol=rtol, atol=atol, backend=backend, threads=threads, progress=progress, drop=drop, samples=samples,
        draws=draws, runs=runs,
    )  # fmt: skip


def plan(
    problem: Problem,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str | None = None,
    stop_at_equilibrium: bool = False,
    long: float = 0.0,
) -> Plan | None:
    """What `solve` of a flow with these arguments will take: rules and errors of its expectations, time, memory, and
    which rtol would be cheaper and lose nothing. It solves a few starts, which takes a second or two.

    long: None as soon as it is known to take less than so many seconds. Str of a plan are lines to be read.
    Raises  what solve raises; BackendError for a problem with [sampler].
    """
    from solvers.closed.plan import plan as of_flow

    if problem.sampler is not None:
        from solvers.machine.backends import BackendError

        raise BackendError("--dry-run: is for flows; leave it out with a [sampler]")

    def run(some: Problem, samples: range) -> xr.Dataset:
        return solve(
            some, rtol=rtol, atol=atol, backend=backend, stop_at_equilibrium=stop_at_equilibrium, samples=samples
        )

    return of_flow(problem, rtol, run, long=long)


def simulate(
    problem: Problem,
    *,
    particles: int | None = None,
    replicas: int = REPLICAS,
    step: float | None = None,
    backend: str = DEFAULT,
    progress: Progress | None = None,
    draws: int | None = None,
) -> xr.Dataset:
    """The problem in all its dimensions, by particles or paths, without the closed equations; means over replicas.

    Takes
        particles: from each component at each step, or paths of a sampler; default PARTICLES, or flow.batch.size.
        replicas: independent repetitions of each start. step: of explicit Euler in flow time, default STEP, or
        flow.batch.step; to be left out where [learning] has an optimiser. backend: "numba", "numpy" or "cupy".
        progress: called with the fraction done. draws: of samplers, how many samples of x_N to write of each replica.
    Returns
        The dataset of SIM.nc, see solvers.particles.flow.simulate and solvers.particles.sampler.simulation.simulate.
    Raises  SimulationError, BackendError; see there. ProblemError for a sampler that `solve` refuses.
    """
    batch = problem.flow.batch
    particles = (batch.size if batch else PARTICLES) if particles is None else particles
    if problem.learning is not None and step is not None:
        raise ProblemError(
            f"step: is {step:.6g}; must be left out: steps are those of learning.optimiser in {problem.name}"
        )
    step = (batch.step if batch else STEP) if step is None else step
    if problem.sampler is None:
        from solvers.particles.flow import simulate as by_particles
        from solvers.results.samples import check as check_draws

        check_draws(problem, draws, 0.0)
        return by_particles(
            problem, particles=particles, replicas=replicas, step=step, backend=backend, progress=progress
        )
    from solvers.particles.sampler.simulation import simulate as by_paths
    from solvers.sampler.limits import check

    check(problem)
    return by_paths(
        problem, particles=particles, replicas=replicas, step=step, backend=backend, progress=progress, draws=draws
    )


def compare(
    problem: Problem,
    *,
    particles: int = PARTICLES,
    replicas: int = REPLICAS,
    step: float = STEP,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str = DEFAULT,
    drop: str | None = None,
    system: ModuleType | None = None,
    resolve: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """`solve` against `simulate`, at a stated false-alarm probability.

    Takes what these take; drop: a term to leave out of the theory, which must then be rejected; resolve:
        the part of a rate of which an error is to be noticed (0.01 is 1 %). Of flows only: system.
    Returns  Report; its `agrees` is the verdict. See solvers.verdict.flow.compare and solvers.verdict.sampler.
    Raises  SimulationError, ProblemError, BackendError, TermError; see there.
    """
    if problem.sampler is None:
        from solvers.verdict.flow import compare as compare_flow

        return compare_flow(
            problem, particles=particles, replicas=replicas, step=step, rtol=rtol, atol=atol, backend=backend,
            drop=drop, system=system, resolve=resolve, progress=progress,
        )  # fmt: skip
    from solvers.machine.backends import BackendError
    from solvers.verdict.sampler import compare_sampler

    if system is not None:
        raise BackendError("system: is for flows; leave it out with a [sampler]")
    return compare_sampler(
        problem, particles=particles, replicas=replicas, step=step, rtol=rtol, atol=atol, backend=backend, drop=drop,
        resolve=resolve, progress=progress,
    )  # fmt: skip


def equilibria(problem: Problem, *, follow: float | None = None) -> tuple[Equilibrium, ...]:
    """Where each start of a problem leads to: solvers.equilibria.equilibrium of every one, in their order."""
    from solvers.equilibria import equilibrium

    return tuple(equilibrium(problem, sample=n, follow=follow) for n in range(problem.init.samples))
