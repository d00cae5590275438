"""One process for each solver, held to its cores, timed on request."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np

from tests.benchmarks.case import Array
from tests.benchmarks.peers import PEERS, Setting, Solver
from tests.benchmarks.this_solver import ThisSolver

SOLVERS: dict[str, type[Solver]] = {"this": ThisSolver, **PEERS}


class SolverFailed(RuntimeError):
    """The solver is not installed, or failed; the message is its own."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one run over `trajectories`; `cpu` is the processor time of all its threads and processes."""

    trajectories: int
    wall: float
    cpu: float

    @property
    def throughput(self) -> float:
        return self.trajectories / self.wall

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def available_cores() -> list[int]:
    """Cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


class Worker:
    """A solver in a process of its own, so that no library's threads, cores or memory are another's."""

    def __init__(self, key: str, cores: int, device: str = "cpu") -> None:
        # One BLAS thread in every process, set before numpy loads there: the solvers share the work themselves.
        os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.key, self.cores = key, cores
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, key, available_cores()[:cores], device))
        self._process.start()
        theirs.close()

    def versions(self) -> dict[str, str]:
        return self._ask("versions")

    def prepare(self, setting: Setting, y0: Array) -> float:
        """Seconds to compile for `setting` and run the starts y0 once; afterwards runs are warm."""
        return self._ask("prepare", setting, y0)

    def run(self, y0: Array) -> tuple[Array, Timing]:
        """Paths of y0 with the setting prepared last."""
        paths, wall, cpu = self._ask("run", y0)
        return paths, Timing(len(y0), wall, cpu)

    def time(self, y0: Array) -> Timing:
        """The same, leaving the paths where they are."""
        return Timing(len(y0), *self._ask("time", y0))

    def _ask(self, *request: Any) -> Any:
        self._connection.send(request)
        try:
            good, answer = self._connection.recv()
        except EOFError:
            raise SolverFailed(f"{self.key}: its process ended") from None
        if not good:
            raise SolverFailed(f"{self.key}: {answer}")
        return answer

    def close(self) -> None:
        if self._process.is_alive():
            self._connection.send(("stop",))
            self._process.join()
        self._connection.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(connection: Connection, key: str, cores: list[int], device: str) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    solver = SOLVERS[key](device)
    prepared: dict[str, Callable[[Array], Array]] = {}
    run: Callable[[Array], Array] | None = None
    while (request := connection.recv())[0] != "stop":
        try:
            match request:
                case ("versions",):
                    answer: Any = solver.versions()
                case ("prepare", setting, y0):
                    begin = time.perf_counter()
                    if str(setting) not in prepared:
                        prepared[str(setting)] = solver.prepare(setting, len(cores))
                    run = prepared[str(setting)]
                    run(y0)
                    answer = time.perf_counter() - begin
                case (("run" | "time") as kind, y0):
                    assert run is not None
                    cpu, wall = solver.cpu_seconds(), time.perf_counter()
                    paths = run(y0)
                    wall, cpu = time.perf_counter() - wall, solver.cpu_seconds() - cpu
                    answer = (np.asarray(paths), wall, cpu) if kind == "run" else (wall, cpu)
            connection.send((True, answer))
        except Exception as error:
            connection.send((False, f"{type(error).__name__}: {error}"))
    solver.close()
