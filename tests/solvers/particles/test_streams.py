"""Random streams: fixed by seed, key and replica, and by nothing else."""

import numpy as np
import pytest

from solvers.particles.streams import normals


def draw(seed=3, key=(1, 2), replicas=range(4), shape=(5, 6), parts=(5,)):
    fill = normals(np, seed, key, replicas)
    blocks = []
    for particles in parts:
        block = np.empty((len(replicas), particles, shape[1]))
        fill(block)
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def test_same_seed_same_bytes():
    assert draw().tobytes() == draw().tobytes()


@pytest.mark.parametrize("parts", [(1, 4), (2, 2, 1), (1, 1, 1, 1, 1)])
def test_blocks_leave_every_number_where_it_was(parts):
    assert np.array_equal(draw(parts=parts), draw())


def test_groups_of_replicas_leave_every_number_where_it_was():
    assert np.array_equal(np.concatenate([draw(replicas=range(1)), draw(replicas=range(1, 4))]), draw())


@pytest.mark.parametrize("other", [{"seed": 4}, {"key": (1, 3)}, {"key": (1,)}, {"replicas": range(4, 8)}])
def test_streams_differ_by_seed_key_and_replica(other):
    assert not np.any(np.isin(draw(**other), draw()))


def test_replicas_are_uncorrelated_standard_normals():
    x = draw(replicas=range(8), shape=(200, 100), parts=(200,)).reshape(8, -1)
    n = x.shape[1]
    assert np.all(np.abs(x.mean(1)) < 6 / np.sqrt(n))
    assert np.all(np.abs(x @ x.T / n - np.eye(8)) < 6 * np.sqrt(2 / n))
