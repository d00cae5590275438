"""Tolerances of the integrators: the smallest there is, and what the expectations owe to it."""

from __future__ import annotations

__all__ = ["SMALLEST_RTOL", "of_expectations"]

SMALLEST_RTOL = 1e-14
"""Of all integrators, and of the command line; LSODA's is twice as large, and it says so."""
SHARE = 0.01
"""Errors of expectations, in units of the integrator's relative tolerance."""


def of_expectations(rtol: float) -> float:
    """The `tolerance` of solvers.expectations in a flow integrated to rtol.

    The velocity is a sum of states times expectations. Their errors act the same way all along a trajectory, and
    saddles magnify them: at rtol = 1e-4 to 1e-8 and t = 20 (128 trajectories of three components, three modes) the
    worst trajectory erred by 2.5 rtol where expectations have a tenth of rtol, by 0.25 rtol with a hundredth, and by
    0.03 rtol with exact ones.
    """
    return SHARE * rtol
