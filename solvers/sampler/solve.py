"""A problem with a [sampler]: its prior learned through the reduced chain, and the sampler evaluated along the way.

The prior is learned several times from the same start, from paths of their own: means over these runs are what is
learned, and their scatter says how well that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

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
from solvers.machine.cores import cores
from solvers.machine.pieces import in_order
from solvers.machine.progress import Progress, part
from solvers.problem import Init, Overlaps, Problem, demands
from solvers.problem.starts import starts
from solvers.results.replicas import judged, variables
from solvers.sampler.backends import WALKERS, Task, Walker
from solvers.sampler.chain import Noise
from solvers.sampler.evaluate import QUANTITIES, Invalid, evaluate
from solvers.sampler.learn import Learning
from solvers.sampler.limits import check, finest
from solvers.sampler.model import Mixture, Sampler, chain_module
from solvers.sampler.refine import Addition, placed, refined

__all__ = ["sampler_of", "solve", "traced"]

Array = NDArray[np.float64]

#: Independent runs of learning: enough for a standard error that is known to a quarter of itself.
RUNS = 8


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

    rtol, atol: of a step of learning; no finer than solvers.sampler.limits.finest, and the dataset says which they
    were. backend: "numba", compiled paths on so many threads (default: all cores), "cupy", a CUDA kernel, or "numpy";
    all use the same random numbers and agree to rounding. By default numba where it can do the problem, else numpy; the
    dataset says which. samples: which starts, default all of them; a start has the same paths whichever others are
    there. drawn: of solvers.sampler.evaluate.

    Returns
        The dataset of RUN.nc with objective = −elbo (the reverse KL on paths, since the target is normalised),
        mode_mass that of the samples, and QUANTITIES, all of them means over RUNS independent runs of learning where
        anything is learned from paths (sampler.paths / RUNS of them behind each gradient of each). `_se` of all of
        these, of m, s, w and v too: the standard error over these runs, or where there is one run that of the paths of
        its evaluation, which are not those of any gradient. With several runs, outcomes of each and their shares, see
        solvers.results.replicas.
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
    runs: int = RUNS,
) -> tuple[xr.Dataset, tuple[tuple[Addition, ...], ...]]:
    """As `solve`; and of every sample the additions, where a refinement has them laid down. runs: of learning."""
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
    runs = runs if _from_paths(problem) else 1
    learner = _Learner(problem, WALKERS[backend].within(1 if runs > 1 else threads), runs, rtol, atol, drawn, K)
    workers = min(threads or cores(), runs) if WALKERS[backend].threaded else 1
    out = {"m": (K, L), "s": (K, K), "w": (K,), "v": (K,), "mode_mass": (L,)} | dict.fromkeys(QUANTITIES, ())
    values = {name: np.full((count, len(times), *rest), np.nan) for name, rest in out.items()}
    errors = {name: np.full_like(a, np.nan) for name, a in values.items()}
    added: list[tuple[Addition, ...]] = []
    each: list[dict[str, NDArray[np.int8]]] = []
    B, status = np.full((count, K, L), np.nan), np.zeros(count, dtype=np.int8)
    for n, sample in enumerate(samples or range(count)):
        sampler = sampler_of(problem, s0[n], m0[n], theta0[n], problem.family.variances, drop)
        share, found = part(progress, n, count), []
        for run in in_order(partial(learner.run, sampler, sample), runs, workers):
            found.append(run)
            if share:
                share(len(found) / runs)
        added.append(found[0].added)
        status[n] = max(run.status for run in found)
        if status[n] == 0:
            for name in out:
                values[name][n], errors[name][n] = _pooled(name, found)
            B[n] = np.mean([run.B for run in found], axis=0)
        if runs > 1:
            last = {name: np.stack([run.values[name][-1] for run in found]) for name in ("w", "m", "s")}
            masses = np.stack([run.values["mode_mass"] for run in found])
            each.append(judged(problem, **last, mode_mass=masses, B=np.stack([run.B for run in found])))
    ds = results.run_dataset(
        shown, m=values["m"], s=values["s"], w=values["w"], v=values["v"], mode_mass=values["mode_mass"],
        objective=-values["elbo"], B=B, status=status, quadrature_error=np.zeros((count, len(times))),
        system=chain_module(drop).SYSTEM, backend=backend, rtol=rtol, atol=atol,
    ).drop_vars("quadrature_error")  # fmt: skip
    extra: dict[str, xr.Variable] = {}
    for name in QUANTITIES:
        extra |= results.sampler_variables({name: values[name], f"{name}_se": errors[name]})
    extra["objective_se"] = _error(ds.objective, errors["elbo"])
    for name in ("mode_mass", *(("m", "s", "w", "v") if runs > 1 else ())):
        extra[f"{name}_se"] = _error(ds[name], errors[name])
    return ds.assign(extra | (variables(problem, each) if each else {})), tuple(added)


@dataclass(frozen=True)
class _Run:
    """What one run of learning found, at the save times. values: (T, ...) of everything, nan where the status is not 0;
    errors: of what is estimated from paths of the evaluation. B (K, L): at the last time."""

    values: dict[str, Array]
    errors: dict[str, Array]
    B: Array
    status: int
    added: tuple[Addition, ...]


def _pooled(name: str, found: Sequence[_Run]) -> tuple[Array, Array]:
    """The mean over runs and its standard error; that of its evaluation where there is one run."""
    all_of = np.stack([run.values[name] for run in found])
    if len(found) == 1:
        return all_of[0], found[0].errors.get(name, np.full_like(all_of[0], np.nan))
    return all_of.mean(0), all_of.std(0, ddof=1) / np.sqrt(len(found))


@dataclass(frozen=True)
class _Learner:
    """One run of learning after the other. K: the most components there will be."""

    problem: Problem
    walker: Walker
    runs: int
    rtol: float
    atol: float
    drawn: bool
    K: int

    def run(self, sampler: Sampler, sample: int, run: int) -> _Run:
        """Learn from a start, and evaluate along the way."""
        problem, options = self.problem, self.problem.sampler
        assert options is not None
        T, K, L = len(problem.time.times), self.K, len(problem.target.weights)
        values = {"m": np.full((T, K, L), np.nan), "s": np.full((T, K, K), np.nan), "v": np.full((T, K), np.nan)}
        values |= {"w": np.full((T, K), np.nan), "mode_mass": np.full((T, L), np.nan)}
        values |= {name: np.full(T, np.nan) for name in QUANTITIES}
        errors = {name: np.full_like(values[name], np.nan) for name in ("mode_mass", *QUANTITIES)}
        nothing = np.full((K, L), np.nan)

        def rng(stream: Stream) -> np.random.Generator:
            return generator(problem.init.seed, sample, stream, run)

        found, status, added = self._learned(sampler, rng)
        if status:
            return _Run(values, errors, nothing, status, tuple(added))
        for t, learned in enumerate(found):
            try:  # the same paths at every time, so that curves are smooth in it
                estimates = evaluate(
                    learned, options.paths, rng(Stream.EVALUATION), drawn=self.drawn, walker=self.walker
                )
            except Invalid as error:
                return _Run({name: np.full_like(a, np.nan) for name, a in values.items()}, errors, nothing,
                            error.status, tuple(added))  # fmt: skip
            for name, (value, spread) in estimates.items():
                values[name][t], errors[name][t] = value, spread
            prior, target = learned.mixtures["prior"], learned.mixtures["target"]
            there = slice(len(prior.log_w))
            values["m"][t, there], values["s"][t, there, there] = (
                prior.mean @ target.mean.T,
                prior.mean @ prior.mean.T,
            )
            values["w"][t] = 0.0
            values["w"][t, there], values["v"][t, there] = prior.weights, np.exp(prior.log_var)
        table = _by_component(found[-1], rng(Stream.EVALUATION), options.paths, self.walker)
        B = np.pad(table, ((0, K - len(table)), (0, 0)))
        return _Run(values, errors, B, 0, tuple(added))

    def _learned(
        self, sampler: Sampler, rng: Callable[[Stream], np.random.Generator]
    ) -> tuple[list[Sampler], int, Sequence[Addition]]:
        """The samplers at the save times, the status, and the additions that were laid down."""
        problem, options, times = self.problem, self.problem.sampler, self.problem.time.times
        assert options is not None
        learn = {"prior": problem.family.learn} | dict.fromkeys(sampler.controls, options.learn)
        if not any(learn.values()) or times[-1] == 0:
            return [sampler] * len(times), 0, ()
        if _quadrature_knows(problem):
            return *_by_quadrature(problem, sampler, self.rtol, self.atol), ()
        refine = options.refine
        if refine is not None and not isinstance(refine.source, str):
            sampler, coordinates = placed(problem, sampler, refine.source)
            refine = replace(refine, source=coordinates)
        paths, metric = -(-options.paths // self.runs), (problem.flow.weights, problem.flow.metric)
        learning = Learning(sampler, paths, rng(Stream.GRADIENT), learn, *metric, self.walker)
        if refine is not None:
            return refined(learning, refine, times, self.rtol, self.atol, rng(Stream.REFINEMENT))
        return *learning.run(times, self.rtol, self.atol), ()


def _error(of: xr.DataArray | xr.Variable, values: Array) -> xr.Variable:
    """The standard error of a variable, with its dimensions and units."""
    attributes = of.attrs | {"long_name": f"standard error: {of.attrs['long_name']}"}
    return xr.Variable(of.dims, values, attributes)


def _from_paths(problem: Problem) -> bool:
    """Whether anything is learned from paths, and so with an error."""
    assert problem.sampler is not None
    learns = bool(problem.family.learn or problem.sampler.learn) and problem.time.end > 0
    return learns and not _quadrature_knows(problem)


def _quadrature_knows(problem: Problem) -> bool:
    """Whether the closed equations solve it: no steps, and one variance in a mixture."""
    assert problem.sampler is not None
    if problem.sampler.steps or problem.sampler.refine is not None:
        return False
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
