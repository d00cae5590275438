"""Samplers simulated in R^d from problem files: the doors, learning against the theory, refinement."""

import json
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from solvers import ask
from solvers.__main__ import app
from solvers.ask import compare, simulate
from solvers.particles import plan as planning
from solvers.particles.plan import SimulationError
from solvers.particles.sampler import compiled as sampler_compiled
from solvers.particles.sampler import estimates as sampler_estimates
from solvers.particles.sampler.simulation import replica_curves
from solvers.problem import Problem, ProblemError
from solvers.reopen import open as open_result
from solvers.results.datasets import SAMPLER_QUANTITIES
from solvers.sampler import Noise
from solvers.sampler.evaluate import _ess, _ess_forward, _log_z
from solvers.sampler.solve import traced
from solvers.verdict import sampler as compare_sampler
from tests.limits import ROUNDING
from tests.solvers.sampler.plain_chain import without_cross_term

WIDTHS = np.array([1.4, 1.1])
TEXT = """
dimension = {d}
[target]
separation = 1.2
weights = [0.35, 0.65]
variances = 0.9
[family]
components = 2
variances = 1.25
learn = {learn}
[init]
means = [[0.7, 0.2], [-0.5, 0.3]]
[time]
end = {end}
save = {save}
[sampler]
method = "cmcd"
steps = {steps}
horizon = 0.4
control = "{control}"
"""


def problem(d=8, learn=(), end=0.0, save=(0.0,), steps=4, control="none", more="", varied=True):
    text = TEXT.format(d=d, learn=json.dumps(list(learn)), end=end, save=list(save), steps=steps, control=control)
    found = Problem.parse(text + more, "p.toml")
    if not varied:
        return found
    if learn:  # the flow may not learn variances yet; a sampler can
        learn = (*found.family.learn, "variances")
        control = learn if found.sampler.learn else ()
        found = replace(found, family=replace(found.family, learn=learn), sampler=replace(found.sampler, learn=control))
    # Different variances make a(x) depend on x, so that ϱ is not eliminated in closed form.
    target, family = replace(found.target, variances=np.array([0.8, 1.0])), replace(found.family, variances=WIDTHS)
    return replace(found, target=target, family=family)


@pytest.fixture(scope="module", autouse=True)
def _simulated_once():
    """Simulations know nothing of the theory, so each is run once for all the theories it is compared with."""
    known = {}

    def remembered(*arguments, progress=None, **options):
        # Of the problem all arrays, and which points are added; equal bytes are equal simulations.
        key = pickle.dumps((arguments, sorted(options.items())))
        if key not in known:
            known[key] = replica_curves(*arguments, progress=progress, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_sampler, "replica_curves", remembered)
        yield


@pytest.mark.slow
def test_doors(tmp_path):
    path, out, report = tmp_path / "p.toml", tmp_path / "sim.nc", tmp_path / "report.json"
    path.write_text(problem(varied=False).text)
    done = CliRunner().invoke(app, ["simulate", str(path), "--out", str(out), "--particles", "100"])
    assert done.exit_code == 0, done.output
    ds = open_result(out)
    run = ask.solve(problem(varied=False))
    for name in SAMPLER_QUANTITIES:
        for variable in (name, f"{name}_se"):
            assert ds[variable].dims == run[variable].dims == ("sample", "time")
            assert ds[variable].attrs["units"] == run[variable].attrs["units"]
    assert set(run.data_vars) <= set(ds.data_vars)
    assert (ds.objective == -ds.elbo).all()
    done = CliRunner().invoke(app, ["compare", str(path), "--out", str(report), "--particles", "300"])
    assert done.exit_code == 0, done.output
    assert json.loads(report.read_text())["agrees"]


