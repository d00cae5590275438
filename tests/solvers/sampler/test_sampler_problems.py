"""Problem files with a [sampler]: what they mean, what they may not say, and what `solve` makes of them."""

import re

import numpy as np
import pytest
from scipy.stats import t as student

from solvers import ask
from solvers.__main__ import app
from solvers.particles import plan
from solvers.particles.plan import SimulationError
from solvers.problem import Problem, ProblemError
from solvers.reopen import open as open_result
from solvers.results.telling import told
from solvers.sampler.evaluate import QUANTITIES
from solvers.sampler.limits import check

BASE = """
dimension = {d}
[target]
separation = {R}
[family]
components = 2
learn = {learn}
[init]
means = [[0.9, 0.1], [-0.8, 0.2]]
[time]
end = {end}
save = {save}
[sampler]
{sampler}
"""


def problem(sampler, *, d=20, R=1.0, learn='["means", "weights"]', end=0.0, save="[0.0]"):
    return Problem.parse(BASE.format(d=d, R=R, learn=learn, end=end, save=save, sampler=sampler), "p.toml")


def test_defaults():
    options = problem("").sampler
    assert (options.method, options.reference, options.control) == ("dis", "ou", "none")
    assert (options.steps, options.horizon, options.paths, options.learn) == (32, 1.5, 4096, ())
    assert problem('method = "cmcd"').sampler.reference == "annealed"
    assert problem('control = "mixture"').sampler.learn == ("means", "weights")
    assert problem('control = "mixture"\nlearn = ["variances"]').sampler.learn == ("variances",)


REFUSED = [
    ("horizon = 0", "sampler.horizon: is 0; must be a number > 0"),
    ("horizon = -1.0", "sampler.horizon: is -1; must be a number > 0"),
    ("horizon = nan", "sampler.horizon: is nan; must be a number > 0"),
    ("steps = -1", "sampler.steps: is -1; must be an integer >= 0"),
    ('steps = 0\ncontrol = "exact"', 'sampler.steps: is 0; must be >= 1 with control = "exact"'),
    ("paths = 1", "sampler.paths: is 1; must be an integer >= 2"),
    ('method = "dsi"', 'sampler.method: is "dsi"; allowed: "dis", "mcd", "cmcd", "dbs"'),
    ('refernce = "ou"', 'sampler.refernce: unknown key; did you mean "reference"?'),
    ('reference = "annealed"', 'sampler.reference: is "annealed"; with method = "dis" allowed: "ou", "prior"'),
    ('method = "mcd"\ncontrol = "exact"', 'sampler.control: is "exact"; known for method = "dis" with reference'),
    ('learn = ["means"]', 'sampler.learn: is ["means"]; a control to learn needs control = "mixture"'),
    (
        'control = "mixture"\nlearn = ["mean"]',
        'sampler.learn: one entry is "mean"; allowed: "means", "weights", "variances", "steps", "annealing"',
    ),
    (
        'objective = "elbo"',
        'sampler.objective: is "elbo"; allowed: "reverse-kl", "log-variance", "trajectory-balance"',
    ),
    ('objective = "log-variance"\nexplore = 0', "sampler.explore: is 0; must be a number > 0"),
    (
        "explore = 2.0",
        'sampler.explore: is 2; needs sampler.objective = "log-variance" or "trajectory-balance", whose paths may be',
    ),
    (
        'steps = 0\nobjective = "log-variance"',
        'sampler.steps: is 0; must be >= 1 with sampler.objective = "log-variance"',
    ),
    (
        'refine = {until = 3}\nobjective = "trajectory-balance"',
        'sampler.objective: is "trajectory-balance"; must be "reverse-kl" with sampler.refine',
    ),
    (
        "steps = 1\nhorizon = 2.0",
        "sampler.steps: is 1; the step horizon / steps is 2, must be < 2: the forward drift pulls",
    ),
    (
        'method = "mcd"\nreference = "prior"\nsteps = 2\nhorizon = 4.0',
        "sampler.steps: is 2; the step horizon / steps is 2, must be < 2: the forward drift pulls",
    ),
]


