"""Results reopened later: the problem inside reproduces them, and what has changed since is named."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from solvers import reopen, results
from solvers.closed.flow import solve
from solvers.problem import Problem
from solvers.results.errors import ResultError, ResultWarning
from tests.solvers.sweeps.sweep_cases import SMALL, sweep, swept


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.nc"
    results.write(solve(Problem.parse(sweep().problem_text((2, 1))), backend="numba"), path)
    return path


def test_the_problem_inside_a_run_reproduces_it(run_file) -> None:
    ds = reopen.open(run_file)
    again = solve(Problem.parse(reopen.problem_of(ds).text), backend="numba")
    for name in ds.data_vars:
        np.testing.assert_array_equal(again[name], ds[name])


def test_the_problem_at_a_point_of_a_sweep_reproduces_it(tmp_path) -> None:
    ds = swept(tmp_path)
    point = ds.isel({"target.separation": 3}).sel({"family.learn": '["means", "weights"]'})
    problem = Problem.parse(reopen.problem_of(point).text)
    run = solve(problem, backend="numba")
    assert run.collapsed.values.mean() == point.collapsed
    assert run.objective.values[:, -1].mean() == pytest.approx(float(point.objective), rel=1e-14)
    # along a key without a chosen value the base problem speaks
    base = reopen.problem_of(ds)
    assert (base.target.c[0, 0], base.family.learn) == (9.0, ("means",))
    near = reopen.problem_of(ds.sel({"target.separation": 1.9}, method="nearest"))
    assert near.target.c[0, 0] == 4.0


def changed(ds, path, **attributes):
    ds = ds.copy()
    ds.attrs |= attributes
    results.write(ds, path)
    return path


def test_a_result_of_other_code_opens_with_a_warning_that_names_the_difference(run_file, tmp_path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # control: this version's own results open in silence
        ds = reopen.open(run_file)
    versions = json.loads(ds.attrs["versions"])
    old = changed(ds, tmp_path / "old.nc", versions=json.dumps(versions | {"modecollapse": "0.0.1"}))
    with pytest.warns(
        ResultWarning, match=rf"old.nc: was made with modecollapse 0\.0\.1, here {versions['modecollapse']}$"
    ):
        reopen.open(old)
    other = changed(ds, tmp_path / "other.nc", system="a1b2")
    with pytest.warns(ResultWarning, match=rf"closed system a1b2, here {ds.attrs['system'][:12]}"):
        reopen.open(other)
    refused = changed(ds, tmp_path / "refused.nc", problem=ds.attrs["problem"] + "\n[magic]\n")
    with pytest.warns(ResultWarning, match="a problem that this version refuses .*magic: unknown key"):
        again = reopen.open(refused)
    assert again.sizes == ds.sizes
    with pytest.raises(ResultError, match="magic: unknown key"):
        reopen.problem_of(again)


def test_a_sweep_of_other_equations_opens_with_a_warning(tmp_path) -> None:
    swept(tmp_path, SMALL)
    path = tmp_path / "out.zarr" / "zarr.json"
    content = json.loads(path.read_text())
    (point,) = json.loads(content["attributes"]["systems"]).values()
    content["attributes"]["systems"] = json.dumps({"a1b2": point})
    path.write_text(json.dumps(content))
    with pytest.warns(ResultWarning, match="out.zarr: was made with closed system a1b2, here "):
        reopen.open(tmp_path / "out.zarr")
