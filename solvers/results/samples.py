"""Samples of x_N, where a sampler ends, as variables of RUN.nc and SIM.nc."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.machine.cores import available_memory
from solvers.problem import Problem, ProblemError

__all__ = ["MOST_NUMBERS", "check", "sample_variables"]

Array = NDArray[np.float64]

#: Of points in R^d that `solve` writes beside reduced coordinates, which say the same: 128 MiB.
MOST_NUMBERS = 2**24
#: Bytes for each number: in memory, and in the file as it is made.
BYTES = 2 * 8

# name: (dimensions behind those of the runs, units, meaning).
_VARIABLES = {
    "x": (("draw", "coordinate"), "length", "sample x_N of the sampler at the last time"),
    "log_weight": (("draw",), "nat", "log W of its path, target normalised"),
    "x_parallel": (
        ("draw", "direction"),
        "length",
        "coordinate of x_N in the span of all means; nan: no such direction",
    ),
    "mode_parallel": (("mode", "direction"), "length", "coordinate of the mean of mode l in that span"),
    "rho": (("draw",), "length²", "|x_⊥|², squared length of x_N across that span"),
}


def check(problem: Problem, draws: int | None, each: float) -> None:
    """Refuse a number of samples that is none, or that does not fit in memory.

    draws: of each start, None for none; each: numbers that one of them takes, those of all starts together.
    Raises  ProblemError.
    """
    if draws is None:
        return
    if problem.sampler is None:
        raise ProblemError(f"--samples: is {draws}; must be left out: {problem.name} has no [sampler] to draw from")
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise ProblemError(f"--samples: is {draws}; must be an integer >= 1")
    if draws * each * BYTES > max((there := available_memory()), 2**26):
        raise ProblemError(
            f"--samples: is {draws}; must be at most {int(there / each / BYTES)}: it needs "
            f"{draws * each * BYTES / 2**30:.3g} GiB of memory or more, and {there / 2**30:.3g} GiB may be used here"
        )


def sample_variables(values: dict[str, Array], runs: tuple[str, ...]) -> dict[str, xr.Variable]:
    """The variables of these arrays. runs: their first dimensions, ("sample",) or ("sample", "replica").

    values: of x (..., n, d), log_weight (..., n), x_parallel (..., n, R), rho (..., n), mode_parallel (..., L, R);
    n the number of draws.
    """
    found = {}
    for name, array in values.items():
        dims, units, meaning = _VARIABLES[name]
        found[name] = xr.Variable((*runs, *dims), array, {"units": units, "long_name": meaning})
    return found
