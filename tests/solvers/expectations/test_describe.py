"""Rules in words, and the errors that go with them."""

import numpy as np
import pytest

from solvers.expectations import gaussian_softmax
from solvers.expectations.describe import describe


@pytest.mark.parametrize(
    ("n", "rank", "words"),
    [
        (1, 1, "no average"),
        (2, 1, "special functions"),
        (4, 0, "no average"),
        (4, 1, "trapezoidal rule in a direction"),
        (4, 2, "trapezoidal rule in two directions"),
        (4, 3, "independent logits, else lattice in three directions"),
        (6, 3, "lattice in three directions"),
        (6, 5, "independent logits, or given a factor, else Sobol points, in 5 directions"),
    ],
)
def test_the_rule_of_a_law(n, rank, words):
    rng = np.random.default_rng(n)
    factor = rng.standard_normal((n, rank))
    factor[-1] = 0.0
    mean, cov = rng.standard_normal((2, n)), factor @ factor.T
    rule, error = describe(mean, cov, 1e-6)
    assert rule == words
    assert error == gaussian_softmax(mean, cov, error=True, tolerance=1e-6)[-1].max()


def test_rules_of_several_laws():
    narrow, wide = np.zeros((3, 3)), np.diag([1.0, 2.0, 0.0])
    words = "no average, independent logits, else trapezoidal rule in two directions"
    assert describe(np.zeros((2, 3)), np.stack([narrow, wide]))[0] == words
