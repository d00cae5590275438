"""log Z and effective sample sizes in results: one definition of each, and no number where weights do not say it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from solvers import ask
from solvers.particles.sampler.estimates import pooled
from solvers.problem import Problem
from solvers.results.telling import told
from solvers.results.weights import limit
from solvers.sampler import Mixture, Noise, Sampler, forward
from solvers.sampler.evaluate import Weights, quotients
from solvers.sampler.orthogonal import drawn, share
from solvers.sampler.solve import solve

TEXT = """
dimension = {d}
[target]
separation = 1.2
variances = 1.0
[family]
components = 2
variances = {v}
learn = []
[init]
means = [[{m}], [-1.0, 0.2]]
[time]
end = 0
save = [0.0]
[sampler]
method = "{method}"
reference = "{reference}"
steps = {steps}
horizon = 0.4
control = "none"
paths = {paths}
"""
NAMES = ("log_z", "ess", "ess_forward", "ess_sample", "pareto_k", "pareto_k_ess", "pareto_k_forward")


def problem(d=6, v="1.0", m=1.0, steps=4, method="cmcd", reference="annealed", paths=2000):
    text = TEXT.format(d=d, v=v, m=m, steps=steps, method=method, reference=reference, paths=paths)
    return Problem.parse(text, "p.toml")


def numbers(ds):
    return {name: (ds[name].item(), ds[f"{name}_se"].item()) for name in (*NAMES, "elbo")}


def simulated(of):
    return ask.simulate(of, particles=500, replicas=8, step=0.1)


def apart(one, two, name):
    return abs(one[name][0] - two[name][0]) / np.hypot(one[name][1], two[name][1])


@pytest.mark.slow
def test_one_definition_for_one_variance_and_for_two():
    """A variance that differs in the tenth digit changes no number, whichever way that is computed; in R^d neither."""
    one, two = (numbers(ask.solve(problem(v=v))) for v in ("1.0", "[1.0, 1.0000000001]"))
    drawn = numbers(simulated(problem()))
    for other in (two, drawn):
        for name in ("log_z", "ess", "ess_forward"):
            assert apart(one, other, name) < 5, name
    assert apart(one, two, "ess_sample") < 5
    # control: they are not one another
    assert apart(one, two, "log_z") < 5 < abs(one["ess"][0] - one["log_z"][0]) / one["ess"][1]


@pytest.mark.parametrize("kind", [("mcd", "prior", "none"), ("dis", "ou", "exact"), ("cmcd", "annealed", "none")])
def test_weights_of_the_orthogonal_directions_are_drawn(kind):
    """Their moments are those of the recursion, E W = 1, and with the span's they have the law of whole paths."""
    mixtures = {"prior": Mixture.of([[0.4]], 0.9, [1.0]), "target": Mixture.of([[-0.2]], 1.1, [1.0])}
    method, reference, control = kind
    sampler, rng = Sampler(method, reference, control, 6, 0.8, 30, mixtures), np.random.default_rng(0)
    found, expected, n = drawn(sampler, 20_000, rng), share(sampler), 20_000
    assert abs(found.mean() - expected.elbo) < 5 * found.std() / np.sqrt(n)
    assert found.var() == pytest.approx(expected.variance, rel=0.06)
    w = np.exp(found)
    assert abs(w.mean() - 1) < 5 * w.std() / np.sqrt(n)
    span = replace(sampler, dimension=sampler.directions)
    parts, whole = (forward(of, Noise.draw(of, n, rng)).log_weight for of in (span, sampler))
    assert ks_2samp(parts + found, whole).pvalue > 1e-6
    # control: a fifth of the directions more would be seen
    assert abs(found.mean() - 1.2 * expected.elbo) > 5 * found.std() / np.sqrt(n)


def test_population_and_sample_are_told_apart():
    """In many directions the effective sample size is e^{−cd}; that of n paths is no less than 1/n."""
    found = [numbers(ask.solve(problem(d=d, steps=1, paths=400))) for d in (10, 400, 4000)]
    small, middle, large = (np.log(each["ess"][0]) for each in found)
    assert large - middle == pytest.approx((middle - small) * 3600 / 390, rel=1e-6)
    assert large < -50
    assert all(each["ess_sample"][0] >= 1 / 400 for each in found)
    assert found[0]["ess_sample"][0] == pytest.approx(found[0]["ess"][0], abs=5 * found[0]["ess_sample"][1])


