"""A sampler's reduced chain against its simulation in R^d, at a stated false-alarm rate.

Parts, each decided by solvers.verdict.agreement at a false-alarm probability of ALPHA: *evaluation*, the sampler at the
start; *gradient*, how it begins to learn, see gradients.py; *learning*, prior and sampler later; *choice* of components
that are added, see additions.py. Both sides are averages over paths: pairs of one replica each are tested by t.

Biases of what was learned are taken out replica by replica. Simulation: Euler steps 4h, 2h, h; E = 2 X(h) − X(2h) has
none of first order, and twice what they show of the second is allowed; a long step has the paths of a short one there,
which takes two thirds of its variance from E. Theory: noise bends it by first order in 1/paths; E = 2 T(n) − T(n/2).

ESS and log Z of n paths are biased where few carry the weights. So the means of estimates are compared:
2 f_n − f_{n/2}, f_n from n paths of either side, which have one mean if the log-weights have one law.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import softmax

from solvers.machine.backends import DEFAULT
from solvers.machine.chance import Domain
from solvers.machine.code import usable
from solvers.machine.cores import cores
from solvers.machine.pieces import in_order
from solvers.machine.progress import Progress, within
from solvers.particles.sampler.simulation import Curves, plan, replica_curves
from solvers.problem import Init, Overlaps, Problem, ProblemError
from solvers.problem.starts import Starts, starts, vectors
from solvers.problem.theory import within_theory
from solvers.results.outcomes import STATUS
from solvers.sampler.evaluate import QUOTIENTS
from solvers.sampler.limits import finest
from solvers.sampler.model import chain_module
from solvers.sampler.refine import Addition
from solvers.sampler.runs import objective_of, sampler_of
from solvers.sampler.solve import traced
from solvers.verdict.additions import Choices, addition_times, choice_part, comparable, in_space, margins
from solvers.verdict.agreement import Family
from solvers.verdict.entries import (
    ALPHA,
    AMPLIFICATION,
    SCATTER,
    Entries,
    check_replicas,
    distinct,
    extrapolated,
    first_starts,
    parts,
    unsolved,
)
from solvers.verdict.gradients import beginning, resolved_by_default
from solvers.verdict.power import check_resolve
from solvers.verdict.report import Report

__all__ = ["compare_sampler"]

Array = NDArray[np.float64]

STARTS = 2  # at most so many of a problem's starts are compared
# Times the paths of the simulation: where nothing is learned, behind gradients with no way back, and in a pilot run.
PATHS_THEORY, PATHS_LEARNING, PATHS_PILOT = 4, 16, 4

_BIASED = (*QUOTIENTS, "coverage")
_EVALUATED = ("elbo", "eubo", "log_weight_variance", "mode_mass", *_BIASED)
_LEARNED = ("s", "m", "w", "v")


def compare_sampler(
    problem: Problem,
    *,
    particles: int = 256,
    replicas: int = 32,
    step: float = 0.05,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str = DEFAULT,
    drop: str | None = None,
    resolve: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare `solve` and `simulate` of a problem with a sampler, for its first STARTS starts.

    Takes what solvers.verdict.flow.compare takes; resolve is for the gradients at the start. particles: paths of each
    replica; step: the finest of three. With `refine`, what is compared after an addition: solvers.verdict.additions.

    Raises
        SimulationError for fewer than FEWEST_REPLICAS replicas or a step that is too long; ProblemError for a sampler
        without steps that learns; BackendError; TermError for an unknown `drop`.
    """
    options = problem.sampler
    assert options is not None
    learns = problem.time.end > 0 and bool(problem.family.learn or options.learns)
    check_replicas(replicas)
    check_resolve(resolve)
    within_theory(problem)
    if learns and options.steps == 0:
        raise ProblemError(
            f"{problem.name}: sampler.steps: is 0, so that the prior learns by the gradient flow of the family: leave "
            "[sampler] out to compare that"
        )
    backend, (rtol, atol) = usable(backend), finest(rtol, atol)
    plan(problem, particles=particles, replicas=replicas, step=4 * step if learns else step, backend=backend)
    problem, notes = first_starts(problem, STARTS)
    count = problem.init.samples
    if options.refine is not None:
        problem, note = comparable(problem)
        notes.append(note)
    at_start: list[Family] = []
    moving: list[Family] = []
    later: list[Family] = []
    choices: list[Choices] = []
    broken: list[str] = []
    begin = starts(problem)
    for i in range(count):
        start = _Start(problem, begin, i, particles, replicas, step, backend, drop, rtol, atol, learns)
        if not (status := start.lay_down()):
            simulated, second = start.simulated(within(progress, i / count, (i + 0.6) / count))
            if failed := start.failed:
                broken.append(f"start {i}: the simulation has no result up to the last time ({STATUS[failed]})")
                continue
            theory, status = start.theory(within(progress, (i + 0.6) / count, (i + 1) / count))
        if status:
            broken.append(unsolved(i, status))
            continue
        if start.given and start.order:
            choices.append(start.choices(simulated, theory))
            notes.append(choices[-1].note())
        if learns:
            moves, more = beginning(problem, begin, i, particles, replicas, backend, drop, resolve, start.seed)
            moving += moves
            notes += more
        for at, time in enumerate(problem.time.times):
            if learns and time > 0 and start.scattered(simulated, at):
                notes.append(f"start {i}: not compared from time {time:g} on, where replicas scatter too widely")
                break
            (later if learns and time > 0 else at_start).extend(start.families(simulated, second, theory, at))
    found = parts({"evaluation": at_start, "gradient": moving, "learning": later})
    return Report(
        parts=(*found, *filter(None, [choice_part(choices, ALPHA)])),
        broken=tuple(broken), notes=tuple(notes),
        options={
            "particles": particles, "replicas": replicas, "step": step, "rtol": rtol, "atol": atol, "backend": backend,
            "drop": drop, "resolve": resolved_by_default(problem) if resolve is None else resolve, "starts": count,
        },
        problem=problem.text, system=chain_module(drop).SYSTEM,
    )  # fmt: skip


