"""Words in sweeps: shares that add up, never the mean of a code; lifetimes and rest at every point."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from solvers import ask, reopen
from solvers.problem import ProblemError
from solvers.results.errors import ResultError
from solvers.results.mechanisms import LABELS
from solvers.results.output import OutputError
from solvers.sweeps.dataset import Columns, described
from solvers.sweeps.reading import layout_of
from solvers.sweeps.run import run
from solvers.sweeps.telling import told
from solvers.sweeps.work import Options
from tests.solvers.sweeps.sweep_cases import SMALL, same_bits, sweep, swept

ASKED = """
[output]
quantities = ["collapsed", "mechanism", "collapse", "at_rest", "recovered_at", "objective"]
"""
TIMES = ("end = 20.0", "end = 200.0\nsave = [0.0, 20.0, 200.0]")
LOST = [word for word in LABELS["collapse"].names.values() if not word.startswith(("none", "unknown"))]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return swept(tmp_path_factory.mktemp("words"), SMALL + ASKED, TIMES)


def test_shares_add_up_to_the_probability_of_collapse(words: xr.Dataset) -> None:
    keys = ("target.separation", "family.learn")
    assert words.collapse.dims == words.at_rest.dims == (*keys, "label")
    assert words.mechanism.dims == (*keys, "mode", "label")
    for name in ("collapse", "at_rest", "mechanism"):
        np.testing.assert_allclose(words[name].sum("label"), 1, rtol=0, atol=1e-12)
        shares, low, high = words[name].values, words[f"{name}_low"].values, words[f"{name}_high"].values
        of = ~np.isnan(shares)
        assert ((low <= shares) & (shares <= high))[of].all()
        assert f"{name}_se" not in words
        assert set(words.label.values[of.any(axis=tuple(range(shares.ndim - 1)))]) == set(
            LABELS[name].names.values()
        ) - {"unknown"}
    np.testing.assert_allclose(words.collapse.sel(label=LOST).sum("label"), words.collapsed, rtol=0, atol=1e-12)
    known = [word for word in LOST if word in LABELS["mechanism"].names.values()]
    lost = words.mechanism.sel(label=known).sum("label")
    # Of two modes at most one is lost, so their probabilities add up as well.
    np.testing.assert_allclose(lost.sum("mode"), words.collapsed, rtol=0, atol=1e-12)
    assert words.collapsed.max() > 0.2


def test_a_point_is_what_solve_says(words: xr.Dataset) -> None:
    for learn in ('["means"]', '["means", "weights"]'):
        here = words.sel({"target.separation": 4.0, "family.learn": learn})
        one = ask.solve(reopen.problem_of(here), backend="numba")
        for name in ("collapse", "at_rest"):
            for code, word in LABELS[name].names.items():
                if word != "unknown":
                    assert float(here[name].sel(label=word)) == (one[name].values == code).mean()
        for code, word in LABELS["mechanism"].names.items():
            if word != "unknown":
                assert here.mechanism.sel(label=word).values.tolist() == (one.mechanism.values == code).mean(0).tolist()
        until = np.where(np.isnan(one.recovered_at), 200.0, one.recovered_at)
        assert float(here.recovered_at) == pytest.approx(until.mean(), rel=1e-12)
        assert float(here.recovered_at_se) == pytest.approx(until.std(ddof=1) / np.sqrt(40), rel=1e-12)


def test_the_screen_says_what_is_in_the_store(words: xr.Dataset) -> None:
    lines = {line.split()[0]: line for line in told(words, "out.zarr")}
    overall = float(words.collapsed.mean())
    assert lines["collapsed"].startswith(f"collapsed {overall:.1%} of all starts at t = 200; at a point ")
    assert lines["collapsed"].endswith('(target.separation = 3, family.learn = ["means"])')
    aligned = float(words.collapse.sel(label="aligned_at_rest").mean())
    assert f"aligned_at_rest {aligned:.1%}" in lines["collapse"]
    assert "none" not in lines["collapse"]
    assert f"stable {float(words.at_rest.sel(label='stable').mean()):.1%}" in lines["at_rest"]
    assert lines["next:"] == "next: python -c \"import modecollapse as mc; print(mc.open('out.zarr'))\""
    assert not list(told(words.assign(samples=words.samples * 0, failed=words.failed * 0), "out.zarr"))


def test_other_targets_have_other_modes(tmp_path) -> None:
    means = (
        '"target.separation" = {start = 1.0, stop = 4.0, count = 4}',
        '"target.means" = [[[3.0]], [[3.0], [-3.0]]]',
    )
    still = ('[["means"], ["means", "weights"]]', "[[]]")  # nothing moves, so nothing is decided
    table = ("separation = 3.0", "means = [[3.0], [-3.0]]")
    given = sweep(SMALL + '[output]\nquantities = ["mechanism"]\n', means, still, table)
    run(given, tmp_path / "out.zarr", workers=1, options=Options(backend="numpy"))
    ds = reopen.open(tmp_path / "out.zarr")
    assert ds.sizes["mode"] == 2
    np.testing.assert_allclose(ds.mechanism.sum("label", skipna=True).values[1], 1)
    assert np.isnan(ds.mechanism.values[0, :, 1]).all()
    assert ds.mechanism.sel(label="none").values[0, 0, 0] == 1
    assert 0 < ds.mechanism.sel(label="straddling").values[1, 0].sum() < 1


def test_resumed_bits_are_the_same_and_workers_do_not_matter(words: xr.Dataset, tmp_path) -> None:
    given = sweep(SMALL + ASKED, TIMES)
    run(given, tmp_path / "two.zarr", workers=1)
    (tmp_path / "two.zarr" / "journal/moments/c/2/1/0/0/0").unlink()
    run(given, tmp_path / "two.zarr", workers=1, resumed=True)
    assert same_bits(words, reopen.open(tmp_path / "two.zarr"))


def test_equilibrium_is_a_probability_and_leaves_trajectories(tmp_path) -> None:
    ds = swept(tmp_path, SMALL + '[output]\nquantities = ["equilibrium"]\n', ("end = 20.0", "end = 1000.0"))
    assert set(ds.data_vars) == {"equilibrium", "equilibrium_low", "equilibrium_high", "samples", "failed"}
    here = ds.sel({"target.separation": 3.0, "family.learn": '["means"]'})
    one = ask.solve(reopen.problem_of(here), stop_at_equilibrium=True)
    assert float(here.equilibrium) == one.equilibrium.values.mean() > 0.5
    # The option is part of what a sweep is; without it, its store is as before.
    plain = sweep()
    run(plain, tmp_path / "plain.zarr", workers=1)
    assert "stop_at_equilibrium" not in json.loads(reopen.open(tmp_path / "plain.zarr").attrs["plan"])
    with pytest.raises(ResultError, match="no stop_at_equilibrium, here it is true"):
        run(plain, tmp_path / "plain.zarr", workers=1, resumed=True, options=Options(stop_at_equilibrium=True))


def test_codes_are_refused_where_they_would_be_averaged(tmp_path) -> None:
    with pytest.raises(ProblemError, match=r'refine.quantity: is "collapse", which is a word; must be a number'):
        sweep(SMALL + '[output]\nquantities = ["collapse"]\n[refine]\nquantity = "collapse"\n')
    with pytest.raises(ProblemError, match=r"output.quantities: status: not known; allowed: .*, at_rest$"):
        swept(tmp_path, SMALL + '[output]\nquantities = ["status"]\n')
    with pytest.raises((ProblemError, OutputError), match="mechanisms: not known"):
        swept(tmp_path, SMALL + '[output]\nquantities = ["mechanisms"]\n')
    # A store of before, with the mean of a code.
    ds = swept(tmp_path, SMALL + '[output]\nquantities = ["collapse"]\n', name="new.zarr")
    plan = json.loads(ds.attrs["plan"])
    assert layout_of(ds.attrs).columns.labels.keys() == {"collapse"}
    del plan["labels"]
    with pytest.raises(ResultError, match="has the mean of codes of collapse, as an earlier version wrote it"):
        layout_of(ds.attrs | {"plan": json.dumps(plan)})


def test_estimates_of_samplers_have_their_units() -> None:
    units = {name: about["units"] for name, about in described(Columns(("elbo", "log_z", "ess", "objective"))).items()}
    assert units["elbo"] == units["elbo_se"] == units["log_z"] == units["objective_se"] == "nat"
    assert units["ess"] == units["samples"] == "1"
