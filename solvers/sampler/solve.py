"""A problem with a [sampler]: its prior learned through the reduced chain, and the sampler evaluated along the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import results
from solvers.closed import flow
from solvers.closed.span import Span
from solvers.machine import backends
from solvers.machine.arrays import check_backend
from solvers.machine.chance import Stream, generator
from solvers.machine.code import usable
from solvers.machine.progress import Progress, part
from solvers.problem import Init, Overlaps, Problem, demands
from solvers.problem.starts import starts
from solvers.sampler.backends import WALKERS, Task, Walker
from solvers.sampler.chain import Noise
from solvers.sampler.evaluate import QUANTITIES, Invalid, evaluate
from solvers.sampler.learn import Learning
from solvers.sampler.limits import check, finest
from solvers.sampler.model import Mixture, Sampler, chain_module
from solvers.sampler.refine import Addition, placed, refined

__all__ = ["sampler_of", "solve", "traced"]

Array = NDArray[np.float64]


def sampler_of(problem: Problem, s: Array, m: Array, log_w: Array, v: Array, drop: str | None = None) -> Sampler:
    """The sampler of a problem whose prior has overlaps s (K, K), m (K, L), log-weights and variances (K,).

    A mixture control starts as the prior does.
    """
    options, target = problem.sampler, problem.target
    assert options is not None
    space = Span.of(problem, s[None], m[None])
    prior = Mixture(space.coordinates(s, m), np.log(v), log_w)
    mixtures = {"prior": prior, "target": Mixture.of(space.target(), target.variances, target.weights)}
    return Sampler(
        options.method, options.reference, options.control, options.steps, options.horizon, problem.dimension, mixtures,
        chain_module(drop),
    ).begun()  # fmt: skip


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
) -> xr.Dataset:
    """Learn the prior of a problem by its sampler, from every start, and evaluate the sampler at the save times.

    rtol, atol: of learning; no finer than solvers.sampler.limits.finest, and the dataset says which they were. backend:
    "numba", compiled paths on so many threads (default: all cores), "cupy", a CUDA kernel, or "numpy"; all use the same
    random numbers and agree to rounding. By default numba where it can do the problem, else numpy; the dataset says
    which. samples: which starts, default all of them; a start has the same paths whichever others are there. drawn: of
    solvers.sampler.evaluate.

    Returns
        The dataset of RUN.nc with objective = −elbo (the reverse KL on paths, since the target is normalised),
        mode_mass that of the samples, QUANTITIES, and for each of them and the two its standard error `_se` from the
        paths of the evaluation, which are not those of the gradient. m, s, w, v carry none: they depend on the latter.
    Raises
        BackendError if the backend cannot do it; ProblemError if its steps are too long or its dimension too large
        (solvers.sampler.limits), or memory for it is not there (solvers.problem.demands);
        TermError for an unknown `drop`.
    """
    return traced(
        problem, rtol=rtol, atol=atol, backend=backend, threads=threads, progress=progress, drop=drop, samples=samples,
        drawn=drawn,
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
) -> tuple[xr.Dataset, tuple[tuple[Addition, ...], ...]]:
    """As `solve`; and of every sample the additions, where a refinement has them laid down."""
    check(problem)
    demands.check_sampler(problem, problem.init.samples if samples is None else len(samples))
    task = Task(problem, drop)
    backend = backends.first_of(WALKERS, task) if backend is None else backend
    backends.check(WALKERS, backend, task)
    check_backend(backend)
    backend = usable(backend)
    walker = WALKERS[backend].within(threads)
    rtol, atol = finest(rtol, atol)
    options, times = problem.sampler, problem.time.times
    assert options is not None
    s0, m0, theta0 = starts(problem, samples)
    count, (K, L) = len(s0), m0.shape[1:]
    if options.refine is not None:  # room for all components; those that are not there have weight 0 and overlaps nan
        K = options.refine.until
        problem = replace(problem, family=replace(problem.family, components=K))
    shape = (count, len(times))
    out = {"m": (K, L), "s": (K, K), "w": (K,), "v": (K,), "mode_mass": (L,)} | dict.fromkeys(QUANTITIES, ())
    values = {name: np.full((*shape, *rest), np.nan) for name, rest in out.items()}
    errors = {name: np.full((*shape, *out[name]), np.nan) for name in ("mode_mass", *QUANTITIES)}
    added: list[tuple[Addition, ...]] = []
    B, status = np.full((count, K, L), np.nan), np.zeros(count, dtype=np.int8)
    for n, sample in enumerate(samples or range(count)):
        share = part(progress, n, count)
        sampler = sampler_of(problem, s0[n], m0[n], theta0[n], problem.family.variances, drop)
        found, status[n], more = _learned(problem, sampler, walker, sample, rtol, atol)
        added.append(tuple(more))
        for t, learned in enumerate(found if status[n] == 0 else []):
            prior, target = learned.mixtures["prior"], learned.mixtures["target"]
            there = slice(len(prior.log_w))
            values["m"][n, t, there], values["s"][n, t, there, there] = (
                prior.mean @ target.mean.T,
                prior.mean @ prior.mean.T,
            )
            values["w"][n, t] = 0.0
            values["w"][n, t, there], values["v"][n, t, there] = prior.weights, np.exp(prior.log_var)
            # The same paths at every time, so that curves are smooth in it.
            try:
                rng = generator(problem.init.seed, sample, Stream.EVALUATION)
                estimates = evaluate(learned, options.paths, rng, drawn=drawn, walker=walker)
            except Invalid as error:
                status[n] = error.status
                break
            for name, (value, spread) in estimates.items():
                values[name][n, t], errors[name][n, t] = value, spread
            if share:
                share((t + 1) / len(found))
        if status[n] == 0:
            rng = generator(problem.init.seed, sample, Stream.EVALUATION)
            table = _by_component(found[-1], rng, options.paths, walker)
            B[n] = np.pad(table, ((0, K - len(table)), (0, 0)))
    ds = results.run_dataset(
        problem, m=values["m"], s=values["s"], w=values["w"], v=values["v"], mode_mass=values["mode_mass"],
        objective=-values["elbo"], B=B, status=status, quadrature_error=np.zeros(shape),
        system=chain_module(drop).SYSTEM, backend=backend, rtol=rtol, atol=atol,
    ).drop_vars("quadrature_error")  # fmt: skip
    extra: dict[str, xr.Variable] = {}
    for name in (*QUANTITIES, "mode_mass"):
        errors[name][status != 0] = np.nan
        values[name][status != 0] = np.nan
    for name in QUANTITIES:
        extra |= results.sampler_variables({name: values[name], f"{name}_se": errors[name]})
    extra["objective_se"] = _error(ds.objective, errors["elbo"])
    extra["mode_mass_se"] = _error(ds.mode_mass, errors["mode_mass"])
    return ds.assign(extra), tuple(added)


def _error(of: xr.DataArray | xr.Variable, values: Array) -> xr.Variable:
    """The standard error of a variable, with its dimensions and units."""
    attributes = of.attrs | {"long_name": f"standard error: {of.attrs['long_name']}"}
    return xr.Variable(of.dims, values, attributes)


def _learned(
    problem: Problem, sampler: Sampler, walker: Walker, n: int, rtol: float, atol: float
) -> tuple[list[Sampler], int, Sequence[Addition]]:
    """The samplers at the save times, the status, and the additions that were laid down."""
    options, times = problem.sampler, problem.time.times
    assert options is not None
    learn = {"prior": problem.family.learn} | dict.fromkeys(sampler.controls, options.learn)
    if not any(learn.values()) or times[-1] == 0:
        return [sampler] * len(times), 0, ()
    if options.steps == 0 and options.refine is None and _quadrature_knows(problem):
        return *_by_quadrature(problem, sampler, rtol, atol), ()
    refine = options.refine
    if refine is not None and not isinstance(refine.source, str):
        sampler, coordinates = placed(problem, sampler, refine.source)
        refine = replace(refine, source=coordinates)
    noise = Noise.draw(sampler, options.paths, generator(problem.init.seed, n, Stream.GRADIENT))
    learning = Learning(sampler, noise, learn, problem.flow.weights, problem.flow.metric, walker)
    if refine is not None:
        return refined(learning, refine, times, rtol, atol, generator(problem.init.seed, n, Stream.REFINEMENT))
    return *learning.run(times, rtol, atol), ()


def _quadrature_knows(problem: Problem) -> bool:
    one = all(np.ptp(mixture.variances) == 0 for mixture in (problem.family, problem.target))
    return one and "variances" not in problem.family.learn


def _by_quadrature(problem: Problem, sampler: Sampler, rtol: float, atol: float) -> tuple[list[Sampler], int]:
    """No steps: the loss is KL(φ‖p), whose flow the closed equations solve without paths."""
    prior, target = sampler.mixtures["prior"], sampler.mixtures["target"]
    overlaps = Overlaps(prior.mean @ prior.mean.T, prior.mean @ target.mean.T)
    start = replace(problem, sampler=None, init=Init(None, None, overlaps, 1, problem.init.seed))
    run = flow.solve(start, rtol=rtol, atol=atol, backend="numpy").isel(sample=0)
    if int(run.status):
        return [], int(run.status)
    found = []
    for t in range(len(problem.time.times)):
        at = run.isel(time=t)
        found.append(sampler_of(problem, at.s.values, at.m.values, np.log(at.w.values), at.v.values))
    return found, 0


def _by_component(sampler: Sampler, rng: np.random.Generator, paths: int, walker: Walker) -> Array:
    """B (K, L): mass that samples started in component k put on mode l."""
    K = len(sampler.mixtures["prior"].log_w)
    chosen = np.repeat(np.arange(K), -(-paths // K))
    modes = walker.forward(sampler, Noise.draw(sampler, len(chosen), rng), chosen).modes
    return np.asarray(modes.reshape(K, -1, modes.shape[1]).mean(axis=1))
