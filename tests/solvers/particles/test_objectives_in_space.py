"""Losses on paths whose law is not differentiated, in R^d: derivatives at fixed paths, and what is taken from L."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.particles.sampler import compiled, plain
from solvers.particles.sampler.fixed import _mean_of_others, objective
from solvers.particles.streams import normals
from tests.solvers.particles.path_cases import KEYS, STREAM, model
from tests.solvers.sampler.fixed_path_cases import log_densities, moved

PATHS, WIDER, STEP = range(7, 27), 1.3, 1e-4


def given(key, d, seed=0):
    rng = np.random.default_rng(seed)
    at = replace(model(key, d=d, steps=4), shares=np.array([0.1, 0.3, 0.4, 0.2]))
    chosen = rng.integers(0, len(at.mixtures["prior"].variances), len(PATHS))
    return at, chosen, rng.random(len(PATHS)), rng.normal(size=len(PATHS))


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_derivatives_are_those_of_densities_at_points_that_stay(key):
    at, chosen, one, other = given(key, 3)
    drawn = [normals(np, STREAM[None], n, 3, PATHS, 3)[0] for n in range(at.steps + 1)]
    prior, eta = at.mixtures["prior"], at.eta
    points = [prior.means[chosen] + WIDER * np.sqrt(prior.variances[chosen])[:, None] * drawn[0]]
    for n in range(at.steps):
        drift = sum(c * (points[-1] if k[0] == "x" else at.score_of(k, n).at(points[-1]).score)
                    for k, c in at.drifts(n)[0].items())  # fmt: skip
        points.append(points[-1] + eta[n] * drift + np.sqrt(2 * eta[n]) * drawn[n + 1])
    rng = np.random.default_rng(1)
    direction = {name: (rng.normal(size=m.means.shape), *rng.normal(size=(2, len(m.variances))))
                 for name, m in at.mixtures.items()}  # fmt: skip

    def total(by):
        q, p = log_densities(moved(at, np.eye(3), direction, by), points)
        return one @ q + other @ p

    def along(bars):
        return sum(np.sum(a * b) for name in bars for a, b in zip(direction[name], bars[name], strict=True))

    expected = (total(-2 * STEP) - 8 * total(-STEP) + 8 * total(STEP) - total(2 * STEP)) / (12 * STEP)
    found = plain.fixed(at, STREAM, 3, PATHS, chosen, one, other, of=at.mixtures, wider=WIDER)
    np.testing.assert_allclose(along(found), expected, rtol=1e-7)
    swapped = plain.fixed(at, STREAM, 3, PATHS, chosen, other, one, of=at.mixtures, wider=WIDER)
    assert abs(along(swapped) - expected) > 1e-3 * abs(expected)  # control: the kernels in each other's place


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_compiled_is_array_code(key):
    """d = 19 is no whole number of tiles; two threads; of some mixtures only."""
    at, chosen, one, other = given(key, 19)
    wanted = ["prior", "control"]
    expected = plain.fixed(at, STREAM, 3, PATHS, chosen, one, other, of=wanted, wider=WIDER)
    found = compiled.fixed(at, STREAM, 3, PATHS, chosen, one, other, of=wanted, wider=WIDER, threads=2)
    assert set(found) == set(wanted)
    for name in wanted:
        for a, b in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * (1 + np.abs(b).max()))
    walks = [by.walk(at, STREAM, 3, PATHS, chosen, wider=WIDER, ends=True) for by in (plain, compiled)]
    np.testing.assert_allclose(walks[1].log_weight, walks[0].log_weight, rtol=1e-11, atol=1e-10)
    assert np.abs(walks[0].log_weight - plain.walk(at, STREAM, 3, PATHS, chosen).log_weight).min() > 1e-6


def test_the_mean_of_others_does_not_know_the_path():
    """Components of weight .3 and .7, three paths each: the mean of every one over the others."""
    rng = np.random.default_rng(2)
    chosen, counts = np.array([0, 1, 0, 1, 0, 1]), np.array([3, 3])
    weights = (np.array([0.3, 0.7]) / counts)[chosen]
    loss = rng.normal(size=6)
    base = _mean_of_others(loss, chosen, weights)
    for i in range(6):
        other = loss.copy()
        other[i] += 5.0
        assert abs(_mean_of_others(other, chosen, weights)[i] - base[i]) < 1e-12
        same = [j for j in range(6) if chosen[j] == chosen[i] and j != i]
        far = [j for j in range(6) if chosen[j] != chosen[i]]
        by_hand = weights[i] * 3 * loss[same].mean() + weights[far[0]] * 3 * loss[far].mean()
        np.testing.assert_allclose(base[i], by_hand)


def test_objectives_by_hand():
    at = model(("cmcd", "ou", "mixture"), d=3)
    log_w = np.array([0.5, -1.0, 0.2, -0.3])
    off = log_w - log_w.mean()
    assert objective("reverse-kl", at, log_w) == -log_w.mean()
    np.testing.assert_allclose(objective("log-variance", at, log_w), off @ off / 6)
    np.testing.assert_allclose(objective("trajectory-balance", at, log_w), off @ off / 6 + log_w.mean() ** 2 / 2)
