"""The two estimates of the gradient: the same mean, different noise; and why paths are drawn anew."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import f as fisher
from scipy.stats import t as student

from solvers.sampler import Mixture, Noise, Sampler
from solvers.sampler.backends import WALKERS
from solvers.sampler.gradients import Estimate, estimator, path_gradient, start_gradient
from solvers.sampler.learn import Learning
from solvers.sampler.model import chain_module
from solvers.sampler.objectives import Objective
from solvers.sampler.paths import Paths
from tests.solvers.sampler.plain_chain import case

ALPHA = 1e-6


def estimates(estimate, sampler, each, groups, seed):
    """∂D/∂(mean, log v, θ) of the prior, one row a group of paths."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(groups):
        slope = estimate(sampler, Noise.spread(sampler, each, rng), WALKERS["numpy"])[1]["prior"]
        rows.append(np.concatenate([slope.mean.ravel(), slope.log_var, slope.theta]))
    return np.array(rows)


def worst(one, other):
    """Largest Welch statistic of two tables of independent rows."""
    error = np.sqrt(one.var(0, ddof=1) / len(one) + other.var(0, ddof=1) / len(other))
    return np.max(np.abs(one.mean(0) - other.mean(0)) / error)


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 4, 9])  # no, one and several directions orthogonal to the span
def test_both_estimates_have_one_mean(d):
    sampler, *_ = case("dis", "ou", "exact", d=d, steps=4, rng=np.random.default_rng(1))
    along = estimates(path_gradient, sampler, 64, 64, 1)
    starts = estimates(start_gradient, sampler, 64, 64, 2)
    limit = student.isf(ALPHA / (2 * along.shape[1]), 63)
    assert worst(along, starts) < limit
    moved = replace(sampler.mixtures["prior"], log_var=sampler.mixtures["prior"].log_var + 0.1)
    wider = replace(sampler, mixtures=sampler.mixtures | {"prior": moved})
    assert worst(along, estimates(start_gradient, wider, 64, 64, 2)) > limit  # control: another prior


def test_law_is_the_gaussian_and_its_derivatives():
    rng, module = np.random.default_rng(2), chain_module()
    x, mean, rho, log_v, d = (
        rng.normal(size=(5, 2)),
        rng.normal(size=(5, 2)),
        rng.random(5) * 9,
        rng.normal(size=5),
        7.0,
    )
    square, v = ((x - mean) ** 2).sum(1) + rho, np.exp(log_v)
    given = (mean, log_v, x, rho, d)
    found = module.law(*given)
    np.testing.assert_allclose(found["density"], -d / 2 * np.log(2 * np.pi * v) - square / (2 * v))
    bars = module.law_adjoint(*given, found, np.full(5, 2.0))
    np.testing.assert_allclose(bars["pull_f"], 2 * (x - mean) / v[:, None])
    np.testing.assert_allclose(bars["log_v"], square / v - d)


def test_sobol_starts_of_every_component_fill_its_gaussian():
    """Quantiles of n points each in its n-th part: the mean of x to 1/n, where independent points have 1/√n."""
    sampler, *_ = case("dis", "ou", "exact", d=9, steps=1, rng=np.random.default_rng(3))
    K, each = len(sampler.mixtures["prior"].log_w), 256
    noise = Noise.spread(sampler, each, np.random.default_rng(4))
    plain = Noise.draw(sampler, each * K, np.random.default_rng(4))
    dof = sampler.dimension - sampler.directions - 1
    assert noise.xi.shape == plain.xi.shape
    off = [abs(a[0, k::K].mean(0) - mean).max() for a, mean in ((noise.xi, 0), (noise.xi1, 0), (noise.chi2, dof))
           for k in range(K)]  # fmt: skip
    assert max(off) < 12 / each  # a normal number in the outermost part is at most some 6 from its middle
    assert max(abs(plain.xi[0, k::K].mean(0)).max() for k in range(K)) > 12 / each
    np.testing.assert_array_equal(np.sort(np.floor(each * norm_cdf(noise.xi1[0, ::K]))), np.arange(each))


