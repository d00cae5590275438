"""The closed right-hand side against particles in R^d, finite differences of the KL, and a grid in the plane.

Random points with unequal weights and v ≠ u. The Monte Carlo tests are wrong with probability at most FALSE_ALARM each
over their seeds. Beside each comparison stands its control: the system with any one term dropped must be rejected.
"""

from functools import cache

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import t as student

from solvers.closed import systems
from solvers.particles.replicas import velocities
from tests.solvers.closed.flow_cases import closed, problem, velocity_at

FALSE_ALARM = 1e-6
REPLICAS = 32
SIZES = [(1, 2), (2, 2), (3, 2), (2, 4), (4, 3)]
METRICS = ["softmax", "fisher-rao"]
V, U = 0.7, 1.4


@cache
def point(K, L, d, metric="softmax"):
    """A problem, and vectors mu (K, d) and nu (L, d) whose responsibilities are neither 0 nor 1."""
    rng = np.random.default_rng([K, L, d])
    mu, nu = (rng.standard_normal((n, d)) * size / np.sqrt(d) for n, size in ((K, 1.3), (L, 1.8)))
    weights, pi = rng.dirichlet(np.full(K, 5.0)), rng.dirichlet(np.full(L, 5.0))
    target = {"means": nu, "weights": pi, "variances": U}
    family = {"components": K, "weights": weights, "variances": V, "learn": ["means", "weights"]}
    return problem(d, target, family, {"means": mu}, flow={"weights": metric}), mu, nu


def flat(ds, dm, dtheta):
    """The different entries of one velocity, or of a stack of them, as (..., entries)."""
    upper = np.triu_indices(ds.shape[-1])
    lead = ds.shape[:-2]
    return np.concatenate([ds[..., upper[0], upper[1]], dm.reshape(*lead, -1), dtheta], axis=-1)


def agree(estimates, exact):
    """Whether unbiased estimates (replica, entries) have the mean `exact`, by t quantiles shared out to the entries."""
    limit = student.isf(FALSE_ALARM / (2 * exact.size), len(estimates) - 1)
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    # What is zero in every replica, such as the only weight's velocity, is known to rounding.
    return bool(np.all(np.abs(estimates.mean(0) - exact) <= limit * error + 1e-12))


def terms(given):
    return systems.terms(systems.read(systems.for_problem(given).NAME), given)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [5, 50])
@pytest.mark.parametrize(("K", "L"), SIZES)
def test_agrees_with_particles_and_no_term_is_idle(K, L, d, metric):
    given, mu, nu = point(K, L, d, metric)
    theta = np.log(given.family.weights)
    found = velocities(given, mu, theta, particles=4000 if d == 5 else 1500, replicas=REPLICAS)
    gamma = found.dmu @ mu.T
    estimates = flat(gamma + gamma.mT, found.dmu @ nu.T, found.dtheta)
    assert agree(estimates, flat(*velocity_at(given, mu, nu)))
    objective, mode_mass = closed(given, mu, nu, theta)
    assert agree(found.objective[:, None], objective[None])
    assert agree(found.mode_mass, mode_mass)
    for term in terms(given):
        assert not agree(estimates, flat(*velocity_at(given, mu, nu, drop=term))), term
    assert not agree(found.objective[:, None], 1.1 * objective[None])
    assert not agree(found.mode_mass, mode_mass[::-1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [5, 50])
@pytest.mark.parametrize(("K", "L"), SIZES)
def test_is_minus_the_gradient_of_the_objective(K, L, d, metric):
    given, mu, nu = point(K, L, d, metric)
    by_differences, error = gradient_flow(K, L, d)
    ds, dm, dtheta = by_differences
    if metric == "fisher-rao":
        dtheta = dtheta / given.family.weights
    expected = flat(ds, dm, dtheta)
    assert np.abs(flat(*velocity_at(given, mu, nu)) - expected).max() < error
    for term in terms(given):
        assert np.abs(flat(*velocity_at(given, mu, nu, drop=term)) - expected).max() > 100 * error, term


@cache
def gradient_flow(K, L, d):
    """ds/dt, dm/dt and the softmax dtheta/dt by central differences of D(μ, θ), and their error.

    dμ_k = −∂D/∂μ_k, so that dμ_k·a is minus the slope of D when μ_k moves along a, here each μ_i and ν_l; then
    ds_ki = dμ_k·μ_i + dμ_i·μ_k and dm_kl = dμ_k·ν_l. Fourth order in the step.
    """
    given, mu, nu = point(K, L, d)
    theta = np.log(given.family.weights)
    steps, coefficients = 0.01 * np.array([-2, -1, 1, 2]), np.array([1, -8, 8, -1]) / 0.12
    along = np.concatenate([mu, nu])
    moved = np.broadcast_to(mu, (4, K, K + L, K, d)).copy()
    for k in range(K):
        moved[:, k, :, k] += steps[:, None, None] * along
    slopes = np.tensordot(coefficients, closed(given, moved, nu, theta)[0], 1)
    turned = theta + steps[:, None, None] * np.eye(K)
    dtheta = -np.tensordot(coefficients, closed(given, mu, nu, turned)[0], 1)
    gamma, dm = -slopes[:, :K], -slopes[:, K:]
    # Three directions are integrated to 1e-6, fewer to 1e-11 (solvers.expectations).
    return (gamma + gamma.T, dm, dtheta), 2e-6 if max(K, L) == 4 else 2e-7


@pytest.mark.parametrize(("K", "L"), SIZES)
def test_objective_and_mode_masses_in_the_plane(K, L):
    given, mu, nu = point(K, L, 2)
    side = np.arange(-9, 9, 0.06)
    x = np.stack(np.meshgrid(side, side), axis=-1)

    def log_terms(means, variance, log_weights):
        square = ((x[..., None, :] - means) ** 2).sum(-1)
        return log_weights - square / (2 * variance) - np.log(2 * np.pi * variance)

    log_q = logsumexp(log_terms(mu, V, np.log(given.family.weights)), axis=-1)
    of_p = log_terms(nu, U, np.log(given.target.weights))
    log_p = logsumexp(of_p, axis=-1)
    q = np.exp(log_q) * 0.06**2
    objective, mode_mass = closed(given, mu, nu, np.log(given.family.weights))
    assert q.sum() == pytest.approx(1, abs=1e-10)
    assert objective == pytest.approx((q * (log_q - log_p)).sum(), abs=1e-8)
    assert mode_mass == pytest.approx(np.einsum("xy,xyl->l", q, np.exp(of_p - log_p[..., None])), abs=1e-8)
