"""Steps along a branch of equilibria, and the special points between two of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from solvers.equilibria.field import AT_REST, Field
from solvers.equilibria.point import NEUTRAL, stability_of
from solvers.machine.ranks import DERIVATIVES
from solvers.problem import ProblemError
from solvers.problem.keys import changed, number

__all__ = ["Curve", "Point"]

Array = NDArray[np.float64]

CORRECTIONS = 8
SMALLEST = 1e-6  # arclength of a step; where even that fails the branch is left
TURN = 0.98  # cosine between the tangents of two neighbouring points, at least
DIFFERENCE = 1e-3  # of the parameter, for the derivative of the velocity by five points: error and rounding near 1e-12
EVEN = 1e-3  # of the odd difference: an even one that small is none; elsewhere they are in the ratio 1/h = 100
ASIDE = 1e-2  # part of a step at which the direction of a crossing branch is read off, and its first step


@dataclass(frozen=True)
class Point:
    """z (n,), the parameter, the unit tangent (n + 1,), eigenvalues (n,) modulo gauge, the kind (branches.KINDS)."""

    z: Array
    parameter: float
    tangent: Array
    eigenvalues: Array
    kind: int = 0

    @property
    def u(self) -> Array:
        return np.append(self.z, self.parameter)


class _Lost(Exception):
    """The corrector did not converge."""


@dataclass
class Curve:
    """Branches of one problem along one key within bounds."""

    reference: Field
    key: str
    bounds: tuple[float, float]
    step: float
    points: int
    _fields: dict[float, Field] = field(default_factory=dict)

    def field(self, parameter: float) -> Field:
        """The field at a value of the parameter; the last few are kept."""
        if parameter not in self._fields:
            while len(self._fields) > 16:
                self._fields.pop(next(iter(self._fields)))
            problem = changed(self.reference.problem, self.key, parameter)
            self._fields[parameter] = self.reference.at(problem)
        return self._fields[parameter]

    @property
    def value(self) -> float:
        """The parameter in the problem of the reference."""
        return number(self.reference.problem, self.key)

    # --- one point --------------------------------------------------------------------------------------------------

    def rows(self, u: Array) -> Array:
        """The rows (n + g, n + 1) of the derivative of the velocity and of the gauge."""
        z, parameter = u[:-1], float(u[-1])
        here = self.field(parameter)
        slope = here.derivatives(z)[1]
        h = DIFFERENCE * max(1.0, abs(parameter))
        values = [self.field(parameter + k * h).derivatives(z)[0] for k in (-2, -1, 1, 2)]
        along = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
        gauge = here.gauge(z)
        return np.block([[slope, along[:, None]], [gauge, np.zeros((len(gauge), 1))]])

    def corrected(self, u: Array, normal: Array) -> Array:
        """The point of the branch in the hyperplane through u with this normal (n + 1,)."""
        start = u
        for _ in range(CORRECTIONS):
            f = self.field(float(u[-1])).derivatives(u[:-1])[0]
            if np.abs(f).max() <= AT_REST * max(1.0, np.abs(u).max()):
                return u
            rows = self.rows(u)
            right = np.r_[f, np.zeros(len(rows) - len(f)), normal @ (u - start)]
            u = u - np.linalg.lstsq(np.vstack([rows, normal]), right, rcond=DERIVATIVES)[0]
            if not np.isfinite(u).all() or np.linalg.norm(u - start) > 10 * self.step:
                break
        raise _Lost

    def point(self, u: Array, normal: Array, kind: int = 0) -> Point:
        """The point at u of a branch, with the tangent that points along `normal`."""
        rows = self.rows(u)
        right = np.r_[np.zeros(len(rows)), 1.0]
        tangent = np.linalg.lstsq(np.vstack([rows, normal]), right, rcond=DERIVATIVES)[0]
        values = self.field(float(u[-1])).spectrum(u[:-1])[0]
        return Point(u[:-1], float(u[-1]), tangent / np.linalg.norm(tangent), values, kind)

    def advance(self, point: Point, length: float) -> Point:
        """The point of the branch at this arclength along the tangent.

        Raises  _Lost if there is none, or if the way there leads through values that the parameter cannot have.
        """
        try:
            return self._advanced(point, length)
        except ProblemError as error:
            raise _Lost from error

    def _advanced(self, point: Point, length: float) -> Point:
        return self.point(self.corrected(point.u + length * point.tangent, point.tangent), point.tangent)

    # --- a branch ---------------------------------------------------------------------------------------------------

    def both_ways(self, z: Array) -> list[Point]:
        """The branch through an equilibrium at the parameter of the reference, towards growing parameters."""
        u = np.r_[z, self.value]
        up = np.r_[np.zeros(len(z)), 1.0]
        there = self.point(u, up, kind=4)
        back = self.follow(replace(there, tangent=-there.tangent))
        reverse = [replace(point, tangent=-point.tangent) for point in back[:0:-1]]
        return [*reverse, *self.follow(there)]

    def cross(self, point: Point, side: int) -> list[Point]:
        """The branch that crosses at a branch point, on one side of it."""
        normal = np.r_[side * self.kernel(point), 0.0]
        try:
            first = self.point(self.corrected(point.u + ASIDE * self.step * normal, normal), normal)
        except _Lost:
            return []
        start = replace(point, tangent=normal, kind=4)
        return [start, *self.follow(first)]

    def follow(self, start: Point) -> list[Point]:
        """The points from `start` along its tangent to the bounds, special points among them."""
        low, high = self.bounds
        out, here, length = [start], start, self.step
        while len(out) < self.points and length >= SMALLEST:
            try:
                there = self.advance(here, length)
            except _Lost:
                length /= 2
                continue
            if here.tangent @ there.tangent < TURN:
                length /= 2
                continue
            out += self.between(here, there, length)
            outside = not low <= there.parameter <= high
            if outside:
                out.append(self.at_bound(here, there, length))
                break
            out.append(there)
            here, length = there, min(self.step, 1.3 * length)
        return [point for point in out if low <= point.parameter <= high]

    def at_bound(self, here: Point, there: Point, length: float) -> Point:
        """The point between two where the branch reaches a bound."""
        bound = self.bounds[0] if there.parameter < self.bounds[0] else self.bounds[1]
        if here.parameter == bound:
            return here
        where = brentq(lambda x: self.advance(here, x).parameter - bound, 0.0, length, xtol=1e-12)
        point = self.advance(here, where)
        return replace(point, parameter=bound)

    # --- special points ---------------------------------------------------------------------------------------------

    def between(self, here: Point, there: Point, length: float) -> list[Point]:
        """Folds and branch points between two neighbouring points of a branch."""
        found = []
        folded = here.tangent[-1] * there.tangent[-1] < 0
        if folded:
            where = brentq(lambda x: self.advance(here, x).tangent[-1], 0.0, length, xtol=1e-13)
            found.append((where, replace(self.advance(here, where), kind=1)))
        change = abs(stability_of(here.eigenvalues)[1] - stability_of(there.eigenvalues)[1])
        if here.kind != 4 and change > folded:
            index, dropped = self._critical(here, there)

            def critical(x: float) -> float:
                return float(
                    self._without(self.advance(here, x).eigenvalues if x else here.eigenvalues, dropped)[index]
                )

            if critical(0.0) * critical(length) < 0:
                where = brentq(critical, 0.0, length, xtol=1e-13)
                point = self.advance(here, where)
                if not (folded and abs(where - found[0][0]) < 1e-6 * length):
                    found.append((where, replace(point, kind=2 if self._is_pitchfork(point) else 3)))
        return [point for _, point in sorted(found, key=lambda entry: entry[0])]

    @staticmethod
    def _critical(here: Point, there: Point) -> tuple[int, int]:
        """Which eigenvalue changes sign, counted after dropping so many that are always zero."""
        counts, zeros = [], []
        for point in (here, there):
            known = point.eigenvalues[np.isfinite(point.eigenvalues)]
            zero = NEUTRAL * max(1.0, np.abs(known).max(initial=0.0))
            counts.append(int((known > zero).sum()))
            zeros.append(int((np.abs(known) <= zero).sum()))
        return min(counts), min(zeros)

    @staticmethod
    def _without(eigenvalues: Array, dropped: int) -> Array:
        """Eigenvalues, largest first, without so many of those closest to zero."""
        known = eigenvalues[np.isfinite(eigenvalues)]
        return np.sort(known[np.argsort(np.abs(known))[dropped:]])[::-1]

    def kernel(self, point: Point) -> Array:
        """The direction (n,) whose eigenvalue is zero at a branch point, but not all along the branch."""
        ahead = self.advance(point, ASIDE * self.step)
        values, axes = self.field(ahead.parameter).spectrum(ahead.z)
        known = values[np.isfinite(values)]
        zero = NEUTRAL * max(1.0, np.abs(known).max())
        candidates = np.where(np.abs(known) > zero, np.abs(known), np.inf)
        axis = axes[:, int(np.argmin(candidates))]
        return np.asarray(axis / np.linalg.norm(axis))

    def _is_pitchfork(self, point: Point) -> bool:
        """Whether the velocity has no part quadratic in the critical direction: then the crossing branch is symmetric.

        Even and odd differences over h = 1e-2 tell it: at a pitchfork the even one is rounding.
        """
        axis, here, h = self.kernel(point), self.field(point.parameter), 1e-2
        plus, minus = (here.derivatives(point.z + sign * h * axis)[0] @ axis for sign in (1, -1))
        return bool(abs(plus + minus) <= EVEN * abs(plus - minus))
