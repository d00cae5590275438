"""Samples of x_N on request: that both sides draw from one law, that the reduced ones and the points are the same, and
that asking changes nothing else."""

import numpy as np
import pytest
from scipy.stats import chi2, t
from typer.testing import CliRunner

import modecollapse as mc
from solvers import ask
from solvers.__main__ import app
from solvers.machine.cores import available_memory
from solvers.problem import Problem, ProblemError
from solvers.results import samples, write
from solvers.sampler import samples as reduced
from tests.limits import ROUNDING

TEXT = """
dimension = {d}
[target]
means = [[1.2, 0.5], [-1.0, 0.3]]
weights = [0.35, 0.65]
variances = [0.8, 1.1]
[family]
components = {K}
variances = 1.3
learn = {learn}
[init]
{init}
[time]
end = {end}
save = [0.0, {end}]
[sampler]
method = "cmcd"
control = "mixture"
learn = []
steps = 4
horizon = 0.4
paths = 64
{more}
"""
MEANS = "means = [[0.7, 0.2, 0.0, 0.6], [-0.5, 0.3]]"


def problem(d=8, learn="[]", init=MEANS, end=0.0, more="", K=2):
    text = TEXT.format(d=d, learn=learn, init=init, end=end, more=more, K=K)
    return Problem.parse(text if end else text.replace("save = [0.0, 0.0]", ""), "p.toml")


def solved(problem, draws):
    return ask.solve(problem, backend="numpy", draws=draws)


@pytest.mark.slow
def test_asking_for_samples_changes_nothing_else():
    learning = problem(learn='["means"]', end=0.1)
    both = {"particles": 16, "replicas": 2, "step": 0.1, "backend": "numpy"}
    for run in (lambda n: solved(learning, n), lambda n: ask.simulate(learning, draws=n, **both)):
        plain, asked = run(None), run(3)
        added = {"x", "log_weight", "x_parallel", "rho", "mode_parallel"} & set(asked)
        assert {"x", "log_weight"} <= added
        assert not added & set(plain)
        assert asked.drop_vars(added).identical(plain)
        assert run(3).identical(asked)


@pytest.mark.slow
def test_dimensions_units_and_a_round_trip(tmp_path):
    both = problem(init="scale = 0.3\nsamples = 3")
    run, sim = solved(both, 5), ask.simulate(both, particles=8, replicas=2, step=0.1, draws=5)
    assert run["x"].dims == ("sample", "draw", "coordinate")
    assert run["x"].shape == (3, 5, 8)
    assert run["rho"].dims == run["log_weight"].dims == ("sample", "draw")
    assert run["x_parallel"].dims == ("sample", "draw", "direction")
    assert run["mode_parallel"].dims == ("sample", "mode", "direction")
    assert sim["x"].dims == ("sample", "replica", "draw", "coordinate")
    assert sim["log_weight"].shape == (3, 2, 5)
    for ds in (run, sim):
        assert (ds["x"].attrs["units"], ds["log_weight"].attrs["units"]) == ("length", "nat")
        assert all("long_name" in ds[name].attrs for name in ds.data_vars)
        write(ds, tmp_path / "out.nc")
        assert mc.open(tmp_path / "out.nc")["x"].identical(ds["x"])
    # samples of a start do not depend on which others are solved
    assert (ask.solve(both, backend="numpy", draws=5, samples=range(1, 2))["x"].values[0] == run["x"].values[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "init", "more"),
    [
        (8, MEANS, ""),
        (4, MEANS, ""),  # one direction across the span
        (2, "means = [[0.7, 0.2], [-0.5, 0.3]]", ""),  # none
        (7, "scale = 0.3", ""),
        (8, MEANS, 'refine = {rule = "interval", every = 0.04, until = 3, source = [[0, 0, 0, 0, 0, 2.0]]}'),
        (9, "scale = 0.3", 'refine = {rule = "interval", every = 0.04, until = 4, candidates = 4}'),
    ],
)
def test_points_are_the_reduced_coordinates_at_the_places_of_the_problem(d, init, more):
    asked = problem(d, init=init, more=more, learn='["means"]', end=0.1)
    run = solved(asked, 200)
    assert run.status == 0
    assert run["x"].dims == ("sample", "replica", "draw", "coordinate")  # of the runs of learning
    one = run.isel(sample=0, replica=1)
    x, inside, rho, modes = (one[name].values for name in ("x", "x_parallel", "rho", "mode_parallel"))
    nu = np.pad(asked.target.vectors, ((0, 0), (0, d - 2)))

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e3 * ROUNDING, atol=1e-11)

    close((x**2).sum(1), (inside**2).sum(1) + rho)
    close(x @ nu.T, inside @ modes.T)
    close(modes @ modes.T, nu @ nu.T)


def test_a_given_candidate_is_where_the_file_says():
    """A component at 30 e₆, which no other mean comes near: points are there, and in no other direction."""
    more = 'refine = {rule = "interval", every = 0.04, until = 3, weight = 0.5, source = [[0, 0, 0, 0, 0, 30.0]]}'
    text = (
        problem(more=more, learn='["weights"]', end=0.05)
        .text.replace('"cmcd"', '"mcd"')
        .replace('control = "mixture"\nlearn = []', 'control = "none"')
    )
    x = solved(Problem.parse(text.replace("steps = 4", "steps = 0")), 60)["x"].values.reshape(-1, 8)
    far = np.linalg.norm(x, axis=1) > 15
    assert 30 < far.sum() < 400  # of 8 · 60
    np.testing.assert_allclose(x[far].mean(0), 30 * np.eye(8)[5], atol=1.5)


