"""The family of a problem: what it starts from, and what of it moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from solvers.problem.text import ProblemError
from solvers.problem.values import number, numbers, refuse, rows, show

__all__ = [
    "COVARIANCES",
    "ISOTROPIC",
    "Family",
    "diagonal_of",
    "family_variances",
    "only_isotropic",
    "over_coordinates",
    "variances",
]

Array = NDArray[np.float64]

ISOTROPIC, DIAGONAL = COVARIANCES = ("isotropic", "diagonal")


@dataclass(frozen=True, eq=False)
class Family:
    """q = Σ_k w_k N(μ_k, v_k I), k = 1..K, at the start.

    components: K. weights (K,): w, summing to 1. variances (K,): v_k. learn: which of "means", "weights",
    "variances" move. diagonal: None; or (K, d'), the variances of the first d' ≤ d coordinates of each component, of
    which the last is that of all others: covariances are diagonal then, and `variances` their means over coordinates.
    """

    components: int
    weights: Array
    variances: Array
    learn: tuple[str, ...]
    diagonal: Array | None = None

    @property
    def entries(self) -> Array:
        """All variances there are, in no shape."""
        return self.variances if self.diagonal is None else self.diagonal.ravel()

    def in_space(self, d: int) -> Array:
        """Variances in R^d: (K,), or (K, d) where they are those of coordinates."""
        if self.diagonal is None:
            return np.array(self.variances)
        return np.pad(self.diagonal, ((0, 0), (0, d - self.diagonal.shape[1])), mode="edge")


def variances(value: object) -> float | list[float]:
    """A number, or one per component or mode."""
    if not isinstance(value, list):
        return number("a number > 0, or a list of them", lambda x: x > 0)(value)
    return numbers(value, "every variance must be a number > 0", lambda x: x > 0)


def family_variances(value: object) -> float | list[float] | list[list[float]]:
    """The same, or a row of those of coordinates for each component."""
    if not isinstance(value, list) or not any(isinstance(entry, list) for entry in value):
        return variances(value)
    found = rows(value)
    for position, row in enumerate(found, start=1):
        if not row or min(row) <= 0:
            raise refuse(f"row {position} is {show(row)}; every variance must be a number > 0, and at least one a row")
    return found


def diagonal_of(section: Any, dimension: int, fail: Callable[[str, str], NoReturn]) -> Array | None:
    """(K, d') of a [family] whose covariances are diagonal, None where they are isotropic."""
    typed, K = section.variances, section.components
    if section.covariance == ISOTROPIC:
        if isinstance(typed, list) and any(isinstance(row, list) for row in typed):
            must = f'a number or one per component, or with covariance = "{DIAGONAL}" a row for each'
            fail("family.variances", f"is {show(typed)}; must be {must}")
        return None
    given = typed if isinstance(typed, list) else [typed] * K
    if len(given) != K:
        fail("family.variances", f"has {len(given)} entries, must be a number or have {K}, one per component")
    each = [row if isinstance(row, list) else [row] for row in given]
    for position, row in enumerate(each, start=1):
        if len(row) > dimension:
            most = f"must have at most dimension = {dimension}"
            fail("family.variances", f"row {position} has {len(row)} entries, {most}")
    longest = max(map(len, each))
    return np.array([row + row[-1:] * (longest - len(row)) for row in each])


def over_coordinates(diagonal: Array, d: int) -> list[float]:
    """Means (K,) of variances (K, d'), of which the last goes on to d."""
    return [float(v) for v in diagonal[:, -1] + (diagonal - diagonal[:, -1:]).sum(1) / d]


def only_isotropic(name: str, family: Family) -> None:
    """Raise ProblemError for the problem of this name if its prior has covariances that the theory does not have."""
    if family.diagonal is not None:
        raise ProblemError(
            f'{name}: family.covariance: is "{DIAGONAL}"; must be "{ISOTROPIC}", which the theory is of; diagonal '
            "covariances are for simulate alone"
        )