def test_the_same_numbers_from_either_backend_and_from_more_cores(monkeypatch):
    monkeypatch.setattr(sampler_compiled, "PIECE_BYTES", 20_000)  # some ten paths
    learning = problem(learn=("means", "weights"), end=0.2, save=(0.0, 0.2), control="mixture")
    options = {"particles": 40, "replicas": 3, "step": 0.1}
    fast, plain = (simulate(learning, **options, backend=b) for b in ("numba", "numpy"))
    monkeypatch.setattr(planning, "cores", lambda: 7)  # two for each replica
    again = simulate(learning, **options)
    assert fast.drop_attrs().identical(again.drop_attrs())
    for name in (*SAMPLER_QUANTITIES, "s", "m", "w", "v"):
        np.testing.assert_allclose(fast[name], plain[name], rtol=1e-8, atol=1e-10)
    assert (fast.v_se.values[0, -1] > 0).all()
    assert (fast.v_se.values[0, 0] < ROUNDING).all()


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("d", [3, 200])
def test_evaluation_agrees(d, steps):
    report = compare(problem(d=d, steps=steps), particles=400)
    assert report.agrees, report.parts[0].entries[0]


@pytest.mark.slow
def test_effective_sample_sizes_are_compared(monkeypatch):
    """Negative control: a theory with one step, whose ESS is another one."""
    report = compare(problem(d=8, steps=8, varied=False), particles=400)
    assert report.agrees, report.parts[0].entries[0]
    assert {"ess", "ess_forward", "log_z"} <= {entry.quantity for entry in report.parts[0].entries}
    solve = traced

    def fewer_steps(of, **options):
        return solve(replace(of, sampler=replace(of.sampler, steps=1)), **options)

    monkeypatch.setattr(compare_sampler, "traced", fewer_steps)
    part = compare(problem(d=8, steps=8, varied=False), particles=400).parts[0]
    assert {entry.quantity: entry for entry in part.entries}["ess"].deviation > part.limit


