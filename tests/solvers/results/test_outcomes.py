"""Collapsed, aligned, vanished: one rule, read off hand-made states and at its thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.results.outcomes import mode_mass_distance, outcomes

HALF = np.array([0.5, 0.5])


def one(w, B, pi):
    w, B, pi = (np.array(x, dtype=float) for x in (w, B, pi))
    answers = outcomes(w[None], (w @ B)[None], B[None], pi)
    assert all(answer.dtype == np.int8 and answer.shape == (1,) for answer in answers.values())
    return tuple(int(answers[name][0]) for name in ("collapsed", "aligned", "vanished"))


@pytest.mark.parametrize(
    ("w", "B", "pi", "expected"),
    [
        # (collapsed, aligned, vanished)
        ([0.5, 0.5], [[1, 0], [0, 1]], HALF, (0, 0, 0)),  # both modes found
        ([0.5, 0.5], [[1, 0], [1, 0]], HALF, (1, 1, 0)),  # both components on one mode
        ([0.995, 0.005], [[1, 0], [0, 1]], HALF, (1, 0, 1)),  # a component died on its mode
        ([0.995, 0.005], [[1, 0], [1, 0]], HALF, (1, 0, 1)),  # on the same mode, but one of no weight
        ([0.5, 0.5], [[0.85, 0.15], [0.85, 0.15]], HALF, (1, 0, 0)),  # collapsed, no mode dominant
        ([0.9, 0.1], [[1, 0], [0, 1]], [0.9, 0.1], (0, 0, 0)),  # a light mode with its light mass is found
        ([0.96, 0.04], [[1, 0], [0, 1]], [0.9, 0.1], (1, 0, 0)),  # less than half of a light mode
        ([0.4, 0.4, 0.2], [[1, 0], [1, 0], [0, 1]], [0.75, 0.25], (0, 0, 0)),  # sharing a mode is no collapse
        ([0.4, 0.4, 0.2], [[1, 0, 0], [1, 0, 0], [0, 1, 0]], [0.5, 0.3, 0.2], (1, 1, 0)),
        ([1.0], [[0.5, 0.5]], HALF, (0, 0, 0)),  # one component in the middle
        ([1.0], [[1.0, 0.0]], HALF, (1, 0, 0)),
        ([1.0], [[1.0]], [1.0], (0, 0, 0)),  # nothing to miss
    ],
)
def test_states(w, B, pi, expected):
    assert one(w, B, pi) == expected


def test_thresholds():
    assert one([0.75, 0.25], [[1, 0], [0, 1]], HALF)[0] == 0  # exactly half its mass: not collapsed
    assert one([0.7501, 0.2499], [[1, 0], [0, 1]], HALF)[0] == 1
    assert one([0.99, 0.01], [[1, 0], [1, 0]], HALF) == (1, 1, 0)  # weight 0.01 counts
    assert one([0.5, 0.5], [[0.9, 0.1], [0.9, 0.1]], HALF)[1] == 1
    assert one([0.5, 0.5], [[0.9, 0.1], [0.899, 0.101]], HALF)[1] == 0


def test_the_last_time_counts():
    w = np.array([[[0.995, 0.005], [0.5, 0.5]]])
    B = np.eye(2)[None]
    assert outcomes(w, HALF[None], B, HALF)["vanished"] == [0]
    assert outcomes(w[:, ::-1], HALF[None], B, HALF)["vanished"] == [1]


def test_failed_runs_are_unknown():
    w = np.full((3, 2), 0.5)
    mode_mass, B = np.tile(HALF, (3, 1)), np.tile(np.eye(2), (3, 1, 1))
    w[0, 1] = np.nan
    mode_mass[1, 0] = np.inf
    for answer in outcomes(w, mode_mass, B, HALF).values():
        assert answer.tolist() == [-1, -1, 0]


@given(data=st.data(), K=st.integers(1, 4), L=st.integers(1, 4))
def test_order_of_components_and_modes_does_not_matter(data, K, L):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    w, pi = rng.dirichlet(np.full(K, 0.3)), rng.dirichlet(np.ones(L))
    B = rng.dirichlet(np.full(L, 0.1), size=K)
    rows, columns = rng.permutation(K), rng.permutation(L)
    answer = one(w, B, pi)
    assert one(w[rows], B[rows][:, columns], pi[columns]) == answer
    assert answer[0] >= answer[1]  # aligned only when collapsed


def test_distance_of_mode_masses():
    np.testing.assert_allclose(mode_mass_distance(np.eye(2), HALF), np.log(2))
    np.testing.assert_allclose(
        mode_mass_distance(np.array([[0.9, 0.1], [1, 0]]), np.array([0.9, 0.1])), [0, -np.log(0.9)]
    )
    assert np.isnan(mode_mass_distance(np.array([np.nan, np.nan]), HALF))
    # For unequal π the entropy of the mode masses is largest at equal masses, which is not the target.
    pi = np.array([0.8, 0.2])
    assert mode_mass_distance(pi, pi) == 0
    assert mode_mass_distance(HALF, pi) > 0
