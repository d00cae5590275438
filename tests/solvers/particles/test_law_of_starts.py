"""The gradient by the law of the starts: the same on every engine, and the mean of the gradient along paths."""

import numpy as np
import pytest
from scipy.stats import t as student

from solvers.particles.engines import engine
from solvers.particles.sampler.chain import gradient
from solvers.particles.sampler.engine import along_paths, gradients
from solvers.particles.sampler.learn import Learner
from solvers.particles.sampler.optimisers import Euler
from solvers.particles.sampler.ratio import FOR_EACH, by_starts
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
@pytest.mark.parametrize("paths", [20, 71, 160])  # a constant is fitted, then slopes, then curvatures
def test_engines_agree(paths, monkeypatch):
    at = model(EXACT, d=19)
    cuda(monkeypatch, held=16)
    log_weight, bars = estimate(at, 5, paths, "numpy")
    for name in ("numba", "cupy"):
        found, other = estimate(at, 5, paths, name)
        np.testing.assert_allclose(found, log_weight, rtol=1e-9)
        for one, two in zip(other["prior"], bars["prior"], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-9)


def flat(bars):
    return np.concatenate([bars.means.ravel(), bars.log_variances])


@pytest.mark.slow
@pytest.mark.parametrize(("paths", "steps"), [(24, 3), (80, 3), (256, 24)])  # a constant, slopes, curvatures
def test_the_mean_is_that_along_paths(paths, steps):
    at, groups = model(EXACT, d=4, steps=steps), 24576 // paths

    def along(n):
        chosen = np.arange(paths) % 2
        weights = (np.exp(at.mixtures["prior"].log_weights) / np.bincount(chosen))[chosen]
        noise = np.random.default_rng(n).standard_normal((at.steps + 1, paths, 4))
        log_weight, bars = gradient(at, lambda step: noise[step], chosen, weights)
        return np.append(flat(bars["prior"]), [log_weight.log_weight[chosen == k].mean() for k in (0, 1)])

    def by_law(n):
        log_weight, bars = estimate(at, n, paths)
        return np.append(flat(bars["prior"]), [log_weight[k::2].mean() for k in (0, 1)])

    one, two = (np.array([f(n) for n in range(groups)]) for f in (by_law, along))
    error = np.sqrt((one.var(0, ddof=1) + two.var(0, ddof=1)) / groups)
    limit = student.isf(ALPHA / (2 * one.shape[1]), groups - 1)
    assert np.max(np.abs(one.mean(0) - two.mean(0)) / error) < limit
    # control: twice as large in any group
    size = at.mixtures["prior"].means.size
    for group in (slice(size), slice(size, size + 2), slice(size + 2, None)):
        off = np.abs(2 * one.mean(0) - two.mean(0)) / np.hypot(error, one.std(0, ddof=1) / np.sqrt(groups))
        assert np.max(off[group]) > limit, group
    if steps > 3:  # then L is nearly a function of the start
        assert 4 * one.var(0).sum() < two.var(0).sum()


def test_the_law_of_the_starts_is_used_where_paths_tell_the_slope():
    at = model(EXACT, d=4, steps=3)
    R = np.linalg.matrix_rank(np.vstack([at.mixtures[name].means for name in ("prior", "target")]))
    least = 2 * 2 * FOR_EACH * (R + 2)
    learner = Learner({"prior": ("means",)}, "softmax", "euclidean", least, Euler, lambda: None)
    for paths in (least, least - 2):
        chosen = np.arange(paths) % 2
        weights = (np.exp(at.mixtures["prior"].log_weights) / np.bincount(chosen))[chosen]
        given = (at, chosen, weights)
        found = gradients(STREAM, learner, 1, engine("numba"))(8)(*given)[1]["prior"].means
        assert np.array_equal(found, estimate(at, 8, paths)[1]["prior"].means) == (paths == least)
        along = along_paths(STREAM, learner, 1, engine("numba"))(8)(*given)[1]["prior"].means
        assert np.array_equal(found, along) == (paths < least)
