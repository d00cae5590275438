"""What paths of the reduced chain draw and what is left of them, whichever code runs them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

from solvers.sampler.model import Mixture, Sampler

__all__ = ["Noise", "Paths", "component"]

Array = NDArray[np.float64]

#: Sobol points are multiples of 2^−30, and 0 one of them.
HALF_A_CELL = 2.0**-31


@dataclass(frozen=True, eq=False)
class Noise:
    """All that n paths draw: xi (N+1, n, R), xi1 (N+1, n) normal, chi2 (N+1, n); uniform (n,) chooses the component."""

    xi: Array
    xi1: Array
    chi2: Array
    uniform: Array

    @classmethod
    def draw(cls, sampler: Sampler, paths: int, rng: np.random.Generator) -> Noise:
        """Of the d − R directions orthogonal to the span ξ₁ is one, so chi2 has d − R − 1 degrees of freedom."""
        shape, orthogonal = (sampler.steps + 1, paths), sampler.dimension - sampler.directions
        if orthogonal < 0:
            raise ValueError(f"dimension {sampler.dimension} is smaller than the span of the means")
        xi, uniform = rng.standard_normal((*shape, sampler.directions)), rng.random(paths)
        xi1 = rng.standard_normal(shape) if orthogonal else np.zeros(shape)
        chi2 = rng.chisquare(orthogonal - 1, shape) if orthogonal > 1 else np.zeros(shape)
        return cls(xi, xi1, chi2, uniform)

    @classmethod
    def spread(cls, sampler: Sampler, each: int, rng: np.random.Generator) -> Noise:
        """Of `each` paths from every component of the prior, path i from component i mod K: their starts are scrambled
        Sobol points, of every component its own, the rest of the paths is independent. Unbiased at any number, most
        even at powers of two.

        Source: Owen, Ann. Statist. 25, 1541 (1997).
        """
        from scipy.stats import qmc  # takes longer to import than most of what has no sampler

        K, directions = len(sampler.mixtures["prior"].log_w), sampler.directions
        noise, orthogonal = cls.draw(sampler, each * K, rng), sampler.dimension - sampler.directions
        for k in range(K):
            sobol = qmc.Sobol(directions + min(orthogonal, 2), rng=int(rng.integers(2**63)))
            points = sobol.random(1 << (each - 1).bit_length())[:each] + HALF_A_CELL
            noise.xi[0, k::K] = ndtri(points[:, :directions])
            if orthogonal > 0:
                noise.xi1[0, k::K] = ndtri(points[:, directions])
            if orthogonal > 1:
                noise.chi2[0, k::K] = chdtri(orthogonal - 1, points[:, directions + 1])
        return noise

    def block(self, paths: slice) -> Noise:
        """The same noise for some of the paths; itself for all."""
        if paths == slice(0, len(self.uniform)):
            return self
        return Noise(self.xi[:, paths], self.xi1[:, paths], self.chi2[:, paths], self.uniform[paths])

    def beside(self, other: Noise) -> Noise:
        """This noise, and another's, for as many paths as both have."""
        pairs = ((self.xi, other.xi), (self.xi1, other.xi1), (self.chi2, other.chi2))
        xi, xi1, chi2 = (np.concatenate(pair, axis=1) for pair in pairs)
        return Noise(xi, xi1, chi2, np.concatenate([self.uniform, other.uniform]))

    def from_wider(self, factor: float) -> Noise:
        """The same with starts so many times as far from the mean of their component; itself for 1."""
        if factor == 1:
            return self
        first = np.where(np.arange(len(self.xi1)) == 0, factor, 1.0)[:, None]
        return Noise(self.xi * first[..., None], self.xi1 * first, self.chi2 * first**2, self.uniform)

    def then(self, other: Noise, n: int) -> Noise:
        """This noise for the start and n steps, another's for the steps after them."""
        mine, theirs = (self.xi, self.xi1, self.chi2), (other.xi, other.xi1, other.chi2)
        xi, xi1, chi2 = (np.concatenate([a[: n + 1], b[n + 1 :]]) for a, b in zip(mine, theirs, strict=True))
        return Noise(xi, xi1, chi2, self.uniform)

    def at(self, n: int) -> tuple[Array, Array, Array]:
        return self.xi[n], self.xi1[n], self.chi2[n]


@dataclass(frozen=True, eq=False)
class Paths:
    """log_weight (n,): log W. end (n, R), rho (n,): x_∥ and |x_⊥|² at the data end. modes (n, L): ρ_l there."""

    log_weight: Array
    end: Array
    rho: Array
    modes: Array


def component(mixture: Mixture, uniform: Array) -> NDArray[np.intp]:
    """The component of each path, by its weight."""
    edges = np.cumsum(mixture.weights)
    return np.asarray(np.minimum(np.searchsorted(edges, uniform * edges[-1], side="right"), len(edges) - 1))
