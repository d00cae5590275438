"""Tolerances of the integrators: which there are, and what the expectations owe to them."""

from __future__ import annotations

import math

__all__ = ["SMALLEST_RTOL", "check", "of_expectations"]

SMALLEST_RTOL = 1e-14
"""Of all integrators, and of the command line; LSODA's is twice as large, and it says so."""
TOO_LARGE_RTOL = 1e-2
"""A weight below 0.01 has vanished: an error of that size would be the outcome."""
TOO_LARGE_ATOL = 1.0
"""Overlaps are in units where modes have variances about 1: an error of that size is a mode."""
SHARE = 0.01
"""Errors of expectations, in units of the integrator's relative tolerance."""


def check(rtol: float, atol: float, *, smallest: bool = True) -> None:
    """Raises ValueError, `rtol: is …; must be …`, for tolerances that cannot be kept or make outcomes arbitrary.

    smallest: also those too small for any integrator; flow.solve leaves these to the integrator that it takes.
    """
    least, none = (SMALLEST_RTOL, 0.0) if smallest else (-math.inf, -math.inf)
    ranges = {
        "rtol": (rtol, least <= rtol < TOO_LARGE_RTOL, f">= {SMALLEST_RTOL:g} and < {TOO_LARGE_RTOL:g}"),
        "atol": (atol, none < atol < TOO_LARGE_ATOL, f"> 0 and < {TOO_LARGE_ATOL:g}"),
    }
    for name, (value, kept, allowed) in ranges.items():
        if not kept:
            raise ValueError(f"{name}: is {repr(float(value)).removesuffix('.0')}; must be a number {allowed}")


def of_expectations(rtol: float) -> float:
    """The `tolerance` of solvers.expectations in a flow integrated to rtol.

    The velocity is a sum of states times expectations. Their errors act the same way all along a trajectory, and
    saddles magnify them: at rtol = 1e-4 to 1e-8 and t = 20 (128 trajectories of three components, three modes) the
    worst trajectory erred by 2.5 rtol where expectations have a tenth of rtol, by 0.25 rtol with a hundredth, and by
    0.03 rtol with exact ones.
    """
    return SHARE * rtol
