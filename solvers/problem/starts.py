"""Starting points as overlaps, sampled exactly at any dimension, and vectors that have given overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.machine.chance import Stream
from solvers.machine.draws import drawn
from solvers.problem import Problem, ProblemError
from solvers.problem.gram import span

Array = NDArray[np.float64]

# Along a sweep the same numbers are asked for again and again; sets of at most so many are kept.
KEPT = 1 << 17


class Starts(NamedTuple):
    """n starts: s (n, K, K) = μ_k·μ_j, m (n, K, L) = μ_k·ν_l, theta (n, K) = log-weights, softmax(theta) = w."""

    s: Array
    m: Array
    theta: Array


def starts(problem: Problem, indices: Iterable[int] | None = None) -> Starts:
    """The starts of a problem: init.samples of them when drawn by init.scale, else one.

    With μ_k(0) ~ N(0, σ₀² I_d), and ν_l = F_l in r = rank(c) orthonormal directions, the overlaps are exactly
    m = σ₀ Z Fᵀ and s = σ₀² (Z Zᵀ + W): Z (K, r) standard normal, W Wishart with d − r degrees of freedom. No vector of
    R^d is formed, so the cost does not depend on d.

    Takes
        indices: which starts, default all. Start i depends on (init.seed, i) only.
    Returns
        Starts with one row an index, on the host.
    Source  section 5 of the theory; Bartlett (1933).
    """
    chosen = range(problem.init.samples) if indices is None else indices
    chosen = chosen if isinstance(chosen, range) else tuple(chosen)
    if len(chosen) and not 0 <= min(chosen) <= max(chosen) < problem.init.samples:
        raise IndexError(f"starts are 0 to {problem.init.samples - 1}, asked for {list(chosen)}")
    init, vectors = problem.init, problem.target.vectors
    components = problem.family.components
    if init.scale is not None:
        factor, _ = span(vectors)
        rank = factor.shape[1]
        draw = _drawn if len(chosen) * components * (components + rank) > KEPT else _kept
        inside, outside = draw(init.seed, components, rank, problem.dimension - rank, chosen)
        m = init.scale * (inside @ factor.T)
        s = init.scale**2 * (inside @ inside.mT + outside @ outside.mT)
        s = (s + s.mT) / 2
    else:
        if init.overlaps is not None:
            s, m = init.overlaps.s, init.overlaps.m
        else:
            assert init.means is not None
            shared = min(init.means.shape[1], vectors.shape[1])
            s, m = init.means @ init.means.T, init.means[:, :shared] @ vectors[:, :shared].T
        s, m = (np.repeat(overlap[None], len(chosen), axis=0) for overlap in (s, m))
    return Starts(s, m, np.tile(np.log(problem.family.weights), (len(chosen), 1)))


def _drawn(seed: int, components: int, rank: int, degrees: int, chosen: Sequence[int]) -> tuple[Array, Array]:
    """Z (n, K, rank), and X (n, K, ·) with X Xᵀ Wishart, for these starts: all that is random in them."""
    columns = min(components, degrees)
    freedom = degrees - np.arange(components if columns == components else 0, dtype=float)
    normal, square = drawn(seed, chosen, Stream.STARTS, components * (rank + columns), freedom)
    inside = normal[:, : components * rank].reshape(len(chosen), components, rank)
    outside = normal[:, components * rank :].reshape(len(chosen), components, columns)
    if columns == components:  # Bartlett: a triangle with lengths on the diagonal; else as many vectors of R^degrees
        outside = np.tril(outside, -1)
        outside[:, range(components), range(components)] = np.sqrt(square)
    return inside, outside


_kept = lru_cache(maxsize=32)(_drawn)


def vectors(s: Array, m: Array, problem: Problem) -> tuple[Array, Array]:
    """Vectors of R^d with given overlaps.

    Takes
        s (K, K) = μ_k·μ_j and m (K, L) = μ_k·ν_l, overlaps with the modes of `problem`.
    Returns
        mu (K, d) and nu (L, d); nu is problem.target.vectors padded with zeros. Overlaps come back to rounding, or
        to 1e-6 of the squared lengths where s and m carry an integrator's errors and no vectors have them exactly.
    Raises
        ProblemError if no vectors of R^d have these overlaps to that accuracy.
    """
    d, target = problem.dimension, problem.target.vectors
    lengths = np.linalg.norm(target, axis=1)
    lengths[lengths == 0] = 1.0
    unit, basis = span(target / lengths[:, None])
    inside = (m / lengths) @ np.linalg.pinv(unit).T
    misfit = np.max(np.abs(inside @ unit.T - m / lengths))
    outside_gram = s - inside @ inside.T
    eigenvalues, eigenvectors = np.linalg.eigh((outside_gram + outside_gram.T) / 2)
    longest = np.sqrt(np.max(np.diagonal(s)).clip(min=0.0))
    # Largest first: outside the span of the modes there is room for d - r directions only.
    eigenvalues, eigenvectors = eigenvalues[::-1], eigenvectors[:, ::-1]
    room = d - basis.shape[1]
    kept = eigenvalues[:room].clip(min=0.0)
    missed = max(-eigenvalues[-1], *eigenvalues[room:], 0.0)
    if missed > 1e-6 * longest**2 or misfit > 1e-6 * longest:
        raise ProblemError(
            f"{problem.name}: overlaps s, m: no {len(s)} vectors of dimension {d} have them with this target"
        )
    outside = eigenvectors[:, : len(kept)] * np.sqrt(kept)
    mu, nu = np.zeros((len(s), d)), np.zeros((len(target), d))
    nu[:, : target.shape[1]] = target
    # Householder QR continues the basis by orthonormal directions, taken among the first coordinates of R^d.
    width = min(d, target.shape[1] + len(kept))
    padded = np.zeros((width, basis.shape[1] + len(kept)))
    padded[: len(basis), : basis.shape[1]] = basis
    directions = np.linalg.qr(padded)[0][:, basis.shape[1] :]
    mu[:, : len(basis)] = inside @ basis.T
    mu[:, :width] += outside @ directions.T
    return mu, nu
