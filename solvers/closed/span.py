"""The span of all mean vectors, which a gradient flow never leaves: coordinates in it, and overlaps of its vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.machine.ranks import OVERLAPS
from solvers.problem import Problem
from solvers.problem.gram import span

__all__ = ["Span"]

Array = NDArray[np.float64]

#: Starts that are looked at together.
TOGETHER = 2048


@dataclass(frozen=True)
class Span:
    """The directions of the modes, and as many more as the components need.

    Where q is narrower than p its components repel each other, also into directions that they do not have: there an
    integrator's errors in the overlaps would grow exponentially, to overlaps of no vectors at all or of vectors in
    another dimension. So overlaps are replaced by the nearby ones of vectors in the span, or vectors are integrated.

    modes (L, r): ν_l in r = rank(c) orthonormal directions. inverse (L, r): m @ inverse are the components in these
    directions. outside: how many more directions the components have.
    """

    modes: Array
    inverse: Array
    outside: int

    @classmethod
    def of(cls, problem: Problem, s: Array, m: Array) -> Span:
        """The span of the target and of n starts s (n, K, K), m (n, K, L)."""
        modes, _ = span(problem.target.vectors)
        inverse = np.asarray(np.linalg.pinv(modes).T, dtype=np.float64)
        rank, most = 0, min(s.shape[-1], problem.dimension - modes.shape[1])
        for first in range(0, len(s), TOGETHER):
            if rank >= most:  # of starts at random all have it
                break
            some, inside = s[first : first + TOGETHER], m[first : first + TOGETHER] @ inverse
            longest = np.max(np.diagonal(some, axis1=-2, axis2=-1), axis=-1, keepdims=True)
            own = np.linalg.eigvalsh(some - inside @ inside.mT) > OVERLAPS * longest
            rank = max(rank, int(np.sum(own, axis=-1).max()))
        return cls(modes, inverse, min(rank, most))

    @property
    def directions(self) -> int:
        """R, the dimension of the span."""
        return int(self.modes.shape[1]) + self.outside

    def nearest(self, s: Array, m: Array) -> tuple[Array, Array]:
        """s (..., K, K) and m (..., K, L), made overlaps of vectors in the span; nan where not finite."""
        finite = np.asarray(np.isfinite(s).all((-2, -1)) & np.isfinite(m).all((-2, -1)))[..., None, None]
        x = self.coordinates(np.where(finite, s, 0.0), np.where(finite, m, 0.0))
        s, m = self.overlaps(x)
        return np.where(finite, s, np.nan), np.where(finite, m, np.nan)

    def coordinates(self, s: Array, m: Array) -> Array:
        """x (..., K, R) of vectors with overlaps s (..., K, K), m (..., K, L); the modes come first."""
        inside = m @ self.inverse
        eigenvalues, axes = np.linalg.eigh(s - inside @ inside.mT)
        kept = slice(s.shape[-1] - self.outside, None)
        outside = axes[..., kept] * np.sqrt(np.maximum(eigenvalues[..., None, kept], 0.0))
        return np.concatenate([inside, outside], axis=-1)

    def overlaps(self, x: Array) -> tuple[Array, Array]:
        """s (..., K, K) and m (..., K, L) of coordinates x (..., K, R)."""
        return x @ x.mT, x[..., : self.modes.shape[1]] @ self.modes.T

    def target(self) -> Array:
        """Coordinates (L, R) of the modes."""
        return np.pad(self.modes, ((0, 0), (0, self.outside)))
