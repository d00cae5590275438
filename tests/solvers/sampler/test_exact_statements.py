"""The exact statements of learning as a user meets them, the order of the discretisation, given candidates."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from solvers import ask
from solvers.problem import Problem, ProblemError
from solvers.problem.sampler_section import Refinement
from solvers.problem.starts import starts
from solvers.sampler import Mixture, Noise, Sampler, evaluate
from solvers.sampler.backends import WALKERS
from solvers.sampler.ideal import continuous_time, learned
from solvers.sampler.orthogonal import share
from solvers.sampler.refine import add_component, candidate, placed
from solvers.sampler.runs import sampler_of
from tests.solvers.sampler.plain_chain import case

TEXT = """
dimension = 30
[target]
{target}
weights = [0.4, 0.6]
variances = {u}
[family]
components = 2
learn = ["means", "weights"]
[init]
{init}
[time]
end = 6.0
save = 4
{sampler}
"""
START = "means = [[0.4, 0.3], [-0.1, 0.2, 0.1]]"
IDEAL = '[sampler]\ncontrol = "exact"\nhorizon = 0.7'


@pytest.mark.parametrize("u", [1.0, 0.6])
def test_ideal_control_is_the_flow_on_the_noised_target(u):
    """The noised target typed in by hand: modes at e^{−T} R, variances 1 + (u − 1) e^{−2T}; to 1e-8."""
    problem, e = (
        Problem.parse(TEXT.format(target="separation = 3.0", u=u, init=START, sampler=IDEAL)),
        float(np.exp(-0.7)),
    )
    found = ask.solve(continuous_time(problem), rtol=1e-10, atol=1e-12)
    noised = TEXT.format(target=f"separation = {3 * e}", u=1 + (u - 1) * e**2, init=START, sampler="")
    expected, wrong = (ask.solve(Problem.parse(t), rtol=1e-10, atol=1e-12) for t in (
        noised, TEXT.format(target="separation = 3.0", u=u, init=START, sampler="")))  # fmt: skip
    for name in ("s", "m", "w", "objective"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-8, err_msg=name)
    # control: on the target itself it is another flow
    assert np.max(np.abs(found.s.values - wrong.s.values)) > 0.1


def test_ideal_control_by_overlaps():
    by_means = Problem.parse(TEXT.format(target="separation = 3.0", u=1.0, init=START, sampler=IDEAL))
    overlaps = "overlaps = {s = [[0.25, 0.02], [0.02, 0.06]], m = [[1.2, -1.2], [-0.3, 0.3]]}"
    by_overlaps = Problem.parse(TEXT.format(target="separation = 3.0", u=1.0, init=overlaps, sampler=IDEAL))
    one, two = (ask.solve(continuous_time(p), rtol=1e-10, atol=1e-12) for p in (by_means, by_overlaps))
    np.testing.assert_allclose(one.s, two.s, rtol=1e-7, atol=1e-7)
    with pytest.raises(ValueError, match='must be "exact"'):
        continuous_time(replace(by_means, sampler=None))
    with pytest.raises(ValueError, match=r"sampler.explore: is 2; must be 1, for a flow"):
        continuous_time(replace(by_means, sampler=replace(by_means.sampler, objective="log-variance", explore=2.0)))


@pytest.mark.slow
def test_learned_prior_is_where_that_flow_ends():
    """Its gap at 64 steps is the flow's objective, up to 6 standard errors and the 1/N of a chain with d = 30."""
    text = TEXT.format(target="separation = 3.0", u=1.0, init=START, sampler=IDEAL + "\nsteps = 64\npaths = 2048")
    problem = Problem.parse(text)
    flowed, found = ask.solve(continuous_time(problem)), ask.solve(learned(problem))
    assert found.sizes["time"] == 1
    np.testing.assert_allclose(found.w[0, 0], flowed.w[0, -1], atol=1e-7)
    np.testing.assert_allclose(found.s[0, 0], flowed.s[0, -1], atol=1e-6)
    np.testing.assert_allclose(found.m[0, 0] * np.exp(-0.7), flowed.m[0, -1], atol=1e-6)
    gap, error = -found.elbo.item(), found.elbo_se.item()
    assert abs(gap - flowed.objective[0, -1].item()) < 6 * error + 0.03
    # control: at the start
    assert abs(gap - flowed.objective[0, 0].item()) > 6 * error + 0.03


