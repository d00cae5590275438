"""Laws of logits whose covariance no state moves: what tables of their averages are made from, before all trajectories.

An emitted text is Python. Here it runs as that, without numba, as far as its laws: `expect_fixed` of it is told which
means and which covariance it has.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.divergence import divergence
from solvers.machine.ranks import AVERAGES

__all__ = ["FixedLaw", "fixed_laws"]

Array = NDArray[np.float64]


class FixedLaw(NamedTuple):
    """Of n = size logits, the last of which is zero."""

    means: Array
    """(points, n − 1): of a component at each mode and at the origin; others differ by what the covariance spans."""
    cov: Array
    """(n − 1, n − 1)"""

    @property
    def size(self) -> int:
        return len(self.cov) + 1

    @property
    def rank(self) -> int:
        """At least the number of directions that averages see."""
        variances = np.linalg.eigvalsh(self.cov)
        return int((variances > 0.1 * AVERAGES * np.max(variances, initial=1.0)).sum())


def fixed_laws(text: str, modes: int, directions: int, driven: int, p: Array) -> tuple[FixedLaw, ...]:
    """Those of a text (view "numba") for parameters p, in the order of their numbers."""
    return _laws(text, modes, directions, driven, p.tobytes())


@lru_cache(maxsize=8)
def _laws(text: str, modes: int, directions: int, driven: int, parameters: bytes) -> tuple[FixedLaw, ...]:
    if "expect_fixed(" not in text:
        return ()
    p = np.frombuffer(parameters)
    found: list[FixedLaw] = []

    def expect_fixed(work: Array, p: Array, law: int, count: int, n: int, mean: int, cov: int, *rest: Any) -> None:
        means = work[mean : mean + count * n].reshape(count, n, -1)[:, :-1]
        matrix = work[cov : cov + n * n, 0].reshape(n, n)[:-1, :-1]
        found.append(FixedLaw(np.moveaxis(means, 1, 2).reshape(count * means.shape[2], n - 1), matrix.copy()))

    def store(rows: Array, row: int, value: Any) -> None:
        rows[row] = value

    # The laws of several components are those of one at several places: a place a lane.
    scope: dict[str, Any] = {
        "njit": lambda **flags: lambda function: function,
        "FLAGS": {},
        "K": 1,
        "L": modes,
        "R": directions,
        "DRIVEN": driven,
        "SLOPES": lambda n: 0,
        "PAIR_SLOPES": lambda n: 0,
        "load": lambda rows, row: rows[row],
        "store": store,
        "logarithm": np.log,
        "divergence": divergence,
        "weights": lambda work: store(work, scope["R_W"], 1.0),
        "driven_or_given": lambda work, row, p, place: work[row] if driven else p[place],
        "expect": lambda *law: None,
        "expect_pairs": lambda *law: None,
        "expect_fixed": expect_fixed,
    }
    exec(compile(text, "<laws>", "exec"), scope)
    nu = p[scope["P_NU"] : scope["P_NU"] + modes * directions].reshape(modes, directions)
    states = np.zeros((scope["N"], modes + 1))
    states[:directions, :modes] = nu.T
    states[directions + 1 :] = 1.0  # a temperature
    work = np.zeros((scope["WORK"] + scope["N"], modes + 1))
    with np.errstate(all="ignore"):
        scope["fixed"](p, work)
        scope["observables"](states, p, np.zeros((scope["OUT"], modes + 1)), work)
    return tuple(found)
