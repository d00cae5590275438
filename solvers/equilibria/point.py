"""One equilibrium: found by following the flow and by Newton's method, with its spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.equilibria.field import Field, NoEquilibrium
from solvers.problem import Problem
from solvers.problem.starts import starts
from solvers.results.checks import UNUSABLE, rounding

__all__ = ["NEUTRAL", "STABILITY", "Equilibrium", "equilibrium", "stability_of"]

Array = NDArray[np.float64]

#: Eigenvalues below this, in units of max(1, the largest), count as zero: the state carries errors of 1e-12.
NEUTRAL = 1e-9
STABILITY = {
    1: "stable: every deviation decays",
    0: "neutral: none grows, some neither grow nor decay",
    -1: "unstable: some deviation grows",
}


@dataclass(frozen=True)
class Equilibrium:
    """s (K, K), m (K, L), w (K,); objective (nats); mode_mass (L,); the field and its state z (n,).

    eigenvalues (n,): growth rates of small deviations, largest first, modulo rotations about the modes and a constant
    in θ, whose places at the end hold nan. A direction outside the span of all means stands for all d − R of them.
    stability: a key of STABILITY. unstable: how many eigenvalues are positive.
    """

    field: Field
    z: Array
    s: Array
    m: Array
    w: Array
    objective: float
    mode_mass: Array
    eigenvalues: Array
    stability: int
    unstable: int

    @classmethod
    def of(cls, field: Field, z: Array) -> Equilibrium:
        """The equilibrium at a state where the velocity is zero.

        Raises  NoEquilibrium where its objective is not finite, or lost to rounding.
        """
        s, m, w = field.overlaps(z)
        out, (values, _) = field.observables(z), field.spectrum(z)
        lost = rounding(field.problem, m, s, field.problem.family.variances)
        if not (np.isfinite(out).all() and lost <= UNUSABLE * max(1.0, abs(out[0]))):
            raise NoEquilibrium(
                f"{field.problem.name}: the objective of the equilibrium is {out[0]:g}, and rounding may change it by "
                f"{lost:.1e}; must have digits: smaller overlaps, in units of the variances"
            )
        modes = m.shape[-1]
        stability, unstable = stability_of(values)
        return cls(field, z, s, m, w, float(out[0]), out[1 : 1 + modes], values, stability, unstable)


def stability_of(eigenvalues: Array) -> tuple[int, int]:
    """The key of STABILITY, and how many are positive, of eigenvalues modulo gauge (nan: none)."""
    known = eigenvalues[np.isfinite(eigenvalues)]
    zero = NEUTRAL * max(1.0, np.abs(known).max(initial=0.0))
    growing = int((known > zero).sum())
    return (-1 if growing else 0 if (known >= -zero).any() else 1), growing


def equilibrium(problem: Problem, *, sample: int = 0, follow: float | None = None) -> Equilibrium:
    """The equilibrium that start number `sample` of a problem leads to, or the one near that start.

    Takes
        follow: time for which the flow is followed before Newton's method, default problem.time.end; 0 finds the
        equilibrium near the start, stable or not.
    Returns
        Equilibrium, its velocity below 1e-12; its spectrum includes directions that the start does not have.
    Raises
        NoEquilibrium if Newton's method fails; ProblemError if nothing is learned.
    """
    field = Field.of(problem)
    s, m, theta = starts(problem, [sample])
    z = field.state(s[0], m[0], theta[0])
    end = problem.time.end if follow is None else follow
    if end > 0:
        from solvers.closed import compiled

        times = np.array([0.0, end])
        found = compiled.ensemble(field.system, field.full(z)[None], field.parameters, times, stop_at_equilibrium=True)
        if found.status[0]:
            raise NoEquilibrium(f"{problem.name}: start {sample} did not reach t = {end:g}")
        z = found.y[0, -1, field.moving]
    return Equilibrium.of(field, field.newton(z))