@pytest.mark.slow
def test_gap_of_the_exact_control_falls_as_one_over_n():
    """Var log W, which is twice the gap of the ELBO to leading order, as a power of N: −1 within its interval.

    32 replicas of N = 128 … 1024. At N = 32 … 256 the slope is −1.19 ± 0.02: a term in 1/N², 4 times less here.
    """
    rng, steps, replicas = np.random.default_rng(8), np.array([128, 256, 512, 1024]), 32
    slopes, gaps = np.empty(replicas), np.empty((replicas, len(steps)))
    sampler, *_ = case("dis", "ou", "exact", d=6, horizon=1.5, rng=rng)
    target, e = sampler.mixtures["target"], np.exp(-1.5)
    noised = Mixture.of(e * target.mean, 1 + (np.exp(target.log_var) - 1) * e**2, target.weights)
    mixtures = sampler.mixtures | {"prior": noised}
    chains = [replace(sampler, mixtures=mixtures, steps=int(N)) for N in steps]
    for i in range(replicas):
        log_w = [WALKERS["numba"].forward(chain, Noise.draw(chain, 80, rng)).log_weight for chain in chains]
        slopes[i] = np.polyfit(np.log(steps), np.log([x.var(ddof=1) for x in log_w]), 1)[0]
        gaps[i] = [-x.mean() for x in log_w]
    limit = student.isf(0.5e-6, replicas - 1) * slopes.std(ddof=1) / np.sqrt(replicas)
    assert abs(slopes.mean() + 1) < limit + 0.05
    # controls: the interval excludes second order and half order
    assert limit < 0.2
    assert gaps.mean(0)[0] > gaps.mean(0)[-1] > -limit


def test_gap_of_the_orthogonal_directions_falls_as_one_over_n():
    """In closed form, without paths: the slope is −1 up to the next order, which halves with every doubling of N."""
    gaps = []
    for N in (512, 1024, 2048):
        sampler, *_ = case("dis", "ou", "exact", d=3, steps=N, horizon=1.5, rng=np.random.default_rng(1))
        target, e = Mixture.of([[0.0]], 0.6, [1.0]), np.exp(-1.5)
        mixtures = {"prior": Mixture.of([[0.0]], 1 - 0.4 * e**2, [1.0]), "target": target}
        gaps.append(share(replace(sampler, mixtures=mixtures)).elbo)
    slopes = np.diff(np.log(np.negative(gaps))) / np.log(2)
    assert slopes[1] == pytest.approx(-1, abs=0.01)
    assert (slopes[1] + 1) / (slopes[0] + 1) == pytest.approx(0.5, abs=0.05)


def test_one_set_of_modes_covered_exactly():
    """Section 6: P the mass of the modes covered: ELBO = log Z + log P, reverse ESS 1, log Z off by log P."""
    target = Mixture.of([[14.0, 0.0], [-14.0, 0.0], [0.0, 14.0]], 1.3, [0.5, 0.3, 0.2])
    prior = Mixture.of([[14.0, 0.0], [0.0, 14.0]], 1.3, np.array([0.5, 0.2]) / 0.7)
    sampler = Sampler("mcd", "annealed", "none", 0, 1.0, 40, {"prior": prior, "target": target})
    found = evaluate(sampler, 1000, np.random.default_rng(10))
    assert found["elbo"][0] == pytest.approx(np.log(0.7), abs=1e-12)
    assert found["log_z"][0] == pytest.approx(np.log(0.7), abs=1e-12)
    assert found["ess"][0] == pytest.approx(1.0, abs=1e-12)
    # only paths from the target tell: some have weights e^{100}
    assert found["eubo"][0] > 10
    assert found["ess_forward"][0] < 1e-10


def test_a_million_dimensions():
    """ELBO and log-weight variance at d = 10⁶ are those at d = R plus (d − R) times a number."""
    rng = np.random.default_rng(11)
    sampler, *_ = case("dis", "ou", "exact", d=3, steps=64, horizon=1.5, varied=False, rng=rng)
    found = [evaluate(replace(sampler, dimension=d), 500, np.random.default_rng(1)) for d in (2, 1002, 10**6)]
    for name in ("elbo", "log_weight_variance", "eubo"):
        low, middle, high = (f[name][0] for f in found)
        assert (high - low) / (10**6 - 2) == pytest.approx((middle - low) / 1000, rel=1e-6)
    small, large = found[1]["ess"][0] / found[0]["ess"][0], found[2]["ess"][0] / found[0]["ess"][0]
    assert np.log(large) / (10**6 - 2) == pytest.approx(np.log(small) / 1000, rel=1e-6)


