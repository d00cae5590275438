"""Gradients at fixed paths: against finite differences in R^d, and what is known of three losses on own paths."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from solvers.sampler import Mixture, Noise, Sampler
from solvers.sampler.backends import PLAIN, WALKERS
from solvers.sampler.gradients import path_gradient
from solvers.sampler.objectives import LEVEL, Objective
from tests.solvers.sampler.fixed_path_cases import log_densities, moved, walked
from tests.solvers.sampler.plain_chain import KEYS, case, in_dimensions

ALPHA, STEP = 1e-6, 1e-4
VARIANCE, BALANCE = Objective("log-variance"), Objective("trajectory-balance")


def random_direction(model, rng):
    return {
        name: (rng.normal(size=(len(m.variances), 2)), *rng.normal(size=(2, len(m.variances))))
        for name, m in model.mixtures.items()
    }


def along(slopes, direction):
    """The derivative in a direction, of Mixtures of derivatives."""
    parts = zip(direction.values(), (slopes[name] for name in direction), strict=True)
    return sum(np.sum(a * s.mean) + b @ s.log_var + c @ s.log_w for (a, b, c), s in parts)


def difference(f):
    """f'(0), fourth order."""
    return (f(-2 * STEP) - 8 * f(-STEP) + 8 * f(STEP) - f(2 * STEP)) / (12 * STEP)


@pytest.mark.parametrize(("key", "d"), in_dimensions(KEYS, 5, 2, 3))
def test_the_derivative_at_fixed_paths_is_that_of_densities_in_space(key, d):
    rng = np.random.default_rng(3)
    sampler, noise, chosen, model, frame, points = walked(key, d, 9, rng)
    one, other, direction = rng.random(9), rng.normal(size=9), random_direction(model, rng)

    def total(by):
        q, p = log_densities(moved(model, frame, direction, by), points)
        return one @ q + other @ p

    expected = difference(total)
    paths, slopes = PLAIN.ratio(sampler, noise, chosen, one, other)
    q, p = log_densities(model, points)
    np.testing.assert_allclose(paths.log_weight, p - q, atol=1e-10)
    np.testing.assert_allclose(along(slopes, direction), expected, rtol=1e-8)
    # Control: the kernels in each other's place.
    wrong = along(PLAIN.ratio(sampler, noise, chosen, other, one)[1], direction)
    assert abs(wrong - expected) > 1e-3 * abs(expected)


def test_losses_of_frozen_paths():
    """½ of the variance of L over these paths, and ½ of the mean of (L + c)²."""
    rng = np.random.default_rng(4)
    sampler, noise, chosen, model, frame, points = walked(("cmcd", "annealed", "mixture"), 5, 40, rng)
    direction, c = random_direction(model, rng), 0.7

    def loss(by):
        q, p = log_densities(moved(model, frame, direction, by), points)
        return q - p

    now = loss(0.0)
    for factor, of in ((now - now.mean(), lambda x: np.var(x) / 2), (now + c, lambda x: np.mean((x + c) ** 2) / 2)):
        slopes = PLAIN.ratio(sampler, noise, chosen, factor / 40, -factor / 40)[1]
        np.testing.assert_allclose(along(slopes, direction), difference(lambda by, of=of: of(loss(by))), rtol=1e-7)


# --- the sampler's own paths -------------------------------------------------------------------------------------


