"""Stochastic gradient flow in R^d, for independent replicas: what the theory is compared with.

Nothing here comes from the closed equations. Particles are drawn in R^d, log q and log p and their scores are evaluated
there, and means, weights and variances are moved by explicit Euler steps of the flow (motion.py) with its expectations
replaced by means over fresh particles.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.machine.backends import DEFAULT
from solvers.machine.code import usable
from solvers.machine.progress import Progress, part
from solvers.particles.plan import SimulationError, plan
from solvers.particles.replicas import replicas_path
from solvers.problem import Problem, demands
from solvers.problem.starts import starts, vectors
from solvers.results.datasets import simulation_dataset
from solvers.results.replicas import judged, variables

__all__ = ["SimulationError", "simulate"]

Array = NDArray[np.float64]


def simulate(
    problem: Problem,
    *,
    particles: int,
    replicas: int,
    step: float,
    backend: str = DEFAULT,
    progress: Progress | None = None,
) -> xr.Dataset:
    """The flow from every start of the problem, in R^d, averaged over replicas.

    Takes
        particles: fresh ones from each component (of each mode, for the forward KL) at each step, for each replica;
        replicas: independent repetitions of each start; step: of explicit Euler, in units of the flow time: each
        interval between save times is cut into the fewest equal steps not longer than this; progress: called with the
        fraction done, from 0 to 1. With flow.batch, its size and step belong here: steps are then just that long.
    Returns
        SIM.nc's dataset: m, s, w, v, objective, mode_mass as means over replicas, m_se, s_se, w_se, v_se their standard
        errors. Bias O(step), standard error O(1/√(particles · replicas)). Outcomes are those of the averages over
        replicas; where replicas of one start end in different states they describe none of them, and the standard
        errors are large. Those of single replicas and their shares are beside them (solvers.results.replicas).
    Raises
        SimulationError if the step, the particles, the replicas or the memory do not do; ProblemError if memory or time
        is not there for so many starts, save times or steps (solvers.problem.demands); BackendError.
    """
    problem.only_flow()
    backend, batch = usable(backend), problem.flow.batch
    if batch is not None and (particles, step) != (batch.size, batch.step):
        raise SimulationError(
            f"{problem.name}: flow.batch: particles are {particles} and step is {step:g}; must be its size and step"
        )
    # These refuse before anything is made.
    plan(problem, particles=particles, replicas=replicas, step=step, backend=backend)
    demands.check_simulation(problem, particles=particles, replicas=replicas, step=step)
    begin = starts(problem)
    count = len(begin.s)
    means: dict[str, list[Array]] = {}
    each = []
    for i in range(count):
        path = replicas_path(
            problem,
            vectors(begin.s[i], begin.m[i], problem)[0],
            begin.theta[i],
            particles=particles,
            replicas=replicas,
            step=step,
            key=(i,),
            backend=backend,
            progress=part(progress, i, count),
        )
        quantities = {"m": path.m, "s": path.s, "w": path.w, "v": path.v, "objective": path.objective}
        quantities["mode_mass"] = (path.w[..., None] * path.mode_mass).sum(-2)
        with np.errstate(over="ignore", invalid="ignore"):  # a start that overflowed is reported by its status
            for name, values in quantities.items():
                means.setdefault(name, []).append(values.mean(0))
                means.setdefault(f"{name}_se", []).append(values.std(0, ddof=1) / np.sqrt(replicas))
        means.setdefault("B", []).append(path.mode_mass[:, -1].mean(0))
        last = {name: quantities[name][:, -1] for name in ("w", "m", "s")}
        each.append(judged(problem, **last, mode_mass=quantities["mode_mass"], B=path.mode_mass[:, -1]))
    arrays = {name: np.stack(values) for name, values in means.items()}
    finite = np.isfinite(arrays["s"]).all((1, 2, 3)) & np.isfinite(arrays["w"]).all((1, 2))
    ds = simulation_dataset(
        problem,
        **arrays,  # type: ignore[arg-type]
        status=np.where(finite, 0, 2),
        backend=backend,
        particles=particles,
        replicas=replicas,
        step=step,
    )
    return ds.assign(variables(problem, each))
