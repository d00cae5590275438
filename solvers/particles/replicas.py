"""The flow of independent replicas in R^d, and their velocity estimates at one point; in threads on a CPU."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvers.machine.arrays import to_numpy
from solvers.machine.backends import DEFAULT
from solvers.machine.chance import Purpose
from solvers.machine.progress import Progress
from solvers.particles.estimate import Averages, Draws, Mixtures, Report
from solvers.particles.motion import Found, drawn_from, motion, parts
from solvers.particles.plan import Plan, plan
from solvers.particles.streams import stream_keys
from solvers.problem import Problem

Array = NDArray[np.float64]

# Keys of the random streams, so that trajectories and single points never share numbers.

_R = TypeVar("_R")


class _Stopped(Exception):
    """Another thread failed, or the user pressed Ctrl-C."""


class _Rows:
    """Results with one row a replica, gathered from groups of replicas."""

    @classmethod
    def gather(cls, parts: list[Self]) -> Self:
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Path(_Rows):
    """What each replica did, at the save times of the problem.

    s (replica, time, K, K), m (replica, time, K, L): overlaps of the simulated means, exact for them.
    w, v (replica, time, K): weights and variances. objective (replica, time), nats, and mode_mass (replica, time, K,
    L), the mass each component gives to each mode: estimates from the particles drawn at that state.
    """

    s: Array
    m: Array
    w: Array
    v: Array
    objective: Array
    mode_mass: Array


@dataclass(frozen=True)
class Velocities(_Rows):
    """Unbiased estimates at one point, independent from replica to replica.

    dmu (replica, K, d) = dμ/dt; dtheta, dv (replica, K) = dθ/dt, dv/dt; objective (replica,), nats; mode_mass
    (replica, L).
    """

    dmu: Array
    dtheta: Array
    dv: Array
    objective: Array
    mode_mass: Array


def replicas_path(
    problem: Problem,
    mu: Array,
    theta: Array,
    *,
    particles: int,
    replicas: int,
    step: float,
    refine: int = 1,
    key: tuple[int, ...] = (),
    backend: str = DEFAULT,
    progress: Progress | None = None,
) -> Path:
    """The flow of every replica from one start.

    Takes
        mu (K, d), theta (K,): the start; step: as in `simulate`; refine: cut each of its steps into so many, so that
        runs with refine = 1, 2, 4 have steps in exactly these ratios; key: with `refine`, names the random streams.
    Returns
        Path; a replica that left the range of float64 holds nan from there on.
    Raises
        SimulationError, BackendError.
    """
    cut = plan(problem, particles=particles, replicas=replicas, step=step, backend=backend)
    sizes, saves = time_steps(problem, step, refine)
    times = np.concatenate([[0.0], np.cumsum(sizes)])

    def run(group: range, report: Report) -> Path:
        together = _Replicas(problem, mu, theta, particles, cut, group, (Purpose.TRAJECTORY, refine, *key), report)
        saved: list[tuple[Array, ...]] = []
        for n in range(len(times)):
            at = together.mixtures(float(times[n]))
            found = together.found(at, float(times[n]), n)
            moved = motion(at, found, problem, float(times[n]))
            if count := saves[n]:
                saved += [together.state(at, moved.objective, together.mode_mass(at, found, n))] * count
            if n < len(sizes):
                together.mu += sizes[n] * moved.dmu
                together.theta += sizes[n] * moved.dtheta
                together.v = together.v * cut.xp.exp(sizes[n] * moved.dlog_v)  # as it was, if not learned
        return Path(*(np.stack(values, axis=1) for values in zip(*saved, strict=True)))

    work = len(times) * particles * _sources(problem)
    return Path.gather(over_groups(run, cut, work, progress))


def velocities(
    problem: Problem,
    mu: Array,
    theta: Array,
    *,
    particles: int,
    replicas: int,
    key: tuple[int, ...] = (),
    time: float = 0.0,
    variances: Array | None = None,
    pairs: bool = True,
    backend: str = DEFAULT,
) -> Velocities:
    """Estimates of the flow's velocity at one point.

    Takes
        mu (K, d), theta (K,): the point, and variances (K,), default those at the start of the problem; particles:
        drawn from each source, for each replica. pairs: the same z for all sources, and −z with every z, so that the
        small differences that move weights are not lost in what all sources share or what is odd in z, and an odd
        number is one more; else with the noise of a step of a trajectory. key: names the random streams; time: matters
        under a schedule.
    Returns
        Velocities; what does not learn has velocity 0. Linear in the estimates, so unbiased too: ds/dt = dμ·μᵀ + μ·dμᵀ,
        dm/dt = dμ·νᵀ, dw_k/dt = w_k (dθ_k − Σ_j w_j dθ_j).
    Raises
        SimulationError, BackendError.
    """
    cut = plan(problem, particles=particles, replicas=replicas, backend=backend)

    def run(group: range, report: Report) -> Velocities:
        streams = (Purpose.RIGHT_HAND_SIDE, *key)
        count = -(-particles // 2) if pairs else particles
        together = _Replicas(problem, mu, theta, count, cut, group, streams, report, variances, pairs)
        at = together.mixtures(time)
        found = together.found(at, time, 0)
        moved = motion(at, found, problem, time)
        K = at.components
        mass = (cut.xp.exp(at.log_weights[:, :K, None]) * together.mode_mass(at, found, 0)).sum(1)
        dv = at.variances[:, :K] * moved.dlog_v
        return Velocities(*map(to_numpy, (moved.dmu, moved.dtheta, dv, moved.objective, mass)))

    return Velocities.gather(over_groups(run, cut, particles * _sources(problem), None))


def time_steps(problem: Problem, step: float, refine: int = 1) -> tuple[list[float], Counter[int]]:
    """The sizes of the steps, and how many save times there are after so many of them.

    A flow: each interval between save times is cut into the fewest equal steps not longer than `step`. Descent with a
    finite batch (flow.batch), where the step is the learning rate and nothing to be small: steps of just that size, and
    a save time stands for the step nearest to it.
    """
    times = problem.time.times
    if problem.flow.batch is not None:
        nearest = np.rint(times * refine / step).astype(int)
        return [step / refine] * int(nearest[-1]), Counter(nearest.tolist())
    intervals = np.diff(times, prepend=0.0)
    counts = refine * np.ceil(intervals / step * (1 - 1e-12)).astype(int)
    return np.repeat(intervals / np.maximum(counts, 1), counts).tolist(), Counter(np.cumsum(counts).tolist())


def _sources(problem: Problem) -> int:
    """How often a replica draws so many particles at a step."""
    times, forward = drawn_from(problem)
    return times * problem.family.components + forward * len(problem.target.weights)


class _Replicas:
    """The state of a group of replicas on its device, and the random streams they draw from."""

    def __init__(
        self,
        problem: Problem,
        mu: Array,
        theta: Array,
        particles: int,
        cut: Plan,
        group: range,
        key: tuple[int, ...],
        report: Report,
        variances: Array | None = None,
        pairs: bool = False,
    ) -> None:
        self.problem, self.particles, self.cut, self.report, self.pairs = problem, particles, cut, report, pairs
        xp, count = cut.xp, len(group)
        v = problem.family.variances if variances is None else variances
        self.mu = xp.tile(xp.asarray(mu), (count, 1, 1))
        self.theta, self.v = (xp.tile(xp.asarray(start), (count, 1)) for start in (theta, v))
        self.keys = xp.asarray(stream_keys(problem.init.seed, key, group))
        target = problem.target
        self.nu = xp.zeros((len(target.vectors), problem.dimension))
        self.nu[:, : target.vectors.shape[1]] = xp.asarray(target.vectors)
        self.u, self.log_pi = xp.asarray(target.variances), xp.asarray(np.log(target.weights))

    def mixtures(self, time: float) -> Mixtures:
        xp, count = self.cut.xp, len(self.mu)

        def beside(q: Any, p: Any) -> Any:
            return xp.concatenate([q, xp.broadcast_to(p, (count, *p.shape))], axis=1)

        return Mixtures(
            beside(self.mu, self.nu),
            beside(self.v, self.u),
            beside(_log_softmax(self.theta, xp), self.log_pi),
            self.mu.shape[1],
            self.problem.flow.beta(time),
        )

    def found(self, at: Mixtures, time: float, step: int) -> Found:
        """What the objective asks for; the same particles of q at every inverse temperature."""
        wanted = parts(self.problem, time)
        reverse = tuple(self.averages(at.tempered(beta), False, step) for beta, _ in wanted.reverse)
        return Found(reverse, self.averages(at.tempered(1.0), True, step) if wanted.forward else None)

    def averages(self, at: Mixtures, forward: bool, step: int, report: Report | None = None) -> Averages:
        draws = [Draws(self.keys, step)]
        if self.pairs:
            draws = [Draws(self.keys, step, common=True, sign=sign) for sign in (1.0, -1.0)]
        found = [
            self.cut.engine.sample(
                at,
                forward,
                one,
                particles=self.particles,
                block=self.cut.block,
                report=report or self.report,
                **({"threads": self.cut.within} if self.cut.within > 1 else {}),
            )
            for one in draws
        ]
        return found[0] if len(found) == 1 else Averages.mean(found)

    def mode_mass(self, at: Mixtures, found: Found, step: int) -> Any:
        """E_k[ρ_l] (replica, K, L): particles of q tell; where those drawn were of p, others are drawn."""
        of_q = found.reverse[0] if found.reverse else self.averages(at, False, step, _silent)
        return of_q.table[..., at.components :]

    def state(self, at: Mixtures, objective: Any, mode_mass: Any) -> tuple[Array, ...]:
        K, xp = at.components, self.cut.xp
        overlaps = self.mu @ self.mu.swapaxes(-1, -2), self.mu @ self.nu.T
        weights = xp.exp(at.log_weights[:, :K])
        # Copies: what is updated in place later must not change what was saved.
        return tuple(to_numpy(part).copy() for part in (*overlaps, weights, at.variances[:, :K], objective, mode_mass))


def _silent(particles: int) -> None:
    """Work that is not counted: only at save times, where no particles of q are drawn."""


def _log_softmax(theta: Any, xp: Any) -> Any:
    shifted = theta - theta.max(-1, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(-1, keepdims=True))


def over_groups(run: Callable[[range, Report], _R], cut: Plan, work: int, progress: Progress | None) -> list[_R]:
    """`run(group, report)` for every group of replicas, in threads: NumPy and compiled code let go of the interpreter.

    Takes
        work: particles that one replica will report; progress: hears of the part of all work that is done.

    Any exception, Ctrl-C included, stops the threads at their next report and is raised here.
    """
    stop, lock = threading.Event(), threading.Lock()
    done, total = 0, work * sum(map(len, cut.groups))

    def report(particles: int) -> None:
        nonlocal done
        with lock:
            done += particles
        if stop.is_set():
            raise _Stopped

    def work_on(group: range) -> _R:
        # A replica that leaves the range of float64 ends as nan, which the caller sees; a warning would say less.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return run(group, report)

    with ThreadPoolExecutor(cut.workers) as threads:
        try:
            futures = [threads.submit(work_on, group) for group in cut.groups]
            while not wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION).done.issuperset(futures):
                if progress:
                    progress(done / total)
                for future in futures:
                    if future.done():
                        future.result()
            if progress:
                progress(1.0)
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
