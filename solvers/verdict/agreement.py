"""How agreement of a theory and a simulation is decided: t statistics over replicas with a stated false-alarm rate.

One part of a comparison is a family of entries, numbers that the theory predicts and every replica estimates. The part
is rejected if any entry deviates by more than the t quantile at level α/entries (two-sided, Bonferroni), so under the
truth it is rejected with probability at most α, whatever the dependence between entries, provided the replicas'
estimates are normal. Two things make that hold where it would not by itself:

*Rare events.* A responsibility lies in [0, 1]; where its mean p comes from events that N particles hardly ever show,
the replicas agree with each other and are all wrong. The empirical Bernstein bound |mean − p| ≤ √(2 V log(3/α)/N) +
3 log(3/α)/N holds with probability 1 − α for any distribution on [0, 1], V being the variance of the sample. Its first
term is below the t quantile; its second, `resolution`, is allowed in addition. It also covers skewness.

*Known errors.* What the caller can bound (rounding, quadrature, the order of a step) is allowed in addition.

*Power.* An entry that is off by an error e of the theory is rejected with probability POWER if |e| is δ standard errors
beyond what is allowed, δ being where the noncentral t distribution has so much above the limit. As a part of the rate
or change that the entry is of, this is its `relative`.

Source  Audibert, Munos and Szepesvári (2009), theorem 1, for the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import nct
from scipy.stats import t as student

Array = NDArray[np.float64]

POWER = 0.95
NO_POWER = 0.6  # an entry is noted if a difference must exceed this part of its scale to be rejected


@dataclass(frozen=True, eq=False)
class Family:
    """Predictions and estimates of one start at one time, E entries.

    labels (E,). theory (E,). estimates (replica, E). allowance (E,): the errors known to the caller. scale (E,): how
    far an entry moves when a responsibility moves by 1. unit (E,): the rate, or the change since the start, that an
    error is a part of. draws: particles behind an average, all replicas together.
    """

    start: int
    time: float
    labels: Sequence[str]
    theory: Array
    estimates: Array
    allowance: Array
    scale: Array
    unit: Array
    draws: float


@dataclass(frozen=True)
class Entry:
    """One number compared, in its own units.

    deviation: max(|simulation − theory| − allowance, 0)/standard_error, ∞ where that is not finite. resolved: the
    smallest difference that would be rejected, in units of scale. relative: the smallest part of its rate by which the
    theory may be off and be rejected with probability POWER; ∞ where nothing moves.
    """

    start: int
    time: float
    quantity: str
    theory: float
    simulation: float
    standard_error: float
    allowance: float
    deviation: float
    scale: float
    resolved: float
    relative: float

    @property
    def name(self) -> str:
        """The quantity, without indices."""
        return self.quantity.split("[")[0]


@dataclass(frozen=True)
class Part:
    """The verdict on one family of entries, the most deviating first. limit: the t quantile, in standard errors."""

    name: str
    alpha: float
    limit: float
    entries: tuple[Entry, ...]

    @property
    def agrees(self) -> bool:
        return all(entry.deviation <= self.limit for entry in self.entries)

    def resolves(self) -> dict[str, Entry]:
        """Of each quantity that moves, the entry in which the smallest part of its rate shows."""
        best: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.relative < (best[entry.name].relative if entry.name in best else np.inf):
                best[entry.name] = entry
        return best


@lru_cache(maxsize=256)
def t_limit(alpha: float, entries: int, replicas: int) -> float:
    """The deviation, in standard errors over replicas, that any of so many entries exceeds with probability ≤ alpha."""
    return float(student.isf(alpha / (2 * entries), replicas - 1))


@lru_cache(maxsize=256)
def detectable(limit: float, replicas: int) -> float:
    """By how many standard errors a mean must be off for its t statistic to exceed the limit with probability POWER."""
    return float(brentq(lambda off: nct.sf(limit, replicas - 1, off) - POWER, 0.0, 8 * limit + 8))


def resolution(alpha: float, entries: int, draws: float) -> float:
    """3 log(3 entries/alpha)/draws: what the mean of a variable in [0, 1] may hide in events too rare to be drawn."""
    return 3 * math.log(3 * entries / alpha) / draws


def decide(name: str, families: Sequence[Family], alpha: float) -> Part:
    """All entries against the truth of the theory, at a joint false-alarm probability of alpha.

    Numbers that are not finite, on either side, disagree.
    """
    count = sum(len(family.labels) for family in families)
    replicas = len(families[0].estimates)
    limit = t_limit(alpha, count, replicas)
    off = detectable(limit, replicas)
    entries = []
    for family in families:
        allowance = family.allowance + family.scale * resolution(alpha, count, family.draws)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            mean = family.estimates.mean(0)
            error = family.estimates.std(0, ddof=1) / np.sqrt(replicas)
            excess = np.abs(mean - family.theory) - allowance
            deviation = np.where(excess <= 0, 0.0, excess / error)
            relative = np.where(family.unit == 0, np.inf, (off * error + allowance) / np.abs(family.unit))
        deviation[~np.isfinite(excess)] = np.inf
        columns = (
            family.theory,
            mean,
            error,
            allowance,
            deviation,
            family.scale,
            (limit * error + allowance) / family.scale,
            relative,
        )
        entries += [
            Entry(family.start, family.time, label, *map(float, numbers))
            for label, *numbers in zip(family.labels, *columns, strict=True)
        ]
    entries.sort(key=lambda entry: -entry.deviation)
    return Part(name, alpha, limit, tuple(entries))


def more_needed(families: Sequence[Family], relative: float, alpha: float) -> dict[str, float]:
    """How many times the draws it takes to notice such a part of the rate of each quantity that moves.

    Noise falls as their root, what rare events may hide as their number, and known errors not at all: ∞ where these are
    more than that part.
    """
    part = decide("", families, alpha)
    off = detectable(part.limit, len(families[0].estimates))
    rare = resolution(alpha, len(part.entries), families[0].draws)
    needs: dict[str, float] = {}
    for entry in part.entries:
        if not 0 < entry.relative < np.inf:
            continue
        noise, hidden = off * entry.standard_error, entry.scale * rare
        room = relative * (noise + entry.allowance) / entry.relative - (entry.allowance - hidden)
        # hidden/need + noise/√need = room
        need = ((noise + math.sqrt(noise**2 + 4 * hidden * room)) / (2 * room)) ** 2 if room > 0 else np.inf
        needs[entry.name] = min(needs.get(entry.name, np.inf), need)
    return needs


def blind(parts: Sequence[Part]) -> Iterator[str]:
    """A note on each part and start where some entry could be far off and pass."""
    for part in parts:
        worst: dict[int, Entry] = {}
        for entry in part.entries:
            if entry.resolved > max(NO_POWER, worst[entry.start].resolved if entry.start in worst else 0):
                worst[entry.start] = entry
        for start, entry in sorted(worst.items()):
            yield (
                f"{part.name}, start {start}: little power; at time {entry.time:g} {entry.quantity} may differ by "
                f"{entry.resolved * entry.scale:.2g} unnoticed"
            )