# --- candidates from given points

GROWING = """
dimension = 12
[target]
{target}
[family]
components = 1
learn = ["means", "weights"]
[init]
{init}
[time]
end = 2.0
save = [1.0, 2.0]
[sampler]
steps = 0
paths = 100
refine = {{until = 2, every = 1.0, source = {source}, weight = 0.1}}
"""
MODES = "means = [[3.0], [-3.0]]"


def grown(source, target=MODES, init="means = [[0.5, 0.2]]"):
    return Problem.parse(GROWING.format(target=target, init=init, source=source), "p.toml")


def overlaps_of_new(problem):
    """s, m and the sampler with the candidate added to the start."""
    s, m, theta = starts(problem)
    start, refine = sampler_of(problem, s[0], m[0], theta[0], np.ones(1)), problem.sampler.refine
    sampler, points = placed(problem, start, refine.source)
    x, rho, _ = candidate(sampler, replace(refine, source=points), np.random.default_rng(0))
    wide = add_component(sampler, x, rho, 0.1, 1.0)
    mean = wide.mixtures["prior"].mean
    return mean @ mean.T, mean @ wide.mixtures["target"].mean.T, wide


def test_a_given_point_is_added_with_its_own_gram_row():
    s, m, wide = overlaps_of_new(grown("[[-3.5, 1.0, 0.0, 2.0]]"))
    # off the span of 3 e₁ and (0.5, 0.2): one more dimension
    assert wide.directions == 3
    np.testing.assert_allclose(s, [[0.29, -1.75 + 0.2], [-1.55, 12.25 + 1 + 4]], atol=1e-12)
    np.testing.assert_allclose(m, [[1.5, -1.5], [-10.5, 10.5]], atol=1e-12)
    assert overlaps_of_new(grown("[[-3.5, 1.0]]"))[2].directions == 2


def test_a_random_start_and_points_in_the_span_of_the_target():
    s, m, _ = overlaps_of_new(grown("[[-3.5]]", init="scale = 0.5"))
    assert s[1, 1] == pytest.approx(12.25)
    assert s[0, 1] == pytest.approx(-3.5 * m[0, 0] / 3)


def test_the_best_of_given_points_is_taken():
    problem = grown("[[3.0], [-3.2], [0.0]]", init="means = [[2.5, 0.1]]")
    found = ask.solve(problem, backend="numpy")
    assert found.status.item() == 0
    np.testing.assert_allclose(found.w.values[0, 0], [1.0, 0.0])
    assert found.m.values[0, 1, 1, 1] > 8  # near −3 e₁


def test_candidates_that_are_not_finite_end_the_start():
    rng = np.random.default_rng(3)
    sampler, *_ = case("dis", "ou", "exact", rng=rng)
    refine = Refinement("interval", 5.0, 400, 4, np.full((2, 2), 1e200), 0.01, 0.05, None)
    with np.errstate(all="ignore"):
        x, rho, _ = candidate(sampler, refine, rng)
    assert np.isnan(x).all()
    with pytest.raises(ValueError, match="not finite"):
        add_component(sampler, x, rho, 0.05, 1.0)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("[[nan]]", {}, "row 1 holds nan; every entry must be a finite number"),
        ("[[inf, 1.0]]", {}, "row 1 holds inf; every entry must be a finite number"),
        ("[]", {}, "is []; must be a list of rows of numbers, such as [[3.0], [-1.0]]"),
        ("[[1e200]]", {}, "is [[1e+200]]; its overlaps exceed the range of float64, must be smaller"),
        ('"grid"', {}, 'is "grid"; allowed: "prior", "mala"'),
        (str([[0.0] * 13]), {}, "row 1 has 13 entries, must have at most dimension = 12"),
        ("[[1.0], [0.0, 2.0]]", {"init": "scale = 0.5"}, "row 2 leaves the span of the target's means"),
        ("[[1.0]]", {"target": "overlaps = [[9.0]]", "init": "scale = 0.5"}, "has no common coordinates"),
    ],
)
def test_given_points_refused(source, options, message):
    with pytest.raises(ProblemError, match="^p.toml: " + re.escape(f"sampler.refine.source: {message}")):
        grown(source, **options)