def test_nothing_is_said_of_log_z_where_nothing_is_known():
    """300 directions with a variance that is too small: log Z = 0, and of the weights e^{-…} one carries all."""
    of = problem(d=300, v="[0.3, 0.31]", method="mcd", reference="prior", steps=8)
    sampler = ask.solve(of)
    for ds in (sampler, simulated(of)):
        found = numbers(ds)
        assert found["elbo"][0] < -50
        assert np.isnan([found["log_z"], found["ess"]]).all()
        assert found["pareto_k"][0] > limit(2000)
        assert found["ess_sample"][0] > 0
        lines = [line for line in told(ds, "run.nc", "p.toml") if line.startswith(("log Z", "ess at"))]
        assert len(lines) == 2
        assert all("not known: pareto_k" in line and "at most 0.70: docs/samplers.md" in line for line in lines)
    # What is compared are estimates as drawn, trusted or not.
    assert np.isfinite([solve(of, drawn=True)[name].item() for name in ("log_z", "ess", "ess_forward")]).all()


def test_what_is_known_is_said():
    ds = ask.solve(problem())
    found = numbers(ds)
    lines = list(told(ds, "run.nc", "p.toml"))
    assert f"log Z at the end: {found['log_z'][0]:.4g}, standard error of one sample {found['log_z'][1]:.2g}" in lines
    assert f"ess at the end: {found['ess'][0]:.4g}, standard error of one sample {found['ess'][1]:.2g}" in lines
    assert found["pareto_k_ess"][0] == 2 * found["pareto_k"][0] <= limit(2000)


def of_runs(log_weights, across=0.0):
    return quotients([Weights(run[0, 0], run[0, 1], across) for run in log_weights])


@pytest.mark.parametrize("side", ["theory", "simulation"])
def test_runs_that_differ_show_in_the_error(side):
    """Eight runs with other weights each: their paths alone do not say how well log Z is known."""
    say = of_runs if side == "theory" else lambda of: {name: found[:, 0] for name, found in pooled(of).items()}
    rng = np.random.default_rng(0)
    alike = 0.3 * rng.standard_normal((8, 1, 2, 500))
    differing = alike + np.linspace(-1, 1, 8)[:, None, None, None]
    (_, error), (value, larger) = (say(log_w)["log_z"] for log_w in (alike, differing))
    spread = np.exp(np.linspace(-1, 1, 8))
    assert larger > 10 * error
    # 1.2 is the t quantile of seven degrees of freedom over the normal one
    assert larger == pytest.approx(1.2 * spread.std(ddof=1) / spread.mean() / np.sqrt(8), rel=0.05)
    assert abs(value - np.log(spread.mean())) < 0.1


def test_theory_and_simulation_say_the_same_of_the_same_weights():
    log_weights = 0.5 * np.random.default_rng(1).standard_normal((4, 1, 2, 300))
    theory, simulation = of_runs(log_weights), pooled(log_weights)
    assert theory.keys() == simulation.keys()
    for name, (value, error) in theory.items():
        assert (value, error) == pytest.approx(tuple(simulation[name][:, 0]), rel=1e-9)
    halved = of_runs(log_weights, np.log(2))  # directions of which E W² = 2
    assert halved["ess"] == pytest.approx([x / 2 for x in theory["ess"]], rel=1e-12)
    assert halved["log_z"] == theory["log_z"]
    assert of_runs(log_weights, np.inf)["ess"] == of_runs(log_weights, np.inf)["ess_forward"] == (0.0, 0.0)


def test_a_replica_without_a_result_leaves_none():
    lost = np.zeros((3, 2, 2, 50))
    lost[1, :] = np.nan
    assert all(np.isnan(found).all() and found.shape == (2, 2) for found in pooled(lost).values())


def test_learning_is_evaluated_by_the_paths_of_all_runs():
    of = Problem.parse(
        problem(paths=400).text.replace("learn = []", 'learn = ["means"]').replace("end = 0", "end = 0.1")
    )
    run = ask.solve(of)
    assert run.attrs["runs"] == 8
    assert run.attrs["paths_together"] == 800
    assert run["ess_sample"].item() >= 1 / 100


def test_no_effective_sample_size_is_negative():
    for m in (0.5, 2.0, 4.0):
        found = numbers(ask.simulate(problem(m=m, d=3), particles=60, replicas=4, step=0.1))
        assert found["ess_sample"][0] >= 1 / 60
        assert not any(found[name][0] < 0 for name in ("ess", "ess_forward"))
