"""Shortest solutions of singular systems against NumPy's pseudo-inverse."""

import numpy as np
import pytest

from solvers.integrate.singular import shortest

CUT = 1e-10


def by_pinv(matrices, right, cut=CUT):
    return (np.linalg.pinv(matrices, rcond=cut) @ right[..., None])[..., 0]


@pytest.mark.parametrize("n", [1, 2, 8, 13])
def test_solutions_are_those_of_the_pseudo_inverse(n):
    """37: some lanes of the last vector are left over."""
    rng = np.random.default_rng(n)
    whole, right = rng.standard_normal((37, n, n)), rng.standard_normal((37, n))
    singular = whole[:, :, : n // 2] @ whole[:, : n // 2]
    for matrices in (whole, singular, whole * 10.0 ** rng.uniform(-5, 5, (37, 1, 1))):
        found, expected = shortest(matrices, right, CUT), by_pinv(matrices, right)
        values = np.linalg.svd(matrices, compute_uv=False)
        kept = np.where(values > CUT * values[:, :1], values, np.inf).min(axis=1, initial=1.0)
        # Rounding, times the ratio of singular values, some times.
        bound = 100 * n * np.finfo(float).eps * values[:, :1] / kept[:, None] * np.abs(expected).max(1, keepdims=True)
        assert np.all(np.abs(found - expected) <= bound + 1e-300)


def test_where_rank_ends_decides():
    """Negative control: another cut is another solution."""
    matrices, right = np.diag([1.0, 1e-9, 1e-11])[None], np.ones((1, 3))
    np.testing.assert_allclose(shortest(matrices, right, CUT), [[1.0, 1e9, 0.0]])
    np.testing.assert_allclose(shortest(matrices, right, 1e-8), [[1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(shortest(0 * matrices, right, CUT), np.zeros((1, 3)))
    assert shortest(matrices[:0], right[:0], CUT).shape == (0, 3)
