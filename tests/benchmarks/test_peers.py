"""The benchmark compares solvers of one problem: every right-hand side is that of the generated system."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from solvers.closed import systems
from tests.benchmarks import case, peers, throughput
from tests.benchmarks.this_solver import coordinates, overlaps
from tests.rated import rated

#: Some of the states here are further apart than the rules for errors of 1e-9 were made for.
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-8}


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    """Random overlaps of vectors, with means between the modes and near them, and weights far from equal too."""
    rng = np.random.default_rng(7)
    mu = rng.normal(size=(40, 2, 3)) * [1.5, 0.7, 0.7]
    s, m = mu @ mu.mT, case.R * mu[:, :, 0]
    return np.column_stack([s[:, 0, 0], s[:, 0, 1], s[:, 1, 1], m, 2 * rng.normal(size=40)])


@pytest.fixture(scope="module")
def expected(states: np.ndarray) -> np.ndarray:
    problem = case.problem(1)
    module, p = systems.for_problem(problem), systems.parameters(problem)
    s, m, theta = case.complete(states)
    known = rated(module, p | {"s": s, "m": m, "theta": theta})
    return case.reduced(*systems.call(module.velocity, known))


def test_scipy_solves_the_generated_system(states: np.ndarray, expected: np.ndarray) -> None:
    for rule, tolerance in ((case.CONVERGED, 1e-12), (case.RULES[1e-9], 1e-8), (case.RULES[1e-4], 1e-3)):
        together = case.right_hand_side(rule)(states.T).T
        np.testing.assert_allclose(together, expected, rtol=0, atol=tolerance)
    alone = case.right_hand_side(rule)(states[3])
    np.testing.assert_allclose(alone, together[3], rtol=0, atol=1e-13)


def test_diffrax_solves_the_generated_system(states: np.ndarray, expected: np.ndarray) -> None:
    jax = pytest.importorskip("jax", reason="diffrax and jax come with the extra [bench]")
    with jax.enable_x64(True):
        for peer in (peers.Diffrax, peers.DiffraxPlain):
            velocity = jax.vmap(peer.velocity(case.RULES[1e-9]))
            np.testing.assert_allclose(velocity(states), expected, **CLOSE)


def test_heyoka_solves_the_generated_system(states: np.ndarray, expected: np.ndarray) -> None:
    heyoka = pytest.importorskip("heyoka", reason="heyoka comes with the extra [bench]")
    system = peers.Heyoka.system(case.RULES[1e-9])
    names, velocities = zip(*system, strict=True)
    function = heyoka.cfunc(list(velocities), vars=list(names), compact_mode=True)
    np.testing.assert_allclose(function(np.ascontiguousarray(states.T)).T, expected, **CLOSE)


def test_our_coordinates_have_the_same_overlaps(states: np.ndarray) -> None:
    np.testing.assert_allclose(overlaps(coordinates(states)), states, rtol=0, atol=1e-13)


def test_starts_are_one_sequence() -> None:
    first = throughput.Starts()
    three = first(3).copy()
    np.testing.assert_array_equal(first(9)[:3], three)
    np.testing.assert_array_equal(first(9), case.initial_states(9))


def test_a_missing_trajectory_is_an_infinite_error() -> None:
    exact = np.ones((3, 2, 6))
    found = exact.copy()
    found[1, 1, 4] = np.nan
    found[2, 0, 0] += 0.5
    np.testing.assert_array_equal(case.errors(found, exact), [0, np.inf, 0.5])
