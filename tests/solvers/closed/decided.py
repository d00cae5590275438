"""Outcomes of two runs compared where they are decided: at a threshold, rounding decides."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.closed import systems
from solvers.problem import Problem
from solvers.results.outcomes import COLLAPSED_BELOW, DOMINANT_FROM, VANISHED_BELOW

#: How far a number must be from its threshold; runs that are compared agree to a thousandth of this.
MARGIN = 1e-3
OUTCOMES = ("collapsed", "aligned", "vanished", "mechanism", "collapse")


def decided(run: xr.Dataset, given: Problem) -> NDArray[np.bool_]:
    """(sample,): no mode mass, weight or responsibility at the end within MARGIN (relative) of a threshold."""
    s, m, w, mass = (run[name].values[:, -1] for name in ("s", "m", "w", "mode_mass"))
    with np.errstate(divide="ignore"):
        B = systems.evaluate(given, systems.for_problem(given), s, m, np.log(w))["B"]
    clear = np.ones(len(w), dtype=bool)
    for value, threshold in (
        (mass / given.target.weights, COLLAPSED_BELOW),
        (w, VANISHED_BELOW),
        (B, DOMINANT_FROM),
        (B, np.minimum(1 - DOMINANT_FROM, COLLAPSED_BELOW * given.target.weights)),
    ):
        far = np.abs(value - threshold) > MARGIN * threshold
        clear &= far.reshape(len(w), -1).all(axis=1)
    return clear


def assert_same_outcomes(one: xr.Dataset, other: xr.Dataset, given: Problem) -> None:
    """Statuses are equal, and outcomes where they are decided, which is nearly everywhere."""
    np.testing.assert_array_equal(one["status"], other["status"])
    clear = decided(other, given) | (other["status"].values != 0)
    assert clear.mean() > 0.95
    for name in OUTCOMES:
        np.testing.assert_array_equal(one[name].values[clear], other[name].values[clear], err_msg=name)
