"""The reduced chain against a plain d-dimensional one: path by path with the same noise, and in law with its own."""

import numpy as np
import pytest
from scipy.stats import norm

from solvers.closed import systems
from solvers.sampler import Noise, forward
from tests.solvers.sampler.plain_chain import KEYS, case, in_dimensions, plain, uneven, without_cross_term

#: Two-sided, 1e-6 for each test; the samples are so many that t and normal quantiles agree.
LIMIT = norm.isf(0.5e-6)


@pytest.mark.parametrize(("key", "d"), in_dimensions(KEYS, 5, 2, 3))
def test_same_noise_same_weight(key, d):
    """d = R, R + 1 and more: log W and the end point of 40 paths, to rounding."""
    rng = np.random.default_rng(1)
    sampler, full, frame = case(*key, d=d, rng=rng)
    sampler = uneven(sampler)
    log_w, x, noise, chosen = plain(sampler, full, 40, rng, frame)
    found = forward(sampler, noise, chosen)
    # 1e-9: rounding of sums of squares of order 10 / 4η, divided by the square root of a small ϱ now and then.
    np.testing.assert_allclose(found.log_weight, log_w, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.end, x @ frame, atol=1e-9)
    np.testing.assert_allclose(found.rho, ((x - (x @ frame) @ frame.T) ** 2).sum(1), atol=1e-9)


def test_same_noise_without_the_cross_term_is_another_chain():
    rng = np.random.default_rng(1)
    wrong = without_cross_term()
    sampler, full, frame = case("dis", "ou", "exact", rng=rng, module=wrong)
    log_w, _, noise, chosen = plain(sampler, full, 40, rng, frame)
    assert np.max(np.abs(forward(sampler, noise, chosen).log_weight - log_w)) > 0.1


def z_scores(ours, theirs):
    """Differences of mean log W, its variance, mean ϱ and its variance, and of the end point, in standard errors."""
    out = []
    for a, b in zip(ours, theirs, strict=True):
        for f in (lambda y: y, lambda y: (y - y.mean()) ** 2):
            fa, fb = f(a), f(b)
            out.append((fa.mean() - fb.mean()) / np.sqrt(fa.var() / len(fa) + fb.var() / len(fb)))
    return np.abs(out)


def statistics(log_w, end, rho):
    return log_w, rho, end[:, 0], (end[:, 0] > 0).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize("key", [("cmcd", "annealed", "none"), ("dis", "ou", "exact")], ids="-".join)
def test_law(key, d):
    """Independent noise: the chi-square has the right number of degrees of freedom, and wrong chains are rejected."""
    rng = np.random.default_rng(2)
    paths, budget = 40_000, norm.isf(0.5e-6 / 8)  # eight numbers share the budget of the test
    sampler, full, frame = case(*key, d=d, rng=rng)
    log_w, x, *_ = plain(sampler, full, paths, rng, frame)
    theirs = statistics(log_w, x @ frame, ((x - (x @ frame) @ frame.T) ** 2).sum(1))

    def ours(chain, noise):
        paths_ = forward(chain, noise)
        return statistics(paths_.log_weight, paths_.end, paths_.rho)

    assert np.max(z_scores(ours(sampler, Noise.draw(sampler, paths, rng)), theirs)) < budget
    # control 1: no cross term in ϱ; control 2: d − R instead of d − R − 1 degrees of freedom
    wrong, _, _ = case(*key, d=d, rng=rng, module=without_cross_term())
    assert np.max(z_scores(ours(wrong, Noise.draw(wrong, paths, rng)), theirs)) > budget
    noise = Noise.draw(sampler, paths, rng)
    more = Noise(noise.xi, noise.xi1, noise.chi2 + rng.chisquare(1, noise.chi2.shape), noise.uniform)
    assert np.max(z_scores(ours(sampler, more), theirs)) > budget


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "steps"), [(key, steps) for key in KEYS for steps in (0, 1, 7) if steps or key[2] == "none"], ids=str
)
def test_mean_weight_is_one(key, steps):
    """E W = Z = 1 at every N, whatever the method."""
    rng = np.random.default_rng(3)
    sampler, *_ = case(*key, d=4, steps=steps, horizon=0.15, rng=rng)
    w = np.exp(forward(sampler, Noise.draw(sampler, 20_000, rng)).log_weight)
    assert abs(w.mean() - 1) < LIMIT * w.std() / np.sqrt(len(w))


@pytest.mark.parametrize("key", [("dis", "ou", "exact"), ("mcd", "annealed", "none")], ids="-".join)
def test_wrong_kernels_do_not_have_mean_weight_one(key):
    """A backward kernel of variance 2.2 η with the normaliser of 2η: 1.1^(d/2) too much a step."""
    rng = np.random.default_rng(4)
    source = systems.read("sampler_chain")
    head, weight = source.split("def weight(")
    line, noise = '    return {"gain": gain', "(chi2 + xi1**2 + xp.sum(xi**2, axis=-1)) / 2"
    assert weight.count(line) == 1
    wider = f"    increment = (increment - {noise}) / 1.1 + {noise}\n"  # −|residual|²/4η is the increment − |ξ|²/2
    wrong = systems.load(head + "def weight(" + weight.replace(line, wider + line))
    sampler, *_ = case(*key, d=4, horizon=0.15, rng=rng, module=wrong)
    w = np.exp(forward(sampler, Noise.draw(sampler, 20_000, rng)).log_weight)
    assert abs(w.mean() - 1) > LIMIT * w.std() / np.sqrt(len(w))
