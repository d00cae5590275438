"""Ensembles of trajectories in compiled code: a system's text and the integrators become one package of machine code.

`build` writes a package of Python modules, the system and copies of the kernels of solvers.integrate that import it,
into a cache folder whose name is the hash of everything that decides the machine code. numba compiles it at first use
and leaves the machine code there; the next process loads that. Nothing here imports numba until a system is built.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CompiledSystem", "Paths", "build", "cache_folder", "ensemble"]

Array = NDArray[np.float64]
Progress = Callable[[float], None]

METHODS = ("auto", "explicit", "rosenbrock")
SMALLEST_RTOL = 1e-14
CHUNK = 4096  # trajectories given to a thread at a time
REST = 0.01  # tolerances a step may move a state that is taken for an equilibrium
NEUTRAL = 1e-9  # eigenvalues smaller than this, in units of the largest, are zero

_KERNELS = ("explicit", "rosenbrock", "pointwise")
_PACKAGES = ("integrate", "expectations")  # whose files end up in the machine code
_HEADER = '''"""A closed system as the kernels see it; assembled by solvers.compiled."""

from numba import njit

from solvers.integrate.expectations import SLOPES, expect, expect_tangent, log_softmax
from solvers.integrate.simd import W, fabs, larger, load, select, some, store

FLAGS = {{"error_model": "numpy", "nogil": True}}
ENTRY = {{**FLAGS, "cache": True}}
K, L, R = {components}, {modes}, {directions}


@njit(**FLAGS)
def weights(work):
    """log w and w = softmax θ."""
    log_softmax(work, K, R_THETA, R_LOG_W, R_W)


'''


def cache_folder() -> Path:
    """Where machine code is kept: $MODECOLLAPSE_CACHE, else modecollapse in $XDG_CACHE_HOME, else in ~/.cache."""
    chosen = os.environ.get("MODECOLLAPSE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modecollapse"


def _processor() -> str:
    from llvmlite import binding

    return f"{platform.machine()} {binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def _digest(text: str) -> str:
    """Hash of all that decides the machine code: the text, our own files, versions, the processor."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    parts = [text, _processor(), sys.version, *(importlib.metadata.version(p) for p in ("numba", "llvmlite", "numpy"))]
    for part in parts:
        digest.update(part.encode() + b"\0")
    for folder in _PACKAGES:
        for path in sorted((here / folder).iterdir()):
            if path.is_file():
                digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _assemble(text: str, folder: Path, name: str) -> None:
    """Write the package, whole or not at all; another process may be writing the same one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    here = Path(__file__).parent / "integrate"
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        (temporary / "__init__.py").write_text("", encoding="utf-8")
        (temporary / "system.py").write_text(text, encoding="utf-8")
        for kernel in _KERNELS:
            source = (here / f"{kernel}.py").read_text(encoding="utf-8")
            source = source.replace("from solvers.integrate.protocol import", f"from {name}.system import")
            (temporary / f"{kernel}.py").write_text(source, encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(folder: Path, name: str) -> dict[str, ModuleType]:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
    return {module: importlib.import_module(f"{name}.{module}") for module in ("system", *_KERNELS)}


def build(text: str, components: int, modes: int, directions: int) -> CompiledSystem:
    """The compiled system of an emitted text (view "numba") for K components and L modes in a span of R directions.

    Returns at once; machine code is made, or loaded from the cache, when a function of it is first needed.
    Raises ValueError for more components or modes than the compiled expectations can do.
    """
    from solvers.integrate.expectations import LARGEST

    if max(components, modes) > LARGEST:
        raise ValueError(f"{components} components, {modes} modes: compiled ensembles have at most {LARGEST} of each")
    text = _HEADER.format(components=components, modes=modes, directions=directions) + text
    digest = _digest(text)
    name, folder = f"modecollapse_{digest}", cache_folder() / digest
    if not folder.is_dir():
        _assemble(text, folder, name)
    return CompiledSystem(folder, _load(folder, name))


def _rows(count: int, width: int) -> Array:
    """Zeros (count, width), every row starting on a cache line."""
    size = count * width
    raw = np.zeros(size + 8)
    start = (-raw.ctypes.data % 64) // 8
    return raw[start : start + size].reshape(count, width)


@dataclass(frozen=True)
class CompiledSystem:
    """A system with its integrators, see `build`."""

    folder: Path
    modules: dict[str, ModuleType]

    @property
    def size(self) -> int:
        """N, the number of states."""
        return int(self.modules["system"].N)

    def _work(self) -> Array:
        system = self.modules["system"]
        return _rows(system.WORK + system.N, system.W)

    def observables(self, y: Array, p: Array) -> Array:
        """Objective (nats), mode masses, table B at states y (n, N): (n, 1 + L + K L)."""
        system = self.modules["system"]
        out = np.empty((len(y), system.OUT))
        area = _rows(system.N + system.OUT, system.W)
        self.modules["pointwise"].observe(np.ascontiguousarray(y), p, out, area, self._work())
        return out

    def derivatives(self, y: Array, p: Array) -> tuple[Array, Array]:
        """Velocity (n, N) and its exact Jacobian (n, N, N), ∂velocity_i/∂y_j at [i, j], at states y (n, N)."""
        system, (count, size) = self.modules["system"], y.shape
        velocity, slope = np.empty((count, size)), np.empty((count, size, size))
        area = _rows((2 + size) * size, system.W)
        self.modules["pointwise"].differentiate(np.ascontiguousarray(y), p, velocity, slope, area, self._work())
        return velocity, slope


@dataclass(frozen=True)
class Paths:
    """Trajectories of an ensemble of n.

    y (n, T, N) at the save points, nan where a trajectory did not get; status (n,) 0 reached the end, 1 step limit,
    2 not finite; steps (n,) attempted; evaluations (n,) of the right-hand side; stiff (n,) went over to the Rosenbrock
    method; equilibrium (n,) came to rest at a stable equilibrium, at which it was left; spectrum: eigenvalues of the
    Jacobian there, (number of equilibria, N) in the order of the rows.
    """

    y: Array
    status: NDArray[np.int8]
    steps: NDArray[np.int32]
    evaluations: NDArray[np.int32]
    stiff: NDArray[np.bool_]
    equilibrium: NDArray[np.bool_]
    spectrum: NDArray[np.complex128]


@dataclass(frozen=True)
class _Task:
    """What is the same for all chunks of an ensemble."""

    system: CompiledSystem
    p: Array
    times: Array
    rtol: float
    atol: float
    method: str
    max_steps: int
    stop_at_equilibrium: bool
    stop: NDArray[np.int64]
    scratch: threading.local

    def buffers(self, kernel: str) -> tuple[Array, Array, NDArray[np.int64]]:
        """Scratch of a kernel, one a thread."""
        key = f"buffers_{kernel}"
        if not hasattr(self.scratch, key):
            module, width = self.system.modules[kernel], self.system.modules["system"].W
            rows, counters = module.ROWS, module.SLOTS
            made = (_rows(rows, width), self.system._work(), np.zeros((counters, width), dtype=np.int64))
            setattr(self.scratch, key, made)
        buffers: tuple[Array, Array, NDArray[np.int64]] = getattr(self.scratch, key)
        return buffers

    def run(self, y0: Array, paths: Array) -> dict[str, Any]:
        """Integrate y0 (n, N) into paths (n, T, N); the other parts of Paths by name."""
        from solvers.integrate import lanes

        count = len(y0)
        saved = int(np.searchsorted(self.times, 0.0, side="right"))
        paths[:, :saved] = y0[:, None]
        many = lanes.Trajectories(
            y=np.array(y0, dtype=float, order="C"),
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
        equilibrium = np.zeros(count, dtype=bool)
        spectrum = np.empty((count * self.stop_at_equilibrium, self.system.size), dtype=complex)
        if saved == len(self.times):
            many.status[:] = np.where(np.isfinite(y0).all(axis=1), lanes.REACHED, lanes.NOT_FINITE)
            queue = np.empty(0, dtype=np.intp)
        elif self.method == "rosenbrock":
            queue = np.arange(count)
        else:
            self.call("explicit", np.arange(count), many, self.method == "auto")
            queue = np.flatnonzero(many.status == lanes.STIFF)
        stiff = np.isin(np.arange(count), queue)
        while len(queue) and not self.stop[0]:
            self.call("rosenbrock", queue, many)
            queue = queue[many.status[queue] == lanes.RESTING]
            if len(queue):
                settled, eigenvalues = self.settled(many, queue)
                rows = queue[settled]
                equilibrium[rows], spectrum[rows], many.status[rows] = True, eigenvalues[settled], lanes.REACHED
                for row in rows:
                    paths[row, many.saved[row] :] = many.y[row]
                queue = queue[~settled]
        found = {"status": many.status, "steps": many.steps, "evaluations": many.evaluations, "stiff": stiff}
        return found | {"equilibrium": equilibrium, "spectrum": spectrum[equilibrium[: len(spectrum)]]}

    def call(self, kernel: str, queue: NDArray[np.intp], many: Any, *options: bool) -> None:
        function = getattr(self.system.modules[kernel], kernel)
        common = (queue, many, self.p, self.rtol, self.atol, self.max_steps)
        function(*common, *options, self.stop, *self.buffers(kernel))

    def settled(self, many: Any, rows: NDArray[np.intp]) -> tuple[NDArray[np.bool_], NDArray[np.complex128]]:
        """Which of these trajectories, almost at rest, will stay there to the end; and the spectra at their states.

        At rest: no eigenvalue lets a deviation grow noticeably in the time that is left (an escape may take times
        exponential in R², so a small velocity proves nothing), and what the state would still move, at its velocity
        for the time its slowest stable direction takes, is below the tolerance.
        """
        velocity, slope = self.system.derivatives(many.y[rows], self.p)
        eigenvalues = np.linalg.eigvals(slope).astype(complex)
        remaining = self.times[-1] - many.t[rows]
        speed = np.max(np.abs(velocity) / (self.atol + self.rtol * np.abs(many.y[rows])), axis=1)
        moving = np.abs(eigenvalues) > NEUTRAL * np.max(np.abs(eigenvalues), axis=1, keepdims=True)
        grows = np.any(moving & (eigenvalues.real * remaining[:, None] > 1e-3), axis=1)
        slowest = np.min(np.where(moving, np.abs(eigenvalues.real), np.inf), axis=1)
        distance = speed * np.minimum(remaining, 1 / slowest)
        settled = ~grows & (distance <= 1)
        step = speed * many.h[rows]
        many.rest[rows] = np.where(step > 0, 0.1 * step, -1.0)  # ask again when it is ten times slower
        return settled, eigenvalues


def ensemble(
    system: CompiledSystem,
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
) -> Paths:
    """Trajectories from y0 (n, N), all with parameters p (P,), at times (T,) ≥ 0, increasing; integration starts at 0.

    The error of a step is at most atol + rtol |y| in every state, in the estimate of the method. A row with a start
    that is not finite gets status 2 and disturbs no other; results do not depend on the number of threads.

    method: "explicit" (DOP853), "rosenbrock" (Rodas5P), or "auto": explicit, and Rosenbrock from where a trajectory
        turns out stiff.
    threads: all cores by default. progress: called with the fraction done. Ctrl-C stops all threads within a step.
    stop_at_equilibrium: leave a trajectory at a stable equilibrium once it has come to rest there (not in "explicit");
        the save points still ahead get that state.
    Raises  ValueError for arguments out of range.
    """
    y0, p, times = (np.ascontiguousarray(a, dtype=float) for a in (y0, p, times))
    _check(system, y0, times, rtol, atol, method, max_steps)
    count = len(y0)
    workers = threads or _cores()
    chunk = max(1, min(CHUNK, -(-count // (4 * workers))))
    paths = np.empty((count, len(times), system.size))
    stop = np.zeros(1, dtype=np.int64)
    task = _Task(
        system, p, times, float(rtol), float(atol), method, max_steps, stop_at_equilibrium, stop, threading.local()
    )
    parts: dict[int, dict[str, Any]] = {}
    with ThreadPoolExecutor(workers) as pool:
        starts = iter(range(0, count, chunk))
        running: dict[Future[dict[str, Any]], int] = {}

        def submit(number: int) -> None:
            for start in _first(starts, number):
                block = slice(start, start + chunk)
                running[pool.submit(task.run, y0[block], paths[block])] = start

        try:
            submit(2 * workers)
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    parts[running.pop(future)] = future.result()
                submit(len(done))
                if progress:
                    progress(min(1.0, len(parts) * chunk / count))
        except BaseException:
            stop[0] = 1
            raise
    ordered = [parts[start] for start in sorted(parts)]
    empty = task.run(y0[:0], paths[:0])
    merged = {name: np.concatenate([part[name] for part in [empty, *ordered]]) for name in empty}
    return Paths(y=paths, **merged)


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first(items: Iterator[int], number: int) -> Iterator[int]:
    for _, item in zip(range(number), items, strict=False):
        yield item


def _check(
    system: CompiledSystem, y0: Array, times: Array, rtol: float, atol: float, method: str, max_steps: int
) -> None:
    if y0.ndim != 2 or y0.shape[1] != system.size:
        raise ValueError(f"y0: shape {y0.shape}, must be (trajectories, {system.size})")
    increasing = times.ndim == 1 and len(times) > 0 and np.isfinite(times).all() and bool((np.diff(times) > 0).all())
    if not increasing or times[0] < 0:
        raise ValueError("times: must be finite, not negative, and increasing")
    if not rtol >= SMALLEST_RTOL:
        raise ValueError(f"rtol: {rtol:g}, must be at least {SMALLEST_RTOL:g}")
    if not 0 < atol < np.inf:
        raise ValueError(f"atol: {atol:g}, must be positive")
    if method not in METHODS:
        raise ValueError(f"method: {method!r}, must be one of {', '.join(METHODS)}")
    if max_steps < 1:
        raise ValueError(f"max_steps: {max_steps}, must be at least 1")