def rows(estimate, draw, groups, seed):
    """Slopes of all mixtures but the target, one row a group of paths."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(groups):
        slopes = estimate(draw(rng))
        names = sorted(slopes.keys() - {"target", LEVEL})
        parts = (a for n in names for a in (slopes[n].mean, slopes[n].log_var, slopes[n].theta))
        out.append(np.concatenate([a.ravel() for a in parts]))
    return np.array(out)


def compared(sampler, objective, factor=1.0, groups=48, each=64, seed=5):
    """Welch statistics of the gradient of an objective against that of the reverse KL, and their limit at ALPHA."""
    walker = WALKERS["numba"].within(1)
    one = rows(lambda noise: path_gradient(sampler, noise, walker)[1],
               lambda rng: Noise.spread(sampler, each, rng), groups, seed)  # fmt: skip
    other = factor * rows(lambda noise: objective.gradient(sampler, noise, walker)[1],
                          lambda rng: objective.draw(sampler, each, rng), groups, seed + 1)  # fmt: skip
    error = np.sqrt((one.var(0, ddof=1) + other.var(0, ddof=1)) / groups)
    moves = error > 1e-12
    statistic = np.abs(one.mean(0) - other.mean(0))[moves] / error[moves]
    return statistic, student.isf(ALPHA / (2 * moves.sum()), groups - 1)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [VARIANCE, BALANCE], ids=lambda o: o.name)
def test_what_enters_forward_kernels_alone_learns_as_by_the_reverse_kl(objective):
    """DIS: in E ∂log Q any number may stand before ∂log Q, c = 1.3 too."""
    sampler, *_ = case("dis", "ou", "mixture", steps=4, rng=np.random.default_rng(1))
    sampler = replace(sampler, level=1.3)
    statistic, limit = compared(sampler, objective)
    assert statistic.max() < limit
    statistic, limit = compared(sampler, objective, factor=1.3)
    assert statistic.max() > limit  # control: a factor


@pytest.mark.slow
@pytest.mark.parametrize("key", [("cmcd", "ou", "mixture"), ("dbs", "annealed", "mixture")], ids="-".join)
def test_what_enters_backward_kernels_does_not(key):
    sampler, *_ = case(*key, steps=4, horizon=1.2, rng=np.random.default_rng(1))
    far = replace(sampler.mixtures["control"], mean=3 * sampler.mixtures["control"].mean)
    sampler = replace(sampler, mixtures=sampler.mixtures | {"control": far})
    for objective in (VARIANCE, BALANCE):
        statistic, limit = compared(sampler, objective)
        assert statistic.max() > limit


@pytest.mark.parametrize("explore", [1.0, 1.7])
@pytest.mark.parametrize("method", ["dis", "cmcd", "dbs"])
def test_where_log_weights_are_constant_nothing_moves(method, explore):
    """One stationary point for all: a chain that is its own reversal, OU steps at v = 1/(1 − η/2), has L = 0 on every
    path, from anywhere."""
    eta = 0.3
    wide, unit = (Mixture.of(np.zeros((2, 1)), v, [0.4, 0.6]) for v in (1 / (1 - eta / 2), 1.0))
    mixtures = {"prior": wide, "target": wide, "control": unit, "control_back": unit}
    sampler = Sampler(method, "ou", "mixture", 4, 4 * eta, 7, mixtures)
    for name in ("log-variance", "trajectory-balance"):
        objective = Objective(name, explore)
        noise = objective.draw(sampler, 16, np.random.default_rng(6))
        value, slopes = objective.gradient(sampler, noise)
        assert abs(value) < 1e-12
        for slope in slopes.values():
            for part in (slope.mean, slope.log_var, slope.theta):
                np.testing.assert_allclose(part, 0.0, atol=1e-12)
        # Control: another target.
        other = Mixture.of([[0.5], [-0.5]], 1.0, [0.5, 0.5])
        there = replace(sampler, mixtures=mixtures | {"target": other})
        assert np.abs(objective.gradient(there, noise)[1]["prior"].mean).max() > 1e-4


def test_wider_starts_are_those_of_wider_components():
    sampler, *_ = case("dis", "ou", "none", d=6, steps=2, rng=np.random.default_rng(1))
    noise = Noise.draw(sampler, 30, np.random.default_rng(7))
    prior, chosen = sampler.mixtures["prior"], np.arange(30) % 2
    wide = replace(prior, log_var=prior.log_var + 2 * np.log(1.7))
    expected = PLAIN.forward(replace(sampler, mixtures=sampler.mixtures | {"prior": wide}), noise, chosen)
    found = PLAIN.forward(sampler, noise.from_wider(1.7), chosen)
    np.testing.assert_allclose(found.end, expected.end)
    np.testing.assert_allclose(found.rho, expected.rho)


@pytest.mark.parametrize("name", ["reverse-kl", "log-variance", "trajectory-balance"])
@pytest.mark.parametrize("explore", [1.0, 1.4])
def test_values_are_means_of_what_they_are_said_to_be(name, explore):
    if name == "reverse-kl" and explore != 1:
        return
    sampler, *_ = case("cmcd", "ou", "mixture", d=4, steps=3, rng=np.random.default_rng(1))
    sampler = replace(sampler, level=0.4)
    objective, rng = Objective(name, explore), np.random.default_rng(8)
    log_w = PLAIN.forward(sampler, Noise.draw(sampler, 20000, rng)).log_weight
    value, error = objective.value(sampler, log_w, float(log_w.mean()), float(log_w.var(ddof=1)), rng)
    found = [objective.gradient(sampler, objective.draw(sampler, 128, rng))[0] for _ in range(60)]
    spread = np.hypot(error, np.std(found, ddof=1) / np.sqrt(60))
    assert abs(value - np.mean(found)) < student.isf(ALPHA / 2, 59) * spread
    assert spread < 0.03 * abs(value)  # so that another number would be seen
