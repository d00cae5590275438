"""Schedules that are learned: the derived gradient in steps and annealing, and what learning them does."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from solvers import ask
from solvers.ask import simulate
from solvers.closed import systems
from solvers.particles.plan import SimulationError, refuse
from solvers.problem import Problem, ProblemError
from solvers.problem.starts import starts
from solvers.results.telling import told
from solvers.sampler import Noise, forward, gradient
from solvers.sampler.backends import PLAIN, WALKERS
from solvers.sampler.gradients import path_gradient, start_gradient
from solvers.sampler.learn import Learning
from solvers.sampler.model import Bars
from solvers.sampler.runs import sampler_of
from solvers.sampler.steering import Schedule
from tests.solvers.sampler.plain_chain import KEYS, case, uneven


def slope(of, h=1e-3):
    """f'(0) by central differences of fourth order: error h⁴ and rounding 1e-15/h."""
    return (8 * (of(h) - of(-h)) - (of(2 * h) - of(-2 * h))) / (12 * h)


def sampler_at(key, *, d=5, steps=4):
    return uneven(case(*key, d=d, steps=steps, rng=np.random.default_rng(1))[0])


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_slopes_are_those_of_finite_differences(key):
    """In every log η_n and every logit of the annealing, at fixed noise, through drifts, kernels and noised scores."""
    sampler, rng = sampler_at(key), np.random.default_rng(2)
    noise, weights, chosen = Noise.draw(sampler, 7, rng), rng.random(7), np.arange(7) % 2
    bars = Bars.zeros(sampler)
    gradient(sampler, noise, chosen, weights, bars)
    found, at = Schedule.slope(sampler, bars), Schedule.of(sampler)
    for name, moving in (("log_eta", "steps"), ("logits", "annealing")):
        for n in range(sampler.steps):

            def loss(h, name=name, moving=moving, n=n):
                moved = replace(at, **{name: getattr(at, name) + h * np.eye(sampler.steps)[n]})
                paths, _ = gradient(moved.put(sampler, (moving,)), noise, chosen, weights)
                return -weights @ paths.log_weight

            assert getattr(found, name)[n] == pytest.approx(slope(loss), rel=1e-7, abs=1e-8), (name, n)
    if sampler.reference != "annealed":
        assert not found.logits.any()


def test_a_term_that_is_forgotten_is_seen():
    """Control: without the part of the noise in the increment of log W the same number is another."""
    source, term = systems.read("sampler_chain"), "        + beyond * chi2 * increment_bar / 2"
    assert source.count(term) == 1
    found = []
    for text in (source, source.replace(term, "        + 0.0")):
        sampler, *_ = case("dis", "ou", "exact", steps=4, rng=np.random.default_rng(1), module=systems.load(text))
        rng, bars = np.random.default_rng(2), Bars.zeros(sampler)
        gradient(sampler, Noise.draw(sampler, 7, rng), np.arange(7) % 2, rng.random(7), bars)
        found.append(bars.eta)
    assert np.min(np.abs(found[0] - found[1])) > 1e-3


def both(key, walker, paths=130):
    sampler, rng = sampler_at(key, steps=3), np.random.default_rng(3)
    noise, weights, chosen = Noise.draw(sampler, paths, rng), rng.random(paths), np.arange(paths) % 2
    found = []
    for by in (PLAIN, walker):
        bars = Bars.zeros(sampler)
        slopes = by.gradient(sampler, noise, chosen, weights, bars)[1]
        found.append([*bars, slopes["prior"].mean])
    return zip(*found, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("key", [("dis", "ou", "exact"), ("cmcd", "annealed", "mixture")], ids="-".join)
def test_machine_code_has_the_same_slopes(key):
    """More than two blocks of paths, in two threads."""
    for expected, found in both(key, WALKERS["numba"].within(2)):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * (1 + np.max(np.abs(expected))))


def test_the_exact_control_takes_the_prior_from_starts_and_the_steps_from_paths():
    sampler = sampler_at(("dis", "ou", "exact"))
    noise = Noise.spread(sampler, 16, np.random.default_rng(4))
    one, other = Bars.zeros(sampler), Bars.zeros(sampler)
    (value, slopes), (again, along) = (
        start_gradient(sampler, noise, PLAIN, one),
        path_gradient(sampler, noise, PLAIN, other),
    )
    plain, alone = start_gradient(sampler, noise)
    assert (value, again) == pytest.approx((plain, plain), rel=1e-12)
    np.testing.assert_allclose(one.eta, other.eta, rtol=1e-14)
    np.testing.assert_allclose(slopes["prior"].mean, alone["prior"].mean, rtol=1e-12)
    assert not np.allclose(slopes["prior"].mean, along["prior"].mean, rtol=1e-3)


BASE = """
dimension = 8
[target]
separation = 2.0
weights = [0.35, 0.65]
[family]
components = 2
learn = {learn}
[init]
means = [[0.9, 0.2], [-1.1]]
[time]
end = {end}
save = 2
[sampler]
{sampler}
"""
ANNEALED = 'method = "cmcd"\nsteps = 6\nhorizon = 0.2\npaths = 2048\n'


def problem(sampler, learn="[]", end=40.0):
    return Problem.parse(BASE.format(sampler=sampler, learn=learn, end=end), "p.toml")


