"""This project's solver, behind the same interface as the peers."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tests.benchmarks.case import TIMES, Array, complete, problem, reduced
from tests.benchmarks.peers import Run, Setting, Solver

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11)


class ThisSolver(Solver):
    """solvers.compiled.ensemble on the general equations (K = L = 2, eight states), expectations to 1e-13."""

    name = "modecollapse"
    packages = ("numpy", "numba")
    ladder: ClassVar = [{"rtol": rtol} for rtol in TOLERANCES]

    def prepare(self, setting: Setting, cores: int) -> Run:
        from solvers.compiled import ensemble

        case, rtol = problem(1), setting["rtol"]
        backend = {"cpu": "numba", "gpu": "cupy"}[self.device]

        def run(y0: Array) -> Array:
            s, m, theta = complete(y0)
            paths = ensemble(
                case, s, m, theta, times=TIMES, rtol=rtol, atol=rtol / 100, backend=backend, threads=cores
            )
            return np.where((paths.status == 0)[:, None, None], reduced(paths.s, paths.m, paths.theta), np.nan)

        return run
