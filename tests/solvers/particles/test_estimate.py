"""The estimator of the particles: right, unbiased, and the same whatever the blocks."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import t as student

from solvers.particles.estimate import Surroundings, estimate
from solvers.particles.streams import normals

# Two dimensions, every variance different, unequal weights: nothing can hide behind a symmetry.
MU = np.array([[0.7, -0.4], [-0.9, 0.8]])
LOG_W = np.log([0.35, 0.65])
AROUND = Surroundings(
    nu=np.array([[1.2, 0.3], [-1.1, -0.6], [0.2, 1.4]]),
    log_pi=np.log([0.5, 0.3, 0.2]),
    u=np.array([0.8, 1.7, 1.1]),
    v=np.array([0.6, 1.4]),
)


def log_terms(x, means, variances, log_weights):
    square = ((x[..., None, :] - means) ** 2).sum(-1)
    return log_weights - square / (2 * variances) - x.shape[-1] / 2 * np.log(2 * np.pi * variances)


def on_grid(mu, theta):
    """KL(q‖p), E_k[log q − log p] and E_k[ρ_l] by the trapezoidal rule in the plane, exact to 1e-12."""
    side = np.arange(-11, 11, 0.1)
    x = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
    of_q = log_terms(x, mu, AROUND.v, theta - logsumexp(theta))
    of_p = log_terms(x, AROUND.nu, AROUND.u, AROUND.log_pi)
    log_q, log_p = logsumexp(of_q, axis=-1), logsumexp(of_p, axis=-1)
    component = np.exp(log_terms(x, mu, AROUND.v, np.zeros(2))) * 0.1**2
    log_ratio = np.einsum("xyk,xy->k", component, log_q - log_p)
    mode_mass = np.einsum("xyk,xyl->kl", component, np.exp(of_p - log_p[..., None]))
    return (np.exp(log_q) * (log_q - log_p)).sum() * 0.1**2, log_ratio, mode_mass


def samples(particles, replicas, block=None, seed=0, mu=MU, log_w=LOG_W, around=AROUND):
    fill = normals(np, seed, (), range(replicas))
    tiled = np.tile(mu, (replicas, 1, 1)), np.tile(log_w, (replicas, 1))
    return estimate(*tiled, around, fill, particles=particles, block=block or particles)


def agree(estimates, exact, alpha=1e-6):
    replicas = len(estimates)
    limit = student.isf(alpha / (2 * exact.size), replicas - 1)
    error = estimates.std(0, ddof=1) / np.sqrt(replicas)
    return bool(np.all(np.abs(estimates.mean(0) - exact) < limit * error))


def test_gradients_are_those_of_the_kl_in_the_plane():
    found = samples(particles=4000, replicas=32)
    step = 1e-4
    by_mean, by_weight = np.empty_like(MU), np.empty_like(LOG_W)
    for index in np.ndindex(MU.shape):
        shift = np.zeros_like(MU)
        shift[index] = step
        by_mean[index] = (on_grid(MU + shift, LOG_W)[0] - on_grid(MU - shift, LOG_W)[0]) / (2 * step)
    for k in range(2):
        shift = step * np.eye(2)[k]
        by_weight[k] = (on_grid(MU, LOG_W + shift)[0] - on_grid(MU, LOG_W - shift)[0]) / (2 * step)
    w = np.exp(LOG_W)
    weighted = w[:, None] * found.gradient
    assert agree(weighted, by_mean)
    slopes = w * (found.log_ratio - (w * found.log_ratio).sum(-1, keepdims=True))
    assert agree(slopes, by_weight)
    # The same test notices an error of 5 % in a single one of the formula's terms.
    assert not agree(weighted * 1.05, by_mean)
    assert not agree(slopes * 1.05, by_weight)


def test_log_ratios_and_mode_masses_are_those_of_the_plane():
    found = samples(particles=4000, replicas=32, seed=1)
    _, log_ratio, mode_mass = on_grid(MU, LOG_W)
    assert agree(found.log_ratio, log_ratio)
    assert agree(found.mode_mass, mode_mass)


@pytest.mark.parametrize("block", [1, 7, 100, 250])
def test_blocks_change_nothing_but_rounding(block):
    whole, cut = samples(250, 3), samples(250, 3, block=block)
    for name in ("gradient", "log_ratio", "mode_mass"):
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=1e-12, atol=1e-13)


def test_standard_errors_fall_as_one_over_the_square_root_of_the_particles():
    numbers, replicas = np.array([50, 200, 800, 3200]), 300
    spread = np.array([samples(n, replicas, seed=2).gradient.std(0, ddof=1) for n in numbers])
    x = np.log(numbers) - np.log(numbers).mean()
    slopes = np.tensordot(x, np.log(spread), axes=1) / (x**2).sum()
    # log of a standard deviation from R normal values has standard error 1/√(2(R−1)).
    error = 1 / np.sqrt(2 * (replicas - 1) * (x**2).sum())
    assert np.all(np.abs(slopes + 0.5) < 5.5 * error), slopes
    assert 5.5 * error < 0.1


def test_log_space_where_densities_underflow():
    d, far = 3000, 100.0
    mu = np.zeros((2, d))
    mu[:, 0] = far, -far
    around = Surroundings(nu=mu.copy(), log_pi=np.log([0.5, 0.5]), u=np.array([1.0, 1.0]), v=np.array([1.0, 1.0]))
    found = samples(16, 2, mu=mu, log_w=np.log([1e-12, 1 - 1e-12]), around=around)
    np.testing.assert_allclose(found.mode_mass, np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-12)
    np.testing.assert_allclose(found.log_ratio, np.log([2e-12, 2.0]) + np.zeros((2, 1)), rtol=1e-9)
    np.testing.assert_allclose(found.gradient, 0, atol=1e-9)
