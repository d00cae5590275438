"""The velocity field of a problem in coordinates of the means, its exact Jacobian, and directions that mean nothing.

States z are what the problem learns: coordinates x (K, R) of the means in the span of the modes and `outside` further
directions, then θ (K). Rotating the further directions or adding a constant to θ changes no overlap and no weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from solvers.closed import ensembles
from solvers.closed.compiled import CompiledSystem
from solvers.closed.equations import Closed
from solvers.closed.span import Span
from solvers.machine.ranks import DERIVATIVES
from solvers.problem import Problem, ProblemError, Schedule

__all__ = ["Field", "NoEquilibrium"]

Array = NDArray[np.float64]

#: Newton stops at velocities below this, in units of max(1, |z|): rounding is a hundred times smaller.
AT_REST = 1e-12
ITERATIONS = 30


class NoEquilibrium(ValueError):
    """Newton's method found no equilibrium; the message says from where and how far it got."""


@dataclass(frozen=True)
class Field:
    """The field of one problem. `origin`: that of the same problem at another parameter, whose frame is kept."""

    closed: Closed
    space: Span
    system: CompiledSystem

    @classmethod
    def of(
        cls, problem: Problem, s: Array | None = None, m: Array | None = None, *, closed: Closed | None = None
    ) -> Field:
        """The field around means in all directions that matter: min(K, d − r) of them besides the r of the modes.

        s (n, K, K), m (n, K, L): give only the directions that n starts have, as a trajectory from them does. closed:
        the equations, where the caller has read them.
        Raises  ProblemError if the problem learns nothing, anneals or descends by finite batches; BackendError for
        equations that are not compiled.
        """
        K, L = problem.family.components, len(problem.target.weights)
        if not problem.family.learn:
            raise ProblemError(f"{problem.name}: family.learn: is []; must name what moves to have equilibria")
        if isinstance(problem.flow.temperature, Schedule):
            raise ProblemError(f"{problem.name}: flow.temperature: is a schedule; must be a number to have equilibria")
        if problem.sampler is not None:
            raise ProblemError(f"{problem.name}: sampler: equilibria are those of flows; leave it out")
        if s is None or m is None:
            empty = Span.of(problem, np.zeros((1, K, K)), np.zeros((1, K, L)))
            room = problem.dimension - empty.modes.shape[1]
            space = Span(empty.modes, empty.inverse, min(K, room))
        else:
            space = Span.of(problem, s, m)
        closed = closed or Closed.of(problem)
        return cls(closed, space, ensembles.build(closed, space))

    def at(self, problem: Problem) -> Field:
        """The field of a problem that differs in a parameter, in the frame that moves the modes least.

        Raises  ProblemError if the modes span another number of directions.
        """
        new = Span.of(problem, np.zeros((1, self.K, self.K)), np.zeros((1, self.K, problem.target.c.shape[0])))
        if new.modes.shape != self.space.modes.shape:
            raise ProblemError(f"{problem.name}: the modes span another number of directions than before")
        turn = orthogonal_procrustes(new.modes, self.space.modes)[0] if new.modes.size else np.eye(0)
        space = Span(new.modes @ turn, new.inverse @ turn, self.space.outside)
        # At temperature 1, β is no state: a branch along it passes from one compiled system to another there.
        closed = Closed.of(problem)
        same = closed.module is self.closed.module
        same = same and len(ensembles.driven(problem)) == len(ensembles.driven(self.problem))
        return Field(closed, space, self.system if same else ensembles.build(closed, space))

    @property
    def problem(self) -> Problem:
        return self.closed.problem

    @property
    def K(self) -> int:
        return self.problem.family.components

    @cached_property
    def parameters(self) -> Array:
        return ensembles.parameters(self.closed, self.space)

    @cached_property
    def moving(self) -> NDArray[np.intp]:
        """Which entries of the compiled states are learned."""
        learn, means = self.problem.family.learn, self.K * self.space.directions
        return np.flatnonzero(np.repeat(["means" in learn, "weights" in learn], [means, self.K]))

    @cached_property
    def still(self) -> Array:
        """A compiled state (N,) with what is not learned: the start's means, the weights of the problem."""
        from solvers.problem.starts import starts

        s, m, theta = starts(self.problem, [0])
        return np.concatenate([self.space.coordinates(s, m)[0].ravel(), theta[0], ensembles.driven(self.problem)])

    def full(self, z: Array) -> Array:
        """Compiled states (..., N) of z (..., n)."""
        y = np.broadcast_to(self.still, (*z.shape[:-1], len(self.still))).copy()
        y[..., self.moving] = z
        return y

    def overlaps(self, z: Array) -> tuple[Array, Array, Array]:
        """s (..., K, K), m (..., K, L), w (..., K) of z (..., n)."""
        y, means = self.full(z), self.K * self.space.directions
        x = y[..., :means].reshape(*y.shape[:-1], self.K, self.space.directions)
        theta = y[..., means : means + self.K]
        theta = theta - theta.max(-1, keepdims=True)
        return *self.space.overlaps(x), np.exp(theta) / np.exp(theta).sum(-1, keepdims=True)

    def state(self, s: Array, m: Array, theta: Array) -> Array:
        """z of means with overlaps s (K, K), m (K, L) and log-weights theta (K,)."""
        y = np.concatenate([self.space.coordinates(s[None], m[None])[0].ravel(), theta])
        return np.asarray(y[self.moving])

    def observables(self, z: Array) -> Array:
        """Objective (nats), mode masses, table B of z (n,): (1 + L + K L,)."""
        return np.asarray(self.system.observables(self.full(z)[None], self.parameters)[0])

    def derivatives(self, z: Array) -> tuple[Array, Array]:
        """Velocity (n,) and Jacobian (n, n) at z (n,)."""
        f, slope = self.system.derivatives(self.full(z)[None], self.parameters)
        return f[0, self.moving], slope[0][np.ix_(self.moving, self.moving)]

    def gauge(self, z: Array) -> Array:
        """Orthonormal rows (g, n): rotations of the further directions, and the constant in θ, at z."""
        learn, inside = self.problem.family.learn, self.space.modes.shape[1]
        shape, rows = (self.K, self.space.directions), []
        if "means" in learn:
            x = z[: shape[0] * shape[1]].reshape(shape)
            for a in range(inside, shape[1]):
                for b in range(a + 1, shape[1]):
                    row = np.zeros_like(x)
                    row[:, a], row[:, b] = x[:, b], -x[:, a]
                    rows.append(np.r_[row.ravel(), np.zeros(len(z) - x.size)])
        if "weights" in learn:
            rows.append(np.r_[np.zeros(len(z) - self.K), np.ones(self.K)])
        if not rows:
            return np.zeros((0, len(z)))
        _, sizes, axes = np.linalg.svd(np.array(rows), full_matrices=False)
        return np.asarray(axes[sizes > DERIVATIVES * max(1.0, np.abs(z).max(initial=0.0))])

    def spectrum(self, z: Array) -> tuple[Array, Array]:
        """Eigenvalues modulo gauge, real parts, largest first (n,), nan at the end for gauge; eigenvectors (n, n).

        A gradient flow has real eigenvalues at an equilibrium. Eigenvectors are columns, orthogonal to the gauge.
        """
        slope, gauge = self.derivatives(z)[1], self.gauge(z)
        across = np.linalg.svd(gauge, full_matrices=True)[2][len(gauge) :].T if len(gauge) else np.eye(len(z))
        values, vectors = np.linalg.eig(across.T @ slope @ across)
        order = np.argsort(-values.real, kind="stable")
        out, axes = np.full(len(z), np.nan), np.zeros((len(z), len(z)))
        out[: len(order)], axes[:, : len(order)] = values.real[order], (across @ vectors.real)[:, order]
        return out, axes

    def newton(self, z: Array) -> Array:
        """The equilibrium near z (n,), by Newton's method orthogonally to what is undecided.

        Raises  NoEquilibrium if it does not converge.
        """
        start, f = z, np.zeros(0)
        for _ in range(ITERATIONS):
            f, slope = self.derivatives(z)
            if not np.isfinite(slope).all():
                break
            if np.abs(f).max() <= AT_REST * max(1.0, np.abs(z).max()):
                return z
            z = z - np.linalg.lstsq(slope, f, rcond=DERIVATIVES)[0]
        raise NoEquilibrium(
            f"{self.problem.name}: no equilibrium by {ITERATIONS} steps of Newton's method from {np.round(start, 4)}; "
            f"last velocity {np.abs(f).max():.1e}. Start closer, or follow the flow first"
        )
