"""End states of many random starts by every integrator there is: outcome labels that differ, and the largest distance.

The same problem goes through the compiled explicit method, the compiled Rosenbrock method, the automatic choice between
them, LSODA with the NumPy system, and the CUDA source, which runs as C++ on the host where there is no GPU. All of them
at the default tolerances of `solve`, and all against the automatic choice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any
from unittest.mock import patch

import numpy as np
import xarray as xr

from solvers import cuda
from solvers.closed import compiled
from solvers.closed.flow import solve
from solvers.problem import Problem
from tests.benchmarks.case import problem_text

__all__ = ["LABELS", "METHODS", "REFERENCE", "differences", "end_states", "measure", "text"]

LABELS = ("collapsed", "aligned", "vanished", "mechanism", "status")
STATES = ("m", "s", "w")
#: Name → backend of `solve`, and the method of its ensembles where that is chosen here.
METHODS: dict[str, tuple[str, str | None]] = {
    "auto": ("numba", "auto"),
    "explicit": ("numba", "explicit"),
    "rosenbrock": ("numba", "rosenbrock"),
    "numpy": ("numpy", None),
    "cuda": ("cupy", "auto"),
    "cuda-rosenbrock": ("cupy", "rosenbrock"),
}
REFERENCE = "auto"
CHUNK = 256  # starts of one task; blocks of the NumPy solver divide it


def text(samples: int, *, separation: float = 3.0) -> str:
    """R = 3, d = 64, K = L = 2, softmax weights learned, t = 50, from where runs end in every way there is."""
    return problem_text(samples=samples, separation=separation, scale=0.7, save=2)


def measure(cores: int, *, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """The table for 10⁴ starts: how many labels differ from those of the automatic choice, and how far the states."""
    samples = 512 if quick else 10**4
    runs, rows = {}, []
    for name in METHODS:
        runs[name] = end_states(name, text(samples), samples, cores)
        row = {"method": name} | differences(runs[name], runs[REFERENCE])
        rows.append(row)
        distance = ", ".join(f"{row['distance'][key]:.1e}" for key in ("max", "p99", "median"))
        say(f"{name}: {row['labels']} of {samples} differ; distance of end states (max, 99 %, median) {distance}")
    found = {label: int((runs[REFERENCE][label] == 1).sum()) for label in ("collapsed", "aligned", "vanished")}
    return {"problem": text(samples), "starts": samples, "reference": REFERENCE, "found": found, "methods": rows}


def differences(run: xr.Dataset, reference: xr.Dataset) -> dict[str, Any]:
    """Labels that differ, each counted; |y − y_ref| / max(1, |y_ref|) at the end, the largest over the states."""
    labels = {name: int((run[name].values != reference[name].values).sum()) for name in LABELS}
    distance = np.zeros(run.sizes["sample"])
    for name in STATES:
        value, known = (np.asarray(ds[name].values[:, -1]).reshape(len(distance), -1) for ds in (run, reference))
        distance = np.maximum(distance, (np.abs(value - known) / np.maximum(1.0, np.abs(known))).max(axis=1))
    distance = np.where(np.isfinite(distance), distance, np.inf)
    summary = {"max": distance.max(), "p99": np.quantile(distance, 0.99), "median": np.median(distance)}
    return {"labels": labels, "distance": {name: float(value) for name, value in summary.items()}}


def end_states(name: str, problem: str, samples: int, cores: int = 1) -> xr.Dataset:
    """The result of `solve` by one of METHODS for the first `samples` starts of a problem."""
    blocks = [range(first, min(first + CHUNK, samples)) for first in range(0, samples, CHUNK)]
    one = partial(_solve, name, problem)
    if cores == 1 or len(blocks) == 1:
        return xr.concat(map(one, blocks), "sample")
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        return xr.concat(pool.map(one, blocks), "sample")


def _solve(name: str, problem: str, samples: range) -> xr.Dataset:
    backend, method = METHODS[name]
    with _by(backend, method):
        return solve(Problem.parse(problem), backend=backend, samples=samples, threads=1).load()


@contextmanager
def _by(backend: str, method: str | None) -> Iterator[None]:
    """The commands leave the method to the ensembles, so it is chosen between the two."""
    with ExitStack() as stack:
        if method is not None:
            module: Any = compiled if backend == "numba" else cuda
            stack.enter_context(patch.object(module, "ensemble", partial(module.ensemble, method=method)))
        if backend == "cupy" and not _has_gpu():
            from tests.solvers.cuda.cuda_host import HostCuda

            stack.enter_context(patch.dict(sys.modules, {"cupy": HostCuda()}))
        yield


def _has_gpu() -> bool:
    from solvers.machine.arrays import BackendError, backend_module

    try:
        backend_module("cupy")
    except BackendError:
        return False
    return True
