"""The flow of independent replicas in R^d, and their velocity estimates at one point; in threads on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from solvers.arrays import backend_module, to_numpy
from solvers.particles.estimate import Estimates, Surroundings, estimate
from solvers.particles.plan import Plan, plan
from solvers.particles.streams import normals
from solvers.problem import Problem

Array = NDArray[np.float64]
Progress = Callable[[float], None]

# Keys of the random streams, so that trajectories and single points never share numbers.
_PATH, _POINT = 0, 1

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
    w (replica, time, K): weights. objective (replica, time), nats, and mode_mass (replica, time, K, L), the mass each
    component gives to each mode: estimates from the particles drawn at that state.
    """

    s: Array
    m: Array
    w: Array
    objective: Array
    mode_mass: Array


@dataclass(frozen=True)
class Velocities(_Rows):
    """Unbiased estimates at one point, independent from replica to replica.

    dmu (replica, K, d) = dμ/dt; dtheta (replica, K) = dθ/dt; objective (replica,), nats; mode_mass (replica, L).
    """

    dmu: Array
    dtheta: Array
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
    backend: str = "numpy",
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
    xp = backend_module(backend)
    cut = plan(problem, particles=particles, replicas=replicas, step=step, backend=backend)
    intervals = np.diff(problem.time.times, prepend=0.0)
    counts = refine * np.ceil(intervals / step * (1 - 1e-12)).astype(int)
    sizes: list[float] = np.repeat(intervals / np.maximum(counts, 1), counts).tolist()
    save_at = {int(n): i for i, n in enumerate(np.cumsum(counts))}
    around = _surroundings(problem, xp)

    def run(group: range, report: Callable[[], None]) -> Path:
        fill = normals(xp, problem.init.seed, (_PATH, refine, *key), group)
        mu_now = xp.tile(xp.asarray(mu), (len(group), 1, 1))
        theta_now = xp.tile(xp.asarray(theta), (len(group), 1))
        saved: list[tuple[Array, ...]] = []
        for n in range(len(sizes) + 1):
            log_w = _log_softmax(theta_now, xp)
            found = estimate(mu_now, log_w, around, fill, particles=particles, block=cut.block)
            if n in save_at:
                overlaps = mu_now @ mu_now.transpose(0, 2, 1), mu_now @ around.nu.T
                w = xp.exp(log_w)
                saved.append(tuple(map(to_numpy, (*overlaps, w, (w * found.log_ratio).sum(-1), found.mode_mass))))
            if n < len(sizes):
                dmu, dtheta = _velocity(found, log_w, problem, xp)
                mu_now += sizes[n] * dmu
                theta_now += sizes[n] * dtheta
            report()
        return Path(*(np.stack(values, axis=1) for values in zip(*saved, strict=True)))

    return Path.gather(_over_groups(run, cut, len(sizes) + 1, progress))


def velocities(
    problem: Problem,
    mu: Array,
    theta: Array,
    *,
    particles: int,
    replicas: int,
    key: tuple[int, ...] = (),
    backend: str = "numpy",
) -> Velocities:
    """Estimates of the flow's velocity at one point.

    Takes
        mu (K, d), theta (K,): the point; particles: drawn from each component, for each replica; key: names the random
        streams.
    Returns
        Velocities; what does not learn has velocity 0. Linear in the estimates, so unbiased too: ds/dt = dμ·μᵀ + μ·dμᵀ,
        dm/dt = dμ·νᵀ, dw_k/dt = w_k (dθ_k − Σ_j w_j dθ_j).
    Raises
        SimulationError, BackendError.
    """
    xp = backend_module(backend)
    cut = plan(problem, particles=particles, replicas=replicas, backend=backend)
    around = _surroundings(problem, xp)

    def run(group: range, report: Callable[[], None]) -> Velocities:
        fill = normals(xp, problem.init.seed, (_POINT, *key), group)
        log_w = _log_softmax(xp.tile(xp.asarray(theta), (len(group), 1)), xp)
        found = estimate(
            xp.tile(xp.asarray(mu), (len(group), 1, 1)), log_w, around, fill, particles=particles, block=cut.block
        )
        w = xp.exp(log_w)
        objective, mass = (w * found.log_ratio).sum(-1), (w[..., None] * found.mode_mass).sum(1)
        return Velocities(*map(to_numpy, (*_velocity(found, log_w, problem, xp), objective, mass)))

    return Velocities.gather(_over_groups(run, cut, 1, None))


def _velocity(found: Estimates, log_w: Any, problem: Problem, xp: Any) -> tuple[Any, Any]:
    learn, w = problem.family.learn, xp.exp(log_w)
    dmu = -w[..., None] * found.gradient if "means" in learn else xp.zeros_like(found.gradient)
    if "weights" not in learn:
        return dmu, xp.zeros_like(w)
    excess = found.log_ratio - (w * found.log_ratio).sum(-1, keepdims=True)
    return dmu, -(w if problem.flow.weights == "softmax" else 1.0) * excess


def _surroundings(problem: Problem, xp: Any) -> Surroundings:
    target = problem.target
    nu = xp.zeros((len(target.vectors), problem.dimension))
    nu[:, : target.vectors.shape[1]] = xp.asarray(target.vectors)
    others = np.log(target.weights), target.variances, problem.family.variances
    return Surroundings(nu, *map(xp.asarray, others))


def _log_softmax(theta: Any, xp: Any) -> Any:
    shifted = theta - theta.max(-1, keepdims=True)
    return shifted - xp.log(xp.exp(shifted).sum(-1, keepdims=True))


def _over_groups(
    run: Callable[[range, Callable[[], None]], _R], cut: Plan, steps: int, progress: Progress | None
) -> list[_R]:
    """`run(group, report)` for every group of replicas, in threads: NumPy lets go of the interpreter as it computes.

    Any exception, Ctrl-C included, stops the threads at their next report and is raised here.
    """
    stop, lock = threading.Event(), threading.Lock()
    done = 0

    def report() -> None:
        nonlocal done
        with lock:
            done += 1
        if stop.is_set():
            raise _Stopped

    def work(group: range) -> _R:
        # A replica that leaves the range of float64 ends as nan, which the caller sees; a warning would say less.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return run(group, report)

    with ThreadPoolExecutor(cut.workers) as threads:
        try:
            futures = [threads.submit(work, group) for group in cut.groups]
            while not wait(futures, timeout=0.2, return_when=FIRST_EXCEPTION).done.issuperset(futures):
                if progress:
                    progress(done / (steps * len(cut.groups)))
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
