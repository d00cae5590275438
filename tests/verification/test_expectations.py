"""The reference of expectations is one, and an estimate that is too small is found."""

import numpy as np

from solvers.expectations import gaussian_softmax
from tests.verification import tables
from tests.verification.expectations import GEOMETRIES, draw, measure, reference


def test_the_reference_agrees_with_a_special_function():
    mean, cov = draw(np.random.default_rng(0), 2, "random", 2.5, "uneven")
    known, deviation = reference(mean, cov, 1 << 14, 0)
    softmax, logsumexp = gaussian_softmax(mean, cov)
    assert (np.abs(known - np.append(softmax, logsumexp)) < 13 * deviation + 1e-12).all()
    # control: of another law it does not
    other, _ = gaussian_softmax(mean + np.array([0.01, 0.0]), cov)
    assert np.abs(known[:2] - other).max() > 13 * deviation[:2].max()


def test_laws_are_measured_and_told():
    result = measure(lambda _: None, laws=7, points=1 << 12)
    assert all(law["error"] - law["noise"] <= law["estimate"] for law in result["laws"])
    assert "| 3 | 1 | 0 |" in tables.expectations(result)
    result["laws"][0] |= {"error": 1.0, "noise": 0.0}
    assert "| 3 | 1 | 1 |" in tables.expectations(result)


def test_every_geometry_has_its_covariance():
    rng = np.random.default_rng(1)
    for geometry in GEOMETRIES:
        cov = draw(rng, 6, geometry, 2.0, "equal")[1]
        assert np.linalg.eigvalsh(cov).min() > -1e-12
        assert np.isfinite(cov).all()
