"""The estimator of the particles: right, unbiased, and the same whatever the blocks and the engine."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import t as student

from solvers.particles import compiled
from solvers.particles.engines import engine
from solvers.particles.estimate import Draws, Mixtures
from solvers.particles.motion import Found, motion
from solvers.particles.streams import stream_keys
from solvers.problem import Problem

# Two dimensions, every variance different, unequal weights, not at temperature 1: nothing can hide behind a symmetry.
MU = np.array([[0.7, -0.4], [-0.9, 0.8]])
LOG_W = np.log([0.35, 0.65])
V = np.array([0.6, 1.4])
NU = np.array([[1.2, 0.3], [-1.1, -0.6], [0.2, 1.4]])
LOG_PI = np.log([0.5, 0.3, 0.2])
U = np.array([0.8, 1.7, 1.1])
BETA = 0.7

PROBLEM = Problem.parse(
    """
    dimension = 2
    target = {means = [[1.2, 0.3], [-1.1, -0.6], [0.2, 1.4]]}
    family = {components = 2, learn = ["means", "weights"]}
    init = {scale = 1.0}
    time = {end = 1.0}
    """
)


def moved_by(at, found, problem):
    """What averages over particles of q, or of p for the forward KL, move."""
    forward = problem.flow.objective == "forward-kl"
    problem = replace(problem, flow=replace(problem.flow, temperature=1 / at.beta))
    return motion(at, Found(() if forward else (found,), found if forward else None), problem, 0.0)


def flow(objective="reverse-kl", weights="softmax", metric="euclidean"):
    """A problem in which everything learns."""
    family = replace(PROBLEM.family, learn=("means", "weights", "variances"))
    return replace(
        PROBLEM, family=family, flow=replace(PROBLEM.flow, objective=objective, weights=weights, metric=metric)
    )


def log_terms(x, means, variances, log_weights):
    square = ((x[..., None, :] - means) ** 2).sum(-1)
    return log_weights - square / (2 * variances) - x.shape[-1] / 2 * np.log(2 * np.pi * variances)


class Plane:
    """Integrals over the plane by the trapezoidal rule, exact to 1e-12; KL(q‖p^β) or KL(p‖q), up to a constant."""

    def __init__(self, mu, theta, v):
        side = np.arange(-12, 12, 0.1)
        x = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)
        of_q, of_p = log_terms(x, mu, v, theta - logsumexp(theta)), log_terms(x, NU, U, LOG_PI)
        self.log_q, self.log_p = logsumexp(of_q, axis=-1), logsumexp(of_p, axis=-1)
        self.rho = np.exp(of_p - self.log_p[..., None])
        self.component = np.exp(log_terms(x, mu, v, np.zeros(2))) * 0.1**2

    def objective(self, forward):
        if forward:
            return (np.exp(self.log_p) * (self.log_p - self.log_q)).sum() * 0.1**2
        return (np.exp(self.log_q) * (self.log_q - BETA * self.log_p)).sum() * 0.1**2

    def log_ratio(self):
        return np.einsum("xyk,xy->k", self.component, self.log_q - BETA * self.log_p)

    def mode_mass(self):
        return np.einsum("xyk,xyl->kl", self.component, self.rho)


def samples(
    particles,
    replicas,
    *,
    forward=False,
    backend="numba",
    block=None,
    seed=0,
    threads=1,
    report=None,
    paired=None,
    **point,
):
    point = {"mu": MU, "log_w": LOG_W, "v": V, "nu": NU, "log_pi": LOG_PI, "u": U, "beta": BETA} | point
    rows = [np.concatenate([point[q], point[p]]) for q, p in (("mu", "nu"), ("v", "u"), ("log_w", "log_pi"))]
    means, variances, log_weights = (np.tile(row, (replicas, *[1] * row.ndim)) for row in rows)
    at = Mixtures(means, variances, log_weights, len(point["mu"]), point["beta"])
    draws = Draws(stream_keys(seed, (), range(replicas)), 3, common=paired is not None, sign=paired or 1.0)
    block = block or min(particles, 100)
    options = {"threads": threads} if threads > 1 else {}
    sample = engine(backend).sample
    return at, sample(at, forward, draws, particles=particles, block=block, report=report, **options)


def agree(estimates, exact, alpha=1e-6):
    replicas = len(estimates)
    limit = student.isf(alpha / (2 * exact.size), replicas - 1)
    error = estimates.std(0, ddof=1) / np.sqrt(replicas)
    return bool(np.all(np.abs(estimates.mean(0) - exact) < limit * error))


def slope(forward, which, step=1e-4):
    """Central differences of the objective by one of the states μ, θ, log v."""
    states = [MU, LOG_W, np.log(V)]
    out = np.empty_like(states[which])
    for index in np.ndindex(out.shape):
        shift = np.zeros_like(out)
        shift[index] = step
        ends = []
        for sign in (1, -1):
            moved = [state + sign * shift if n == which else state for n, state in enumerate(states)]
            ends.append(Plane(moved[0], moved[1], np.exp(moved[2])).objective(forward))
        out[index] = (ends[0] - ends[1]) / (2 * step)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("forward", [False, True], ids=["reverse", "forward"])
def test_velocities_descend_the_kl_in_the_plane(forward):
    at, found = samples(particles=100_000, replicas=32, forward=forward, beta=1.0 if forward else BETA)
    moved = moved_by(at, found, flow("forward-kl" if forward else "reverse-kl"))
    for which, velocity in enumerate((moved.dmu, moved.dtheta, moved.dlog_v)):
        gradient = slope(forward, which)
        assert agree(velocity, -gradient)
        # The same test notices an error of 5 %.
        assert not agree(velocity * 1.05, -gradient)
    plane = Plane(MU, LOG_W, V)
    assert agree(moved.objective, np.array(plane.objective(forward)))


@pytest.mark.parametrize("objective", ["reverse-kl", "forward-kl"])
def test_metrics_scale_velocities(objective):
    at, found = samples(particles=50, replicas=2, forward=objective == "forward-kl")
    plain, natural = (moved_by(at, found, flow(objective, weights)) for weights in ("softmax", "fisher-rao"))
    bures = moved_by(at, found, flow(objective, metric="wasserstein"))
    w = np.exp(LOG_W)
    np.testing.assert_allclose(natural.dtheta * w, plain.dtheta, rtol=1e-14)
    np.testing.assert_allclose(bures.dmu * w[:, None], plain.dmu, rtol=1e-14)
    # ∂D/∂v = (1/v) ∂D/∂log v; the metric of a variance is (4 v/(d w)), then d log v = dv/v.
    np.testing.assert_allclose(bures.dlog_v, plain.dlog_v / V * 4 / (2 * w), rtol=1e-14)


def test_log_ratios_and_mode_masses_are_those_of_the_plane():
    _, found = samples(particles=4000, replicas=32, seed=1)
    plane = Plane(MU, LOG_W, V)
    assert agree(found.log_ratio, plane.log_ratio())
    assert agree(found.table[..., 2:], plane.mode_mass())
    assert not agree(found.table[..., 2:], plane.mode_mass() * 1.02)


FIELDS = ("moment", "table", "log_ratio", "square")


def far(d=35, seed=0):
    """Three components and two modes in general position, in more than two tiles of coordinates."""
    rng = np.random.default_rng(seed)
    means = {name: rng.standard_normal((count, d)) for name, count in (("mu", 3), ("nu", 2))}
    variances = {"v": np.array([0.5, 1.0, 2.0]), "u": np.array([1.5, 0.7])}
    return means | variances | {"log_w": np.log([0.2, 0.3, 0.5]), "log_pi": np.log([0.4, 0.6]), "beta": 1.3}


@pytest.mark.parametrize("forward", [False, True], ids=["reverse", "forward"])
@pytest.mark.parametrize("d", [1, 16, 35, 2100])  # the last: more than one stretch of coordinates
def test_engines_agree_to_rounding(forward, d):
    for paired in (None, -1.0):
        plain, fast = (
            samples(30, 3, forward=forward, backend=backend, paired=paired, **far(d))[1]
            for backend in ("numpy", "numba")
        )
        same(plain, fast, d)


def same(plain, fast, d):
    for name in FIELDS:
        one, other = getattr(plain, name), getattr(fast, name)
        # Sums of d terms of order one enter log-densities, and the sums over particles once more.
        np.testing.assert_allclose(other, one, rtol=1e-13, atol=d * 1e-14 * max(1, np.abs(one).max()))


def test_pairs_have_no_noise_that_is_odd_and_none_that_all_sources_share():
    """Two equal components: E_1[f] − E_2[f] is exactly 0 from common numbers and is not from others.

    One component and mode of variance 1: log q − log p is linear in z, and its mean over z and −z is exact."""
    two = {"mu": np.ones((2, 3)), "v": np.ones(2), "log_w": np.log([0.5, 0.5])}
    rest = {"nu": np.array([[5.0, 0, 0], [-5.0, 0, 0]]), "u": np.ones(2), "log_pi": np.log([0.5, 0.5]), "beta": 1.0}
    common, others = (samples(20, 2, paired=sign, **two, **rest)[1].log_ratio for sign in (1.0, None))
    np.testing.assert_array_equal(common[:, 0], common[:, 1])
    assert np.abs(others[:, 0] - others[:, 1]).min() > 1e-3
    one = {"mu": np.zeros((1, 3)), "v": np.ones(1), "log_w": np.zeros(1)}
    mode = {"nu": np.array([[2.0, 0, 0]]), "u": np.ones(1), "log_pi": np.zeros(1), "beta": 1.0}
    both = [samples(20, 2, paired=sign, **one, **mode)[1].log_ratio for sign in (1.0, -1.0)]
    np.testing.assert_allclose((both[0] + both[1]) / 2, 2.0, rtol=1e-13)
    assert np.abs(both[0] - 2.0).min() > 1e-3


@pytest.mark.parametrize("block", [1, 7, 100, 250])
@pytest.mark.parametrize("forward", [False, True], ids=["reverse", "forward"])
def test_blocks_change_no_bit_of_compiled_sums_and_of_plain_ones_the_rounding(block, forward):
    for backend in ("numba", "numpy"):
        whole, cut = (
            samples(250, 3, forward=forward, backend=backend, block=size, **far())[1] for size in (250, block)
        )
        for name in FIELDS:
            one, other = getattr(whole, name), getattr(cut, name)
            if backend == "numba":
                assert np.array_equal(one, other)
            np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("forward", [False, True], ids=["reverse", "forward"])
def test_threads_change_no_bit(monkeypatch, forward):
    """Nor do blocks where particles are cut into pieces, here of 32: sums of pieces are added in their order."""
    monkeypatch.setattr(compiled, "PIECE_NORMALS", 1)
    heard = []
    found = [
        samples(250, 3, forward=forward, block=block, threads=threads, report=heard.append, **far())[1]
        for block, threads in ((250, 1), (250, 3), (7, 2))
    ]
    assert sum(heard) == 3 * found[0].log_ratio.size * 250
    for other in found[1:]:
        assert all(np.array_equal(getattr(found[0], name), getattr(other, name)) for name in FIELDS)


def test_standard_errors_fall_as_one_over_the_square_root_of_the_particles():
    numbers, replicas = np.array([50, 200, 800, 3200]), 300
    spread = []
    for n in numbers:
        at, found = samples(n, replicas, seed=2)
        spread.append(moved_by(at, found, flow()).dmu.std(0, ddof=1))
    x = np.log(numbers) - np.log(numbers).mean()
    slopes = np.tensordot(x, np.log(np.array(spread)), axes=1) / (x**2).sum()
    # log of a standard deviation from R normal values has standard error 1/√(2(R−1)).
    error = 1 / np.sqrt(2 * (replicas - 1) * (x**2).sum())
    assert np.all(np.abs(slopes + 0.5) < 5.5 * error), slopes
    assert 5.5 * error < 0.1


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_log_space_where_densities_underflow(backend):
    d, far = 3000, 100.0
    mu = np.zeros((2, d))
    mu[:, 0] = far, -far
    one, half = np.ones(2), np.log([0.5, 0.5])
    point = {"mu": mu, "nu": mu, "u": one, "v": one, "log_w": np.log([1e-12, 1 - 1e-12]), "log_pi": half, "beta": 1.0}
    at, found = samples(16, 2, backend=backend, **point)
    np.testing.assert_allclose(found.table[..., 2:], np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-12)
    np.testing.assert_allclose(found.log_ratio, np.log([2e-12, 2.0]) + np.zeros((2, 1)), rtol=1e-9)
    np.testing.assert_allclose(moved_by(at, found, flow()).dmu, 0, atol=1e-9)


def test_what_is_not_finite_stays_so():
    with np.errstate(over="ignore", invalid="ignore"):
        _, found = samples(8, 2, mu=np.full((2, 2), 1e200))
    assert not np.isfinite(found.table).any()