@pytest.mark.slow
@pytest.mark.parametrize("name", ["log_z", "ess", "ess_forward"])
def test_estimates_of_equally_many_paths_have_one_mean(name):
    """What is compared: by halves on one side, 2 f_n − f_{n/2} on the other; log-weights of standard deviation 2.5."""
    rng, n, replicas = np.random.default_rng(8), 64, 2000
    in_theory = {"log_z": _log_z, "ess": _ess, "ess_forward": _ess_forward}[name]
    in_simulation = getattr(sampler_estimates, name)

    def draw(paths):
        return 2.5 * rng.standard_normal(paths) - 2.5**2 / 2

    simulated = np.array([sampler_estimates.by_halves(in_simulation, draw(n)) for _ in range(replicas)])
    theory = np.array([2 * in_theory(draw(n))[0] - in_theory(draw(n // 2))[0] for _ in range(replicas)])
    # Six standard errors of two thousand numbers, 2e-9 if they were normal.
    assert abs(np.mean(simulated - theory)) < 6 * np.std(simulated - theory) / np.sqrt(replicas)
    # Negative control: the estimate from n paths as it is.
    plain = np.array([in_theory(draw(n))[0] for _ in range(replicas)])
    assert abs(np.mean(simulated - plain)) > 6 * np.std(simulated - plain) / np.sqrt(replicas)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["cross", "freedom"])
def test_comparison_rejects_wrong_reductions(wrong, monkeypatch):
    """Negative controls: the cross term of ϱ dropped; χ² with d − R instead of d − R − 1 degrees of freedom."""
    if wrong == "cross":
        module = without_cross_term()
        monkeypatch.setattr("solvers.sampler.runs.chain_module", lambda drop=None: module)
        # The wrong module is array code: the compiled chain would not know of it.
        monkeypatch.setattr("solvers.verdict.sampler.traced", partial(traced, backend="numpy"))
    else:
        draw = Noise.draw

        def more(sampler, paths, rng):
            noise = draw(sampler, paths, rng)
            return Noise(noise.xi, noise.xi1, noise.chi2 + rng.chisquare(1, noise.chi2.shape), noise.uniform)

        monkeypatch.setattr(Noise, "draw", more)
    assert not compare(problem(), particles=1000).agrees


@pytest.mark.slow
def test_learned_prior_agrees_and_a_wrong_gradient_does_not(monkeypatch):
    """Means, weights and variances of the prior, along learning."""
    learning = problem(d=6, learn=("means", "weights"), end=1.5, save=(0.0, 1.5), steps=2)
    report = compare(learning, particles=128, step=0.1)
    assert report.agrees, [part.entries[0] for part in report.parts]
    assert not report.broken
    assert {"s[0,1]", "w[0]", "v[1]", "elbo", "coverage"} <= {entry.quantity for entry in report.parts[2].entries}
    # negative control: a theory whose gradient in the means of the prior is half as large
    from solvers.sampler.gradients import Slope
    from solvers.sampler.learn import Learning

    whole = Learning.slopes

    def halved(*given):
        slopes, schedule = whole(*given)
        prior = slopes["prior"]
        return slopes | {"prior": Slope(prior.mean / 2, prior.log_var, prior.theta)}, schedule

    monkeypatch.setattr(Learning, "slopes", halved)
    assert not compare(learning, particles=128, step=0.1).agrees


SIX = """
dimension = 10
[target]
means = [[6.0], [3.0, 5.196], [-3.0, 5.196], [-6.0], [-3.0, -5.196], [3.0, -5.196]]
[family]
components = {K}
variances = {v}
learn = ["means", "weights"]
[init]
scale = 0.5
seed = {seed}
[time]
end = {end}
save = 2
[sampler]
method = "cmcd"
steps = {steps}
horizon = 0.5
paths = 512
{refine}
"""
GROW = 'refine = {every = 6.0, until = 10, candidates = 256, source = "mala", variance = 1.0}'


@pytest.mark.slow
def test_refinement_finds_modes_that_a_fixed_prior_loses():
    """One broad component and additions up to ten find all six modes; ten components from the start do not."""

    def learned(K, v, refine):
        text = SIX.format(K=K, v=v, seed=1, end=150.0, steps=0, refine=refine)
        return simulate(Problem.parse(text), particles=100, replicas=2, step=0.3)

    grown, fixed = learned(1, 9.0, GROW), learned(10, 1.0, "")
    assert grown.sizes["component"] == 10
    assert grown.w.values[0, 0].tolist() == [1.0, *[0.0] * 9]
    assert grown.collapsed.item() == 0
    assert fixed.collapsed.item() == 1


@pytest.mark.parametrize("rule", ["interval", "stalled", "gain"])
def test_rules_add_components(rule):
    refine = f'refine = {{rule = "{rule}", every = 0.5, until = 3, candidates = 50, threshold = THRESHOLD}}'
    sizes = []
    for threshold in (0.0, 1e9):
        text = SIX.format(K=1, v=2.0, seed=1, end=1.2, steps=2, refine=refine.replace("THRESHOLD", str(threshold)))
        ds = simulate(Problem.parse(text), particles=20, replicas=2, step=0.5)
        sizes.append(int((ds.w.values[0, -1] > 0).sum()))
    assert sizes == {"interval": [3, 3], "stalled": [1, 3], "gain": [3, 1]}[rule]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 3}, "particles: is 3; must be at least twice the 2 components"),
        ({"replicas": 1}, "replicas: is 1; must be at least 2"),
        ({"step": 0.9}, "step: is 0.9; must be > 0 and, for explicit Euler to be stable"),
    ],
)
def test_refused(options, message):
    with pytest.raises(SimulationError, match=message):
        simulate(problem(), **{"particles": 10, "replicas": 2, "step": 0.1} | options)


def test_comparison_refused():
    with pytest.raises(SimulationError, match="replicas: is 8; must be at least 32"):
        compare(problem(), replicas=8)
    with pytest.raises(ProblemError, match=r"sampler\.steps: is 0, so that the prior learns by the gradient flow"):
        compare(problem(learn=("means",), end=1.0, save=(1.0,), steps=0))


@pytest.mark.slow
def test_theory_and_simulation_have_the_same_variables_along_refinement():
    text = SIX.format(K=1, v=2.0, seed=1, end=1.2, steps=1, refine=GROW.replace("6.0", "0.5").replace("10", "2"))
    given = Problem.parse(text)
    ds, run = simulate(given, particles=20, replicas=2, step=0.5), ask.solve(given, backend="numpy")
    assert ds.sizes["component"] == run.sizes["component"] == 2
    assert np.isnan(ds.s.values[0, 0, 1]).all()
