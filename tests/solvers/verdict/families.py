"""Families of entries from estimates alone."""

import numpy as np

from solvers.verdict.agreement import Family


def family(estimates, theory=0.0, allowance=0.0, scale=1.0, unit=1.0, draws=np.inf, start=0, time=1.0):
    count = estimates.shape[1]
    return Family(
        start,
        time,
        [f"x[{i}]" for i in range(count)],
        np.broadcast_to(np.asarray(theory, dtype=float), count),
        estimates,
        np.full(count, allowance),
        np.full(count, scale),
        np.broadcast_to(np.asarray(unit, dtype=float), count),
        draws,
    )
