"""Gram matrices: is this one, of what rank, and which vectors have it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solvers.machine import ranks

Array = NDArray[np.float64]


class NotGram(ValueError):
    """The matrix is not positive semi-definite; str() names its most negative eigenvalue, at unit diagonal."""


def factor(gram: Array) -> Array:
    """Vectors with the given overlaps, in as few coordinates as its rank.

    Takes
        gram (n, n), symmetric, any units.
    Returns
        (n, r) with rows whose inner products are `gram` to ranks.GRAM relative to the lengths; r is the rank, counting
        eigenvalues above that of the matrix scaled to unit diagonal.
    Raises
        NotGram if an eigenvalue of the scaled matrix is below -ranks.GRAM.
    """
    lengths = _lengths(gram)  # to unit length, so that one long vector does not hide a short one
    eigenvalues, eigenvectors = np.linalg.eigh(gram / np.outer(lengths, lengths))
    if eigenvalues[0] < -ranks.GRAM:
        raise NotGram(f"smallest eigenvalue {eigenvalues[0]:.4g} after scaling the diagonal to 1")
    kept = eigenvalues > ranks.GRAM
    return np.asarray(lengths[:, None] * eigenvectors[:, kept] * np.sqrt(eigenvalues[kept]))


def span(vectors: Array) -> tuple[Array, Array]:
    """Coordinates of vectors in an orthonormal basis of their span.

    Takes
        vectors (n, d), one a row.
    Returns
        coordinates (n, r) and basis (d, r) with vectors = coordinates @ basis.T; r is the rank to ranks.VECTORS
        relative to the lengths (finer than `factor` can tell, since the vectors themselves are at hand).
    """
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors[lengths > 0] / lengths[lengths > 0, None]
    _, singular, right = np.linalg.svd(unit, full_matrices=False)
    basis = right[singular > ranks.VECTORS * np.sqrt(max(len(unit), 1))].T
    return vectors @ basis, basis


def _lengths(gram: Array) -> Array:
    diagonal = np.diagonal(gram)
    fallback = float(np.max(np.abs(gram))) or 1.0
    return np.sqrt(np.where(diagonal > 0, diagonal, fallback))
