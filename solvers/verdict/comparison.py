"""The two sides of a flow, run and put beside each other: right-hand sides at points, and trajectories from starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import softmax

from solvers.closed import flow, systems
from solvers.machine.progress import Progress, within
from solvers.particles.plan import plan
from solvers.particles.replicas import Path, replicas_path, velocities
from solvers.problem import Problem
from solvers.problem.gram import span
from solvers.problem.starts import starts, vectors
from solvers.verdict.agreement import Family
from solvers.verdict.entries import AMPLIFICATION, SCATTER, Entries, distinct, extrapolated
from solvers.verdict.power import sharpened

Array = NDArray[np.float64]

POINTS = 5  # of each trajectory, at which the right-hand side is compared
# Times as many particles there, at first, as in a step of the trajectory: replica means must be near normal.
FIRST_LOOK = 16
RESOLVE = 0.03  # part of a rate by which the theory may be off and be noticed


@dataclass(frozen=True)
class Comparison:
    """A theory, its solution, and how its problem is simulated; another seed of the problem is an independent one."""

    problem: Problem
    module: Any
    theory: xr.Dataset
    particles: int
    replicas: int
    step: float
    rtol: float
    backend: str

    def points(
        self, starts: Sequence[int], resolve: float | None, progress: Progress | None = None
    ) -> tuple[list[Family], int, list[str]]:
        """The right-hand side at POINTS save times of each of these starts, from how many times `particles`, and notes
        on what that was chosen for and on what does not show all the same."""
        saved = self.theory.sizes["time"]
        at = np.unique(np.linspace(0, saved - 1, POINTS).round().astype(int)).tolist()
        where = [(i, n) for i in starts for n in at]

        def look(number: int, times: int, share: Progress | None) -> list[Family]:
            found = []
            for n, place in enumerate(where):
                found.append(self.point(*place, times=times, look=number))
                if share:
                    share((n + 1) / len(where))
            return found

        def refuse(times: int) -> None:
            plan(self.problem, particles=times * self.particles, replicas=self.replicas, backend=self.backend)

        return sharpened(
            look, "right-hand side", particles=self.particles, first=FIRST_LOOK, usual=RESOLVE, resolve=resolve,
            refuse=refuse, progress=progress,
        )  # fmt: skip

    def point(self, i: int, at: int, *, times: int = FIRST_LOOK, look: int = 0) -> Family:
        """The right-hand side where the theory is at save time `at` of start i, or as near as vectors of R^d come.

        times: as many particles as in a step of the trajectory; look: names the random numbers.
        """
        row = self.theory.isel(sample=i, time=at)
        w = row["w"].values
        mu, nu = vectors(*_nearest(row["s"].values, row["m"].values, self.problem), self.problem)
        # The overlaps of these very vectors, so that the errors of the integrator are no part of the comparison.
        s, m, theta = mu @ mu.T, mu @ nu.T, np.log(np.maximum(w, np.finfo(float).tiny))
        time = float(row["time"])
        values = systems.evaluate(self.problem, self.module, s, m, theta, np.log(row["v"].values), time=time)
        log_v = np.log(row["v"].values)
        ds, dm, dtheta, *dlog_v = flow.velocity(self.problem, self.module, s, m, theta, log_v, time=time)
        particles = times * self.particles
        found = velocities(
            self.problem,
            mu,
            theta,
            particles=particles,
            replicas=self.replicas,
            key=(i, at, look),
            time=time,
            backend=self.backend,
            variances=row["v"].values,
        )
        half = found.dmu @ mu.T
        length, field = self.scales(s, m)
        fast, precision = length * self.rate, self.precision(length)
        # θ is defined up to a constant; the weights are not.
        dw, found_dw = (_weight_velocity(w, velocity) for velocity in (dtheta, found.dtheta))
        quantities = {
            "ds/dt": (ds, half + half.transpose(0, 2, 1), fast, fast * precision, 0.0),
            "dm/dt": (dm, found.dmu @ nu.T, fast, fast * precision, 0.0),
            "dw/dt": (dw, found_dw, field, length * precision, 0.0),
            "objective": (systems.call(self.module.objective, values), found.objective, field, length * precision, 0.0),
            "mode_mass": (systems.call(self.module.mode_mass, values), found.mode_mass, 1.0, precision, 0.0),
        }
        if dlog_v:
            # (x − μ)·∇ log q is of order d: that is the scale of the slope in log v
            scale = self.problem.dimension * float(row["v"].max()) * self.rate
            quantities["dv/dt"] = (row["v"].values * dlog_v[0], found.dv, scale, scale * precision, 0.0)
        return _family(i, time, particles * self.replicas, quantities)

    def runs(self, i: int, progress: Progress | None = None) -> tuple[Path, Path, Path]:
        """The simulation from start i with steps 2h, h and h/2; nothing of the theory enters."""
        begin = starts(self.problem, [i])
        mu, _ = vectors(begin.s[0], begin.m[0], self.problem)
        coarse, middle, fine = (
            replicas_path(
                self.problem,
                mu,
                begin.theta[0],
                particles=self.particles,
                replicas=self.replicas,
                step=2 * self.step,
                refine=refine,
                key=(i,),
                backend=self.backend,
                progress=within(progress, (refine - 1) / 7, (2 * refine - 1) / 7),
            )
            for refine in (1, 2, 4)
        )
        return coarse, middle, fine

    def path(self, i: int, runs: tuple[Path, Path, Path]) -> tuple[list[Family], list[str]]:
        """The trajectory from start i against its `runs`, at each save time after the start; a note if cut short."""
        coarse, middle, fine = runs
        # Particles drawn while the fastest direction relaxes: a rare event unseen in that time would have moved the
        # means by no more than its probability times their scale.
        draws = self.particles * self.replicas * max(1.0, 1 / (self.step * self.rate))
        families: list[Family] = []
        begin = starts(self.problem, [i])
        before = {"s": begin.s[0], "m": begin.m[0], "w": softmax(begin.theta[0]), "v": self.problem.family.variances}
        for at in map(int, np.flatnonzero(self.problem.time.times > 0)):
            row = self.theory.isel(sample=i, time=at)
            time = float(row["time"])
            if self.scattered(fine, at):
                return families, [
                    f"trajectory, start {i}: not compared from time {time:g} on, where its replicas scatter too "
                    "widely; more particles carry it further"
                ]
            length, field = self.scales(row["s"].values, row["m"].values)
            known = AMPLIFICATION * (self.rtol + self.precision(length))
            quantities = {}
            learned = [("v", float(row["v"].max()))] if "variances" in self.problem.family.learn else []
            for name, scale in (("s", length), ("m", length), ("w", field), *learned):
                two_h, h, half_h = (getattr(run, name)[:, at] for run in (coarse, middle, fine))
                best, second_order = extrapolated(two_h, h, half_h)
                quantities[name] = (row[name].values, best, scale, known * scale + second_order, before[name])
            families.append(_family(i, time, draws, quantities))
        return families, []

    def scattered(self, run: Path, at: int) -> bool:
        """Whether the replicas of a run are too far apart at a save time; asked of the simulation alone."""
        s, m, w = run.s[:, at], run.m[:, at], run.w[:, at]
        with np.errstate(over="ignore", invalid="ignore"):
            length, _ = self.scales(s, m)
            spread = s.std(0).max() / length, m.std(0).max() / length, w.std(0).max()
        return bool(max(spread) > SCATTER)

    @property
    def rate(self) -> float:
        """The fastest rate at which a mean relaxes, max(1/v, 1/u)."""
        return float(1 / min(self.problem.family.variances.min(), self.problem.target.variances.min()))

    def scales(self, s: Array, m: Array) -> tuple[float, float]:
        """How far overlaps, and averages of log q − log p, move when a responsibility moves by 1; at least 1 each."""
        length = max(1.0, *(float(np.abs(overlaps).max()) for overlaps in (s, m, self.problem.target.c)))
        return length, math.sqrt(length)

    def precision(self, length: float) -> float:
        """Quadrature error of the theory, and rounding of the simulation: of log-densities as large as |x − μ|²/2v."""
        largest = max(self.problem.family.variances.max(), self.problem.target.variances.max())
        log_density = self.rate * (self.problem.dimension * largest + 4 * length)
        quadrature = float(self.theory["quadrature_error"].max(skipna=True))
        return quadrature + 32 * float(np.finfo(float).eps) * float(log_density)


# (theory (...), estimates (replica, ...), scale, allowance, what it was before it moved) of one quantity
_Quantity = tuple[Array, Array, float, Any, Any]


def _family(start: int, time: float, draws: float, quantities: dict[str, _Quantity]) -> Family:
    entries = Entries()
    for name, (theory, estimates, scale, allowance, before) in quantities.items():
        allowed, expected = np.broadcast_to(allowance, np.shape(theory)), np.asarray(theory)
        moved = expected - before
        for index in distinct(name, expected.shape):
            of_replicas = estimates[(slice(None), *index)]
            entries.add(
                name, index, expected[index], of_replicas, scale=scale, allowance=allowed[index], unit=moved[index]
            )
    return entries.family(start, time, draws)


def _nearest(s: Array, m: Array, problem: Problem) -> tuple[Array, Array]:
    """Overlaps near s and m that vectors of R^d have: an integrator, or a wrong theory, may leave them."""
    target, _ = span(problem.target.vectors)
    inside = m @ np.linalg.pinv(target).T
    eigenvalues, directions = np.linalg.eigh(s - inside @ inside.T)
    eigenvalues[: max(len(s) - (problem.dimension - target.shape[1]), 0)] = 0.0
    return inside @ inside.T + (directions * eigenvalues.clip(min=0.0)) @ directions.T, inside @ target.T


def _weight_velocity(w: Array, dtheta: Array) -> Array:
    """dw_k/dt = w_k (dθ_k/dt − Σ_j w_j dθ_j/dt), over the last axis."""
    return np.asarray(w * (dtheta - (w * dtheta).sum(-1, keepdims=True)))
