"""A sampler's reduced chain against its simulation in R^d, at a stated false-alarm rate.

Two parts, each judged by solvers.agreement at a false-alarm probability of ALPHA: *evaluation*, the sampler at the
start, and *learning*, the prior and the sampler at later times. Both sides are averages over paths, so the theory is
repeated as often as the simulation, with random numbers of its own, and pairs of one replica each are judged by t.

Biases are taken out replica by replica. Simulation: runs with Euler steps 4h, 2h, h; E = 2 X(h) − X(2h) has none of
first order in the step, and twice what the three show of the second is allowed. Theory: its paths are kept along the
learning time, which makes a bias of first order in 1/paths; runs with n and n/2 paths, E = 2 T(n) − T(n/2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.agreement import Family, judge
from solvers.machine import cores
from solvers.particles.pieces import in_order
from solvers.particles.plan import SimulationError
from solvers.particles.sampler import Curves, plan, replica_curves
from solvers.problem import Init, Overlaps, Problem, ProblemError
from solvers.report import Report
from solvers.results import STATUS
from solvers.sampler.model import chain_module
from solvers.sampler.solve import FINEST_RTOL, solve
from solvers.starts import Starts, starts

__all__ = ["compare_sampler"]

Array = NDArray[np.float64]
Progress = Callable[[float], None]

ALPHA = 1e-6  # false-alarm probability of each part
STARTS = 2  # at most so many of a problem's starts are compared
FEWEST_REPLICAS = 32
PATHS_THEORY = 4  # times as many paths as the simulation has, where nothing is learned: they are cheap
AMPLIFICATION = 30.0  # of the integrator's tolerance along a trajectory
SCATTER = 0.15  # standard deviation of weights and overlaps over replicas, beyond which nothing is judged
FEWEST_EFFECTIVE = 30  # paths by ESS in a replica; with fewer, log Z is not judged: it is a matter of rare paths

_EVALUATED = ("elbo", "eubo", "log_z", "log_weight_variance", "mode_mass", "coverage")
_LEARNED = ("s", "m", "w", "v")


def compare_sampler(
    problem: Problem,
    *,
    particles: int = 256,
    replicas: int = 32,
    step: float = 0.05,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    backend: str = "numba",
    drop: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare `solve` and `simulate` of a problem with a sampler, for its first STARTS starts.

    Takes what solvers.compare.compare takes; particles: paths of each replica; step: the finest of three.
    With `refine`, times up to the first addition are judged: where components appear is a matter of chance.

    Raises
        SimulationError for fewer than FEWEST_REPLICAS replicas or a step that is too long; ProblemError for a sampler
        without steps that learns; BackendError; TermError for an unknown `drop`.
    """
    options = problem.sampler
    assert options is not None
    learns = problem.time.end > 0 and bool(problem.family.learn or options.learn)
    if replicas < FEWEST_REPLICAS:
        raise SimulationError(f"replicas: is {replicas}; must be at least {FEWEST_REPLICAS} for a comparison")
    if learns and options.steps == 0:
        raise ProblemError(
            f"{problem.name}: sampler.steps: is 0, so that the prior learns by the gradient flow of the family: leave "
            "[sampler] out to compare that"
        )
    plan(problem, particles=particles, replicas=replicas, step=4 * step if learns else step, backend=backend)
    notes: list[str] = []
    count = min(problem.init.samples, STARTS)
    if count < problem.init.samples:
        notes.append(f"the first {count} of {problem.init.samples} starts were compared")
    problem = replace(problem, init=replace(problem.init, samples=count))
    if options.refine is not None:
        times = problem.time.times[problem.time.times <= options.refine.every]
        if len(times) == 0:
            raise ProblemError(f"{problem.name}: time.save: has no time up to the first addition, to be compared")
        notes.append(f"judged up to the first addition of a component, time {options.refine.every:g}")
        until = replace(problem.time, end=float(times[-1]), times=times)
        problem = replace(problem, time=until, sampler=replace(options, refine=None))
    at_start: list[Family] = []
    later: list[Family] = []
    broken: list[str] = []
    begin = starts(problem)
    for i in range(count):
        trial = _Trial(problem, begin, i, particles, replicas, step, backend, drop, rtol, atol, learns)
        simulated, second = trial.simulated(progress and _between(progress, i / count, (i + 0.6) / count))
        theory, status = trial.theory(progress and _between(progress, (i + 0.6) / count, (i + 1) / count))
        if status:
            broken.append(f"start {i}: the theory has no solution up to the last time ({STATUS[status]})")
            continue
        for at, time in enumerate(problem.time.times):
            if learns and time > 0 and trial.scattered(simulated, at):
                notes.append(f"start {i}: not judged from time {time:g} on, where replicas scatter too widely")
                break
            family, left_out = trial.family(simulated, second, theory, at)
            (later if learns and time > 0 else at_start).append(family)
            if left_out:
                notes.append(f"start {i}, time {time:g}: log_z not judged, the effective paths are too few")
    named = {"evaluation": at_start, "learning": later}
    return Report(
        parts=tuple(judge(name, families, ALPHA) for name, families in named.items() if families),
        broken=tuple(broken),
        notes=tuple(notes),
        options={
            "particles": particles, "replicas": replicas, "step": step, "rtol": rtol, "atol": atol, "backend": backend,
            "drop": drop, "starts": count,
        },
        problem=problem.text,
        system=chain_module(drop).SYSTEM,
    )  # fmt: skip


