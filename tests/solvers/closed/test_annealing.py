"""Tempering: small starts collapse with P ∝ σ₀^{T₀/(κ₀R²−1)} at constant temperature T₀ (R = 3).

While the means are small their sum S grows at ½β(κ₀R² − 1) and their difference δ faster, by ½ at every temperature.
A start collapses if |δ| is still small when |S| is not: |δ(0)| < c |S(0)|^{1 + a}, a being ½ over the rate of the sum,
so P ∝ σ₀^a. Here δ is drawn here uniformly in a band of that form, each start counted with its Gaussian density.
"""

import numpy as np
import pytest
from scipy.stats import norm

from solvers.closed import ensembles
from solvers.closed.equations import Closed, Task
from solvers.problem.starts import Starts
from tests.solvers.closed.flow_cases import problem, velocity_at

FALSE_ALARM = 1e-6
R = 3.0
EXPONENTS = {1.0: 0.7731, 1 / 0.7: 1.1044, 2.0: 1.5462}
BANDS = {1.0: 0.5, 1 / 0.7: 0.32, 2.0: 0.16}  # a little wider than what collapses
SCALES = np.array([0.01, 0.001, 0.0001])
STARTS = 1500


def tempered(temperature, end=1.0):
    time = {"end": end, "save": 2}
    return problem(1, {"separation": R}, {"components": 2}, {"scale": 1.0}, time, {"temperature": temperature})


@pytest.mark.parametrize("temperature", EXPONENTS)
def test_growth_rates_leave_the_exponent(temperature):
    given, nu = tempered(temperature), np.array([[R], [-R]])

    def rate(pattern):
        step = 1e-3 * np.array(pattern)[:, None]
        dm = [velocity_at(given, f * step, nu)[1][0, 0] for f in (-2, -1, 1, 2)]
        return np.dot([1, -8, 8, -1], dm) / (12 * step[0, 0] * R)

    together, apart = rate([1.0, 1.0]), rate([1.0, -1.0])
    assert apart - together == pytest.approx(0.5, abs=1e-8)
    assert 0.5 / together == pytest.approx(EXPONENTS[temperature], abs=6e-5)


def collapse_probabilities(temperature, rng):
    """P(collapse) at each of SCALES, and standard errors, d = 1."""
    given = tempered(temperature, end=80.0 * temperature)
    closed, a = Closed.of(given), EXPONENTS[temperature]
    found = []
    for scale in SCALES:
        total = np.sqrt(2) * scale * rng.standard_normal(STARTS)
        band = BANDS[temperature] * np.abs(total) ** (1 + a)
        apart = band * rng.uniform(-1, 1, STARTS)
        x = np.stack([total + apart, total - apart], axis=1) / 2
        m = x[:, :, None] * np.array([R, -R])
        begin = Starts(x[:, :, None] * x[:, None], m, np.full((STARTS, 2), np.log(0.5)))
        run = ensembles.on_cpu(Task(closed, rtol=1e-7, atol=1e-14, begin=begin))
        assert (run.status == 0).all()
        collapsed = run.mode_mass[:, -1].min(axis=1) < 0.25
        assert 0.5 < collapsed.mean() < 0.95  # the band holds all that collapses, and some that does not
        assert not collapsed[np.abs(apart) > 0.99 * band].any()
        counted = 2 * band * norm.pdf(apart, scale=np.sqrt(2) * scale) * collapsed
        found.append((counted.mean(), counted.std(ddof=1) / np.sqrt(STARTS)))
    return np.array(found).T


def exponent(p, se):
    """The slope of log P in log σ₀ by least squares, and its standard error."""
    x, weight = np.log(SCALES), (p / se) ** 2
    x = x - np.average(x, weights=weight)
    variance = 1 / np.sum(weight * x**2)
    return variance * np.sum(weight * x * np.log(p)), np.sqrt(variance)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", EXPONENTS)
def test_collapse_probability_follows_the_law(temperature):
    slope, error = exponent(*collapse_probabilities(temperature, np.random.default_rng(3)))
    limit = norm.isf(FALSE_ALARM / 2) * error
    assert limit < 0.14
    assert abs(slope - EXPONENTS[temperature]) < limit
    for other, value in EXPONENTS.items():
        assert other == temperature or abs(slope - value) > limit
