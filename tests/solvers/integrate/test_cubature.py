"""Compiled expectations of three and more logits: the values of NumPy, at every rank and width."""

import numpy as np
import pytest

from solvers import expectations
from solvers.closed.batches import gaussian_softmax
from solvers.expectations.lanes.nodes import LARGEST, nodes
from solvers.expectations.lanes.rules import principal_axes
from solvers.expectations.quadrature import HALVINGS, REACH, TIGHTEST, digits, lattice, sobol
from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.machine.simd import W


def laws(n, rank, width, offset, seed, count=3, rows=4):
    """Means (count, rows, n) and covariances (count, 1, n, n) of that rank."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(count, 1, n, rank)) * width
    return rng.normal(size=(count, rows, n)) * offset, factor @ factor.mT


def difference(ours, numpy):
    return max(np.max(np.abs(a - b) / np.maximum(1, np.abs(b))) for a, b in zip(ours, numpy, strict=True))


CASES = {
    "certain": (3, 0, 1.0, 1.0),
    "one direction": (5, 1, 4.0, 3.0),
    "two directions": (3, 2, 1.0, 2.0),
    "two directions of many logits, wide": (16, 2, 6.0, 30.0),
    "lattice": (4, 3, 2.0, 2.0),
    "lattice in a larger space": (6, 3, 2.0, 2.0),
    "points": (6, 5, 2.0, 2.0),
    "points for narrow fields": (5, 4, 0.03, 2.0),
    "points, sixteen logits": (16, 15, 1.0, 3.0),
    "far beyond shared exponentials": (3, 2, 30.0, 1e4),
    "points, very wide": (5, 4, 1e3, 1e4),
    "one direction, as many nodes as there may be": (3, 1, 3e5, 1e5),
}


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [TIGHTEST, 1e-7, 1e-4])
@pytest.mark.parametrize("name", CASES)
def test_values_and_estimates_are_those_of_numpy(name, tolerance):
    """Sums of at most 3e5 terms: 1e-15 a term in random order, 1e-12 with room. Estimates are differences of such.

    Independent logits are given functions that are two digits better than the tolerance when compiled; beyond three
    directions one side may take a factor where the other's estimate is just good enough without.
    """
    n, rank, width, offset = CASES[name]
    mean, cov = laws(n, rank, width, offset, seed=n)
    *ours, estimate = gaussian_softmax(mean, cov, error=True, tolerance=tolerance)
    *numpy, expected = expectations.gaussian_softmax(mean, cov, error=True, tolerance=tolerance)
    many = rank > 3 and width < 1e2
    allowed = max(0.02 * tolerance, expected.max()) if many else 0.02 * tolerance if rank == n - 1 == 2 else 0.0
    assert difference(ours, numpy) < 1e-12 + allowed
    if not many:
        assert estimate == pytest.approx(expected, rel=1e-6, abs=1e-12 + allowed)
    assert ours[0].sum(axis=-1) == pytest.approx(1, abs=1e-14)
    # control: a shift of all logits by 1e-3 is seen in logsumexp
    moved = expectations.gaussian_softmax(mean + 1e-3, cov)
    assert difference(ours, moved) > 1e-8


def test_one_covariance_for_all_and_one_for_each():
    mean, cov = laws(5, 4, 2.0, 2.0, seed=1)
    shared = gaussian_softmax(mean, cov[0, 0])
    each = gaussian_softmax(mean, np.broadcast_to(cov[0, 0], (*mean.shape[:-1], 5, 5)))
    assert difference(shared, each) < 1e-14


def test_what_is_not_finite_disturbs_no_other():
    mean, cov = laws(4, 3, 1.0, 1.0, seed=2)
    whole = gaussian_softmax(mean, cov, error=True)
    mean[0, 1, 2], cov[2, 0, 1, 1] = np.nan, np.inf
    parts = gaussian_softmax(mean, cov, error=True)
    lost = np.zeros((3, 4), dtype=bool)
    lost[0, 1] = lost[2] = True
    for a, b in zip(parts, whole, strict=True):
        assert np.isnan(a[lost]).all()
        assert np.array_equal(a[~lost], b[~lost])


def test_more_logits_than_allowed():
    with pytest.raises(ValueError, match="65 logits: must be at most 64"):
        gaussian_softmax(np.zeros(65), np.eye(65))


def test_nodes_are_those_of_numpy_and_within_reach():
    """The octant with its mirror images, and the points with their antipodes, integrate z zᵀ as the full sets do."""
    table = nodes(5, width=W, tolerance=1e-5)
    assert table[-LARGEST, 0] == digits(1e-5)
    start, count = table[-LARGEST + 3, :2].astype(int)
    octant = table[start : start + 4 * count].reshape(count, 4, W).swapaxes(1, 2).reshape(-1, 4)
    z = lattice(0)
    assert 8 * octant[:, 3].sum() == len(z)
    assert 8 * octant[:, 3] @ octant[:, :3] ** 2 == pytest.approx((z**2).sum(axis=0), rel=1e-13)
    assert (np.diff((octant[octant[:, 3] > 0, :3] ** 2).sum(axis=1)) >= 0).all()
    start, count = table[-LARGEST + 4, :2].astype(int)
    points = table[start : start + 8 * count].reshape(count, 8, W).swapaxes(1, 2).reshape(-1, 4)
    whole = np.concatenate([sobol(4, copy, 0)[0] for copy in range(8)])
    assert points.T @ points * 2 == pytest.approx(whole.T @ whole, abs=1e-8)
    for size in (*range(4, 16), 39, LARGEST - 1):
        sets = [sobol(size, copy, half)[0] for copy in range(8) for half in (0, 1, HALVINGS)]
        assert max(np.linalg.norm(z, axis=1).max() for z in sets) < REACH


@entry(**FLAGS)
def decompose(matrix, variances, axes):
    principal_axes(matrix, variances, axes)


@pytest.mark.slow
def test_principal_axes():
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 15):
        factor = rng.normal(size=(size, max(1, size - 1)))
        matrix = factor @ factor.T
        variances, axes = np.empty(size), np.empty((size, size))
        decompose(matrix.copy(), variances, axes)
        assert variances == pytest.approx(np.linalg.eigvalsh(matrix), abs=1e-12)
        assert axes @ np.diag(variances) @ axes.T == pytest.approx(matrix, abs=1e-12)
        assert axes.T @ axes == pytest.approx(np.eye(size), abs=1e-13)