class _Trial:
    """One start of a problem, on both sides."""

    def __init__(
        self, problem: Problem, begin: Starts, i: int, particles: int, replicas: int, step: float, backend: str,
        drop: str | None, rtol: float, atol: float, learns: bool,
    ) -> None:  # fmt: skip
        self.problem, self.begin, self.i, self.learns = problem, begin, i, learns
        self.particles, self.replicas, self.step, self.backend = particles, replicas, step, backend
        self.drop, self.rtol, self.atol = drop, rtol, atol

    def simulated(self, progress: Progress | None) -> tuple[dict[str, Array], dict[str, Array]]:
        """Quantities (replica, time, ...) without the first order in the step, and twice what the second may be."""
        runs: list[Curves] = []
        for cuts, done in ((1, 0.15), (2, 0.45), (4, 1.0)) if self.learns else ((1, 1.0),):
            runs.append(
                replica_curves(
                    self.problem, self.begin, self.i, particles=self.particles, replicas=self.replicas,
                    step=self.step * (4 if self.learns else 1), cuts=cuts, backend=self.backend,
                    progress=progress and _between(progress, 0.0, done),
                )
            )  # fmt: skip
        names = (*_EVALUATED, *_LEARNED)
        if not self.learns:
            return {name: runs[0].values[name] for name in names}, dict.fromkeys(names, np.zeros(()))
        four_h, two_h, h = (run.values for run in runs)
        best = {name: 2 * h[name] - two_h[name] for name in names}
        second = {
            name: 2 * np.abs(((two_h[name] - four_h[name]) - 2 * (h[name] - two_h[name])).mean(0)) / 3 for name in names
        }
        for name in _EVALUATED:  # nothing has been learned yet: the three are averages of the same number
            best[name][:, 0] = (four_h[name] + two_h[name] + h[name])[:, 0] / 3
            second[name][0] = 0.0
        return best, second

    def theory(self, progress: Progress | None) -> tuple[dict[str, Array], int]:
        """The same quantities from the reduced chain, free of the first order in 1/paths; and the status."""
        n = self.particles * (1 if self.learns else PATHS_THEORY)
        found: list[dict[str, Array]] = []
        jobs = [(paths, r, k) for r in range(self.replicas) for k, paths in enumerate((n, n // 2))]
        solved = in_order(lambda job: self.solved(*jobs[job]), len(jobs), cores())
        for r in range(self.replicas):
            full, half = next(solved), next(solved)
            for run in (full, half):
                if status := int(run["status"][0]):
                    return {}, status
            values = {}
            for name in (*_EVALUATED, *_LEARNED, "ess"):
                a, b = full[name].values[0], half[name].values[0]
                extrapolate = name in ("log_z", "coverage") or (self.learns and name != "ess")
                values[name] = 2 * a - b if extrapolate else a
                if self.learns and name not in ("log_z", "coverage"):
                    values[name][0] = a[0]
            found.append(values)
            if progress:
                progress((r + 1) / self.replicas)
        return {name: np.stack([values[name] for values in found]) for name in found[0]}, 0

    def solved(self, paths: int, replica: int, kind: int) -> xr.Dataset:
        problem = self.problem
        words = np.random.SeedSequence(problem.init.seed, spawn_key=(0x7E01, self.i, replica, kind)).generate_state(1)
        overlaps = Overlaps(self.begin.s[self.i], self.begin.m[self.i])
        assert problem.sampler is not None
        once = replace(
            problem,
            init=Init(None, None, overlaps, 1, int(words[0])),
            sampler=replace(problem.sampler, paths=paths),
        )
        return solve(once, rtol=self.rtol, atol=self.atol, drop=self.drop, threads=1)

    def scattered(self, simulated: dict[str, Array], at: int) -> bool:
        with np.errstate(over="ignore", invalid="ignore"):
            length = self.length(simulated)
            spread = [simulated[name][:, at].std(0).max() / by for name, by in (("s", length), ("m", length), ("w", 1))]
        return not max(spread) <= 3 * SCATTER  # of E = 2 X(h) − X(2h), which scatters by up to three times that of X

    def length(self, values: dict[str, Array]) -> float:
        """How far overlaps move when a responsibility moves by 1; at least 1."""
        return max(1.0, float(np.abs(self.problem.target.c).max()), float(np.abs(values["s"]).mean(0).max()))

    def family(
        self, simulated: dict[str, Array], second: dict[str, Array], theory: dict[str, Array], at: int
    ) -> tuple[Family, bool]:
        """All entries at one save time, and whether log Z had to be left out."""
        labels: list[str] = []
        columns: list[tuple[Array, float, float, float]] = []
        length, moved = self.length(simulated), self.learns and self.problem.time.times[at] > 0
        heavy = float(theory["ess"][:, at].mean()) * self.particles < FEWEST_EFFECTIVE
        names = [name for name in _EVALUATED if not (heavy and name == "log_z")] + (list(_LEARNED) if moved else [])
        for name in names:
            scale = length if name in ("s", "m") else 1.0
            for index in np.ndindex(simulated[name].shape[2:]):
                if name == "s" and index[0] > index[1]:
                    continue
                where = (slice(None), at, *index)
                expected = theory[name][where]
                known = second[name][(at, *index)] if moved else 0.0
                tolerance = AMPLIFICATION * max(self.rtol, FINEST_RTOL) * scale if moved else 1e-9
                labels.append(name + (f"[{','.join(map(str, index))}]" if index else ""))
                # A pair of replicas, one from either side: its difference has the variances of both.
                columns.append(
                    (simulated[name][where] - (expected - expected.mean()), expected.mean(), scale, known + tolerance)
                )
        estimates, means, scales, allowances = zip(*columns, strict=True)
        return Family(
            start=self.i, time=float(self.problem.time.times[at]), labels=labels, theory=np.array(means),
            estimates=np.stack(estimates, axis=1), allowance=np.array(allowances), scale=np.array(scales),
            draws=self.particles * self.replicas,
        ), heavy  # fmt: skip


def _between(progress: Progress, begin: float, end: float) -> Progress:
    return lambda done: progress(begin + (end - begin) * done)
