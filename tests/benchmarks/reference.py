"""The reference solution that errors are measured against."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
from scipy.integrate import DOP853

from tests.benchmarks.case import CONVERGED, TIMES, Array, errors, right_hand_side

BLOCK = 32
TIGHTEST = 2.3e-14  # the tightest relative tolerance that SciPy accepts


def reference(y0: Array, processes: int) -> tuple[Array, dict[str, float]]:
    """Paths (n, T, 6), and how far they are from a second run at four times the tolerance.

    DOP853 with a tolerance near rounding, stopped at every save time (no interpolation), expectations by 181 nodes.
    """
    blocks = [(y0[i : i + BLOCK], TIGHTEST) for i in range(0, len(y0), BLOCK)]
    blocks += [(y0[i : i + BLOCK], 4 * TIGHTEST) for i in range(0, len(y0), BLOCK)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        solved = list(pool.map(_solve, blocks))
    half = len(solved) // 2
    paths, check = np.concatenate(solved[:half]), np.concatenate(solved[half:])
    return paths, summary(errors(check, paths))


def summary(error: Array) -> dict[str, float]:
    """Largest, 99th percentile and median over trajectories."""
    if not np.all(np.isfinite(error)):
        return {"max": float("inf"), "p99": float("inf"), "median": float("inf")}
    return {"max": float(error.max()), "p99": float(np.quantile(error, 0.99)), "median": float(np.median(error))}


def _solve(block: tuple[Array, float]) -> Array:
    y0, tolerance = block
    velocity, shape = right_hand_side(CONVERGED), y0.T.shape
    y, step, out = y0.T.ravel(), 1e-2, [y0]
    for begin, end in pairwise(TIMES):
        solver = DOP853(
            lambda _, flat: velocity(flat.reshape(shape)).ravel(),
            begin,
            y,
            end,
            rtol=tolerance,
            atol=tolerance,
            first_step=min(step, end - begin),
        )
        while solver.status == "running":
            message = solver.step()
            step = solver.h_abs
        if solver.status != "finished":
            raise RuntimeError(f"reference solution failed at t = {solver.t}: {message}")
        y = solver.y
        out.append(y.reshape(shape).T)
    return np.stack(out, axis=1)
