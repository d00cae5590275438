"""Steps of different lengths and annealing off the line: what files mean, and paths against those in R^d."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from solvers import ask
from solvers.particles.sampler.begin import model_of, placed
from solvers.particles.sampler.chain import walk
from solvers.problem import Problem, ProblemError
from solvers.problem.starts import starts
from solvers.sampler import Noise, backward, forward
from solvers.sampler.limits import check, overshoot
from solvers.sampler.runs import sampler_of

BASE = """
dimension = 6
[target]
separation = 1.2
weights = [0.35, 0.65]
variances = [0.9, 0.7]
[family]
components = 2
learn = []
[init]
means = [[0.6, 0.2], [-0.8]]
[time]
end = 0.0
[sampler]
"""
LISTED = "schedule = [0.02, 0.05, 0.11, 0.16]\n"
LONG = "schedule = [0.05, 0.1, 0.3, 0.5]\n"
BENT = "annealing = [0.0, 0.05, 0.2, 0.6, 1.0]\n"


def problem(sampler, text=BASE):
    return Problem.parse(text + sampler, "p.toml")


def chain(asked):
    """The reduced chain and that in R^d."""
    begin = starts(asked)
    reduced = sampler_of(asked, begin.s[0], begin.m[0], begin.theta[0], asked.family.variances)
    return reduced, model_of(asked, *placed(asked, begin, 0), begin.theta[0])


def test_what_a_file_means():
    N, T, s = 12, 1.2, 0.008
    found, model = chain(problem('steps = 12\nhorizon = 1.2\nschedule = "cosine"'))
    typed = np.cos(0.5 * np.pi * (np.arange(N) / N + s) / (1 + s)) ** 2
    typed *= T / typed.sum()
    for eta in (found.eta, model.eta):
        np.testing.assert_allclose(eta, typed, rtol=1e-14)
    np.testing.assert_allclose(found.left, [typed[n:].sum() for n in range(N + 1)], rtol=1e-13, atol=1e-16)
    listed = problem(f'method = "cmcd"\n{LISTED}{BENT}')
    assert listed.sampler.steps == 4
    assert listed.sampler.horizon == pytest.approx(0.34, rel=1e-15)
    for side in chain(listed):
        np.testing.assert_allclose(side.eta, [0.02, 0.05, 0.11, 0.16], rtol=1e-15)
    np.testing.assert_array_equal(chain(listed)[0].beta, [0, 0.05, 0.2, 0.6, 1])
    assert [chain(listed)[1].drifts(n)[0]["target", False] for n in (1, 2)] == [0.05, 0.2]
    assert problem(f"steps = 4\nhorizon = 0.34\n{LISTED}").sampler.steps == 4
    assert problem('steps = 0\nmethod = "mcd"\nschedule = "cosine"').sampler.shares is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'schedule = "cosin"',
            'sampler.schedule: is "cosin"; allowed: "constant", "cosine", or a list of steps',
        ),
        ("schedule = []", "sampler.schedule: is []; must hold at least one step, and a finite sum"),
        (
            "schedule = [0.1, 0.0]",
            "sampler.schedule: entry 2 is 0; every step must be a number > 0",
        ),
        ("schedule = [1e308, 1e308]", "must hold at least one step, and a finite sum"),
        (
            f"steps = 5\n{LISTED}",
            "sampler.steps: is 5; sampler.schedule lists 4: must be 4, or left out",
        ),
        (
            f"horizon = 0.4\n{LISTED}",
            "sampler.horizon: is 0.4; the steps of sampler.schedule sum to 0.34: must be that, or left out",
        ),
        (
            'annealing = "linear"',
            'sampler.annealing: is "linear"; is for reference = "annealed", here "ou"',
        ),
        (
            'method = "mcd"\nannealing = "cosine"',
            'sampler.annealing: is "cosine"; allowed: "linear", or a list of points from 0 to 1',
        ),
        (
            'method = "mcd"\nannealing = [0.1, 1.0]',
            "sampler.annealing: is [0.1, 1]; must begin with 0 and end with 1",
        ),
        (
            'method = "mcd"\nannealing = [0.0, 0.5, 0.5, 1.0]',
            "sampler.annealing: has 0.5 before 0.5; points must increase",
        ),
        (
            'method = "mcd"\nannealing = [0.0, 1.5, 1.0]',
            "sampler.annealing: entry 2 is 1.5; every point must be a number from 0 to 1",
        ),
        (
            'method = "mcd"\nannealing = [0.0, 0.5, 1.0]',
            "sampler.annealing: has 3 points; must have 33, one more than sampler.steps",
        ),
        (
            'method = "mcd"\nsteps = 0\nannealing = [0.0, 1.0]',
            "sampler.annealing: is [0, 1]; must be left out with sampler.steps = 0",
        ),
        (
            "schedule = [0.1, 2.5, 0.1]",
            "sampler.schedule: step 2 of 3 is 2.5, must be < 2: the forward drift pulls in at",
        ),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ProblemError) as error:
        check(problem(text))
    assert message in str(error.value)
    assert str(error.value).startswith("p.toml: sampler.")


def test_only_the_step_where_a_drift_pulls_counts():
    """Annealed from a wide prior to a narrow target: a long first step pulls in less than a long last one."""
    text = BASE.replace("[0.9, 0.7]", "0.1")
    early, late = (
        chain(problem(f'method = "mcd"\nschedule = {list(steps)}', text))
        for steps in ((0.9, 0.05, 0.05), (0.05, 0.05, 0.9))
    )
    # at the end 1/u = 10; after the first of three steps 10/3 + 2/3
    assert overshoot(late[0]) == pytest.approx(0.9 * 10)
    assert overshoot(early[0]) == pytest.approx(0.9 * 4)
    for sampler, model in (early, late):
        assert overshoot(sampler) == pytest.approx(model.overshoot(), rel=1e-12)


def log_weights(asked, paths, seed):
    """Of paths both ways: (2, path) by the reduced chain, and by that in R^d."""
    sampler, model = chain(asked)
    rng = np.random.default_rng(seed)
    ours = [run(sampler, Noise.draw(sampler, paths, rng)).log_weight for run in (forward, backward)]
    theirs = []
    for name, back in (("prior", False), ("target", True)):
        chosen = rng.choice(2, p=np.exp(model.mixtures[name].log_weights), size=paths)
        noise = [rng.standard_normal((paths, 6)) for _ in range(model.steps + 1)]
        theirs.append(walk(model, noise.__getitem__, chosen, backward=back).log_weight)
    return np.array(ours), np.array(theirs)


def z_scores(one, other):
    """Of ELBO, EUBO, both variances, and E W: differences in standard errors."""
    found = []
    for a, b in zip(one, other, strict=True):
        pairs = [(a, b), ((a - a.mean()) ** 2, (b - b.mean()) ** 2)]
        found += pairs if found else [*pairs, (np.exp(a), np.exp(b))]
    return [abs(x.mean() - y.mean()) / np.sqrt(x.var() / x.size + y.var() / y.size) for x, y in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('control = "exact"\nsteps = 6\nhorizon = 0.9\nschedule = "cosine"\n', ""),
        (f'method = "cmcd"\n{LONG}{BENT}', ""),
        (f'method = "cmcd"\n{LONG}{BENT}', "annealing"),
    ],
    ids=["cosine", "list", "annealing"],
)
def test_estimates_are_those_in_space(text, wrong):
    """Control: a schedule read backwards, or equal steps, or β on a line, is rejected by the same test."""
    limit = norm.isf(0.5e-6 / 5)  # five numbers share the 1e-6 of the test
    asked = problem(text)
    ours, theirs = log_weights(asked, 30_000, 1)
    assert max(z_scores(ours, theirs)) < limit
    options = asked.sampler
    others = [replace(options, shares=options.shares[::-1]), replace(options, shares=None)]
    if wrong:
        others = [replace(options, annealing=None)]
    for other in others:
        assert max(z_scores(log_weights(replace(asked, sampler=other), 30_000, 2)[0], theirs)) > limit


@pytest.mark.slow
def test_equal_steps_in_a_list_are_the_constant_schedule():
    """And the directions orthogonal to the span, in closed form, are those that are drawn."""
    text = BASE.replace("[0.9, 0.7]", "0.7") + 'control = "exact"\npaths = 4000\n'
    base, same, uneven = (
        ask.solve(Problem.parse(text + more)).squeeze()
        for more in ("steps = 4\nhorizon = 0.95", f"schedule = {[0.2375] * 4}", LONG)
    )
    for name in ("elbo", "eubo", "log_z", "ess", "log_weight_variance"):
        np.testing.assert_allclose(same[name], base[name], rtol=1e-9, atol=1e-12)
    found = log_weights(Problem.parse(text + LONG), 30_000, 3)[1]  # all directions drawn, in R^d
    for name, side in (("elbo", 0), ("eubo", 1)):
        error = np.hypot(uneven[f"{name}_se"], found[side].std() / np.sqrt(30_000))
        assert abs(uneven[name] - found[side].mean()) < norm.isf(0.5e-6 / 2) * error
        assert abs(uneven[name] - base[name]) > norm.isf(0.5e-6) * uneven[f"{name}_se"]