@pytest.mark.slow
def test_learning_a_schedule_raises_the_elbo():
    """By fresh paths with the same noise before and after, at 1e-6. Control: as far the other way is no gain."""
    given, limit = problem(ANNEALED), norm.isf(1e-6)
    begin, moving = starts(given), ("steps", "annealing")
    sampler = sampler_of(given, begin.s[0], begin.m[0], begin.theta[0], given.family.variances)
    learning = Learning(sampler, 1024, np.random.default_rng(5), {}, walker=WALKERS["numba"], steered=moving)
    (learned,), status = learning.run(np.array([40.0]), 1e-3, 1e-4)
    assert status == 0
    start, end = Schedule.of(sampler), Schedule.of(learned)
    wrong = Schedule(2 * start.log_eta - end.log_eta, 2 * start.logits - end.logits).put(sampler, moving)
    noise, found = Noise.draw(sampler, 10_000, np.random.default_rng(6)), []
    for other in (learned, wrong):
        gain = forward(other, noise).log_weight - forward(sampler, noise).log_weight
        found.append(gain.mean() / gain.std() * 100)
    assert found[0] > limit > -limit > found[1]
    assert learned.horizon > 1.1 * sampler.horizon  # it was too short
    assert np.abs(learned.beta - sampler.beta).max() > 0.01


@pytest.mark.slow
def test_what_a_result_holds():
    run = ask.solve(problem(ANNEALED + 'learn = ["steps", "annealing"]\n', '["weights"]', end=1.0)).squeeze()
    assert run.eta.shape == run.eta_se.shape == (2, 6)
    assert run.beta.shape == run.beta_se.shape == (2, 7)
    np.testing.assert_allclose(run.eta[0], 0.2 / 6, rtol=1e-14)
    assert np.all(run.eta_se.values[1] > 0)
    assert np.all(np.diff(run.beta.values, axis=1) > 0)
    assert run.beta.values[:, [0, -1]].tolist() == [[0, 1], [0, 1]]
    said = "\n".join(told(run.expand_dims("sample"), "run.nc", "p.toml"))
    assert "schedule  learned: steps from " in said


def test_where_learning_has_no_time_nothing_is_said_to_be_learned():
    text = BASE.replace("save = 2", "save = 1").format(sampler=ANNEALED + 'learn = ["steps"]\n', learn="[]", end=0.0)
    begun = Problem.parse(text, "p.toml")
    said = list(told(ask.solve(begun, backend="numpy"), "run.nc", "p.toml"))
    assert any(line.startswith("schedule  to learn: steps from 0.0333 to 0.0333") for line in said)


@pytest.mark.slow
def test_simulations_learn_it_too_by_the_flow_and_by_adam():
    """With the exact control and steps alone, in R^d; the prior moves as well."""
    given = problem('control = "exact"\nsteps = 4\nhorizon = 0.8\nlearn = ["steps"]\n', '["means"]', end=2.0)
    flow = simulate(given, particles=256, replicas=8, step=0.25).squeeze()
    adam = Problem.parse(given.text + '[learning]\noptimiser = "adam"\nrate = 0.02\nsteps = 30\n')
    steps = simulate(adam, particles=256, replicas=8).squeeze()
    for run in (flow, steps):
        assert "beta" not in run
        assert run.eta.shape == run.eta_se.shape == (2, 4)
        assert np.all(run.eta_se.values[1] > 0)
        assert np.all(run.m.values[1] != run.m.values[0])
    # Adam's steps are as long as its rate in every coordinate, however small the slope
    assert np.abs(np.log(steps.eta[1] / 0.2)).max() > 2 * np.abs(np.log(flow.eta[1] / 0.2)).max()
    with pytest.raises(
        SimulationError, match=r"^p.toml: cupy: learned steps and annealing have no gradient in R\^d there; allowed"
    ):
        refuse(given, "cupy")


@pytest.mark.slow
def test_a_prior_that_grows_learns_its_steps():
    grows = 'refine = {rule = "stalled", threshold = 10.0, every = 0.2, until = 3}\n'
    run = ask.solve(problem(ANNEALED + 'learn = ["steps"]\n' + grows, '["means"]', end=0.5), backend="numpy").squeeze()
    assert run.status == 0
    assert run.w.values[-1, 2] > 0
    assert np.all(run.eta.values[1] != run.eta.values[0])


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ('learn = ["steps", "means"]', 'is ["means", "steps"]; a control to learn needs control = "mixture"'),
        ("learn = []", 'is []; a control to learn needs control = "mixture"'),
        (
            'method = "mcd"\nsteps = 0\nlearn = ["steps"]',
            'is ["steps"]; there are no steps to learn with sampler.steps = 0',
        ),
        (
            'learn = ["annealing"]',
            'is ["annealing"]; "annealing" needs reference = "annealed" and sampler.steps >= 2, here "ou" and 32',
        ),
        (
            'method = "mcd"\nsteps = 1\nlearn = ["annealing"]',
            'needs reference = "annealed" and sampler.steps >= 2, here "annealed" and 1',
        ),
    ],
)
def test_refusals(sampler, message):
    with pytest.raises(ProblemError) as error:
        problem(sampler)
    assert str(error.value).startswith("p.toml: sampler.learn: ")
    assert message in str(error.value)


def test_what_a_file_means():
    options = problem('control = "mixture"\nlearn = ["steps", "means"]', '["weights"]').sampler
    assert (options.learn, options.steered, options.moving) == (("means",), ("steps",), {"eta": (32,)})
    assert problem('control = "mixture"', '["weights"]').sampler.steered == ()
