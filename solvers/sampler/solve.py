"""A problem with a [sampler]: its prior learned through the reduced chain, and the sampler evaluated along the way.

The prior is learned several times from the same start, from paths of their own: means over these runs are what is
learned, and their scatter says how well that is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import results
from solvers.machine import backends
from solvers.machine.arrays import check_backend
from solvers.machine.code import usable
from solvers.machine.cores import cores
from solvers.machine.pieces import in_order
from solvers.machine.progress import Progress, part
from solvers.problem import Problem, demands
from solvers.problem.sampler_section import RUNS
from solvers.problem.starts import starts
from solvers.problem.theory import within_theory
from solvers.results.replicas import judged, variables
from solvers.sampler.backends import WALKERS, Task
from solvers.sampler.evaluate import QUANTITIES, quotients
from solvers.sampler.limits import check, finest
from solvers.sampler.model import Sampler, chain_module
from solvers.sampler.refine import Addition
from solvers.sampler.runs import Learner, Run, from_paths, objective_of, sampler_of
from solvers.sampler.samples import Samples, variables_of

__all__ = ["solve", "traced"]

Array = NDArray[np.float64]


def solve(
    problem: Problem,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    drop: str | None = None,
    samples: range | None = None,
    drawn: bool = False,
    draws: int | None = None,
    runs: int | None = None,
) -> xr.Dataset:
    """Learn the prior of a problem by its sampler, from every start, and evaluate the sampler at the save times.

    rtol, atol: of a step of learning; no finer than solvers.sampler.limits.finest, and the dataset says which they
    were. backend: "numba", compiled paths on so many threads (default: all cores), "cupy", a CUDA kernel, or "numpy";
    all use the same random numbers and agree to rounding. By default numba where it can do the problem, else numpy; the
    dataset says which. samples: which starts, default all of them; a start has the same paths whichever others are
    there. drawn: of solvers.sampler.evaluate. draws: samples of x_N to write, of each run of learning as it ended.
    runs: of learning from each start, default RUNS.

    Returns
        The dataset of RUN.nc with objective that of the problem, −elbo for the reverse KL on paths, since the target is
        normalised; log_z_learned, if it learns that; mode_mass that of the samples, and QUANTITIES, all of them means
        over independent runs of learning where anything is learned from paths (sampler.paths / runs behind each
        gradient of each, or FEWEST). `_se` of all of these, of m, s, w and v too: the standard error over these runs,
        or where there is one run that of the paths of its evaluation, which are not those of any gradient. With several
        runs, outcomes of each and their shares, see solvers.results.replicas. The attribute `runs` says how many there
        are. Where components are added all runs add what the first does: by which chance it chose is in no `_se`.
    Raises
        BackendError if the backend cannot do it; ProblemError if its steps are too long or its dimension too large
        (solvers.sampler.limits), or memory for it is not there (solvers.problem.demands);
        TermError for an unknown `drop`.
    """
    return traced(
        problem, rtol=rtol, atol=atol, backend=backend, threads=threads, progress=progress, drop=drop, samples=samples,
        drawn=drawn, draws=draws, runs=RUNS if runs is None else runs,
    )[0]  # fmt: skip


def traced(
    problem: Problem,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    drop: str | None = None,
    samples: range | None = None,
    drawn: bool = False,
    runs: int = RUNS,
    draws: int | None = None,
    evaluated: int | None = None,
) -> tuple[xr.Dataset, tuple[tuple[Addition, ...], ...]]:
    """As `solve`; and of every sample the additions, where a refinement has them laid down. runs: of learning.
    evaluated: paths behind each evaluation, default as many as sampler.paths says."""
    within_theory(problem)
    check(problem)
    demands.check_sampler(problem, problem.init.samples if samples is None else len(samples))
    task = Task(problem, drop)
    backend = backends.first_of(WALKERS, task) if backend is None else backend
    backends.check(WALKERS, backend, task)
    check_backend(backend)
    backend = usable(backend)
    rtol, atol = finest(rtol, atol)
    options, times = problem.sampler, problem.time.times
    assert options is not None
    s0, m0, theta0 = starts(problem, samples)
    count, (K, L) = len(s0), m0.shape[1:]
    if options.refine is not None:  # room for all components; those that are not there have weight 0 and overlaps nan
        K = options.refine.until
    shown = replace(problem, family=replace(problem.family, components=K))
    runs = runs if from_paths(problem) else 1
    walker, ends = WALKERS[backend].within(1 if runs > 1 else threads), Samples(problem, draws, count * runs)
    learner = Learner(problem, walker, runs, rtol, atol, drawn, K, ends, evaluated)
    workers = min(threads or cores(), runs) if WALKERS[backend].threaded else 1
    level = ("log_z_learned",) if objective_of(problem).balances else ()
    out = {"m": (K, L), "s": (K, K), "w": (K,), "v": (K,), "mode_mass": (L,)}
    out |= dict.fromkeys(("objective", *QUANTITIES, *level), ()) | options.moving
    values = {name: np.full((count, len(times), *rest), np.nan) for name, rest in out.items()}
    errors = {name: np.full_like(a, np.nan) for name, a in values.items()}
    added: list[tuple[Addition, ...]] = []
    each: list[dict[str, NDArray[np.int8]]] = []
    taken: list[list[dict[str, Array]]] = []
    B, status = np.full((count, K, L), np.nan), np.zeros(count, dtype=np.int8)
    for n, sample in enumerate(samples or range(count)):
        sampler = sampler_of(problem, s0[n], m0[n], theta0[n], problem.family.variances, drop)
        share, found = part(progress, n, count), []
        for run in _runs(learner, sampler, sample, workers):
            found.append(run)
            if share:
                share(len(found) / runs)
        added.append(found[0].added)
        taken.append([run.samples for run in found])
        status[n] = max(run.status for run in found)
        if status[n] == 0:
            for name in out:
                values[name][n], errors[name][n] = _pooled(name, found)
            for t, of_runs in enumerate(zip(*(run.weights for run in found), strict=True) if not drawn else ()):
                for name, (value, error) in quotients(of_runs).items():
                    values[name][n, t], errors[name][n, t] = value, error
            B[n] = np.mean([run.B for run in found], axis=0)
        if runs > 1:
            last = {name: np.stack([run.values[name][-1] for run in found]) for name in ("w", "m", "s")}
            masses = np.stack([run.values["mode_mass"] for run in found])
            each.append(judged(problem, **last, mode_mass=masses, B=np.stack([run.B for run in found])))
    ds = results.run_dataset(
        shown, m=values["m"], s=values["s"], w=values["w"], v=values["v"], mode_mass=values["mode_mass"],
        objective=values["objective"], B=B, status=status, quadrature_error=np.zeros((count, len(times))),
        system=chain_module(drop).SYSTEM, backend=backend, rtol=rtol, atol=atol,
    ).drop_vars("quadrature_error")  # fmt: skip
    extra: dict[str, xr.Variable] = variables_of(taken)
    for name in QUANTITIES:
        extra |= results.sampler_variables({name: values[name], f"{name}_se": errors[name]})
    for name in level:
        extra |= results.sampler_variables({name: values[name], f"{name}_se": errors[name]})
    extra |= results.schedule_variables({name: values[name] for name in options.moving})
    extra |= results.schedule_variables({f"{name}_se": errors[name] for name in options.moving if runs > 1})
    extra["objective_se"] = _error(ds.objective, errors["objective"])
    for name in ("mode_mass", *(("m", "s", "w", "v") if runs > 1 else ())):
        extra[f"{name}_se"] = _error(ds[name], errors[name])
    about = {"runs": runs, "paths_together": runs * learner.evaluated}
    return ds.assign(extra | (variables(problem, each) if each else {})).assign_attrs(about), tuple(added)


def _runs(learner: Learner, sampler: Sampler, sample: int, workers: int) -> Iterator[Run]:
    """All runs from a start, in so many threads. Components are added as the first run adds them: it comes before."""
    options, script, first = learner.problem.sampler, None, 0
    if options is not None and options.refine is not None:
        leader = learner.run(sampler, sample, 0)
        script, first = leader.script, 1
        yield leader
    yield from in_order(lambda r: learner.run(sampler, sample, first + r, script), learner.runs - first, workers)


def _pooled(name: str, found: Sequence[Run]) -> tuple[Array, Array]:
    """The mean over runs and its standard error; that of its evaluation where there is one run."""
    all_of = np.stack([run.values[name] for run in found])
    if len(found) == 1:
        return all_of[0], found[0].errors.get(name, np.full_like(all_of[0], np.nan))
    return all_of.mean(0), all_of.std(0, ddof=1) / np.sqrt(len(found))


def _error(of: xr.DataArray | xr.Variable, values: Array) -> xr.Variable:
    """The standard error of a variable, with its dimensions and units."""
    attributes = of.attrs | {"long_name": f"standard error: {of.attrs['long_name']}"}
    return xr.Variable(of.dims, values, attributes)