def norm_cdf(x):
    from scipy.stats import norm

    return norm.cdf(x)


def one_gaussian(steps=16):
    """One Gaussian at 1 of two modes at ±3, exact control, T = .9: R e^{−T} < R_c, so the closed flow ends at 0."""
    prior, target = Mixture.of([[1.0]], 1.0, [1.0]), Mixture.of([[3.0], [-3.0]], 1.0, [0.5, 0.5])
    return Sampler("dis", "ou", "exact", steps, 0.9, 2, {"prior": prior, "target": target})


@pytest.mark.slow
@pytest.mark.parametrize("control", ["exact", "none"])
def test_the_estimate_that_is_used_has_less_noise(control):
    """Modes apart: with the exact control by the start, without one along paths; an F test of variances at ALPHA."""
    sampler = replace(one_gaussian(), control=control)
    used = estimator(sampler)
    both: tuple[Estimate, ...] = (start_gradient, path_gradient)
    noise = {one: estimates(one, sampler, 64, 64, 6)[:, 0].var(ddof=1) for one in both}
    other = next(one for one in noise if one is not used)
    assert noise[other] > fisher.isf(ALPHA, 63, 63) * noise[used], noise


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "rtol"), [("reverse-kl", 1e-4), ("log-variance", 1e-2)])
def test_learning_goes_where_the_flow_goes(objective, rtol):
    """Of all objectives: on its own paths the prior of DIS learns by the reverse KL."""
    sampler, times = one_gaussian(), np.array([40.0])
    ends = []
    for seed in range(6):
        learning = Learning(sampler, 512, np.random.default_rng(seed), {"prior": ("means",)}, walker=WALKERS["numba"],
                            objective=Objective(objective))  # fmt: skip
        found, status = learning.run(times, rtol, rtol / 10)
        assert status == 0
        ends.append(found[0].mixtures["prior"].mean.item())
    error = np.std(ends, ddof=1) / np.sqrt(len(ends))
    assert abs(np.mean(ends)) < student.isf(ALPHA / 2, 5) * error
    assert error < 0.1  # so that a mean that rests elsewhere shows


@pytest.mark.slow
def test_one_draw_of_paths_has_zeros_of_its_own():
    """Why paths are drawn anew: the derivative along 512 of them changes sign many times between 0 and 1.2, where that
    of D does not, and neither does the estimate by the starts."""
    sampler = one_gaussian()
    noise = Noise.spread(sampler, 512, np.random.default_rng(0))

    def changes(estimate):
        signs = []
        for mean in np.linspace(0.1, 1.2, 111):
            prior = Mixture.of([[mean]], 1.0, [1.0])
            there = replace(sampler, mixtures=sampler.mixtures | {"prior": prior})
            signs.append(np.sign(estimate(there, noise, WALKERS["numba"])[1]["prior"].mean.item()))
        return np.count_nonzero(np.diff(signs))

    assert changes(path_gradient) > 10
    assert changes(start_gradient) == 0


def test_few_sobol_starts_have_no_bias():
    """−log W = z_1 of a start μ + z, whose gradient is 1. The mean over all others of a component in the place of that
    over the other half would make it 16/15, since Sobol points fill each other's gaps."""
    sampler = one_gaussian(4)

    def forward(_, noise, chosen):
        nothing = np.zeros((len(chosen), 1))
        return Paths(-noise.xi[0, :, 0], nothing, nothing[:, 0], nothing)

    rng, walker = np.random.default_rng(8), WALKERS["numpy"]._replace(forward=forward)
    noises = [Noise.spread(sampler, 16, rng) for _ in range(800)]
    found = np.array([start_gradient(sampler, noise, walker)[1]["prior"].mean.item() for noise in noises])
    error, limit = found.std(ddof=1) / np.sqrt(len(found)), student.isf(ALPHA / 2, len(found) - 1)
    assert abs(found.mean() - 1) < limit * error
    assert (limit + 2) * error < 1 / 15  # control: that bias would show
