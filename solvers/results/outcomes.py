"""What became of a run: one table of outcomes, read by results, sweeps, screen and comparisons. One rule for theory
runs and simulations, and for each lost mode of either one mechanism: solvers.results.mechanisms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.machine.short import reduced

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

COLLAPSED_BELOW = 0.5  # of a mode's own mass
VANISHED_BELOW = 0.01
DOMINANT_FROM = 0.9

UNKNOWN = -1

#: How a run ended.
NOT_FINITE, TOO_LONG, LOST = 2, 3, 4
STATUS = {
    0: "reached the end", 1: "step limit", NOT_FINITE: "not finite",
    TOO_LONG: "sampler step too long for the variances", LOST: "log-weights of this dimension lost to rounding",
}  # fmt: skip


class End(NamedTuple):
    """Last states of n runs: w (n, K), mode_mass (n, L) = π̂, B (n, K, L) = E_k[ρ_l]; pi (L,), the masses of the modes.
    there (n, K): whether component k has been added yet.

    Comparisons with nan are false and raise no warning, so runs that failed pass through the rules.
    """

    w: Array
    mode_mass: Array
    B: Array
    pi: Array
    there: Flags


class Outcome(NamedTuple):
    """What a run may have come to. meaning: of "yes", said of a run; event: the same, behind "probability that"."""

    meaning: str
    event: str
    rule: Callable[[End], Flags]


def _collapsed(end: End) -> Flags:
    """min_l π̂_l/π_l < ½."""
    return np.asarray(reduced(np.logical_or, lost(end.mode_mass, end.pi)))


def _aligned(end: End) -> Flags:
    """Two components of weight ≥ 0.01 have the same dominant mode, B_kl ≥ 0.9. Fixed weights allow it too."""
    on_mode = (end.B >= DOMINANT_FROM) & (end.w >= VANISHED_BELOW)[..., None]
    shared = reduced(np.add, np.swapaxes(on_mode, -1, -2).astype(np.intp)) >= 2
    return np.asarray(_collapsed(end) & reduced(np.logical_or, shared))


def _vanished(end: End) -> Flags:
    """Some w_k < 0.01, which takes weights that are learned."""
    return np.asarray(reduced(np.logical_or, (end.w < VANISHED_BELOW) & end.there))


#: By name. A new outcome is one more entry; every reader finds it here.
OUTCOMES = {
    "collapsed": Outcome(
        "some mode has less than half its mass at the last time",
        "some mode has less than half its mass at the last time",
        _collapsed,
    ),
    "aligned": Outcome(
        "collapsed, and two components share a dominant mode", "besides two components share a dominant mode", _aligned
    ),
    "vanished": Outcome(
        "some weight is below 0.01 at the last time", "some weight is below 0.01 at the last time", _vanished
    ),
}


def outcomes(
    w: Array, mode_mass: Array, B: Array, pi: Array, there: Flags | None = None
) -> dict[str, NDArray[np.int8]]:
    """The outcome of each of n runs, read off their last states.

    Takes
        w (n, T, K), of which the last time counts, or (n, K). mode_mass (n, L) = π̂ and B (n, K, L) = E_k[ρ_l], both at
        the last time. pi (L,): the masses π the modes have. there (n, K): which components have been added, default
        all: the weight 0 of one that has not is none that vanished.
    Returns
        By name, each (n,) int8: of OUTCOMES 1 yes, 0 no; -1 unknown, where any of the numbers of a run is not finite
        because the run failed.
    Source  section 5 of the theory.
    """
    w = w[:, -1] if w.ndim == 3 else w
    end = End(w, mode_mass, B, pi, np.ones(w.shape, dtype=bool) if there is None else there)
    tables = B.reshape(len(B), -1)
    finite = np.logical_and.reduce([reduced(np.logical_and, np.isfinite(a)) for a in (end.w, mode_mass, tables)])
    answers = {name: outcome.rule(end) for name, outcome in OUTCOMES.items()}
    return {name: np.where(finite, answer, UNKNOWN).astype(np.int8) for name, answer in answers.items()}


def lost(mode_mass: Array, pi: Array) -> Flags:
    """Which modes have less than half their mass, (..., L) of mode_mass (..., L) and pi (L,); nan is not lost."""
    return np.asarray(mode_mass / pi < COLLAPSED_BELOW)


def mode_mass_distance(mode_mass: Array, pi: Array) -> Array:
    """KL(π̂‖π) = Σ_l π̂_l log(π̂_l/π_l) in nats: 0 when every mode has its mass, −log π_l when mode l has it all.

    Right for unequal π too, where the entropy of π̂ ("EMC") is not smallest or largest at the target.

    Takes
        mode_mass (..., L), rows summing to 1, and pi (L,).
    Returns
        (...); nan where mode_mass is.
    """
    from scipy.special import rel_entr  # which takes longer to import than many a problem to solve

    return np.asarray(rel_entr(mode_mass, pi).sum(-1))
