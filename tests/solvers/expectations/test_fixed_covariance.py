"""Tables of logits with a fixed covariance, against quadrature; compiled, against NumPy."""

import numpy as np
import pytest

from solvers.closed import batches
from solvers.expectations import gaussian_softmax
from solvers.expectations.cells import ERROR, look_up, monomials
from solvers.expectations.fixed_covariance import fixed_covariance, known

TETRAHEDRON = 1.2 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
GEOMETRIES = {
    "five on a line": np.array([[-6.0], [-3.0], [0.0], [2.0], [6.0]]),
    "three in the plane": np.array([[2.0, 0.0], [-1.0, 1.5], [-1.0, -2.0]]),
    "a grid of nine": np.array([[4.0 * i, 4.0 * j] for i in range(3) for j in range(3)]),
    "four in space": TETRAHEDRON,
}


def law(nu, v=1.0, u=1.0):
    """Means (points, n − 1) at the modes, and covariance, of logits x·ν/u − |ν|²/2u less the last, x ~ N(·, v I)."""
    across = (nu[:-1] - nu[-1]) / u
    squares = (nu**2).sum(axis=1)
    return nu @ across.T - (squares[:-1] - squares[-1]) / (2 * u), v * across @ across.T


def table_of(law, tolerance):
    return fixed_covariance(law[0], law[1], tolerance)


def places(nu, v=1.0, u=1.0, count=40):
    """Means at random points among the modes and up to 1.5 beyond."""
    rng = np.random.default_rng(3)
    away = rng.normal(size=(count, nu.shape[1]))
    away *= 1.5 * rng.uniform(size=(count, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    x = rng.dirichlet(np.full(len(nu), 0.5), count) @ nu + away
    across, squares = (nu[:-1] - nu[-1]) / u, (nu**2).sum(axis=1)
    return x @ across.T - (squares[:-1] - squares[-1]) / (2 * u)


def exact(means, cov, tolerance):
    """(softmax, logsumexp) by quadrature."""
    means, cov = np.pad(means, ((0, 0), (0, 1))), np.pad(cov, (0, 1))
    softmax, lse = gaussian_softmax(means, cov, tolerance=tolerance)
    return np.column_stack([softmax, lse])


def worst(found, values):
    return np.max(np.abs(found - values) / np.maximum(1.0, np.abs(values)))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_table_has_the_averages_to_the_tolerance_and_says_so(name):
    nu, tolerance = GEOMETRIES[name], 1e-6 if "space" in name else 1e-9
    table = table_of(law(nu, 0.8), tolerance)
    assert 1e-4 * tolerance < table[ERROR] <= tolerance
    means = places(nu, 0.8)
    values = exact(means, law(nu, 0.8)[1], 1e-3 * tolerance)
    found = look_up(table, means)
    assert worst(found, values) <= tolerance
    assert np.abs(found[:, :-1].sum(axis=1) - 1).max() < 1e-14
    # Control: the same of a variance that is off by a hundredth.
    assert worst(look_up(table_of(law(nu, 0.808), tolerance), means), values) > 100 * tolerance
    assert known(law(nu, 0.8)[1], tolerance) is table


def test_a_tighter_tolerance_is_kept_too():
    nu = GEOMETRIES["three in the plane"]
    table, means = table_of(law(nu), 1e-11), places(nu)
    assert table[ERROR] <= 1e-11
    assert worst(look_up(table, means), exact(means, law(nu)[1], 1e-11)) < 2e-11


@pytest.mark.parametrize("name", GEOMETRIES)
def test_compiled_as_numpy_and_what_is_not_in_the_box_is_not_found(name):
    nu = GEOMETRIES[name]
    table, means = table_of(law(nu, 0.8), 1e-6), places(nu, 0.8, count=20)
    means[0, 0] = np.nan
    means[1] += 1000 * law(nu, 0.8)[1][0]  # along F, far away
    if len(nu) > 1 + nu.shape[1]:
        means[2, 0] += 1e-3  # not along F
    values = np.full((len(means), len(nu) + 1), -1.0)
    found = batches._look_up(table, means, values)
    outside = [0, 1, 2] if len(nu) > 1 + nu.shape[1] else [0, 1]
    assert np.flatnonzero(~found).tolist() == outside
    np.testing.assert_allclose(values[found], look_up(table, means)[found], rtol=1e-13, atol=1e-13)


def test_what_has_no_table():
    rng = np.random.default_rng(0)
    wide = law(rng.normal(size=(5, 4)))
    assert len(table_of(wide, 1e-6)) == 0  # four directions
    assert len(fixed_covariance(np.zeros((1, 2)), np.zeros((2, 2)), 1e-6)) == 0  # none
    means, cov = law(GEOMETRIES["three in the plane"])
    assert len(fixed_covariance(means, cov * np.nan, 1e-6)) == 0
    far = law(np.array([[0.0, 0.0], [3000.0, 0.0], [0.0, 3000.0], [3000.0, 3001.0]]))
    assert len(table_of(far, 1e-10)) == 0  # too large
    assert len(known(wide[1], 1e-6)) == 0


def test_monomials():
    assert monomials(2, 2).tolist() == [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    for r in (1, 2, 3):
        found = monomials(r, 6)
        assert len(np.unique(found, axis=0)) == len(found) == [7, 28, 84][r - 1]
        assert (np.diff(found.sum(axis=1)) >= 0).all()
