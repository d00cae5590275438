"""The gradient by the law of mirrored starts: the same on every engine, and the mean of the gradient along paths."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from solvers.particles.engines import ENGINES, engine
from solvers.particles.sampler.chain import gradient, walk
from solvers.particles.sampler.engine import along_paths, gradients
from solvers.particles.sampler.learn import Learner
from solvers.particles.sampler.optimisers import Euler
from solvers.particles.sampler.ratio import by_starts
from solvers.particles.streams import normals
from tests.solvers.particles.path_cases import STREAM, model
from tests.solvers.particles.path_cuda import cuda

EXACT = ("dis", "ou", "exact")
ALPHA = 1e-6


def estimate(at, source, paths, name="numba"):
    K = len(at.mixtures["prior"].variances)
    chosen = np.arange(paths) % K
    weights = (np.exp(at.mixtures["prior"].log_weights) / np.bincount(chosen))[chosen]
    return by_starts(at, STREAM, source, chosen, weights, engine=engine(name), threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("paths", [20, 23])  # in pairs, and with some that have no partner
def test_engines_agree(paths, monkeypatch):
    at = model(EXACT, d=19)
    cuda(monkeypatch, held=16)
    log_weight, bars = estimate(at, 5, paths, "numpy")
    for name in ("numba", "cupy"):
        found, other = estimate(at, 5, paths, name)
        np.testing.assert_allclose(found, log_weight, rtol=1e-9)
        for one, two in zip(other["prior"], bars["prior"], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_mirrored_path_starts_on_the_other_side_and_has_the_same_noise(name, monkeypatch):
    cuda(monkeypatch, held=16)
    at, paths = model(EXACT, d=5, steps=3), range(4, 10)
    chosen = np.arange(len(paths)) % 2
    begin, middle = (
        replace(at, steps=0, control="none", shares=None, annealing=None),
        at.mixtures["prior"].means[chosen],
    )
    there, back = (
        engine(name).walk(begin, STREAM, 2, paths, chosen, mirrored=mirrored, ends=True).end
        for mirrored in (False, True)
    )
    np.testing.assert_allclose(there + back, 2 * middle, atol=1e-12)
    assert np.abs(there - middle).max() > 0.1

    def noise(n):
        drawn = normals(np, STREAM[None], n, 2, paths, 5)[0]
        return drawn if n else -drawn

    expected = walk(at, noise, chosen).log_weight
    found = engine(name).walk(at, STREAM, 2, paths, chosen, mirrored=True).log_weight
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_the_mean_is_that_along_paths():
    at, paths, groups = model(EXACT, d=4, steps=3), 1024, 96

    def flat(bars):
        return np.concatenate([bars.means.ravel(), bars.log_variances])

    def along(n):
        chosen = np.arange(paths) % 2
        weights = (np.exp(at.mixtures["prior"].log_weights) / np.bincount(chosen))[chosen]
        noise = np.random.default_rng(n).standard_normal((at.steps + 1, paths, 4))
        return flat(gradient(at, lambda step: noise[step], chosen, weights)[1]["prior"])

    one = np.array([flat(estimate(at, n, paths)[1]["prior"]) for n in range(groups)])
    two = np.array([along(n) for n in range(groups)])
    error = np.sqrt((one.var(0, ddof=1) + two.var(0, ddof=1)) / groups)
    limit = student.isf(ALPHA / (2 * one.shape[1]), groups - 1)
    assert np.max(np.abs(one.mean(0) - two.mean(0)) / error) < limit
    # control: twice as large in either group of parameters
    size = at.mixtures["prior"].means.size
    for group in (slice(size), slice(size, None)):
        off = np.abs(2 * one.mean(0) - two.mean(0)) / np.hypot(error, one.std(0, ddof=1) / np.sqrt(groups))
        assert np.max(off[group]) > limit, group


def test_the_law_of_the_starts_is_used_where_the_last_gradient_was_small():
    """Far from the target its noise would be the slope; which is taken is known before any path is drawn."""
    at = model(EXACT, d=4, steps=3)
    target = at.mixtures["target"].noised(float(np.exp(-at.horizon)))
    near = replace(at, mixtures=at.mixtures | {"prior": target})
    far = replace(at, mixtures=at.mixtures | {"prior": replace(target, means=target.means + 3.0)})
    learner = Learner({"prior": ("means",)}, "softmax", "euclidean", 64, Euler, lambda: None)
    chosen = np.arange(64) % 2
    for first, small in ((near, True), (far, False)):
        made = gradients(STREAM, learner, 1, engine("numba"))
        weights = (np.exp(near.mixtures["prior"].log_weights) / np.bincount(chosen))[chosen]
        made(0)(first, chosen, weights)
        found = made(8)(near, chosen, weights)[1]["prior"].means
        starts = estimate(near, 8, 64)[1]["prior"].means
        assert np.array_equal(found, starts) == small
        # a component more: what the last gradient said is of another prior
        more = replace(near, mixtures=near.mixtures | {"prior": at.mixtures["control"]})
        three, even = np.arange(63) % 3, np.full(63, 1 / 63)
        along = along_paths(STREAM, learner, 1, engine("numba"))
        np.testing.assert_array_equal(made(16)(more, three, even)[0], along(16)(more, three, even)[0])
