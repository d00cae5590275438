"""Diagonal covariances of a prior: what the section becomes and refuses, and who refuses a problem that has them."""

import numpy as np
import pytest
from typer.testing import CliRunner

from solvers import ask
from solvers.__main__ import app
from solvers.particles import device
from solvers.problem import Problem, ProblemError, demands
from solvers.results.telling import told
from solvers.sampler.ideal import continuous_time
from solvers.verdict.speciation import speciation

TEXT = """
dimension = 5
target = {{separation = 1.0}}
init = {{means = [[0.9, 0.4], [-0.6, 0.3]]}}
time = {{end = {end}, save = 1}}
{sampler}
[family]
components = 2
learn = {learn}
{family}
"""
SAMPLER = 'sampler = {steps = 2, horizon = 0.4, paths = 64, control = "exact"}'
DIAGONAL = 'covariance = "diagonal"'


def problem(family, sampler=SAMPLER, end=0.0, learn="[]"):
    return Problem.parse(TEXT.format(family=family, sampler=sampler, end=end, learn=learn), "p.toml")


def test_the_last_variance_of_a_row_goes_on():
    family = problem(f"variances = [[4, 1, 2], [0.5]]\n{DIAGONAL}").family
    np.testing.assert_array_equal(family.in_space(5), [[4, 1, 2, 2, 2], [0.5] * 5])
    np.testing.assert_allclose(family.variances, [2.2, 0.5])
    assert sorted(set(family.entries)) == [0.5, 1, 2, 4]
    for typed, expected in (("", [1, 1]), ("variances = 2.0\n", [2, 2]), ("variances = [2.0, 3.0]\n", [2, 3])):
        family = problem(typed + DIAGONAL).family
        np.testing.assert_array_equal(family.in_space(5), np.repeat(np.array(expected, float)[:, None], 5, axis=1))
        isotropic = problem(typed).family
        assert isotropic.diagonal is None
        np.testing.assert_array_equal(isotropic.in_space(5), expected)


REFUSED = [
    ('covariance = "diag"', 'family.covariance: is "diag"; allowed: "isotropic", "diagonal"'),
    (f"variances = [[1], [2], [3]]\n{DIAGONAL}", "family.variances: has 3 entries, must be a number or have 2"),
    (f"variances = [[1, 0], [2]]\n{DIAGONAL}", "family.variances: row 1 is [1, 0]; every variance must be a number >"),
    (f"variances = [[], [2]]\n{DIAGONAL}", "family.variances: row 1 is []; every variance"),
    (f"variances = [[1], 2]\n{DIAGONAL}", "family.variances: row 2 is 2; every row must be a list of numbers"),
    (f"variances = [[1], [1, 1, 1, 1, 1, 1]]\n{DIAGONAL}", "family.variances: row 2 has 6 entries, must have at most"),
    ("variances = [[1], [2]]", 'family.variances: is [[1], [2]]; must be a number or one per component, or with cov'),
]  # fmt: skip


@pytest.mark.parametrize(("family", "message"), REFUSED)
def test_refusals(family, message):
    with pytest.raises(ProblemError) as refused:
        problem(family)
    assert str(refused.value).startswith(f"p.toml: {message}")
    assert "\n" not in str(refused.value)


def test_a_flow_has_none():
    with pytest.raises(ProblemError, match=r'covariance: is "diagonal"; must be "isotropic" without a \[sampler\]'):
        problem(DIAGONAL, sampler="")
    assert problem('covariance = "isotropic"', sampler="").family.diagonal is None


OF_THE_THEORY = 'family.covariance: is "diagonal"; must be "isotropic", which the theory is of'


def test_the_theory_refuses_them(tmp_path):
    path, out, sweep = tmp_path / "p.toml", tmp_path / "out", tmp_path / "s.toml"
    path.write_text(problem(DIAGONAL).text)
    for command in (["solve", str(path), "--out", str(out)], ["compare", str(path)]):
        done = CliRunner().invoke(app, command)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"{path}: {OF_THE_THEORY}")
    for base, grid in (
        (DIAGONAL, '"target.separation" = [1.0]'),
        ("", '"family.covariance" = ["isotropic", "diagonal"]'),
    ):
        path.write_text(problem(base).text)
        sweep.write_text(f'base = "{path.name}"\n[grid]\n{grid}\n')
        done = CliRunner().invoke(app, ["sweep", str(sweep), "--out", str(out), "--workers", "1"])
        assert (done.exit_code, OF_THE_THEORY in done.stderr) == (2, True)
    assert not out.exists()
    for refuses in (continuous_time, lambda problem: speciation(problem, splits=[1])):
        with pytest.raises(ProblemError, match=r'^p.toml: family.covariance: is "diagonal"'):
            refuses(problem(DIAGONAL))
    assert ask.solve(problem(""), backend="numpy").status == 0  # control


def test_a_gpu_refuses_them():
    assert device.refused(problem("")) is None
    assert device.refused(problem(DIAGONAL)).startswith('family.covariance = "diagonal"; a GPU')


def test_results_have_the_variances_of_coordinates():
    """v is their mean; a component that is added has equal ones."""
    refine = "paths = 64, refine = {every = 0.1, until = 3, source = [[0.5, 0.1]]}"
    typed = f"variances = [[0.6, 1.2], [1.0, 0.7, 0.9]]\n{DIAGONAL}"
    learning = problem(typed, SAMPLER.replace("paths = 64", refine), end=0.2, learn='["means", "variances"]')
    learning = Problem.parse(learning.text.replace("save = 1", "save = [0.0, 0.1, 0.2]"), "p.toml")
    options = {"particles": 24, "replicas": 2, "step": 0.1, "backend": "numpy"}
    ds = ask.simulate(learning, **options)
    assert ds.v_diag.dims == ("sample", "time", "component", "coordinate")
    assert ds.v_diag.shape == ds.v_diag_se.shape == (1, 3, 3, 5)
    np.testing.assert_array_equal(ds.v_diag[0, 0, :2], learning.family.in_space(5))
    np.testing.assert_allclose(ds.v, ds.v_diag.mean("coordinate"))
    assert np.isnan(ds.v_diag[0, :2, 2]).all()
    assert (np.ptp(ds.v_diag[0, 2].values, axis=1) > 0).all()  # after a step
    assert (ds.v_diag_se[0, 1, :2] > 0).all()
    assert ds.v.attrs["long_name"].endswith("mean over coordinates")
    lines = list(told(ds, "sim.nc", "p.toml"))
    assert lines[-1] == 'next: family.covariance = "isotropic" in p.toml, and python -m solvers compare p.toml'
    assert "v_diag" not in ask.simulate(problem(""), **options)


def test_the_size_of_results_is_asked_for_beforehand(monkeypatch):
    monkeypatch.setattr(demands, "available_memory", lambda: 2.0**27)
    large = problem(DIAGONAL).text.replace("dimension = 5", "dimension = 100000")
    options = {"particles": 24, "replicas": 128, "step": 0.1}
    with pytest.raises(ProblemError, match=r"^replicas: is 128; must be at most 7\d: "):
        demands.check_simulation(Problem.parse(large), **options)
    demands.check_simulation(Problem.parse(large.replace(DIAGONAL, "")), **options)
