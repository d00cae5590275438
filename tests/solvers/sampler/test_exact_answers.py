"""Known answers: linear-Gaussian chains, the exact control, the stationary variance of the Euler chain."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from solvers.sampler import Mixture, Noise, Sampler, evaluate, forward
from solvers.sampler.model import chain_module
from solvers.sampler.orthogonal import share
from tests.solvers.sampler.plain_chain import case

LIMIT = norm.isf(0.5e-6)


def gaussian(method, reference, control, *, v=1.7, u=0.6, steps=5, horizon=0.8, d=1, mean=0.0):
    """One component, one mode, R = 1: everything is linear and Gaussian."""
    mixtures = {
        "prior": Mixture.of([[mean]], v, [1.0]), "target": Mixture.of([[-0.3 * bool(mean)]], u, [1.0]),
        "control": Mixture.of([[0.2 * bool(mean)]], 0.9, [1.0]),
        "control_back": Mixture.of([[0.1 * bool(mean)]], 1.2, [1.0]),
    }  # fmt: skip
    return Sampler(method, reference, control, steps, horizon, d, mixtures)


def slopes(sampler):
    """a and shift of the two drifts a x + shift at every step, by hand."""
    N, T = sampler.steps, sampler.horizon

    def score(name, n, noised):
        m, e = sampler.mixtures[name], np.exp(-(T - n * T / N)) if noised else 1.0
        var = 1 + (np.exp(m.log_var[0]) - 1) * e**2 if noised else np.exp(m.log_var[0])
        return np.array([-1 / var, e * m.mean[0, 0] / var])

    out = []
    for n in range(N + 1):
        beta, ou = n / N, sampler.reference == "ou"
        f = {
            "ou": np.array([-1.0, 0.0]), "prior": score("prior", n, False),
            "annealed": beta * score("target", n, False) + (1 - beta) * score("prior", n, False),
        }[sampler.reference]  # fmt: skip

        def u(name, n=n, ou=ou):
            if sampler.control == "none":
                return np.zeros(2)
            s = score("target" if sampler.control == "exact" else name, n, ou)
            return 2 * (s + np.array([1.0, 0.0])) if ou else s

        b = {"dis": np.zeros(2), "mcd": u("control"), "cmcd": -u("control"), "dbs": u("control_back")}[sampler.method]
        out.append((f + (0 if sampler.method == "mcd" else u("control")), f + b))
    return out


def path_laws(sampler):
    """Mean and covariance of (x_0, …, x_N) under the sampler and under the noised target, by forward recursion."""
    N, eta, drift = sampler.steps, sampler.horizon / sampler.steps, slopes(sampler)
    laws = []
    for name, side, order in (("prior", 0, [*range(N + 1)]), ("target", 1, [*range(N, -1, -1)])):
        m = sampler.mixtures[name]
        mean, cov = np.zeros(N + 1), np.zeros((N + 1, N + 1))
        mean[order[0]], cov[order[0], order[0]] = m.mean[0, 0], np.exp(m.log_var[0])
        for i, j in itertools.pairwise(order):
            a, shift = drift[i][side]
            mean[j] = (1 + eta * a) * mean[i] + eta * shift
            cov[j, :] = cov[:, j] = (1 + eta * a) * cov[i, :]
            cov[j, j] = (1 + eta * a) ** 2 * cov[i, i] + 2 * eta
        laws.append((mean, cov))
    return laws


KEYS = sorted(chain_module().DRIFTS)


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_weight_is_the_ratio_of_two_gaussian_path_laws(key):
    sampler = gaussian(*key, mean=0.5)
    (mean_q, cov_q), (mean_p, cov_p) = path_laws(sampler)
    noise = Noise.draw(sampler, 20, np.random.default_rng(5))
    # the path itself: ends of the chains of 0, 1, …, N steps with the noise of the whole
    drift, eta = slopes(sampler), sampler.horizon / sampler.steps
    x = sampler.mixtures["prior"].mean[0] + np.sqrt(1.7) * noise.xi[0]
    points = [x]
    for n in range(sampler.steps):
        a, shift = drift[n][0]
        points.append(x := (1 + eta * a) * x + eta * shift + np.sqrt(2 * eta) * noise.xi[n + 1])
    path = np.concatenate(points, axis=1)
    expected = multivariate_normal(mean_p, cov_p).logpdf(path) - multivariate_normal(mean_q, cov_q).logpdf(path)
    np.testing.assert_allclose(forward(sampler, noise).log_weight, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_orthogonal_share_is_that_of_the_recursions(key):
    """d − R = 1000 directions with mean zero: KL both ways, variance and E W² of Gaussian path laws, to 1e-10 each."""
    sampler = gaussian(*key, d=1001, v=1.2, u=0.9, horizon=0.4)
    (_, q), (_, p) = path_laws(sampler)
    ratio = np.linalg.solve(p, q)  # eigenvalues are those of the two laws relative to each other
    log_det, n = np.linalg.slogdet(ratio)[1], len(q)
    found = share(sampler)
    assert found.directions == 1000
    # KL(q‖p) = ½(tr(p⁻¹q) − n − log det(p⁻¹q)) for centred Gaussians
    assert -found.elbo / 1000 == pytest.approx(0.5 * (np.trace(ratio) - n - log_det), abs=1e-10)
    inverse = np.linalg.inv(ratio)
    assert found.eubo / 1000 == pytest.approx(0.5 * (np.trace(inverse) - n + log_det), abs=1e-10)
    assert found.variance / 1000 == pytest.approx(0.5 * np.trace((ratio - np.eye(n)) @ (ratio - np.eye(n))), abs=1e-10)
    # ∫ p²/q = |q|^½ |p|^-1 |2p⁻¹ − q⁻¹|^-½, infinite if the last is not positive
    middle = 2 * np.linalg.inv(p) - np.linalg.inv(q)
    if np.linalg.eigvalsh(middle)[0] <= 0:
        assert found.log_second_moment == np.inf
    else:
        expected = 0.5 * np.linalg.slogdet(q)[1] - np.linalg.slogdet(p)[1] - 0.5 * np.linalg.slogdet(middle)[1]
        assert found.log_second_moment / 1000 == pytest.approx(expected, abs=1e-10)


def numbers(estimates):
    """Those of them that are single numbers, with their standard errors."""
    return {name: (float(x), float(se)) for name, (x, se) in estimates.items() if np.ndim(x) == 0}


@pytest.mark.slow
def test_closed_orthogonal_share_agrees_with_simulated_directions():
    rng = np.random.default_rng(6)
    sampler, *_ = case("dis", "ou", "exact", d=30, varied=False, horizon=1.5, steps=12, rng=rng)
    log_w = forward(sampler, Noise.draw(sampler, 40_000, rng)).log_weight
    found = evaluate(sampler, 40_000, rng)
    spread = (log_w - log_w.mean()) ** 2
    simulated = {
        "elbo": (log_w.mean(), log_w.std() / 200),
        "log_weight_variance": (log_w.var(), spread.std() / 200),
    }
    for name, (value, error) in simulated.items():
        assert abs(found[name][0] - value) < LIMIT * np.hypot(found[name][1], error)
    # control: without the orthogonal directions the variance is another
    flat = numbers(evaluate(replace(sampler, dimension=2), 40_000, rng))["log_weight_variance"]
    wide = numbers(evaluate(replace(sampler, dimension=3000), 40_000, rng))["log_weight_variance"]
    assert abs(flat[0] - wide[0]) > LIMIT * np.hypot(flat[1], wide[1])


def test_ess_in_a_million_dimensions_is_a_number():
    """Exact control from the exact prior: the share of 10⁶ directions is e^{−10⁶ c/N²}, not an estimate."""
    rng = np.random.default_rng(7)
    values = []
    for steps in (100, 200):
        sampler, *_ = case("dis", "ou", "exact", d=4, varied=False, horizon=1.5, steps=steps, rng=rng)
        sampler = replace(sampler, dimension=10**6)
        values.append(share(sampler).log_second_moment)
    assert np.isfinite(values).all()
    assert values[0] / values[1] == pytest.approx(4, abs=0.05)
    assert values[1] > 0


def exact_control(steps, *, rng, paths=20_000):
    """Prior = the target noised to the horizon, control exact: only the discretisation is left."""
    sampler, *_ = case("dis", "ou", "exact", d=6, steps=steps, horizon=1.5, rng=rng)
    target, e = sampler.mixtures["target"], np.exp(-1.5)
    prior = Mixture.of(e * target.mean, 1 + (np.exp(target.log_var) - 1) * e**2, target.weights)
    sampler = replace(sampler, mixtures=sampler.mixtures | {"prior": prior})
    return forward(sampler, Noise.draw(sampler, paths, rng)).log_weight


@pytest.mark.slow
def test_exact_control_has_a_gap_of_order_one_over_n():
    rng = np.random.default_rng(8)
    steps = (16, 32, 64)
    log_w = [exact_control(n, rng=rng) for n in steps]
    scaled = [-n * x.mean() for n, x in zip(steps, log_w, strict=True)]
    error = [n * x.std() / np.sqrt(len(x)) for n, x in zip(steps, log_w, strict=True)]
    # N × gap has a limit; its own correction is O(1/N), below a quarter between these N
    assert scaled[1] == pytest.approx(scaled[2], rel=0.25, abs=LIMIT * np.hypot(error[1], error[2]))
    assert log_w[2].var() < 0.6 * log_w[1].var() < 0.4 * log_w[0].var()
    # control: a wrong prior leaves a gap that does not close
    sampler, *_ = case("dis", "ou", "exact", d=6, steps=64, horizon=1.5, rng=rng)
    wrong = forward(sampler, Noise.draw(sampler, 20_000, rng)).log_weight
    assert -64 * wrong.mean() > 2 * scaled[2]


def test_stationary_variance_of_the_euler_chain():
    """Langevin toward a Gaussian prior of variance σ²: the Euler chain has σ²/(1 − η/2σ²), which is not σ²."""
    rng, v, eta, d = np.random.default_rng(9), 0.8, 0.5, 400
    sampler = gaussian("mcd", "prior", "none", v=v, steps=60, horizon=60 * eta, d=d)
    paths = forward(sampler, Noise.draw(sampler, 2_000, rng))
    per_direction = paths.rho / (d - 1)
    error = per_direction.std() / np.sqrt(len(per_direction))
    assert abs(per_direction.mean() - v / (1 - eta / (2 * v))) < LIMIT * error
    assert abs(per_direction.mean() - v) > LIMIT * error


def test_one_mode_missed():
    """One of two equal modes covered exactly: ELBO = log ½ with reverse ESS 1 and a coverage of log 2 nats."""
    target = Mixture.of([[12.0], [-12.0]], 1.0, [0.5, 0.5])
    prior = Mixture.of([[12.0]], 1.0, [1.0])
    sampler = Sampler("mcd", "annealed", "none", 0, 1.0, 50, {"prior": prior, "target": target})
    found = evaluate(sampler, 2000, np.random.default_rng(10))
    assert found["elbo"][0] == pytest.approx(np.log(0.5), abs=1e-12)
    assert found["ess"][0] == pytest.approx(1.0, abs=1e-12)
    assert found["coverage"][0] == pytest.approx(np.log(2), abs=1e-12)
    assert found["emc"][0] == pytest.approx(0.0, abs=1e-12)


def test_emc_misleads_where_modes_are_unequal():
    """Samples of the target itself: KL of the mode masses is 0, and EMC is not 1."""
    target = Mixture.of([[12.0], [-12.0]], 1.0, [0.9, 0.1])
    sampler = Sampler("mcd", "annealed", "none", 0, 1.0, 5, {"prior": target, "target": target})
    found = evaluate(sampler, 20_000, np.random.default_rng(11))
    assert found["coverage"][0] < 1e-3
    assert found["emc"][0] < 0.6


def test_sandwich():
    rng = np.random.default_rng(12)
    sampler, *_ = case("cmcd", "annealed", "none", d=8, horizon=0.5, rng=rng)
    found = numbers(evaluate(sampler, 20_000, rng))
    assert found["elbo"][0] < -LIMIT * found["elbo"][1]
    assert found["eubo"][0] > LIMIT * found["eubo"][1]
    assert abs(found["log_z"][0]) < LIMIT * found["log_z"][1]
    forward_ess, reverse_ess = found["ess_forward"], found["ess"]
    assert abs(forward_ess[0] - reverse_ess[0]) < LIMIT * np.hypot(forward_ess[1], reverse_ess[1])
