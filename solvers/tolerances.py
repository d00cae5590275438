"""Tolerances of the integrators: the smallest there is, and what the expectations owe to it."""

from __future__ import annotations

__all__ = ["SMALLEST_RTOL", "of_expectations"]

SMALLEST_RTOL = 1e-14
"""Of all integrators, and of the command line; LSODA's is twice as large, and it says so."""
SHARE = 0.1
"""Errors of expectations, in units of the integrator's relative tolerance."""


def of_expectations(rtol: float) -> float:
    """The `tolerance` of solvers.expectations in a flow integrated to rtol.

    The velocity is a sum of states times expectations, so that this relative error of expectations is that of the
    velocity; the integrator's own may be ten times larger, and its error estimate does not see the steps between the
    rules for different widths.
    """
    return SHARE * rtol
