"""Methods as data: the order conditions of all rooted trees, and stability."""

from functools import cache
from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from solvers.integrate.tableaus import DOP853, RODAS5P
from tests.limits import ROUNDING

THETA = (0.2, 0.55, 0.9)


@cache
def trees(order):
    """Rooted trees of that order, each the sorted tuple of its subtrees."""
    if order == 1:
        return ((),)
    found = set()
    for sizes in partitions(order - 1, order - 1):
        groups = [combinations_with_replacement(trees(size), sizes.count(size)) for size in sorted(set(sizes))]
        found |= {tuple(sorted(sum(choice, ()))) for choice in product(*groups)}
    return tuple(sorted(found))


def partitions(total, largest):
    if total == 0:
        yield ()
    for part in range(min(total, largest), 0, -1):
        for rest in partitions(total - part, part):
            yield (part, *rest)


def size(tree):
    return 1 + sum(map(size, tree))


def density(tree):
    """γ(t): the exact solution has the weight 1/γ(t) for the tree t."""
    return size(tree) * np.prod([density(sub) for sub in tree], initial=1.0)


def stages(tree, several, single):
    """Φ_i(t): a node with one branch multiplies by `single`, one with several by the product over `several`."""
    if not tree:
        return np.ones(len(several))
    matrix = single if len(tree) == 1 else several
    return np.prod([matrix @ stages(sub, several, single) for sub in tree], axis=0)


def residual(weights, order, matrices, theta=1.0):
    """Largest |Σ b_i Φ_i(t) − θ^|t|/γ(t)| over the trees of one order."""
    return max(abs(weights @ stages(t, *matrices) - theta**order / density(t)) for t in trees(order))


def explicit_matrices():
    return DOP853.a, DOP853.a


def rosenbrock_matrices():
    """With the exact Jacobian, a node of one branch sees α + Γ and others see α (Hairer and Wanner, section IV.7)."""
    alpha, gammas = RODAS5P.classical
    return alpha, alpha + gammas


def rosenbrock_weights(theta):
    rows = RODAS5P.dense
    inside = rows[0] + theta * (rows[1] + theta * rows[2])
    return theta * (RODAS5P.increments + (1 - theta) * inside) @ RODAS5P.classical[1]


def test_there_are_200_trees_of_order_up_to_eight():
    assert [len(trees(order)) for order in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]


def test_explicit_method_and_its_dense_output_have_their_orders():
    matrices = explicit_matrices()
    step = np.append(DOP853.a[DOP853.stages, : DOP853.stages], [0] * (len(DOP853.a) - DOP853.stages))
    for order in range(1, DOP853.order + 1):
        assert residual(step, order, matrices) < 1e-13
    assert residual(step, DOP853.order + 1, matrices) > 1e-7
    for theta in THETA:
        for order in range(1, DOP853.dense_order + 1):
            assert residual(DOP853.weights(theta), order, matrices, theta) < 1e-13
        assert residual(DOP853.weights(theta), DOP853.dense_order + 1, matrices, theta) > 1e-7
    assert DOP853.weights(1.0) == pytest.approx(step, abs=ROUNDING)


@pytest.mark.parametrize(("estimate", "order"), [(0, 5), (1, 3)])
def test_explicit_error_estimates_have_their_orders(estimate, order):
    matrix = DOP853.a[: DOP853.stages, : DOP853.stages]
    for n in range(1, order + 1):
        assert max(abs(DOP853.errors[estimate] @ stages(t, matrix, matrix)) for t in trees(n)) < 1e-14
    assert max(abs(DOP853.errors[estimate] @ stages(t, matrix, matrix)) for t in trees(order + 1)) > 1e-5


def test_rosenbrock_method_its_embedded_one_and_its_dense_output_have_their_orders():
    matrices = rosenbrock_matrices()
    embedded = (RODAS5P.a[-1]) @ RODAS5P.classical[1]
    for weights, order in ((RODAS5P.weights, RODAS5P.order), (embedded, RODAS5P.error_order - 1)):
        for n in range(1, order + 1):
            assert residual(weights, n, matrices) < 1e-12
        assert residual(weights, order + 1, matrices) > 1e-6
    for theta in THETA:
        for n in range(1, RODAS5P.dense_order + 1):
            assert residual(rosenbrock_weights(theta), n, matrices, theta) < 1e-12
        assert residual(rosenbrock_weights(theta), RODAS5P.dense_order + 1, matrices, theta) > 1e-6


def test_rosenbrock_method_is_l_stable():
    assert abs(RODAS5P.amplification(np.inf)) < 1e-12
    on_axis = [abs(RODAS5P.amplification(1j * y)) for y in np.geomspace(1e-3, 1e6, 400)]
    assert max(on_axis) < 1 + 1e-12  # with the poles on the right: |R| ≤ 1 on the left, by the maximum principle
    assert RODAS5P.gamma > 0
    assert RODAS5P.amplification(-0.1) == pytest.approx(np.exp(-0.1), abs=1e-8)


def test_explicit_method_is_stable_as_far_as_it_says():
    S = DOP853.stages

    def amplification(z):
        solved = np.linalg.solve(np.eye(S) - z * DOP853.a[:S, :S], np.ones(S))
        return 1 + z * DOP853.a[S, :S] @ solved

    assert max(abs(amplification(-x)) for x in np.linspace(0.01, DOP853.stability, 300)) <= 1
    assert abs(amplification(-1.1 * DOP853.stability)) > 1
