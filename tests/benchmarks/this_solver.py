"""This project's solver, behind the same interface as the peers."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from solvers.machine.arrays import backend_module
from solvers.problem import Problem
from tests.benchmarks.case import TIMES, Array, R, problem
from tests.benchmarks.peers import Run, Setting, Solver

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8, 3e-9, 1e-9, 8e-10, 5e-10, 3e-10, 1e-10, 1e-11)
CACHED = 512  # trajectories whose states stay in a core's cache


class ThisSolver(Solver):
    """solvers.closed.compiled.ensemble on the general equations of K = L = 2 (eight states), expectations to 1e-13."""

    name = "modecollapse"
    packages = ("modecollapse", "numpy", "numba", "llvmlite")
    ladder: ClassVar = [{"rtol": rtol} for rtol in TOLERANCES]

    def versions(self) -> dict[str, str]:
        if self.device == "cpu":
            return super().versions()
        cupy = backend_module("cupy")
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        return super().versions() | {"cupy": cupy.__version__, "gpu": name}

    def prepare(self, setting: Setting, cores: int) -> Run:
        p, rtol = parameters(problem(1)), setting["rtol"]
        options = {"rtol": rtol, "atol": rtol / 10, "method": "auto"}
        if self.device == "gpu":
            from solvers import cuda

            system: Any = cuda_system()
            integrate: Any = cuda.ensemble
        else:
            from solvers.closed import compiled

            system, integrate = compiled_system(), compiled.ensemble
            options["threads"] = cores

        def run(y0: Array) -> Array:
            paths = integrate(system, coordinates(y0), p, TIMES, **options)
            paths.y[paths.status != 0] = np.nan
            y = np.empty((*paths.y.shape[:-1], 6))
            for first in range(0, len(y), CACHED):
                y[first : first + CACHED] = overlaps(paths.y[first : first + CACHED])
            return y

        return run


def compiled_system() -> Any:
    """The compiled system of the ensemble: two components, two modes, three directions."""
    from solvers.closed import compiled, systems

    text = (systems.GENERATED / "reverse_kl.numba").read_text(encoding="utf-8")
    return compiled.build(text, 2, 2, 3)


def cuda_system() -> Any:
    """The same system as CUDA kernels, on the GPU of cupy. Raises BackendError without one."""
    from solvers import cuda
    from solvers.closed import systems

    text = (systems.GENERATED / "reverse_kl.cu").read_text(encoding="utf-8")
    return cuda.build(backend_module("cupy"), text, 2, 2, 3)


def parameters(case: Problem) -> Array:
    """nu (L, 3), c, log_pi, v, u, d, log_v, log_u, learn_means, learn_weights, power_means, power_weights, rate, beta,
    flat: p of the compiled system."""
    nu = np.array([[R, 0.0, 0.0], [-R, 0.0, 0.0]])
    rest = [1.0, 1.0, case.dimension, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    return np.concatenate([nu.ravel(), np.ravel(case.target.c), np.log(case.target.weights), rest])


def coordinates(y: Array) -> Array:
    """States (n, 8) of the compiled system, μ₁ and μ₂ in three directions and θ, from y (n, 6)."""
    s11, s12, s22, m1, m2, log_odds = y.T
    a1, a2, zero = m1 / R, m2 / R, np.zeros_like(m1)
    b1 = np.sqrt(s11 - a1**2)
    b2 = (s12 - a1 * a2) / b1
    c2 = np.sqrt(s22 - a2**2 - b2**2)
    return np.stack([a1, b1, zero, a2, b2, c2, log_odds / 2, -log_odds / 2], axis=1)


def overlaps(states: Array) -> Array:
    """y (..., 6) from states (..., 8); written out, since a product of 2 x 3 matrices costs more than its 12 sums."""
    a1, b1, c1, a2, b2, c2, log_w1, log_w2 = np.moveaxis(states, -1, 0)
    y = np.empty((*states.shape[:-1], 6))
    y[..., 0] = a1 * a1 + b1 * b1 + c1 * c1
    y[..., 1] = a1 * a2 + b1 * b2 + c1 * c2
    y[..., 2] = a2 * a2 + b2 * b2 + c2 * c2
    y[..., 3] = R * a1
    y[..., 4] = R * a2
    y[..., 5] = log_w1 - log_w2
    return y
