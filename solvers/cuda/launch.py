"""Ensembles of trajectories on a GPU: memory in blocks, launches, the change to the stiff method.

A trajectory has a thread, or, where its expectations are sums over nodes, a warp.

A block of trajectories is integrated by two launches whatever the number of steps: the explicit method on all of them,
then the Rosenbrock method on those that turned out stiff, which so do not hold up the others of their warp. Threads
take trajectories from a queue; results depend neither on which thread does nor on the other trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.cuda.source import MANY, OPTIONS, PROVIDED, THREADS, assemble, missing
from solvers.expectations.logistic_normal import coefficients
from solvers.expectations.quadrature import HALVINGS, REPLICATES, digits, lattice, sobol
from solvers.integrate.ensemble import Paths, check
from solvers.integrate.tolerances import of_expectations
from solvers.machine.arrays import address, compile_cuda, gpu_errors, gpu_memory, to_numpy
from solvers.machine.backends import BackendError
from solvers.machine.progress import Progress

__all__ = ["CudaSystem", "build", "ensemble"]

Array = NDArray[np.float64]

LARGEST_BLOCK = 1 << 20
"""Trajectories of one launch, for the sake of the progress bar."""
SHARE = 0.8
"""Of the free memory of the device, for trajectories; some more is taken by the registers that threads spill."""
THREADS_PER_PROCESSOR = 2048
LARGEST_SCRATCH = 1 << 31
"""Bytes, for systems whose arrays are not kept in registers."""
NOT_FINITE, STIFF = 2, 3

_RECORD = np.dtype([(name, {"d": "f8", "l": "i8"}[kind[0]] if "*" not in kind else "u8") for kind, name in MANY])


@dataclass(frozen=True)
class CudaSystem:
    """A system with its integrators on the device of `xp` (cupy), see `build`; states y (n, N), parameters p (P,)."""

    xp: Any
    module: Any
    size: int
    parameters: int
    scratch: int
    """Numbers of device memory for each trajectory being integrated."""
    width: int
    """Threads of a trajectory."""
    points: dict[str, Any]
    """Fixed nodes and coefficients, on the device."""

    def checked(self, y: Array, p: Array) -> tuple[Array, Array]:
        """y and p as the kernels need them. Raises ValueError if a shape does not fit: it would read elsewhere."""
        y, p = (np.ascontiguousarray(a, dtype=float) for a in (y, p))
        if y.ndim != 2 or y.shape[1] != self.size:
            raise ValueError(f"states: shape {y.shape}, must be (trajectories, {self.size})")
        if p.shape != (self.parameters,):
            raise ValueError(f"parameters: shape {p.shape}, must be ({self.parameters},)")
        return y, p

    def launch(self, kernel: str, values: dict[str, Any], *outputs: Any, room: int = LARGEST_SCRATCH) -> None:
        """Run a kernel on values["queue"]; `values` are the entries of MANY that change, but for the counter.

        room: bytes for scratch; so many trajectories are integrated at a time as have theirs, but one at least.
        """
        length = len(values["queue"])
        groups = self.groups(length, room)
        blocks = -(-groups * self.width // THREADS)
        scratch = self.xp.empty(max(1, blocks * THREADS // self.width * self.scratch))
        values = values | self.points | {"length": length, "scratch": scratch}
        values["counter"] = self.xp.zeros(1, dtype=np.int32)
        record = np.zeros(1, dtype=_RECORD)
        for kind, name in MANY:
            record[name] = address(values[name]) if "*" in kind else values[name]
        given = self.xp.asarray(record.view(np.uint8))
        self.module.get_function(kernel)((blocks,), (THREADS,), (given, *outputs))

    def groups(self, length: int, room: int) -> int:
        """How many of so many trajectories are integrated at a time, with so many bytes for their scratch."""
        processors = int(self.xp.cuda.Device().attributes["MultiProcessorCount"])
        most = processors * THREADS_PER_PROCESSOR // self.width
        if self.scratch:
            most = max(1, min(most, room // (8 * self.scratch)))
        return min(length, most)


def build(xp: Any, text: str, components: int, modes: int, directions: int, driven: int = 0) -> CudaSystem:
    """The system of an emitted text (view "cuda") with K components and L modes in R directions, compiled for `xp`.

    driven: 1 if the temperature is a state, 0 if it is a parameter.

    cupy keeps the machine code on disk, by content.
    Raises
        BackendError for a text that needs functions which the kernels do not have or, with the log, does not compile;
        ValueError for more components or modes than the kernels can do.
    """
    if absent := missing(text):
        known = ", ".join(sorted(PROVIDED))
        raise BackendError(f"cupy: this system needs {', '.join(absent)}, not among the kernels; allowed: {known}")
    module = compile_cuda(xp, assemble(text, components, modes, directions, driven), OPTIONS)
    sizes = xp.zeros(4, dtype=np.int64)
    module.get_function("describe")((1,), (1,), (sizes,))
    points = {name: xp.asarray(values) for name, values in _points(components, modes).items()}
    points["lattice_nodes"] = points["lattice"].shape[1]
    size, parameters, scratch, width = (int(n) for n in to_numpy(sizes))
    return CudaSystem(xp, module, size, parameters, scratch, width, points)


def _points(components: int, modes: int) -> dict[str, Array]:
    """What the expectations of so many logits need: coefficients of the special function, nodes of the quadrature."""
    none = np.zeros((3, 1))
    points = {"table": coefficients(), "lattice": none, "sobol_q": none, "sobol_p": none}
    if max(components, modes) > 3:
        points["lattice"] = np.ascontiguousarray(lattice(0).T)
    for name, logits in (("sobol_q", components), ("sobol_p", modes)):
        if logits > 4:
            sets = (sobol(logits - 1, copy, half)[0] for half in range(HALVINGS + 1) for copy in range(REPLICATES))
            points[name] = np.ascontiguousarray(np.concatenate([z[: len(z) // 2] for z in sets]).T)
    return points


def ensemble(
    system: CudaSystem,
    y0: Array,
    p: Array,
    times: Array,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    method: str = "auto",
    max_steps: int = 200_000,
    progress: Progress | None = None,
) -> Paths:
    """Trajectories from y0 (n, N) at t = 0, all with parameters p (P,), at times (T,) ≥ 0, increasing.

    The same methods, rules and statuses as solvers.integrate.ensemble, but for equilibria, which are not looked for.
    progress: called with the fraction done.
    Raises
        ValueError for arguments out of range; BackendError if the memory of the device is too small for the save points
        of a single trajectory, or is taken by others meanwhile. Larger ensembles are integrated in blocks that fit.
    """
    y0, p = system.checked(y0, p)
    times = np.ascontiguousarray(times, dtype=float)
    check(times, rtol, atol, method, max_steps, None)
    free = gpu_memory(system.xp)
    room = min(LARGEST_SCRATCH, free // 4) if system.scratch else 0
    task = _Task(system, p, times, float(rtol), float(atol), method, max_steps, room)
    count, (points, size) = len(y0), (len(times), system.size)
    y = np.empty((points, size, count))
    out: dict[str, NDArray[Any]] = {
        "status": np.empty(count, dtype=np.int8),
        "steps": np.empty(count, dtype=np.int32),
        "evaluations": np.empty(count, dtype=np.int32),
        "stiff": np.empty(count, dtype=bool),
    }
    each = bytes_each(points, size)
    rows = block_size(free - room, points, size)
    for start in range(0, count, rows):
        block = slice(start, min(start + rows, count))
        with gpu_errors(system.xp, block.stop - start, each):
            y[:, :, block], parts = task.run(y0[block])
        for name, values in parts.items():
            out[name][block] = values
        if progress:
            progress(block.stop / count)
    nothing = {"equilibrium": np.zeros(count, dtype=bool), "spectrum": np.empty((0, size), dtype=complex)}
    return Paths(y=np.moveaxis(y, -1, 0), **out, **nothing)


def bytes_each(points: int, size: int) -> int:
    """Memory of one trajectory with so many save points and states: paths, y, t, h, queue (twice), four counters."""
    return 8 * size * points + 8 * (size + 2) + 4 * 6


def block_size(free: int, points: int, size: int) -> int:
    """Trajectories of one block in `free` bytes. Raises BackendError if not even one fits."""
    available = int(SHARE * free)
    rows = available // bytes_each(points, size)
    if rows < 1:
        fit = max(0, (available - bytes_each(0, size)) // (8 * size))
        raise BackendError(
            f"cupy: {points} save points of a trajectory do not fit into the {free / 2**20:.3g} MiB of GPU memory that "
            f"are free; allowed: at most {fit}"
        )
    return min(rows, LARGEST_BLOCK)


@dataclass(frozen=True)
class _Task:
    """Integrates blocks of one ensemble."""

    system: CudaSystem
    p: Array
    times: Array
    rtol: float
    atol: float
    method: str
    max_steps: int
    room: int

    def run(self, y0: Array) -> tuple[Array, dict[str, NDArray[Any]]]:
        """Paths (T, N, n) from y0 (n, N), and the other parts of Paths by name."""
        xp, count = self.system.xp, len(y0)
        saved = int(np.searchsorted(self.times, 0.0, side="right"))
        y = xp.asarray(np.ascontiguousarray(y0.T))
        paths = xp.empty((len(self.times), *y.shape))
        paths[:saved] = y
        status = (~xp.isfinite(y).all(axis=0)).astype(np.int32) * np.int32(NOT_FINITE)
        counters = {name: xp.zeros(count, dtype=np.int32) for name in ("steps", "evaluations")}
        queue = xp.arange(0 if saved == len(self.times) else count, dtype=np.int32)
        values = {
            "y": y,
            "t": xp.zeros(count),
            "h": xp.zeros(count),
            "saved": xp.full(count, saved, dtype=np.int32),
            "status": status,
            **counters,
            "paths": paths,
            "times": xp.asarray(self.times),
            "parameters": xp.asarray(self.p),
            "count": count,
            "save_points": len(self.times),
            "max_steps": self.max_steps,
            "hand_over": self.method == "auto",
            "end": self.times[-1],
            "rtol": self.rtol,
            "atol": self.atol,
            "digits": digits(of_expectations(self.rtol)),
        }
        if len(queue) and self.method != "rosenbrock":
            self.system.launch("explicit_ensemble", {"queue": queue, **values}, room=self.room)
            queue = xp.flatnonzero(status == STIFF).astype(np.int32)
        stiff = np.zeros(count, dtype=bool)
        if len(queue):
            stiff[to_numpy(queue)] = True
            self.system.launch("rosenbrock_ensemble", {"queue": queue, **values}, room=self.room)
        parts = {name: to_numpy(value) for name, value in ({"status": status} | counters).items()}
        return to_numpy(paths), parts | {"stiff": stiff}