class _Start:
    """One start of a problem, on both sides."""

    def __init__(
        self, problem: Problem, begin: Starts, i: int, particles: int, replicas: int, step: float, backend: str,
        drop: str | None, rtol: float, atol: float, learns: bool,
    ) -> None:  # fmt: skip
        self.problem, self.begin, self.i, self.learns = problem, begin, i, learns
        self.particles, self.replicas, self.step, self.backend = particles, replicas, step, backend
        self.drop, self.rtol, self.atol = drop, rtol, atol
        self.order: tuple[int, ...] = ()
        self.failed = 0  # the worst status of a replica simulated
        self.additions = addition_times(problem)
        refine, moving = (problem.sampler.refine, problem.sampler.moving) if problem.sampler else (None, {})
        self.given = refine is not None and not isinstance(refine.source, str)
        level = ("log_z_learned",) if objective_of(problem).balances else ()
        self.learned = (*_LEARNED, *level, *moving)

    def lay_down(self) -> int:
        """Which points are added: those of a pilot run of the theory, whose status this returns."""
        if not len(self.additions):
            return 0
        run, added = self.solved(PATHS_PILOT * self.particles, 0, 3)
        options = self.problem.sampler
        assert options is not None
        assert options.refine is not None
        if self.given:
            self.order = tuple(int(np.nanargmax(addition.scores)) for addition in added)
        else:
            s, m, theta = (of[self.i] for of in self.begin)
            mu, nu = vectors(s, m, self.problem)
            places = [(addition.x, addition.rho) for addition in added]
            points = in_space(sampler_of(self.problem, s, m, theta, self.problem.family.variances), mu, nu, places)
            self.order = tuple(range(len(points)))
            init = Init(None, mu, None, 1, self.problem.init.seed)
            refine = replace(options.refine, source=points)
            self.problem = replace(self.problem, init=init, sampler=replace(options, refine=refine))
        return int(run["status"][0])

    def choices(self, simulated: dict[str, Array], theory: dict[str, Array]) -> Choices:
        return Choices(self.i, self.additions, self.order, theory["margin_one"], simulated["margin_one"])

    def simulated(self, progress: Progress | None) -> tuple[dict[str, Array], dict[str, Array]]:
        """Quantities (replica, time, ...) without the first order in the step, and twice what the second may be."""
        runs: list[Curves] = []
        problem = self.laid(self.problem)
        for cuts, begin, end in ((1, 0, 1 / 7), (2, 1 / 7, 3 / 7), (4, 3 / 7, 1)) if self.learns else ((1, 0, 1),):
            runs.append(replica_curves(
                problem, self.begin, self.i, particles=self.particles, replicas=self.replicas,
                step=self.step * (4 if self.learns else 1), cuts=cuts, stride=4 // cuts, backend=self.backend,
                progress=within(progress, begin, end),
            ))  # fmt: skip
        self.failed = max(int(run.status.max()) for run in runs)
        names = (*_EVALUATED, *self.learned)
        if not self.learns:
            return {name: runs[0].values[name] for name in names}, dict.fromkeys(names, np.zeros(()))
        four_h, two_h, h = ({name: run.values[name] for name in names} | self.margins(run.scores) for run in runs)
        both = {name: extrapolated(four_h[name], two_h[name], h[name]) for name in h}
        best, second = ({name: pair[side] for name, pair in both.items()} for side in (0, 1))
        return best | ({"margin_one": h["margin"]} if self.given and self.order else {}), second

    def theory(self, progress: Progress | None) -> tuple[dict[str, Array], int]:
        """The same quantities from the reduced chain, free of the first order in 1/paths; and the status."""
        n, at_start = self.particles, self.learns and self.problem.time.times[0] == 0
        sizes = (n, n // 2) if self.learns else (n, n // 2, PATHS_THEORY * n)
        found: list[dict[str, Array]] = []
        jobs = [(paths, r, k) for r in range(self.replicas) for k, paths in enumerate(sizes)]
        solved = in_order(lambda job: self.solved(*jobs[job]), len(jobs), cores())
        for r in range(self.replicas):
            runs = [next(solved) for _ in sizes]
            for run, _ in runs:
                if status := int(run["status"][0]):
                    return {}, status
            full, half, *more = [
                {name: run[name].values[0] for name in (*_EVALUATED, *self.learned)}
                | self.margins(np.array([addition.scores for addition in added]))
                for run, added in runs
            ]
            values = {}
            for name, a in full.items():
                values[name] = 2 * a - half[name] if self.learns or name in _BIASED else more[0][name]
                if at_start and name not in (*_BIASED, "margin"):
                    values[name][0] = a[0]
            if self.given and self.order:
                values["margin_one"] = full["margin"]
            found.append(values)
            if progress:
                progress((r + 1) / self.replicas)
        return {name: np.stack([values[name] for values in found]) for name in found[0]}, 0

    def seed(self, replica: int, kind: int) -> np.random.SeedSequence:
        """Of one repetition of the theory, by what it repeats."""
        return np.random.SeedSequence(self.problem.init.seed, spawn_key=(Domain.THEORY, self.i, replica, kind))

    def solved(self, paths: int, replica: int, kind: int) -> tuple[xr.Dataset, tuple[Addition, ...]]:
        """The theory from so many paths, and what was there to be added."""
        problem = self.laid(self.problem)
        init = replace(problem.init, seed=int(self.seed(replica, kind).generate_state(1)[0]))
        if init.scale is not None:
            init = Init(None, None, Overlaps(self.begin.s[self.i], self.begin.m[self.i]), 1, init.seed)
        assert problem.sampler is not None
        cheap = self.learns and problem.sampler.control == "exact" and problem.sampler.refine is None
        options = replace(problem.sampler, paths=paths * (PATHS_LEARNING if cheap else 1))
        once = replace(problem, init=init, sampler=options)
        given = {"rtol": self.rtol, "atol": self.atol, "drop": self.drop, "threads": 1, "drawn": True, "runs": 1}
        run, added = traced(once, evaluated=paths, **given)  # type: ignore[arg-type]
        return run, added[0]

    def laid(self, problem: Problem) -> Problem:
        """The problem with the additions laid down, as far as they are known."""
        if problem.sampler is None or problem.sampler.refine is None:
            return problem
        refine = replace(problem.sampler.refine, laid=self.order)
        return replace(problem, sampler=replace(problem.sampler, refine=refine))

    def margins(self, scores: Array) -> dict[str, Array]:
        return {"margin": margins(scores, self.order)} if self.given and self.order else {}

    def scattered(self, simulated: dict[str, Array], at: int) -> bool:
        with np.errstate(over="ignore", invalid="ignore"):
            length, there = self.length(simulated), slice(self.components(at))
            spread = [simulated["s"][:, at, there, there].std(0).max() / length]
            spread += [simulated[name][:, at, there].std(0).max() / by for name, by in (("m", length), ("w", 1))]
        return not max(spread) <= 3 * SCATTER  # of E = 2 X(h) − X(2h), which scatters by up to three times that of X

    def components(self, at: int) -> int:
        """How many components there are at a save time; at that of an addition, before it."""
        return self.problem.family.components + int((self.additions < self.problem.time.times[at]).sum())

    def length(self, values: dict[str, Array]) -> float:
        """How far overlaps move when a responsibility moves by 1; at least 1."""
        return max(1.0, float(np.abs(self.problem.target.c).max()), float(np.nanmax(np.abs(values["s"]).mean(0))))

    def families(
        self, simulated: dict[str, Array], second: dict[str, Array], theory: dict[str, Array], at: int
    ) -> list[Family]:
        """All entries at one save time: estimates from paths of an evaluation; what was learned, from 1/step times as
        many in a unit of time."""
        evaluated, learned = Entries(), Entries()
        length, moved = self.length(simulated), self.learns and self.problem.time.times[at] > 0
        names = [(name, at) for name in (*_EVALUATED, *(self.learned if moved else ()))]
        s, m, theta = (of[self.i] for of in self.begin)
        before = {"s": s, "m": m, "w": softmax(theta), "v": self.problem.family.variances}
        chain = sampler_of(self.problem, s, m, theta, before["v"])
        before |= {"eta": chain.eta, "beta": chain.beta}
        if self.given:
            names += [("margin", int(a)) for a in np.flatnonzero(self.additions == self.problem.time.times[at])]
        for name, row in names:
            scale = length if name in ("s", "m", "margin") else 1.0
            for index in distinct(name, simulated[name].shape[2:]):
                absent = name in _LEARNED and max(index[: 1 + (name == "s")]) >= self.components(at)
                if absent or (name == "beta" and index[0] in (0, chain.steps)):  # 0 and 1, whatever is learned
                    continue
                where = (slice(None), row, *index)
                expected = theory[name][where]
                known = second[name][(row, *index)] if moved else 0.0
                tolerance = AMPLIFICATION * self.rtol * scale if moved else 1e-9
                # The point that the one added is better than, by its row from 0.
                shown = (index[0] + (index[0] >= self.order[row]),) if name == "margin" else index
                # A pair of replicas, one from either side: its difference has the variances of both.
                pairs = simulated[name][where] - (expected - expected.mean())
                value, entries = expected.mean(), learned if name in self.learned else evaluated
                there = name in before and all(n < size for n, size in zip(index, before[name].shape, strict=True))
                unit = value - before[name][index] if there else value
                entries.add(name, shown, value, pairs, scale=scale, allowance=known + tolerance, unit=unit)
        both = (evaluated, self.particles * self.replicas), (learned, self.particles * self.replicas / self.step)
        time = float(self.problem.time.times[at])
        return [entries.family(self.i, time, draws) for entries, draws in both if entries.labels]
