"""The reduced chain and the chain in R^d have one law: at d = 3, 20 and 200, and wrong reductions are rejected."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import pearson3
from scipy.stats import t as student

from solvers.particles.sampler import compiled as sampler_compiled
from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.mixtures import Mixture
from solvers.particles.streams import stream_keys
from solvers.sampler import Mixture as Reduced
from solvers.sampler import Noise, Sampler, forward
from tests.solvers.sampler.plain_chain import PLANE, without_cross_term

GROUPS, PATHS = 32, 1500
CASES = [("cmcd", "annealed", "none"), ("dis", "ou", "exact"), ("dbs", "ou", "mixture"), ("mcd", "prior", "mixture")]


def reduced(key: tuple[str, str, str], d, steps, rng, paths, wrong=None):
    """log W (paths,), ρ of the first mode, and x_∥; `wrong`: no cross term, or d − R for d − R − 1."""
    mixtures = {name: Reduced.of(*numbers) for name, numbers in PLANE.items()}
    extra = {"module": without_cross_term()} if wrong == "cross" else {}
    sampler = Sampler(*key, steps, 0.5, d, mixtures, **extra)
    noise = Noise.draw(sampler, paths, rng)
    if wrong == "freedom":
        noise = Noise(noise.xi, noise.xi1, noise.chi2 + rng.chisquare(1, noise.chi2.shape), noise.uniform)
    found = forward(sampler, noise)
    return found.log_weight, found.modes, found.end


def full(key: tuple[str, str, str], d, steps, rng, paths, stream):
    """The same in R^d, the plane laid at random."""
    frame = np.linalg.qr(rng.standard_normal((d, 2)))[0]
    mixtures = {name: Mixture(np.array(mean) @ frame.T, np.array(v), np.log(w)) for name, (mean, v, w) in PLANE.items()}
    model = Model(*key, steps, 0.5, mixtures)
    chosen = rng.choice(2, size=paths, p=PLANE["prior"][2])
    words = stream_keys(0, (98, stream), range(1))[0]
    found = sampler_compiled.walk(model, words, 0, range(paths), chosen, ends=True)
    return found.log_weight, found.modes, found.end @ frame


def estimates(log_w, modes, end):
    """ELBO, Z, log-weight variance, mode mass and coverage, (group, 5); the last has the same bias on both sides."""
    log_w, mass = log_w.reshape(GROUPS, -1), modes[:, 0].reshape(GROUPS, -1).mean(1)
    pi = PLANE["target"][2][0]
    coverage = mass * np.log(mass / pi) + (1 - mass) * np.log((1 - mass) / (1 - pi))
    # e^{log W} has heavy tails at d = 200: a bounded function of it shows as much
    z = np.tanh(np.exp(np.minimum(log_w, 50.0))).mean(1)
    return np.stack([log_w.mean(1), z, log_w.var(1, ddof=1), mass, coverage], axis=1)


def deviation(one, two):
    """Largest |t| of five over pairs of groups, and its limit at 1e-6 for the test."""
    difference = estimates(*one) - estimates(*two)
    t = np.abs(difference.mean(0)) / (difference.std(0, ddof=1) / np.sqrt(GROUPS))
    return t.max(), student.isf(0.5e-6 / 5, GROUPS - 1)


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 20, 200])
@pytest.mark.parametrize("key", CASES, ids="-".join)
def test_estimates(key, d):
    rng, steps = np.random.default_rng(5), 6
    paths = GROUPS * PATHS
    theirs = full(key, d, steps, rng, paths, d)
    found, most = deviation(reduced(key, d, steps, rng, paths), theirs)
    assert found < most
    if key == CASES[0]:  # both negative controls, where a(x) depends on x
        for wrong in ("cross", "freedom"):
            found, most = deviation(reduced(key, d, steps, rng, paths, wrong), theirs)
            assert found > most, wrong


def energy_p_value(one, two, rng, permutations=500):
    """Two-sample test by energy distance. Its permutation null is represented by a Pearson III law of its first three
    moments, since tails of 1e-6 are out of reach of counting.

    Source  Székely and Rizzo (2013); Josse, Pagès and Husson (2008) for the approximation.
    """
    points = np.concatenate([one, two])
    points = (points - points.mean(0)) / points.std(0)
    distance, sign = cdist(points, points), np.repeat([1.0, -1.0], [len(one), len(two)])
    assert len(one) == len(two)
    signs = np.stack([sign, *(rng.permutation(sign) for _ in range(permutations))])
    statistic = -np.einsum("pi,pi->p", signs @ distance, signs)
    null = statistic[1:]
    spread = null.std(ddof=1)
    skew = ((null - null.mean()) ** 3).mean() / spread**3
    return float(pearson3.sf(statistic[0], skew, loc=null.mean(), scale=spread))


@pytest.mark.parametrize("d", [3, 20, 200])
def test_joint_law_of_projection_and_log_weight(d):
    key, steps, paths, rng = CASES[0], 6, 1500, np.random.default_rng(6)

    def joint(log_w, modes, end):
        return np.column_stack([end, log_w])

    theirs = joint(*full(key, d, steps, rng, paths, 1000 + d))
    assert energy_p_value(joint(*reduced(key, d, steps, rng, paths)), theirs, rng) > 1e-6
    # Each is seen where it is large: one degree of freedom too many is a small part of many, and without its cross term
    # ϱ keeps its mean, which in one direction is nearly all that counts (p = 4e-3 at d = 3). Log W does not use ϱ'.
    wrong = "freedom" if d == 3 else "cross"
    assert energy_p_value(joint(*reduced(key, d, steps, rng, paths, wrong)), theirs, rng) < 1e-6


def test_energy_distance_has_a_uniform_p_value_under_the_null():
    """Of 40 pairs of equal laws none is below 1e-6, and about half are below ½ (binomial at 1e-6: 5 to 35)."""
    rng = np.random.default_rng(7)
    p = [energy_p_value(rng.standard_normal((100, 2)), rng.standard_normal((100, 2)), rng, 200) for _ in range(40)]
    assert min(p) > 1e-6
    assert 5 <= sum(x < 0.5 for x in p) <= 35
