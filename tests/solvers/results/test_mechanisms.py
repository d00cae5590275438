"""Every lost mode has one mechanism: states made by hand, what adds up, and what must not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from solvers.problem import Problem
from solvers.results import datasets
from solvers.results.mechanisms import LABELS, collapse, distances, mechanisms, qualified
from solvers.results.outcomes import End, outcomes

NAMES = LABELS["mechanism"].names
SQUARE = np.array([[3.0, 3.0], [-3.0, 3.0], [-3.0, -3.0], [3.0, -3.0]])
PAIR = np.array([[3.0, 0.0], [-3.0, 0.0]])


def at(mu: object, w: object, nu: np.ndarray, B: object = None) -> list[str]:
    """The mechanisms of components at mu (K, 2) of weights w; B by default the responsibilities at the means."""
    means, weights = np.array(mu, dtype=float), np.array(w, dtype=float)
    apart = ((means[:, None] - nu) ** 2).sum(-1)
    table = np.exp(-apart / 2) / np.exp(-apart / 2).sum(-1, keepdims=True) if B is None else np.array(B, dtype=float)
    pi = np.full(len(nu), 1 / len(nu))
    end = End(weights[None], (weights @ table)[None], table[None], pi, np.ones((1, len(means)), dtype=bool))
    return [NAMES[code] for code in mechanisms(end, apart[None])[0]]


HERE, THERE, MIDDLE = [3.0, 0.0], [-3.0, 0.0], [0.0, 0.0]


@pytest.mark.parametrize(
    ("mu", "w", "found"),
    [
        ([HERE, THERE], [0.5, 0.5], "none"),
        ([HERE, HERE], [0.5, 0.5], "aligned"),
        ([HERE, HERE], [0.98, 0.02], "aligned"),
        ([HERE, HERE], [0.995, 0.005], "vanished"),
        ([HERE, MIDDLE], [0.995, 0.005], "vanished"),
        ([HERE, THERE], [0.995, 0.005], "vanished"),
        ([HERE, THERE], [0.9, 0.1], "vanished"),  # on its mode, with too little weight for it
        ([HERE, MIDDLE], [0.7, 0.3], "straddling"),
        ([HERE], [1.0], "unfound"),
        ([HERE, THERE], [0.24, 0.76], "vanished"),
        ([HERE, THERE], [0.26, 0.74], "none"),  # and just not
    ],
)
def test_states_of_two_modes(mu: object, w: object, found: str) -> None:
    lost = 0 if w == [0.24, 0.76] else 1
    assert at(mu, w, PAIR)[lost] == found
    assert at(mu, w, PAIR)[1 - lost] == "none"


def test_one_component_between_a_lost_mode_and_a_kept_one_straddles() -> None:
    assert at([[0.3, 0.0]], [1.0], PAIR, [[0.8, 0.2]]) == ["none", "straddling"]
    assert at([[0.3, 0.0]] * 2, [0.5, 0.5], PAIR, [[0.8, 0.2]] * 2) == ["none", "straddling"]
    # Nine tenths on one mode are on it, and no component reaches the other.
    assert at([[3.0, 0.0]], [1.0], PAIR, [[0.9, 0.1]]) == ["none", "unfound"]


def test_states_of_a_square() -> None:
    a, b, c, d = SQUARE.tolist()
    assert at([a, a, b, c], [0.25] * 4, SQUARE) == ["none", "none", "none", "aligned"]
    assert at([a, a, a, c], [0.25] * 4, SQUARE) == ["none", "aligned", "none", "aligned"]
    # Two components, three lost modes: one has a component that sits with another, two were not to be found.
    assert sorted(at([a, a], [0.5, 0.5], SQUARE)) == ["aligned", "none", "unfound", "unfound"]
    # The nearest is meant: the dead one is at the fourth mode, the aligned one nearer to the second.
    mixed = at([a, [2.9, 3.0], c, d], [0.5, 0.25, 0.245, 0.005], SQUARE)
    assert mixed == ["none", "aligned", "none", "vanished"]
    # Between two modes that others keep, while the fourth has nobody.
    assert at([a, b, c, [0.0, 3.0]], [0.25] * 4, SQUARE) == ["none", "none", "none", "straddling"]


def test_a_component_wide_over_many_modes_straddles_all_of_them() -> None:
    """Sixteen modes, of which it gives each a sixteenth: less than a tenth, but it would keep them all by itself."""
    nu = 9 * np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)], axis=1)
    B = np.stack([np.full(16, 1 / 16), np.eye(16)[0]])
    assert at([MIDDLE, nu[0]], [0.3, 0.7], nu, B) == ["none"] + ["straddling"] * 15
    assert at([nu[1], nu[0]], [0.3, 0.7], nu, np.eye(16)[[1, 0]])[2:] == ["unfound"] * 14


def random_ends(K: int, L: int, n: int) -> tuple[End, np.ndarray]:
    rng = np.random.default_rng([K, L])
    w = rng.dirichlet(np.full(K, 0.3), size=n)
    B = rng.dirichlet(np.full(L, 0.2), size=(n, K))
    pi = rng.dirichlet(np.full(L, 3.0))
    return End(w, np.einsum("nk,nkl->nl", w, B), B, pi, np.ones((n, K), dtype=bool)), rng.exponential(size=(n, K, L))


@pytest.mark.parametrize(("K", "L"), [(1, 2), (2, 2), (3, 2), (4, 4), (8, 8), (3, 6), (16, 4)])
def test_there_is_no_gap(K: int, L: int) -> None:
    """Every lost mode has a mechanism and no kept one; with as many components as modes none is unfound."""
    end, apart = random_ends(K, L, 4000)
    found = mechanisms(end, apart)
    lost = end.mode_mass / end.pi < 0.5
    np.testing.assert_array_equal(found > 0, lost)
    shares = {name: (found == code).mean() for code, name in NAMES.items()}
    assert sum(share for name, share in shares.items() if name not in ("none", "unknown")) == pytest.approx(lost.mean())
    np.testing.assert_array_equal(collapse(found) > 0, outcomes(*end)["collapsed"] == 1)
    assert (shares["unfound"] > 0) == (K < L)
    # As two components on two modes, where the flags said it: they agree with those.
    if K == L == 2:
        flags = outcomes(*end)
        for name in ("aligned", "vanished"):
            sure = (flags[name] == 1) & (flags["collapsed"] == 1)
            assert sure.sum() > 50
            assert {NAMES[code] for code in found[sure][lost[sure]]} == {name}


def test_names_of_components_and_modes_do_not_matter() -> None:
    end, apart = random_ends(5, 4, 2000)
    k, l = np.random.default_rng(0).permutation(5), np.random.default_rng(1).permutation(4)
    other = End(end.w[:, k], end.mode_mass[:, l], end.B[:, k][:, :, l], end.pi[l], end.there)
    np.testing.assert_array_equal(mechanisms(other, apart[:, k][:, :, l]), mechanisms(end, apart)[:, l])


def test_failed_runs_and_absent_components() -> None:
    end, apart = random_ends(3, 2, 6)
    end.B[0, 1, 0], end.w[1, 2] = np.nan, np.nan
    apart[2] = [[np.inf, np.nan]] * 3
    found = mechanisms(end, apart)
    assert (found[:2] == -1).all()
    assert (collapse(found)[:2] == -1).all()
    np.testing.assert_array_equal(found[2] > 0, end.mode_mass[2] / end.pi < 0.5)
    assert qualified(found, np.zeros(6, dtype=np.int8))[0, 0] == -1


def test_distances_are_those_of_vectors() -> None:
    rng = np.random.default_rng(0)
    mu, nu = rng.standard_normal((3, 5)), rng.standard_normal((2, 5))
    np.testing.assert_allclose(distances(mu @ mu.T, mu @ nu.T, nu @ nu.T), ((mu[:, None] - nu) ** 2).sum(-1))


def test_codes_in_files_say_what_they_are() -> None:
    """CF: as many words as values, no blank in any; a code modulo ten is the mechanism, at rest or not."""
    text = "target.separation = 3.0\nfamily.components = 2\ninit = {scale = 1.0, samples = 1}\ntime.end = 1.0\n"
    problem, one = Problem.parse("dimension = 2\n" + text), np.ones((1, 51))
    ds = datasets.run_dataset(
        problem, m=np.ones((1, 51, 2, 2)), s=np.ones((1, 51, 2, 2)), w=np.full((1, 51, 2), 0.5), objective=one,
        mode_mass=np.tile([0.9, 0.1], (1, 51, 1)), B=np.tile([0.9, 0.1], (1, 2, 1)), status=np.zeros(1),
        quadrature_error=one * 1e-13, system="", backend="numpy", rtol=1e-8, atol=1e-10,
    )  # fmt: skip
    for name in ("mechanism", "collapse", "at_rest", "collapsed", "aligned", "vanished", "status"):
        values, words = ds[name].attrs["flag_values"], ds[name].attrs["flag_meanings"].split()
        assert values.dtype == ds[name].dtype == np.int8
        assert len(values) == len(set(values)) == len(words) == len(set(words))
        assert set(ds[name].values.ravel()) <= set(values)
    for name in ("mechanism", "collapse"):
        codes = LABELS[name].names
        assert all(codes[code].startswith(codes[code % 10]) for code in codes if code >= 0)
    aligned = {name: code for code, name in NAMES.items()}
    moving = datasets.labels(mechanisms(*_aligned()), np.array([0, 1, 2], dtype=np.int8))
    assert moving["mechanism"].values[:, 1].tolist() == [aligned[f"aligned_{how}"] for how in
                                                         ("in_transit", "at_rest", "at_rest")]  # fmt: skip
    assert isinstance(moving["collapse"], xr.Variable)


def _aligned() -> tuple[End, np.ndarray]:
    B = np.tile([[1.0, 0.0]], (3, 2, 1))
    w = np.full((3, 2), 0.5)
    return End(w, np.einsum("nk,nkl->nl", w, B), B, np.full(2, 0.5), np.ones((3, 2), dtype=bool)), 1 - B
