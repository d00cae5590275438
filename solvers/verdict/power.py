"""How many particles it takes for an error of a given part of a rate to be noticed, and so many drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

from solvers.machine.progress import Progress, within
from solvers.particles.plan import SimulationError
from solvers.verdict.agreement import Family, more_needed
from solvers.verdict.entries import ALPHA

__all__ = ["check_resolve", "sharpened"]

# Times the particles of the first look are spent on what is resolved by default, and on what a caller asks for; what is
# nearly at rest would take any number.
MOST, MOST_ASKED = 64, 4096
SPARE = 1.7  # times the particles that the noise of the first look asks for: it is only estimated

#: (number of the look, how many times `particles`, progress) -> what is compared.
Look = Callable[[int, int, Progress | None], list[Family]]


def check_resolve(resolve: float | None) -> None:
    """Raises SimulationError for what is no part of a rate."""
    if resolve is not None and not 0 < resolve <= 1:
        raise SimulationError(f"resolve: is {resolve:.6g}; must be > 0 and at most 1, a part of a rate")


def sharpened(
    look: Look,
    what: str,
    *,
    particles: int,
    first: int,
    usual: float,
    resolve: float | None,
    refuse: Callable[[int], object],
    progress: Progress | None = None,
) -> tuple[list[Family], int, list[str]]:
    """What is compared, from how many times `particles`, and notes on what that was chosen for and on what does not
    show all the same.

    Takes
        what: the name of it. first: times `particles` of the first look. usual: the part of a rate that is resolved by
        default, where it is in reach. resolve: the part that is asked for. refuse: raises for too many times.
    """
    found, target = look(0, first, within(progress, 0, 0.2)), usual if resolve is None else resolve
    if not found:
        return [], first, []
    needs, ordinary = (more_needed(found, part, ALPHA) for part in (target, usual))
    most = MOST if resolve is None else MOST_ASKED
    missed = [name for name, need in needs.items() if need > most]
    # what is out of reach is looked at no less than if nothing had been asked for
    within_reach = [need for name, need in needs.items() if name not in missed]
    needed = max([*within_reach, *(ordinary[name] for name in missed if ordinary[name] <= MOST)], default=0.0)
    times = first * math.ceil(max(1.0, SPARE * needed if needed > 1 else 1.0))
    notes = []
    if times > first:
        refuse(times)
        found = look(1, times, within(progress, 0.2, 1.0))
        notes.append(
            f"{what}: {times * particles:,} particles, {times // first} times the first look, to resolve "
            f"{100 * (target if within_reach else usual):.3g} % of rates"
        )
    if missed:
        notes.append(
            f"{what}: {100 * target:.3g} % of {', '.join(missed)} is out of reach of {most * first * particles:,} "
            "particles a point: near to rest, or a part too small"
        )
    return found, times, notes
