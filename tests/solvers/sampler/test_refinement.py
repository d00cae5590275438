"""Components added while learning: candidates, Gram rows, the three rules, and what they are for."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import log_softmax
from scipy.stats import norm

from solvers import ask
from solvers.problem import Problem, ProblemError
from solvers.problem.sampler_section import Refinement
from solvers.problem.starts import starts
from solvers.sampler import Noise
from solvers.sampler.backends import PLAIN
from solvers.sampler.gradients import path_gradient
from solvers.sampler.learn import Learning
from solvers.sampler.refine import add_component, candidate, due, points, predicted_gain
from solvers.sampler.runs import Learner, sampler_of
from solvers.sampler.samples import Samples
from tests.solvers.sampler.plain_chain import case

LIMIT = norm.isf(0.5e-6)
REFINE = Refinement("interval", 5.0, 400, 4, "prior", 0.01, 0.05, None)

THREE = """
dimension = 10
[target]
means = [[4.0], [-2.0, 3.464], [-2.0, -3.464]]
[family]
components = {K}
variances = {v}
learn = ["means", "weights"]
[init]
{init}
[time]
end = {end}
save = 2
[sampler]
method = "cmcd"
steps = 0
paths = 400
{refine}
"""


def test_a_new_component_has_the_gram_row_of_the_candidate():
    rng = np.random.default_rng(1)
    sampler, *_ = case("dis", "ou", "mixture", d=7, rng=rng)
    x, rho, _ = candidate(sampler, REFINE, rng)
    wider = add_component(sampler, x, rho, 0.05, 0.8)
    prior, old = wider.mixtures["prior"], sampler.mixtures["prior"]
    new = prior.mean[-1]
    np.testing.assert_allclose(prior.mean[:-1] @ new, old.mean @ x)
    np.testing.assert_allclose(wider.mixtures["target"].mean @ new, sampler.mixtures["target"].mean @ x)
    assert new @ new == pytest.approx(x @ x + rho)
    np.testing.assert_allclose(prior.weights, [*(0.95 * old.weights), 0.05])
    assert np.exp(prior.log_var[-1]) == pytest.approx(0.8)
    assert wider.directions == sampler.directions + 1
    with pytest.raises(ValueError, match="not finite"):
        add_component(sampler, x, np.nan, 0.05, 0.8)


def test_no_direction_is_added_where_there_is_none():
    rng = np.random.default_rng(1)
    sampler, *_ = case("dis", "ou", "exact", d=2, rng=rng)
    x, rho, _ = candidate(sampler, REFINE, rng)
    assert rho == 0
    assert add_component(sampler, x, rho, 0.05, 0.8).directions == 2


@pytest.mark.parametrize("source", ["prior", "mala"])
def test_points_from_the_target_stay_a_sample_of_it(source):
    """A prior that is the target: MALA must leave its law as it is, whatever its step."""
    rng = np.random.default_rng(2)
    sampler, *_ = case("dis", "ou", "exact", d=9, rng=rng)
    target = sampler.mixtures["target"]
    sampler = replace(sampler, mixtures=sampler.mixtures | {"prior": target})
    x, rho = points(sampler, replace(REFINE, candidates=20_000, source=source), rng)
    v, w = np.exp(target.log_var), target.weights
    expected = {"rho": 7 * w @ v, "x": w @ target.mean[:, 0], "xx": w @ (v + target.mean[:, 0] ** 2)}
    for name, values in {"rho": rho, "x": x[:, 0], "xx": x[:, 0] ** 2}.items():
        # three numbers share the budget of the test
        assert abs(values.mean() - expected[name]) < norm.isf(0.5e-6 / 3) * values.std() / np.sqrt(len(values)), name


def test_mala_moves_points_of_another_prior_towards_the_target():
    rng = np.random.default_rng(3)
    sampler, *_ = case("dis", "ou", "exact", d=9, rng=rng)
    gap = []
    for source in ("prior", "mala"):
        _, rho = points(sampler, replace(REFINE, candidates=4000, source=source), rng)
        target = sampler.mixtures["target"]
        gap.append(rho.mean() - 7 * target.weights @ np.exp(target.log_var))
    assert abs(gap[1]) < 0.5 * abs(gap[0])


@pytest.mark.slow
def test_predicted_gain_is_the_slope_of_the_loss():
    """D − D(ε) over ε for a small ε, against the prediction; both from paths, in standard errors over groups."""
    rng = np.random.default_rng(4)
    sampler, *_ = case("dis", "ou", "exact", d=6, steps=3, rng=rng)
    x, rho, eps, paths = np.array([-1.5, 0.4]), 0.3, 1e-3, 3000
    rows = []
    for _ in range(32):
        predicted = predicted_gain(sampler, x, rho, 0.7, paths, rng)
        more, less = (add_component(sampler, x, rho, w, 0.7) for w in (eps, 1e-12))
        noise = Noise.draw(more, paths, rng)
        rows.append((predicted, (path_gradient(less, noise)[0] - path_gradient(more, noise)[0]) / eps))
    difference = np.diff(np.array(rows), axis=1)[:, 0]
    error = difference.std(ddof=1) / np.sqrt(len(rows))
    # 32 groups: a t limit of 1e-6; the second derivative of D times ε is far below the error
    assert abs(difference.mean()) < 6.0 * error
    assert abs(np.mean(rows)) > 6.0 * error


def test_rules():
    rng = np.random.default_rng(5)
    sampler, *_ = case("dis", "ou", "exact", d=6, steps=3, rng=rng)
    learning = Learning(sampler, 400, rng, {"prior": ("means",)})
    x, rho, _ = candidate(sampler, REFINE, rng)

    def ask(rule, threshold):
        return due(learning, replace(REFINE, rule=rule, threshold=threshold), x, rho, 1.0, rng)

    assert ask("interval", 0.0)
    assert learning.decrease() > 0
    assert ask("stalled", 1e9)
    assert not ask("stalled", 0.0)  # the decrease is some thirty of its standard errors
    assert ask("gain", 0.0) == (predicted_gain(sampler, x, rho, 1.0, 400, rng) > 0)
    assert not ask("gain", 1e9)


@pytest.mark.slow
def test_refinement_finds_modes_that_one_start_of_the_same_size_misses():
    grown = 'refine = {every = 5.0, until = 6, candidates = 200, source = "mala", variance = 1.0}'
    text = THREE.format(K=1, v=4.0, init="means = [[0.5, 0.2]]", end=60.0, refine=grown)
    found = ask.solve(Problem.parse(text), backend="numpy")  # six systems are not worth compiling
    assert found.sizes["component"] == 6
    assert found.collapsed.item() == 0
    assert found.w.values[0, 0].tolist() == [1.0, *[0.0] * 5]
    assert np.isnan(found.s.values[0, 0, 1:]).all()
    # control: six components that start together on one mode stay there
    start = "means = [[4.0], [4.1], [3.9], [4.0, 0.1], [4.0, -0.1], [4.1, 0.1]]"
    fixed = ask.solve(
        Problem.parse(THREE.format(K=6, v=1.0, init=start, end=60.0, refine="")), backend="numpy", rest=False
    )
    assert fixed.collapsed.item() == 1


@pytest.mark.parametrize(
    ("refine", "message"),
    [
        ("refine = {}", "sampler.refine.until: missing; must be an integer >= 1"),
        (
            "refine = {until = 1, rule = 'never'}",
            'sampler.refine.rule: is "never"; allowed: "interval", "stalled"',
        ),
        ("refine = {until = 1}", "sampler.refine.until: is 1; must be >= family.components = 2"),
        ("refine = {until = 4, every = 0}", "sampler.refine.every: is 0; must be a number > 0"),
        ("refine = {until = 4, candidates = 0}", "sampler.refine.candidates: is 0; must be an integer >= 1"),
        ("refine = {until = 4, weight = 1.0}", "sampler.refine.weight: is 1; must be a number > 0 and < 1"),
        ("refine = {until = 4, evry = 1}", 'sampler.refine.evry: unknown key; did you mean "every"?'),
    ],
)
def test_refused(refine, message):
    text = THREE.format(K=2, v=1.0, init="scale = 0.1", end=1.0, refine=refine)
    with pytest.raises(ProblemError) as refused:
        Problem.parse(text, "p.toml")
    assert str(refused.value).startswith(f"p.toml: {message}")


APART = """
dimension = 20
[target]
separation = 7.0
[family]
components = 2
weights = [0.95, 0.05]
learn = ["means", "weights"]
[flow]
metric = "{metric}"
[init]
means = [[7.0], [-7.0, 4.472135955]]
[time]
end = 100.0
save = 101
"""


@pytest.mark.parametrize(("metric", "least", "arrives"), [("euclidean", 0.146, 89), ("wasserstein", 0.869, 7)])
def test_weight_lost_by_a_new_component_on_its_way(metric, least, arrives):
    """Numbers of the documentation: a component alone at distance |δ| = √20 of its mode.

    Where components do not overlap, F_1 = log(w_1/π_1), F_2 = log(w_2/π_2) + |δ|²/2 and D = Σ w F, so that
    d|δ|²/dt = −2 w_2 |δ|², or −2 |δ|² by Wasserstein, and dθ_k/dt = −w_k (F_k − D) in either metric.
    """
    run = ask.solve(Problem.parse(APART.format(metric=metric)), backend="numpy")

    def rhs(_, y):
        theta, square = y[:2], y[2]
        w = np.exp(log_softmax(theta))
        F = np.log(w / 0.5) + np.array([0.0, square / 2])
        return [*(-w * (F - w @ F)), -2 * square * (w[1] if metric == "euclidean" else 1.0)]

    times = run.time.values
    y = solve_ivp(rhs, (0, 100), [np.log(0.95), np.log(0.05), 20.0], t_eval=times, rtol=1e-9, atol=1e-12).y
    w = np.exp(log_softmax(y[:2], axis=0))[1]
    # Components 14 apart overlap by e^{−14²/8}, which is left out here; the integrator's 1e-8 grows on the way.
    np.testing.assert_allclose(run.w.values[0, :, 1], w, rtol=1e-5)
    assert w.min() / 0.05 == pytest.approx(least, abs=0.005 + 0.03 * (metric == "wasserstein"))  # at save times only
    before, after = w[times == arrives - 1].item(), w[times == arrives].item()
    assert before < 0.25 - 1e-4 < 0.25 + 1e-4 < after


@pytest.mark.slow
def test_runs_from_one_start_add_the_same_components():
    """What MALA finds is chance: without the first run's choice components of one number would be different ones."""
    text = THREE.format(
        K=1, v=1.5, init="means = [[0.5, 0.2]]", end=8.0, refine="refine = {every = 2.0, until = 3, candidates = 40}"
    )
    given = Problem.parse(text)
    learner = Learner(given, PLAIN, 2, 1e-3, 1e-4, False, 3, Samples(given, None, 2))
    s, m, theta = (of[0] for of in starts(given))
    sampler = sampler_of(given, s, m, theta, given.family.variances)
    first, alone = (learner.run(sampler, 0, run) for run in (0, 1))
    follows = learner.run(sampler, 0, 1, first.script)
    assert list(follows.script) == list(first.script) == [1, 2]
    for event in first.script:
        for one, other in zip(follows.script[event], first.script[event], strict=True):
            np.testing.assert_array_equal(one, other)
    assert any(np.shape(alone.script[e][0]) != np.shape(first.script[e][0]) or
               not np.allclose(alone.script[e][0], first.script[e][0]) for e in (1, 2))  # fmt: skip
    run = ask.solve(given, backend="numpy", runs=2)
    assert np.isfinite(run.m_se.values[0, -1]).all()
