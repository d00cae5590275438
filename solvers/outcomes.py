"""What became of a run: collapsed, aligned, vanished. One rule for theory runs and simulations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COLLAPSED_BELOW = 0.5  # of a mode's own mass
VANISHED_BELOW = 0.01
DOMINANT_FROM = 0.9

UNKNOWN = -1

#: How a run collapsed.
MECHANISMS = {
    0: "not collapsed",
    1: "mean alignment: components share a mode",
    2: "vanishing weight",
    3: "both",
    4: "neither",
}


def outcomes(w: Array, mode_mass: Array, B: Array, pi: Array) -> dict[str, NDArray[np.int8]]:
    """The outcome of each of n runs, read off their last states.

    collapsed: some mode has less than half its mass, min_l π̂_l/π_l < ½. vanished: some w_k < 0.01. aligned: collapsed,
    and two components of weight ≥ 0.01 have the same dominant mode (B_kl ≥ 0.9). mechanism: a key of MECHANISMS.
    Means align with fixed and with learned weights; only with learned ones can a weight vanish.

    Takes
        w (n, T, K), of which the last time counts, or (n, K). mode_mass (n, L) = π̂ and B (n, K, L) = E_k[ρ_l], both at
        the last time. pi (L,): the masses π the modes have.
    Returns
        {"collapsed", "aligned", "vanished", "mechanism"}, each (n,) int8: the first three 1 yes, 0 no; -1 unknown,
        where any of the numbers of a run is not finite because the run failed.
    Source  section 5 of the theory.
    """
    w = w[:, -1] if w.ndim == 3 else w
    finite = np.isfinite(w).all(-1) & np.isfinite(mode_mass).all(-1) & np.isfinite(B).all((-2, -1))
    # Comparisons with nan are false and raise no warning, so failed runs pass through and are marked at the end.
    collapsed = (mode_mass / pi < COLLAPSED_BELOW).any(-1)
    vanished = (w < VANISHED_BELOW).any(-1)
    on_mode = (B >= DOMINANT_FROM) & (w >= VANISHED_BELOW)[..., None]
    aligned = collapsed & (on_mode.sum(-2) >= 2).any(-1)
    mechanism = np.where(collapsed, np.where(aligned | vanished, aligned + 2 * vanished, 4), 0)
    answers = {"collapsed": collapsed, "aligned": aligned, "vanished": vanished, "mechanism": mechanism}
    return {name: np.where(finite, answer, UNKNOWN).astype(np.int8) for name, answer in answers.items()}


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