def test_learning_needs_a_path_in_each_component():
    """It was a gradient of nan, and a first step that was tried for ever."""
    few = {"end": 1.0, "save": 2}
    with pytest.raises(ProblemError, match=r"^p.toml: sampler.paths: is 2; must be >= 5: learning starts as many"):
        problem('paths = 2\nrefine = {rule = "interval", every = 1.0, until = 5}', **few)
    assert problem("paths = 2", **few, learn="[]").sampler.paths == 2
    assert problem("paths = 2").sampler.paths == 2  # nothing is learned until time 0


@pytest.mark.parametrize(("sampler", "message"), REFUSED, ids=lambda v: v.splitlines()[-1])
def test_refused(sampler, message):
    with pytest.raises(ProblemError, match="^p.toml: " + re.escape(message)):
        check(problem(sampler))  # as solve, simulate and compare do, once the file has been read


def test_an_objective_that_nothing_descends_is_refused():
    with pytest.raises(ProblemError, match=r'^p.toml: sampler.objective: is "log-variance"; must be left out where'):
        problem('objective = "log-variance"', learn="[]")
    control = 'control = "mixture"\nlearn = ["means"]\n'
    assert problem(control + 'objective = "log-variance"', learn="[]").sampler.explore == 1


@pytest.mark.slow
@pytest.mark.parametrize("explore", ["", "\nexplore = 1.3"], ids=["own", "wider"])
def test_what_is_learned_by_trajectory_balance_is_told(explore):
    """c begins at 0, with an error when it is learned, and the objective is what it is said to be."""
    text = 'steps = 4\nhorizon = 0.4\npaths = 1024\nobjective = "trajectory-balance"' + explore
    given = problem(text, d=4, end=1.0, save=2)
    ds = ask.solve(given, backend="numpy", rtol=1e-2, atol=1e-3)
    assert ds.log_z_learned.dims == ds.log_z_learned_se.dims == ("sample", "time")
    assert ds.log_z_learned.values[0, 0] == 0
    assert ds.log_z_learned_se.values[0, 1] > 0
    assert ds.log_z_learned.attrs["units"] == "nat"
    assert ds.objective.attrs["units"] == ds.objective_se.attrs["units"] == "nat²"
    assert any(found.startswith("objective median ") and found.endswith(" nat²") for found in told(ds, "run.nc", "p"))
    assert ds.objective.attrs["long_name"] == (
        "objective, ½ E (log W − log_z_learned)² of "
        + ("paths from starts 1.3 times as far out" if explore else "the sampler's paths")
    )
    sim = ask.simulate(given, particles=256, replicas=8, step=0.1, backend="numpy")
    for name in ("log_z_learned", "objective"):
        error = np.hypot(ds[f"{name}_se"], sim[f"{name}_se"]).values[0, 1]
        assert abs(ds[name] - sim[name]).values[0, 1] < student.isf(1e-6 / 4, 7) * error
        assert error < 0.2 * abs(ds[name].values[0, 1])
    if not explore:
        by_parts = (ds.log_weight_variance + (ds.log_z_learned - ds.elbo) ** 2) / 2
        np.testing.assert_allclose(ds.objective.values[0], by_parts.values[0], rtol=0.05)
    line = f"log Z learned: {ds.log_z_learned.values[0, 1]:.4f}, standard error of one sample "
    assert any(found.startswith(line) for found in told(ds, "run.nc", "p.toml"))
    assert "log_z_learned" not in ask.solve(problem("steps = 4\npaths = 64", d=4), backend="numpy")


def test_a_gpu_simulates_the_reverse_kl_alone():
    given = problem('objective = "log-variance"', end=1.0, save=2)
    with pytest.raises(SimulationError, match=r'p.toml: cupy: sampler.objective = "log-variance"; allowed: numb'):
        plan.refuse(given, "cupy")


