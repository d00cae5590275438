"""Log-weights where terms of order d, or of order 1/η, cancel: against 50 digits, at any dimension and step.

The references are written from section 7 of the theory with mpmath: no formula of the engine is in them.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import mpmath as mp
import numpy as np
import pytest

from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.mixtures import Mixture as InSpace
from solvers.particles.sampler.simulation import rounding as in_space
from solvers.problem import Problem, ProblemError
from solvers.results.outcomes import LOST, TOO_LONG
from solvers.sampler import Mixture, Noise, Sampler, backward, forward, gradient
from solvers.sampler.evaluate import Invalid, evaluate
from solvers.sampler.limits import check, rounding, status_of
from solvers.sampler.model import chain_module
from solvers.sampler.orthogonal import cumulants, form_of
from solvers.sampler.solve import solve
from tests.solvers.sampler.plain_chain import plain

MCD = """
dimension = {d}
[target]
separation = 2.0
[family]
components = 2
learn = []
variances = [1.0, {v}]
[init]
means = [[1.0, 0.1], [-1.0]]
[time]
end = 0.0
save = 1
[sampler]
method = "mcd"
steps = 8
horizon = 1e-6
paths = 4000
"""


@pytest.fixture(autouse=True)
def fifty_digits():
    with mp.workdps(50):
        yield


# --- the chain from its definition ------------------------------------------------------------------------------------


def exact_log_weight(s, noise, k, i, drifts):
    """log W of path i from component k. A point is (x_∥, its part along e = x_⊥/|x_⊥| of the step before, across²)."""
    R, N, d = s.directions, s.steps, s.dimension
    eta = mp.mpf(s.horizon) / N

    def numbers(name):
        m = s.mixtures[name]
        return [[mp.mpf(x) for x in row] for row in m.mean], [mp.e ** mp.mpf(x) for x in m.log_var], list(m.log_w)

    def fields(name, x, rho):
        """log-density, and score as (a, pull)."""
        mean, v, log_w = numbers(name)
        logit = [
            mp.mpf(w)
            - mp.mpf(d) / 2 * mp.log(2 * mp.pi * u)
            - (rho + sum((a - b) ** 2 for a, b in zip(x, m, strict=True))) / (2 * u)
            for m, u, w in zip(mean, v, log_w, strict=True)
        ]
        top = max(logit)
        r = [mp.e ** (y - top) for y in logit]
        total = sum(r)
        r = [y / total for y in r]
        pull = [sum(p * m[b] / u for p, m, u in zip(r, mean, v, strict=True)) for b in range(R)]
        return top + mp.log(total), -sum(p / u for p, u in zip(r, v, strict=True)), pull

    def drift(side, n, x, rho):
        a, pull = mp.mpf(0), [mp.mpf(0)] * R
        for name, (c0, c1) in drifts[side].items():
            c = c0 + c1 * mp.mpf(n) / N
            _, more, of = fields(name, x, rho)
            a, pull = a + c * more, [p + c * q for p, q in zip(pull, of, strict=True)]
        return a, pull

    xi, xi1, chi2 = ([*map(mp.mpf, np.ravel(part[:, i]))] for part in (noise.xi, noise.xi1, noise.chi2))
    z = [xi[n * R : (n + 1) * R] for n in range(N + 1)]
    mean, v, _ = numbers("prior")
    x = [m + mp.sqrt(v[k]) * y for m, y in zip(mean[k], z[0], strict=True)]
    rho = v[k] * (xi1[0] ** 2 + chi2[0])
    total = -fields("prior", x, rho)[0]
    for n in range(N):
        a, pull = drift(0, n, x, rho)
        s2 = mp.sqrt(2 * eta)
        new = [y + eta * (a * y + p) + s2 * w for y, p, w in zip(x, pull, z[n + 1], strict=True)]
        along, across = (1 + eta * a) * mp.sqrt(rho) + s2 * xi1[n + 1], 2 * eta * chi2[n + 1]
        b, back = drift(1, n + 1, new, along**2 + across)
        left = [y - w - eta * (b * w + p) for y, w, p in zip(x, new, back, strict=True)]
        residual = sum(e * e for e in left)
        residual += (mp.sqrt(rho) - (1 + eta * b) * along) ** 2 + (1 + eta * b) ** 2 * across
        square = sum(w * w for w in z[n + 1]) + xi1[n + 1] ** 2 + chi2[n + 1]
        total += square / 2 - residual / (4 * eta)
        x, rho = new, along**2 + across
    return total + fields("target", x, rho)[0]


#: Section 7: coefficients (constant, slope in β) of the scores in the forward and the backward drift.
ANNEALED = {"target": (0, 1), "prior": (1, -1)}
TYPED = {
    ("mcd", "annealed", "none"): (ANNEALED, ANNEALED),
    ("cmcd", "prior", "mixture"): ({"prior": (1, 0), "control": (1, 0)}, {"prior": (1, 0), "control": (-1, 0)}),
    ("dbs", "annealed", "mixture"): (ANNEALED | {"control": (1, 0)}, ANNEALED | {"control_back": (1, 0)}),
}


def drawn(rng, key: tuple[str, str, str], *, d=None):
    """A sampler of random dimension up to 10^12, step and variances, some of which are the same to 13 digits."""
    d = d or int(10 ** rng.uniform(1, 12))
    apart = 10 ** rng.uniform(-13, -1) / np.sqrt(d)
    mixtures = {
        name: Mixture.of(rng.normal(size=(2, 2)), 0.8 * (1 + apart * rng.uniform(-1, 1, 2)), rng.dirichlet(np.ones(2)))
        for name in ("prior", "target", "control", "control_back")
    }
    used = {name for side in TYPED[key] for name in side} | {"prior", "target"}
    return Sampler(*key, 3, 10 ** rng.uniform(-9, 0), d, {name: mixtures[name] for name in sorted(used)})


def subtracted(s, noise):
    """log W of path 0 the wrong way: the residual as ϱ' g² + ϱ − 2 g x_⊥·x_⊥'. Unit Gaussians at 0."""
    eta, rho, total = s.eta[0], noise.xi1[0, 0] ** 2 + noise.chi2[0, 0], 0.0
    g, first = 1 - eta, rho
    for xi1, chi2 in zip(noise.xi1[1:, 0], noise.chi2[1:, 0], strict=True):
        along = g * np.sqrt(rho) + np.sqrt(2 * eta) * xi1
        new = along**2 + 2 * eta * chi2
        total += (xi1**2 + chi2) / 2 - (new * g**2 + rho - 2 * g * np.sqrt(rho) * along) / (4 * eta)
        rho = new
    return total + (first - rho) / 2


@pytest.mark.parametrize("key", TYPED, ids="-".join)
def test_log_weights_have_the_digits_that_are_promised(key):
    rng = np.random.default_rng(12)
    worst = 0.0
    for _ in range(6):
        s = drawn(rng, key)
        noise, chosen = Noise.draw(s, 2, rng), np.array([0, 1])
        found = forward(s, noise, chosen)
        for i in (0, 1):
            right = exact_log_weight(s, noise, chosen[i], i, TYPED[key])
            # A few roundings at each of three steps, beside those that are counted.
            allowed = 8 * (rounding(s, found) + 1e-14)
            assert abs(found.log_weight[i] - right) < allowed, (s.dimension, s.horizon)
            worst = max(worst, allowed)
    assert worst < 0.02


def test_subtracted_squares_are_seen():
    """Negative control, d = 10^11 and η = 10^−7: the same increments by ϱ' g² + ϱ − 2 g x·x'."""
    rng = np.random.default_rng(3)
    one = Mixture.of([[0.0]], [1.0], [1.0])
    s = Sampler("mcd", "prior", "none", 3, 3e-7, 10**11, {"prior": one, "target": one})
    noise = Noise.draw(s, 1, rng)
    noise = Noise(0 * noise.xi, noise.xi1, noise.chi2, noise.uniform)
    right = exact_log_weight(s, noise, 0, 0, ({"prior": (1, 0)}, {"prior": (1, 0)}))
    assert abs(forward(s, noise, np.array([0])).log_weight[0] - right) < 1e-9
    assert abs(subtracted(s, noise) - right) > 1


def test_gradient_of_a_log_weight_has_its_digits():
    """Central differences of 50 digits in means and log-variances, at d = 10^10."""
    rng, key = np.random.default_rng(5), ("dbs", "annealed", "mixture")
    s = drawn(rng, key, d=10**10)
    noise, chosen = Noise.draw(s, 1, rng), np.array([1])
    _, bars = gradient(s, noise, chosen, np.ones(1))
    h = mp.mpf(10) ** -15

    def at(name, part, index, by):
        m = s.mixtures[name]
        arrays = {p: np.array(getattr(m, p), dtype=object) for p in ("mean", "log_var")}
        arrays[part][index] = mp.mpf(arrays[part][index]) + by
        moved = Mixture(arrays["mean"], arrays["log_var"], m.log_w)
        return exact_log_weight(replace(s, mixtures=s.mixtures | {name: moved}), noise, 1, 0, TYPED[key])

    for name in s.mixtures:
        for part, index in (("mean", (1, 0)), ("log_var", (0,)), ("log_var", (1,))):
            slope = -(at(name, part, index, h) - at(name, part, index, -h)) / (2 * h)
            found = getattr(bars[name], part)[index]
            # A slope in log v is a difference of two numbers of order d; half an ulp of them, some times over.
            assert abs(found - slope) < 1e-9 * (1 + abs(slope)) + 40 * np.finfo(float).eps * s.dimension * (
                part == "log_var"
            )


# --- the orthogonal share ---------------------------------------------------------------------------------------------


def determinants(s, m):
    """log E W^m and E log W under exp(m log W): Gaussian integrals over x_0..x_N, P and M written out."""
    N, eta = s.steps, mp.mpf(s.horizon) / s.steps
    v = {name: mp.e ** mp.mpf(float(mix.log_var[0])) for name, mix in s.mixtures.items()}
    P, M = mp.zeros(N + 1), mp.zeros(N + 1)
    P[0, 0] += 1 / v["prior"]
    M[0, 0] -= 1 / v["prior"]
    M[N, N] += 1 / v["target"]

    def add(A, n, here, there, sign):
        """sign (there x_{n+1} + here x_n)² / 2η."""
        for i, a in ((n, here), (n + 1, there)):
            for j, b in ((n, here), (n + 1, there)):
                A[i, j] += sign * a * b / (2 * eta)

    for n in range(N):
        side = [
            sum(-(c0 + c1 * mp.mpf(n + k) / N) / v[name] for name, (c0, c1) in drift.items())
            for k, drift in enumerate(TYPED[s.method, s.reference, s.control])
        ]
        grow, gain = 1 + eta * side[0], 1 + eta * side[1]
        add(P, n, -grow, mp.mpf(1), 1)
        add(M, n, -grow, mp.mpf(1), -1)
        add(M, n, mp.mpf(1), -gain, 1)
    c = mp.log(v["prior"] / v["target"]) / 2
    X = (P + m * M) ** -1 * M
    return m * c - mp.log(mp.det(P + m * M) / mp.det(P)) / 2, c - sum(X[i, i] for i in range(N + 1)) / 2


def test_orthogonal_shares_have_the_digits_of_one_direction():
    rng, wrong, opposite = np.random.default_rng(8), 0, ModuleType("opposite")
    vars(opposite)["moment"] = lambda *given: chain_module().moment(*given[:-2], -given[-2], given[-1])
    for key in [*TYPED] * 3:
        apart = 10 ** rng.uniform(-14, -1)
        names = sorted({name for side in TYPED[key] for name in side} | {"prior", "target"})
        mixtures = {name: Mixture.of([[0.0]], [0.7 * (1 + apart * rng.uniform(-1, 1))], [1.0]) for name in names}
        s = Sampler(*key, int(rng.integers(1, 6)), 10 ** rng.uniform(-9, -1), 10**12, mixtures)
        spread = max(abs(a.log_var[0] - b.log_var[0]) for a in mixtures.values() for b in mixtures.values())
        for m in (0.0, 1.0, 2.0):
            second, mean = determinants(s, mp.mpf(m))
            found = cumulants(form_of(s), m, s.module)
            # Of the order of what a direction adds: a horizon's worth of drift, and the difference of the variances.
            scale = 20 * np.finfo(float).eps * (s.horizon + spread)
            assert abs(found[0] - second) < scale
            assert abs(found[1] - mean) < scale
            # control: with x ξ of the other sign
            other = cumulants(form_of(s), m, opposite)
            wrong += abs(other[0] - second) > scale or abs(other[1] - mean) > scale
    assert wrong > 10


# --- problems ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v", ["1.0", "1.0000000000001"])
@pytest.mark.parametrize("d", [10**3, 10**9, 10**12])
def test_variances_that_differ_in_the_thirteenth_digit(d, v):
    """−0.440 ± 0.014 at every d: a shorter horizon than 1e-6 per direction adds less than can be seen."""
    run = solve(Problem.parse(MCD.format(d=d, v=v)), backend="numpy")
    assert int(run.status[0]) == 0
    error = float(run.elbo_se[0, 0])
    assert error == pytest.approx(0.0136, abs=5e-4)
    assert abs(float(run.elbo[0, 0]) + 0.43988) < 6 * error
    assert abs(float(run.elbo[0, 0]) + 0.43988) < 1e-3  # the same paths in the span at every d


def test_same_noise_in_many_dimensions():
    """2000 coordinates one by one, variances that differ in the ninth digit, by plain_chain."""
    rng, d = np.random.default_rng(2), 2000
    frame = np.linalg.qr(rng.standard_normal((d, 2)))[0]
    s = drawn(rng, ("cmcd", "prior", "mixture"), d=d)
    full = {n: (m.mean @ frame.T, np.exp(m.log_var), m.weights) for n, m in s.mixtures.items()}
    log_w, _, noise, chosen = plain(s, full, 20, rng, frame)
    np.testing.assert_allclose(forward(s, noise, chosen).log_weight, log_w, rtol=0, atol=2e-7)


@pytest.mark.parametrize("horizon", [1.0, 1e-10, 1e-22, 1e-28])
def test_what_a_simulation_loses_is_what_it_says(horizon):
    """300 coordinates as one would write it down: a root mean square of a fiftieth to twice what is said."""
    rng, d = np.random.default_rng(6), 300
    frame = np.linalg.qr(rng.standard_normal((d, 2)))[0]
    s = replace(drawn(rng, ("cmcd", "prior", "mixture"), d=d), horizon=horizon)
    full = {n: (m.mean @ frame.T, np.exp(m.log_var), m.weights) for n, m in s.mixtures.items()}
    log_w, _, noise, chosen = plain(s, full, 30, rng, frame)
    lost = np.sqrt(np.mean((log_w - forward(s, noise, chosen).log_weight) ** 2))
    space = {n: InSpace(mean, v, np.log(w)) for n, (mean, v, w) in full.items()}
    said = in_space(Model(s.method, s.reference, s.control, s.steps, horizon, space))
    assert said / 50 < lost < 2 * said


def test_a_dimension_that_float64_does_not_hold_is_refused_by_name():
    text = MCD.replace("horizon = 1e-6", "horizon = 1.5").format(d=2**53, v="1.0")
    with pytest.raises(
        ProblemError, match=r"dimension: is 9007199254740992; log-weights lose up to \d nats to rounding"
    ):
        check(Problem.parse(text))
    check(Problem.parse(text.replace(str(2**53), str(10**14))))


def test_an_evaluation_lost_to_rounding_is_no_result():
    """d = 10^14 and weights that would be known to a hundredth: rounding takes as much."""
    s = Sampler(
        "mcd", "prior", "none", 2, 1.0, 10**14, dict.fromkeys(("prior", "target"), Mixture.of([[0.0]], 1.0, [1.0]))
    )
    assert rounding(s) > 0.01
    small = np.zeros(1000)
    assert status_of(s, small, small, rounding(s), 0.001) == LOST
    assert status_of(s, small, small, rounding(s), 1.0) == 0
    assert status_of(s, small + np.array(np.nan), small, 0.0, 1.0) == 2
    # E W = 1: one of a thousand weights of e^60 is a chance of 1e-23; of e^5 it is not.
    assert status_of(s, np.append(small, 60.0), small, 0.0, 1.0) == LOST
    assert status_of(s, small, np.append(small, -60.0), 0.0, 1.0) == LOST
    assert status_of(s, np.append(small, 5.0), np.append(small, -5.0), 0.0, 1.0) == 0
    assert status_of(replace(s, horizon=4.1), small, small, 0.0, 1.0) == TOO_LONG
    with pytest.raises(Invalid, match="too long"):
        evaluate(replace(s, horizon=4.1), 10, np.random.default_rng(0))


def test_weights_both_ways_have_mean_one():
    """E W = 1 and E 1/W = 1 at d = 10^9, variances apart by 1e-11: what is relative to B is put back, both ways."""
    rng = np.random.default_rng(4)
    s = replace(drawn(rng, ("mcd", "annealed", "none"), d=10**9), horizon=1e-6)
    s = replace(s, mixtures={n: replace(m, mean=0.2 * m.mean) for n, m in s.mixtures.items()})
    noise = Noise.draw(s, 4000, rng)
    for w in (np.exp(forward(s, noise).log_weight), np.exp(-backward(s, noise).log_weight)):
        assert 0.01 < w.std() < 2
        assert abs(w.mean() - 1) < 6 * w.std() / np.sqrt(len(w))
