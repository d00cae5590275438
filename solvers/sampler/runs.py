"""One run of learning the prior of a sampler, from its start to the last time, and its evaluation along the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solvers.closed import flow
from solvers.closed.span import Span
from solvers.machine import backends
from solvers.machine.chance import Stream, generator
from solvers.problem import Init, Overlaps, Problem
from solvers.sampler.backends import WALKERS, Task, Walker
from solvers.sampler.chain import Noise
from solvers.sampler.evaluate import QUANTITIES, Invalid, Weights, estimated
from solvers.sampler.learn import Learning
from solvers.sampler.model import Mixture, Sampler, chain_module
from solvers.sampler.objectives import LEVEL, Objective
from solvers.sampler.refine import Addition, Script, placed, refined
from solvers.sampler.samples import Samples

__all__ = ["Learner", "Run", "from_paths", "objective_of", "sampler_of", "velocities"]

Array = NDArray[np.float64]

#: Paths behind a gradient of one run: no fewer, unless sampler.paths are fewer, since noise bends the mean of a flow
#: that is not linear by an amount of first order in 1/paths, which no number of runs makes smaller.
FEWEST = 512


def sampler_of(problem: Problem, s: Array, m: Array, log_w: Array, v: Array, drop: str | None = None) -> Sampler:
    """The sampler of a problem whose prior has overlaps s (K, K), m (K, L), log-weights and variances (K,).

    A mixture control starts as the prior does, or as its first components.
    """
    options, target = problem.sampler, problem.target
    assert options is not None
    space = Span.of(problem, s[None], m[None])
    prior = Mixture(space.coordinates(s, m), np.log(v), log_w)
    mixtures = {"prior": prior, "target": Mixture.of(space.target(), target.variances, target.weights)}
    return Sampler(
        options.method, options.reference, options.control, options.steps, options.horizon, problem.dimension, mixtures,
        options.components, chain_module(drop), options.shares, options.annealing,
    ).begun()  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What one run of learning found, at the save times. values: (T, ...) of everything, nan where the status is not 0;
    errors: of what is estimated from paths of the evaluation. weights: of these paths, at each time, for QUOTIENTS of
    all runs. script: components that were added, for others to follow. B (K, L), samples (solvers.sampler.samples): at
    the last time."""

    values: dict[str, Array]
    errors: dict[str, Array]
    B: Array
    status: int
    added: tuple[Addition, ...]
    samples: dict[str, Array]
    script: Script
    weights: tuple[Weights, ...] = ()