def test_a_finite_batch_and_a_sampler_do_not_go_together():
    text = BASE.format(d=5, R=1.0, learn="[]", end=0.0, save="[0.0]", sampler="steps = 2")
    with pytest.raises(ProblemError, match="leave one of them out"):
        Problem.parse(text + "[flow]\nbatch = {size = 10, step = 0.1}\n", "p.toml")


@pytest.mark.slow
def test_evaluation_without_learning():
    ds = ask.solve(problem('control = "exact"\nsteps = 16\nhorizon = 1.0\npaths = 500', learn="[]"))
    for name in (*QUANTITIES, "objective"):
        assert ds[name].dims == ds[f"{name}_se"].dims == ("sample", "time")
        assert np.isfinite(ds[name].values).all()
        assert (ds[f"{name}_se"].values > 0).all()
        assert ds[name].attrs["units"]
    assert ds.mode_mass_se.dims == ds.mode_mass.dims
    np.testing.assert_allclose(ds.mode_mass.sum("mode"), 1)
    np.testing.assert_array_equal(ds.objective, -ds.elbo)
    assert "quadrature_error" not in ds
    assert ds.elbo < 0 < ds.eubo


@pytest.mark.slow
def test_one_seed_one_result():
    text = 'method = "cmcd"\nsteps = 4\nhorizon = 0.4\npaths = 200'
    one, two = (ask.solve(problem(text, end=0.2, save="2")) for _ in range(2))
    assert one.identical(two)


@pytest.mark.slow
def test_learning_along_time():
    ds = ask.solve(problem('control = "exact"\nsteps = 8\nhorizon = 0.5\npaths = 1000', R=2.5, end=3.0, save="3"))
    assert ds.status.item() == 0
    objective, error = ds.objective.values[0], ds.objective_se.values[0]
    assert objective[0] - objective[-1] > 6 * np.hypot(error[0], error[-1])
    assert not np.allclose(ds.w.values[0, 0], ds.w.values[0, -1])


def test_cost_is_that_of_the_reduced_chain():
    """d = 10⁹ is a problem like any other, and nothing in it has d entries."""
    ds = ask.solve(problem('control = "exact"\nsteps = 64\npaths = 100', d=10**9, learn="[]"))
    assert np.isfinite(ds.elbo.item())
    assert ds.ess.item() < 1e-10  # one more place where 10⁹ directions show: every one of them costs a little


@pytest.mark.slow
def test_no_steps_is_the_closed_flow():
    """Quadrature, not paths: s, m, w are those of the gradient flow to the tolerances."""
    text = "steps = 0\npaths = 400"
    sampled = ask.solve(problem(text, end=3.0, save="4"), rtol=1e-8, atol=1e-10)
    flowing = BASE.format(d=20, R=1.0, learn='["means", "weights"]', end=3.0, save="4", sampler="").split("[sampler]")[
        0
    ]
    closed = ask.solve(Problem.parse(flowing), rtol=1e-8, atol=1e-10)
    # 1e-5 is the sampler's own floor for tolerances
    for name in ("s", "m", "w"):
        np.testing.assert_allclose(sampled[name], closed[name], atol=1e-4)
    assert abs(sampled.objective.values - closed.objective.values).max() < 6 * sampled.objective_se.values.max()


def test_doors(tmp_path, capsys):
    from typer.testing import CliRunner

    path = tmp_path / "p.toml"
    path.write_text(
        BASE.format(d=5, R=1.0, learn="[]", end=0.0, save="[0.0]", sampler="steps = 2\nhorizon = 0.2\npaths = 50")
    )
    out = tmp_path / "run.nc"
    done = CliRunner().invoke(app, ["solve", str(path), "--out", str(out), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "elbo_se" in open_result(out)