def test_starts_without_a_result_and_directions_that_are_not_there_are_nan():
    """One start in the span of the modes, another outside: fewer directions."""

    def run(R):
        rows = {"x_parallel": np.ones((2, R)), "rho": np.ones(2), "log_weight": np.ones(2)}
        return rows | {"mode_parallel": np.ones((2, R))}

    found = reduced.variables_of([[run(2)], [{}], [run(3)]])
    assert reduced.variables_of([[{}], [{}]]) == {}
    several = reduced.variables_of([[run(2), {}, run(2)]])
    assert several["x_parallel"].dims == ("sample", "replica", "draw", "direction")
    assert np.isnan(several["rho"].values[0, :, 0]).tolist() == [False, True, False]
    assert found["x_parallel"].shape == (3, 2, 3)
    assert np.isnan(found["x_parallel"].values[:, 0, 2]).tolist() == [True, True, False]
    assert np.isnan(found["rho"].values[:, 0]).tolist() == [False, True, False]


@pytest.mark.slow
def test_both_sides_draw_from_one_law_and_it_is_that_of_the_estimates():
    """Means of x·ν, of |x|² and of log W, and variances, at a false alarm of 1e-6 for 12 comparisons; a theory whose
    samples lack one of d − r − 1 degrees of freedom is noticed."""
    asked, n = problem(), 20_000
    run = solved(asked, n)
    sim = ask.simulate(asked, particles=64, replicas=2, step=0.1, draws=n // 2)
    nu = np.pad(asked.target.vectors, ((0, 0), (0, 6)))

    def features(ds):
        x = ds["x"].values.reshape(-1, 8)
        first = np.column_stack([x @ nu.T, (x**2).sum(1), x[:, 3], x[:, 7], ds["log_weight"].values.ravel()])
        return np.column_stack([first, first**2])

    def off(a, b):
        error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
        return (np.abs(a.mean(0) - b.mean(0)) / error).max()

    a, b = features(run), features(sim)
    limit = t.isf(1e-6 / 24, 1000)
    assert off(a, b) < limit
    assert abs(a[:, 5].mean() - run.elbo.item()) < limit * np.hypot(a[:, 5].std() / np.sqrt(n), run.elbo_se.item())
    # control: the share of one direction across the span is missing in |x|²
    fewer = a.copy()
    fewer[:, 2] -= chi2.ppf((np.arange(n) + 0.5) / n, 1)
    assert off(fewer, b) > limit


def test_without_points_where_they_would_be_too_many(monkeypatch):
    monkeypatch.setattr(reduced, "MOST_NUMBERS", 39)
    assert "x" not in solved(problem(), 5)
    monkeypatch.setattr(reduced, "MOST_NUMBERS", 40)
    assert "x" in solved(problem(), 5)
    assert solved(problem(d=10**9), 5)["rho"].values.min() > 1e8


@pytest.mark.parametrize("draws", [0, -1, 2.0, True, "3"])
@pytest.mark.parametrize("run", [ask.solve, lambda p, draws: ask.simulate(p, draws=draws)])
def test_numbers_of_samples_that_are_none(run, draws):
    with pytest.raises(ProblemError, match=r"^--samples: is .*; must be an integer >= 1$"):
        run(problem(), draws=draws)


def test_refused_without_a_sampler_and_where_memory_is_not_there(monkeypatch):
    flow = Problem.parse(problem().text.partition("[sampler]")[0].replace("[0.8, 1.1]", "1.0"), "p.toml")
    for run in (ask.solve, ask.simulate):
        with pytest.raises(ProblemError, match=r"^--samples: is 3; must be left out: p\.toml has no \[sampler\]"):
            run(flow, draws=3)
    monkeypatch.setattr(samples, "available_memory", lambda: 2.0**30)
    assert available_memory() != 2.0**30
    with pytest.raises(ProblemError, match=r"^--samples: is 100000000; must be at most 5592405: it needs 17\.9 GiB"):
        ask.solve(problem(), draws=10**8)
    with pytest.raises(ProblemError, match=r"^--samples: is 100000000; must be at most 4194304: "):
        ask.simulate(problem(), draws=10**8, replicas=2)


def test_the_commands_say_it_in_one_line_and_write_nothing(tmp_path):
    path, out = tmp_path / "p.toml", tmp_path / "out.nc"
    path.write_text(problem().text)
    flow = tmp_path / "flow.toml"
    flow.write_text(problem().text.partition("[sampler]")[0].replace("[0.8, 1.1]", "1.0"))
    for command in ("solve", "simulate"):
        for file, given, said in (
            (path, "0", "--samples: is 0; must be an integer >= 1\n"),
            (path, "many", "Invalid value for '--samples': "),
            (flow, "3", f"--samples: is 3; must be left out: {flow} has no [sampler] to draw from\n"),
        ):
            done = CliRunner().invoke(app, [command, str(file), "--out", str(out), "--samples", given])
            assert done.exit_code == 2
            assert said in (done.stderr or str(done.exception) or done.output)
            assert not out.exists()
