"""By which mechanism a mode is lost: one for every lost mode, by one rule for theory, simulations and screen alike.

Why every lost mode has one, and what the thresholds mean: docs/outcomes.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.machine.short import reduced
from solvers.results.outcomes import COLLAPSED_BELOW, DOMINANT_FROM, UNKNOWN, VANISHED_BELOW, End, lost

__all__ = [
    "AT_REST", "IN_TRANSIT", "LABELS", "NEUTRAL", "SADDLE", "STABLE", "UNDECIDED", "Labels", "collapse", "distances",
    "flags", "mechanisms", "qualified",
]  # fmt: skip

Array = NDArray[np.float64]
Codes = NDArray[np.int8]

NONE, ALIGNED, VANISHED, STRADDLING, UNFOUND, MIXED = range(6)
_NAMES = {
    NONE: "none", ALIGNED: "aligned", VANISHED: "vanished", STRADDLING: "straddling", UNFOUND: "unfound",
    MIXED: "mixed",
}  # fmt: skip

#: On what a run rests at its last time.
UNDECIDED, IN_TRANSIT, STABLE, SADDLE, NEUTRAL = -2, 0, 1, 2, 3
AT_REST = {
    UNDECIDED: "undecided", UNKNOWN: "unknown", IN_TRANSIT: "in_transit", STABLE: "stable", SADDLE: "saddle",
    NEUTRAL: "neutral",
}  # fmt: skip
#: What is added to the code of a mechanism, and to its name, where that is known.
_RESTING, _MOVING = 10, 20
_SUFFIX = {0: "", _RESTING: "_at_rest", _MOVING: "_in_transit"}


class Labels(NamedTuple):
    """An output that is one of several words. meaning: of the variable. names: the words by their codes, int8."""

    meaning: str
    names: dict[int, str]

    def attributes(self) -> dict[str, Any]:
        """flag_values and flag_meanings, by the conventions of climate and forecast files (CF)."""
        return flags(self.meaning, self.names)


def _of(kinds: range) -> dict[int, str]:
    rest = {kind + more: _NAMES[kind] + suffix for more, suffix in _SUFFIX.items() for kind in kinds}
    return {UNKNOWN: "unknown"} | rest


#: By name; never averaged as numbers. A code of a mechanism modulo 10 is the mechanism, at rest or not.
LABELS = {
    "mechanism": Labels("by which mechanism the mode is lost at the last time", _of(range(MIXED))),
    "collapse": Labels(
        "by which mechanism the run lost modes at the last time: that of all of them, or mixed", _of(range(MIXED + 1))
    ),
    "at_rest": Labels("on which kind of equilibrium the run rests at the last time, in all directions of R^d", AT_REST),
}


def flags(meaning: str, names: dict[int, str]) -> dict[str, Any]:
    """Attributes of a variable of codes."""
    return {
        "units": "1",
        "long_name": meaning,
        "flag_values": np.array(list(names), dtype=np.int8),
        "flag_meanings": " ".join(names.values()),
    }


def distances(s: Array, m: Array, c: Array) -> Array:
    """|μ_k − ν_l|² (..., K, L) of overlaps s (..., K, K), m (..., K, L), c (L, L)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.diagonal(s, axis1=-2, axis2=-1)[..., None] - 2 * m + np.diagonal(c))


def mechanisms(end: End, apart: Array) -> Codes:
    """The mechanism of each mode of n runs, (n, L): NONE where it is kept, UNKNOWN where a run has failed.

    Takes  the last states; apart (n, K, L) = |μ_k − ν_l|².

    1. A component is *dead* (w < 0.01), *on* a mode (B ≥ 0.9), or *spread*.
    2. Every kept mode is held by the component that gives it most mass. The others are spare.
    3. Spare components and lost modes are paired, nearest first. A mode is then vanished if its component is dead, or
       on it (with too little weight); aligned if it is on another mode; straddling if it is spread.
    4. A lost mode without a partner is straddling if a spread component reaches it, else unfound.
    """
    w, B = np.where(end.there, end.w, 0.0), np.where(end.there[..., None], end.B, 0.0)
    known = np.isfinite(w).all(-1) & np.isfinite(end.mode_mass).all(-1) & np.isfinite(B).all((-2, -1))
    missed, K, L = lost(end.mode_mass, end.pi), w.shape[-1], B.shape[-1]
    alive = np.asarray(end.there & (w >= VANISHED_BELOW))
    on = (B >= DOMINANT_FROM) & alive[..., None]
    spread = np.asarray(alive & ~on.any(-1))
    heaviest = np.argmax(np.nan_to_num(w[..., None] * B), axis=-2)[..., None, :] == np.arange(K)[:, None]
    spare = np.asarray(end.there & ~(heaviest & ~missed[..., None, :]).any(-1))
    serving = np.where(spread[..., None], STRADDLING, np.where(on.any(-1, keepdims=True) & ~on, ALIGNED, VANISHED))
    # Numbers that can be ordered, behind all of which comes what is no pair.
    far = np.nan_to_num(apart, nan=np.finfo(float).max, posinf=np.finfo(float).max)
    far = np.where(spare[..., None] & missed[..., None, :], far, np.inf)
    found, row = np.full(missed.shape, NONE), np.arange(len(w))
    for _ in range(min(K, L)):
        k, l = np.unravel_index(np.argmin(far.reshape(len(w), K * L), axis=-1), (K, L))
        pair = np.isfinite(far[row, k, l])
        if not pair.any():
            break
        found[row[pair], l[pair]] = serving[row, k, l][pair]
        far[row, k], far[row, :, l] = np.inf, np.inf
    reach = np.minimum(1 - DOMINANT_FROM, COLLAPSED_BELOW * end.pi)
    reached = (spread[..., None] & (reach <= B)).any(-2)
    found = np.where(missed & (found == NONE), np.where(reached, STRADDLING, UNFOUND), found)
    return np.where(np.asarray(known)[..., None], found, UNKNOWN).astype(np.int8)


def collapse(mechanism: Codes) -> Codes:
    """The mechanism of a run, (...), from those of its modes (..., L): MIXED where lost modes have several."""
    kind = np.where(mechanism < 0, NONE, mechanism % 10)
    first = reduced(np.maximum, kind)
    alike = reduced(np.logical_and, (kind == NONE) | (kind == first[..., None]))
    return np.where(reduced(np.logical_or, mechanism < 0), UNKNOWN, np.where(alike, first, MIXED)).astype(np.int8)


def qualified(kind: Codes, at_rest: Codes) -> Codes:
    """Codes of mechanisms (n, ...) that say whether the run (n,) is at rest, where that is known."""
    more = np.select([at_rest > IN_TRANSIT, at_rest == IN_TRANSIT], [_RESTING, _MOVING], 0)
    more = more.reshape(more.shape + (1,) * (kind.ndim - more.ndim))
    return np.where(kind < 0, kind, kind % 10 + more).astype(np.int8)