@dataclass(frozen=True)
class Learner:
    """One run of learning after the other. K: the most components there will be. ends: samples to be drawn. given:
    paths behind each evaluation, if not as many as sampler.paths says."""

    problem: Problem
    walker: Walker
    runs: int
    rtol: float
    atol: float
    drawn: bool
    K: int
    ends: Samples
    given: int | None = None

    @property
    def evaluated(self) -> int:
        """Paths behind each evaluation of one run: of all runs together twice sampler.paths, so that estimates are no
        worse known than what was learned."""
        assert self.problem.sampler is not None
        paths = self.problem.sampler.paths if self.given is None else self.given
        return paths if self.runs == 1 else max(2, -(-2 * paths // self.runs))

    def run(self, sampler: Sampler, sample: int, run: int, script: Script | None = None) -> Run:
        """Learn from a start, and evaluate along the way. script: what an earlier run added, to add the same."""
        problem, options = self.problem, self.problem.sampler
        assert options is not None
        T, K, L = len(problem.time.times), self.K, len(problem.target.weights)
        values = {"m": np.full((T, K, L), np.nan), "s": np.full((T, K, K), np.nan), "v": np.full((T, K), np.nan)}
        values |= {"w": np.full((T, K), np.nan), "mode_mass": np.full((T, L), np.nan)}
        objective = objective_of(problem)
        more = ("objective", "log_z_learned") if objective.balances else ("objective",)
        values |= {name: np.full(T, np.nan) for name in (*QUANTITIES, *more)}
        values |= {name: np.full((T, *shape), np.nan) for name, shape in options.moving.items()}
        errors = {name: np.full_like(values[name], np.nan) for name in ("mode_mass", "objective", *QUANTITIES)}
        nothing = np.full((K, L), np.nan)
        paths = self.evaluated

        def rng(stream: Stream) -> np.random.Generator:
            return generator(problem.init.seed, sample, stream, run)

        found, status, added, made = self._learned(sampler, rng, script)
        if status:
            return Run(values, errors, nothing, status, tuple(added), {}, made)
        weights = []
        for t, learned in enumerate(found):
            try:  # the same paths at every time, so that curves are smooth in it
                drawing = rng(Stream.EVALUATION)
                estimates, of_paths = estimated(learned, paths, drawing, drawn=self.drawn, walker=self.walker)
            except Invalid as error:
                return Run({name: np.full_like(a, np.nan) for name, a in values.items()}, errors, nothing,
                            error.status, tuple(added), {}, made)  # fmt: skip
            weights.append(of_paths)
            elbo, variance = (float(estimates[name][0]) for name in ("elbo", "log_weight_variance"))
            estimates["objective"] = objective.value(learned, of_paths.ahead, elbo, variance, drawing, self.walker)
            if objective.balances:
                values["log_z_learned"][t] = learned.level
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
            for name in options.moving:
                values[name][t] = getattr(learned, name)
        table = _by_component(found[-1], rng(Stream.EVALUATION), paths, self.walker)
        B = np.pad(table, ((0, K - len(table)), (0, 0)))
        samples = self.ends.of(sampler, found[-1], rng(Stream.SAMPLES), self.walker)
        return Run(values, errors, B, 0, tuple(added), samples, made, tuple(weights))

    def _learned(
        self, sampler: Sampler, rng: Callable[[Stream], np.random.Generator], script: Script | None
    ) -> tuple[list[Sampler], int, Sequence[Addition], Script]:
        """The samplers at the save times, the status, the additions that were laid down, and what was added."""
        problem, options, times = self.problem, self.problem.sampler, self.problem.time.times
        assert options is not None
        learn = _moving(problem, sampler)
        if not (any(learn.values()) or options.steered) or times[-1] == 0:
            return [sampler] * len(times), 0, (), {}
        if _quadrature_knows(problem):
            return *_by_quadrature(problem, sampler, self.rtol, self.atol), (), {}
        refine = options.refine
        if refine is not None and not isinstance(refine.source, str):
            sampler, coordinates = placed(problem, sampler, refine.source)
            refine = replace(refine, source=coordinates)
        paths = max(-(-options.paths // self.runs), min(options.paths, FEWEST))
        how = (problem.flow.weights, problem.flow.metric, self.walker, objective_of(problem), options.steered)
        learning = Learning(sampler, paths, rng(Stream.GRADIENT), learn, *how)
        if refine is not None:
            return refined(learning, refine, times, self.rtol, self.atol, rng(Stream.REFINEMENT), script)
        return *learning.run(times, self.rtol, self.atol), (), {}


def objective_of(problem: Problem) -> Objective:
    """What learning descends."""
    assert problem.sampler is not None
    return Objective(problem.sampler.objective, problem.sampler.explore)


def _moving(problem: Problem, sampler: Sampler) -> dict[str, tuple[str, ...]]:
    """What is learned, by mixture."""
    assert problem.sampler is not None
    return {"prior": problem.family.learn} | dict.fromkeys(sampler.controls, problem.sampler.learn)


def velocities(
    problem: Problem, sampler: Sampler, paths: int, rng: np.random.Generator, drop: str | None = None
) -> dict[str, dict[str, Array]]:
    """How everything that is learned moves at a sampler, from so many fresh paths: of every mixture, dm/dt (K, L),
    ds/dt (K, K), dtheta/dt (K,) with weights = softmax theta, and dlog v/dt (K,); of LEVEL, if there is one,
    dlog_z_learned/dt (1,); of the schedule dlog eta/dt (N,) and dbeta/dt (N - 1,) between the ends, which stay. drop:
    the term it is without."""
    walker = WALKERS[backends.first_of(WALKERS, Task(problem, drop))].within(1)
    learn = {name: learned for name, learned in _moving(problem, sampler).items() if learned}
    options = problem.sampler
    assert options is not None
    metric = (problem.flow.weights, problem.flow.metric)
    learning = Learning(sampler, paths, rng, learn, *metric, walker, objective_of(problem), options.steered)
    modes, found = sampler.mixtures["target"].mean, dict[str, dict[str, Array]]()
    mixtures, schedule = learning.velocity(sampler, learning.draw())
    rates = {"steps": ("dlog eta/dt", schedule.log_eta), "annealing": ("dbeta/dt", schedule.beta_rate(sampler))}
    if options.steered:
        found["schedule"] = dict(rates[name] for name in options.steered)
    for name, moved in mixtures.items():
        if name == LEVEL:
            found[name] = {"dlog_z_learned/dt": moved.theta}
            continue
        turned = moved.mean @ sampler.mixtures[name].mean.T
        found[name] = {
            "dm/dt": moved.mean @ modes.T, "ds/dt": turned + turned.T, "dtheta/dt": moved.theta,
            "dlog v/dt": moved.log_var,
        }  # fmt: skip
    return found


def from_paths(problem: Problem) -> bool:
    """Whether anything is learned from paths, and so with an error."""
    assert problem.sampler is not None
    learns = bool(problem.family.learn or problem.sampler.learns) and problem.time.end > 0
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
