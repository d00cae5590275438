"""Ensembles of trajectories: chunks for threads, the change from explicit to stiff, equilibria. No numba at import."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from solvers.integrate.tolerances import SMALLEST_RTOL, of_expectations
from solvers.machine.cores import cores
from solvers.machine.progress import Progress

__all__ = ["METHODS", "Paths", "System", "Take", "check", "ensemble"]

Array = NDArray[np.float64]

METHODS = ("auto", "explicit", "rosenbrock")
#: Which trajectories of the ensemble, their paths (n, T, N), which may be changed, and status (n,).
Take = Callable[[slice, Array, NDArray[np.int8]], None]
LARGEST_CHUNK = 4096
SMALLEST_CHUNK = 128  # a few to every lane, which run empty at the end of a chunk
REST = 0.01  # tolerances a step may move a state that is asked about being an equilibrium
NEUTRAL = 1e-9  # eigenvalues smaller than this, in units of the largest, may be zeros with rounding errors ...
GROWTH = 1e-3  # ... if no deviation grows by e to more than this in the time that is left


class System(Protocol):
    """What is integrated: machine code of a right-hand side of N states and P parameters with these integrators.

    modules: of kernels, by name. checked: states (n, N) and parameters (P,) in the layout of kernels, or ValueError.
    completed: parameters as kernels take them, work: their scratch, both for expectations to a tolerance. rows: zeros
    (count, W) on cache lines. derivatives: velocity (n, N) and its Jacobian (n, N, N).
    """

    @property
    def modules(self) -> dict[str, ModuleType]: ...
    @property
    def size(self) -> int: ...
    def checked(self, y: Array, p: Array) -> tuple[Array, Array]: ...
    def completed(self, p: Array, tolerance: float) -> Array: ...
    def work(self, p: Array, tolerance: float) -> Array: ...
    def rows(self, count: int) -> Array: ...
    def derivatives(self, y: Array, p: Array, tolerance: float) -> tuple[Array, Array]: ...


@dataclass(frozen=True)
class Paths:
    """Trajectories of an ensemble of n.

    y (n, T, N) at the save points, nan where a trajectory did not get, or (n, 1, N), the last of them, where `take` had
    them all; status (n,) 0 reached the end, 1 step limit, 2 not finite; steps (n,) attempted; evaluations (n,) of the
    right-hand side; stiff (n,) integrated by the Rosenbrock method to the end; equilibrium (n,) came to rest at a
    stable equilibrium, where it was left; spectrum: eigenvalues of the Jacobian there, (number of equilibria, N), in
    the order of the trajectories.
    """

    y: Array
    status: NDArray[np.int8]
    steps: NDArray[np.int32]
    evaluations: NDArray[np.int32]
    stiff: NDArray[np.bool_]
    equilibrium: NDArray[np.bool_]
    spectrum: NDArray[np.complex128]


def ensemble(
    system: System,
    y0: Array,
    p: Array,
    times: Array,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    method: str = "auto",
    max_steps: int = 200_000,
    threads: int | None = None,
    stop_at_equilibrium: bool = False,
    progress: Progress | None = None,
    take: Take | None = None,
) -> Paths:
    """Trajectories from y0 (n, N) at t = 0, all with parameters p (P,), at times (T,) ≥ 0, increasing.

    The estimated error of a step is at most atol + rtol |y| in every state. A start that is not finite gets status 2
    and disturbs no other. Results depend neither on the number of threads nor on the other trajectories, to the bit.

    method: "explicit" (DOP853), "rosenbrock" (Rodas5P), or "auto": explicit, and Rosenbrock from where a trajectory
        turns out stiff and has far to go.
    threads: all cores by default. progress: called with the fraction done. Ctrl-C stops all threads within a step.
    stop_at_equilibrium: leave a trajectory once it has come to rest at a stable equilibrium (not with "explicit");
        the save points still ahead get that state.
    take: called with the paths of some trajectories when they are done, in the thread that made them; they are then
        not kept, so that memory for all of them is not needed.
    Raises  ValueError for arguments out of range.
    """
    y0, p = system.checked(y0, p)
    times = np.ascontiguousarray(times, dtype=float)
    check(times, rtol, atol, method, max_steps, threads)
    count = len(y0)
    paths = np.empty((count, 1 if take else len(times), system.size))
    task = _Task(system, p, times, float(rtol), float(atol), method, max_steps, stop_at_equilibrium, take)
    workers = threads or cores()
    chunks = _chunks(count, workers)
    parts = {-1: task.run(y0[:0], np.empty((0, len(times), system.size)))}
    running: dict[Future[dict[str, Any]], int] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                for block in islice(chunks, 2 * workers - len(running)):
                    running[pool.submit(task.one, block, y0[block], paths[block])] = block.start
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    parts[running.pop(future)] = future.result()
                    if progress:
                        progress(sum(len(part["status"]) for part in parts.values()) / count)
        except BaseException:
            task.stop[0] = 1
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    merged = {name: np.concatenate([parts[start][name] for start in sorted(parts)]) for name in parts[-1]}
    return Paths(y=paths, **merged)


def _chunks(count: int, workers: int) -> Iterator[slice]:
    """Trajectories given to a thread at a time: fewer towards the end, so that all threads finish together."""
    start, smallest = 0, min(SMALLEST_CHUNK, -(-count // (4 * workers)))
    while start < count:
        size = min(LARGEST_CHUNK, max(smallest, -(-(count - start) // (4 * workers))))
        yield slice(start, min(start + size, count))
        start += size


class _Task:
    """Integrates chunks of one ensemble."""

    def __init__(
        self,
        system: System,
        p: Array,
        times: Array,
        rtol: float,
        atol: float,
        method: str,
        max_steps: int,
        stop_at_equilibrium: bool,
        take: Take | None,
    ) -> None:
        self.system, self.p, self.times, self.method = system, p, times, method
        self.rtol, self.atol, self.max_steps, self.stop_at_equilibrium = rtol, atol, max_steps, stop_at_equilibrium
        self.take = take
        self.completed = system.completed(p, of_expectations(self.rtol))
        self.stop = np.zeros(1, dtype=np.int64)  # read by the kernels at every step
        self.scratch = threading.local()

    def one(self, block: slice, y0: Array, kept: Array) -> dict[str, Any]:
        """`run` of a block; what is kept of the paths, (n, T or 1, N)."""
        if self.take is None:
            return self.run(y0, kept)
        if not hasattr(self.scratch, "paths") or len(self.scratch.paths) < len(y0):
            self.scratch.paths = np.empty((len(y0), len(self.times), self.system.size))
        paths = self.scratch.paths[: len(y0)]
        done = self.run(y0, paths)
        self.take(block, paths, done["status"])
        kept[:, 0] = paths[:, -1]
        return done

    def run(self, y0: Array, paths: Array) -> dict[str, Any]:
        """Integrate y0 (n, N) into paths (n, T, N); the other parts of Paths by name."""
        from solvers.machine import lanes

        count = len(y0)
        saved = int(np.searchsorted(self.times, 0.0, side="right"))
        paths[:, :saved] = y0[:, None]
        many = lanes.Trajectories(
            y=y0.copy(),
            t=np.zeros(count),
            h=np.zeros(count),
            saved=np.full(count, saved),
            status=np.full(count, lanes.PENDING, dtype=np.int8),
            steps=np.zeros(count, dtype=np.int32),
            evaluations=np.zeros(count, dtype=np.int32),
            rest=np.full(count, REST if self.stop_at_equilibrium else -1.0),
            paths=paths,
            times=self.times,
        )
        queue = np.arange(count)
        if saved == len(self.times):
            many.status[:] = np.where(np.isfinite(y0).all(axis=1), lanes.REACHED, lanes.NOT_FINITE)
            queue = queue[:0]
        elif self.method != "rosenbrock":
            self.call("explicit", queue, many, self.method == "auto")
            queue = np.flatnonzero(many.status == lanes.STIFF)
        stiff = np.zeros(count, dtype=bool)
        stiff[queue] = True
        spectra: dict[int, NDArray[np.complex128]] = {}
        while len(queue) and not self.stop[0]:
            self.call("rosenbrock", queue, many)
            queue = queue[many.status[queue] == lanes.RESTING]
            if len(queue):
                settled, eigenvalues = self.settled(many, queue)
                for row, spectrum in zip(queue[settled], eigenvalues[settled], strict=True):
                    paths[row, many.saved[row] :] = many.y[row]
                    many.status[row], spectra[int(row)] = lanes.REACHED, spectrum
                queue = queue[~settled]
        found = sorted(spectra)
        equilibrium = np.zeros(count, dtype=bool)
        equilibrium[found] = True
        spectrum = np.array([spectra[row] for row in found], dtype=complex).reshape(len(found), self.system.size)
        out = {"status": many.status, "steps": many.steps, "evaluations": many.evaluations, "stiff": stiff}
        return out | {"equilibrium": equilibrium, "spectrum": spectrum}

    def call(self, kernel: str, queue: NDArray[np.intp], many: Any, *options: bool) -> None:
        """Run a kernel on some of the trajectories `many`."""
        module = self.system.modules[kernel]
        if not hasattr(self.scratch, kernel):
            counters = np.zeros((module.SLOTS, module.W), dtype=np.int64)
            work = self.system.work(self.p, of_expectations(self.rtol))
            setattr(self.scratch, kernel, (self.system.rows(module.ROWS), work, counters))
        scratch = getattr(self.scratch, kernel)
        common = (queue, many, self.completed, self.rtol, self.atol, self.max_steps)
        getattr(module, kernel)(*common, *options, self.stop, *scratch)

    def settled(self, many: Any, rows: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.complex128]]:
        """Which of these trajectories, almost at rest, will stay there to the end; and the spectra at their states.

        A small velocity alone proves nothing: the escape from a saddle can take a time exponential in R². Asked for
        besides is that no eigenvalue lets a deviation grow, and that what the state would
        still move, at its velocity for the time of its slowest direction, is below the tolerance.
        """
        velocity, slope = self.system.derivatives(many.y[rows], self.p, of_expectations(self.rtol))
        finite = np.asarray(np.isfinite(slope).all(axis=(1, 2)))
        eigenvalues = np.linalg.eigvals(np.where(finite[:, None, None], slope, 0.0)).astype(np.complex128)
        remaining = self.times[-1] - many.t[rows]
        speed = np.max(np.abs(velocity) / (self.atol + self.rtol * np.abs(many.y[rows])), axis=1)
        moving = np.abs(eigenvalues) > NEUTRAL * np.max(np.abs(eigenvalues), axis=1, keepdims=True)
        growth = eigenvalues.real
        grows = np.any((growth > 0) & moving | (growth * remaining[:, None] > GROWTH), axis=1)
        slowest = np.min(np.where(moving, np.abs(eigenvalues.real), np.inf), axis=1)
        with np.errstate(divide="ignore"):
            distance = speed * np.minimum(remaining, 1 / slowest)
        step = speed * many.h[rows]
        many.rest[rows] = np.where(step > 0, 0.1 * step, -1.0)  # asked again when it is ten times slower
        return finite & ~grows & (distance <= 1), eigenvalues


def check(times: Array, rtol: float, atol: float, method: str, max_steps: int, threads: int | None) -> None:
    """Raises ValueError for what `ensemble` cannot integrate with."""
    ordered = times.ndim == 1 and len(times) > 0 and bool(np.isfinite(times).all() and (np.diff(times) > 0).all())
    if not ordered or times[0] < 0:
        raise ValueError("times: must be finite, not negative, and increasing")
    if not SMALLEST_RTOL <= rtol < np.inf:
        raise ValueError(f"rtol: {rtol:g}, must be at least {SMALLEST_RTOL:g}")
    if not 0 < atol < np.inf:
        raise ValueError(f"atol: {atol:g}, must be positive")
    if method not in METHODS:
        raise ValueError(f"method: {method!r}, must be one of {', '.join(METHODS)}")
    if max_steps < 1:
        raise ValueError(f"max_steps: {max_steps}, must be at least 1")
    if threads is not None and threads < 1:
        raise ValueError(f"threads: {threads}, must be at least 1")
