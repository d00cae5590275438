"""The reduced chain in machine code against NumPy on the same noise, and what threads and padding may not change."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from solvers import ask
from solvers.machine.arrays import BackendError
from solvers.problem import Problem
from solvers.sampler import Mixture, Noise, Sampler
from solvers.sampler.backends import PLAIN, WALKERS
from tests.solvers.sampler.plain_chain import KEYS, case, in_dimensions, uneven

pytestmark = pytest.mark.slow

#: Rounding of sums of some hundred terms of size up to 10².
CLOSE: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-11}


def agree(sampler, rng, paths=600, threads=2):
    """Forward, backward and both gradients by both backends; more than two blocks of paths."""
    walkers, noise = (PLAIN, WALKERS["numba"].within(threads)), Noise.draw(sampler, paths, rng)
    chosen = rng.integers(0, len(sampler.mixtures["prior"].log_w), paths)
    weights = rng.random(paths)
    (one, slopes), (two, others) = (by.gradient(sampler, noise, chosen, weights) for by in walkers)
    (three, ratios), (four, more) = (by.ratio(sampler, noise, chosen, weights, weights - 0.4) for by in walkers)
    runs = [(by.forward(sampler, noise), by.backward(sampler, noise)) for by in walkers]
    for expected, found in (*zip(*runs, strict=True), (one, two), (three, four)):
        for name in ("log_weight", "end", "rho", "modes"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), **CLOSE, err_msg=name)
    for slope, other in zip((*slopes.values(), *ratios.values()), (*others.values(), *more.values()), strict=True):
        for name in ("mean", "log_var", "log_w"):
            expected, found = (getattr(s, name) for s in (slope, other))
            # a sum over paths: rounding relative to its largest entries
            np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * (1 + np.max(np.abs(expected))))


@pytest.mark.parametrize(("key", "d"), in_dimensions(KEYS, 6, 2))
def test_same_noise_same_paths(key, d):
    rng = np.random.default_rng(1)
    agree(uneven(case(*key, d=d, steps=3, rng=rng)[0]), rng)


def test_no_steps():
    rng = np.random.default_rng(2)
    agree(case("mcd", "annealed", "none", steps=0, rng=rng)[0], rng)


def test_fewer_components_and_directions_than_there_is_machine_code_for(monkeypatch):
    """Another number of components in every mixture, padded to 2 in 2 directions."""
    monkeypatch.setattr("solvers.sampler.tables.SIZES", (2,))
    rng = np.random.default_rng(3)
    mixtures = {"prior": Mixture.of([[0.3]], 1.2, [1.0]), "target": Mixture.of([[1.0], [-0.5]], 0.9, [0.3, 0.7])}
    agree(Sampler("dis", "ou", "exact", 3, 0.6, 4, mixtures), rng, paths=70)


def test_threads_change_nothing():
    rng = np.random.default_rng(4)
    sampler, *_ = case("dis", "ou", "exact", rng=rng)
    noise, chosen = Noise.draw(sampler, 1100, rng), np.arange(1100) % 2
    one, two = (WALKERS["numba"].within(n).gradient(sampler, noise, chosen, np.ones(1100)) for n in (1, 3))
    np.testing.assert_array_equal(one[0].log_weight, two[0].log_weight)
    np.testing.assert_array_equal(one[1]["prior"].mean, two[1]["prior"].mean)


def test_large_mixtures_path_by_path(monkeypatch):
    """By the same text on numbers."""
    rng = np.random.default_rng(6)
    sampler = uneven(case("dis", "ou", "exact", d=6, steps=3, rng=rng)[0])
    noise, chosen, weights = Noise.draw(sampler, 70, rng), rng.integers(0, 2, 70), rng.random(70)
    expected, slopes = PLAIN.gradient(sampler, noise, chosen, weights)
    monkeypatch.setattr("solvers.sampler.compiled.LARGEST", 16)
    found, others = WALKERS["numba"].within(2).gradient(sampler, noise, chosen, weights)
    np.testing.assert_allclose(found.log_weight, expected.log_weight, **CLOSE)
    np.testing.assert_allclose(others["prior"].mean, slopes["prior"].mean, **CLOSE)


def test_company_changes_nothing():
    """Seven paths alone, and the same among others; one of these overflows."""
    rng = np.random.default_rng(7)
    sampler, *_ = case("dis", "ou", "exact", rng=rng)
    noise, walkers = Noise.draw(sampler, 37, rng), WALKERS["numba"].within(1)
    noise.xi[1, 9] = 1e200
    for walk in (walkers.forward, walkers.backward):
        alone, among = walk(sampler, noise.block(slice(2, 9))), walk(sampler, noise)
        assert not np.isfinite(among.log_weight[9])
        for name in ("log_weight", "end", "rho", "modes"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(among, name)[2:9])


def test_what_would_read_elsewhere_is_refused():
    rng = np.random.default_rng(5)
    sampler, *_ = case("dis", "ou", "exact", rng=rng)
    forward, noise = WALKERS["numba"].forward, Noise.draw(sampler, 10, rng)
    with pytest.raises(ValueError, match="components 0 to 2, there are 2"):
        forward(sampler, noise, np.arange(10) % 3)
    with pytest.raises(ValueError, match=r"noise of shape \(7, 10\), must be \(9, 10\)"):
        forward(replace(sampler, steps=8), noise)


PROBLEM = """
dimension = 9
[target]
separation = 1.5
[family]
components = 2
learn = ["means", "weights"]
[init]
means = [[0.9, 0.1], [-0.8, 0.2]]
[time]
end = 1.0
save = 2
[sampler]
control = "exact"
steps = 4
horizon = 0.5
paths = 300
"""


def test_solve_by_both_backends():
    problem = Problem.parse(PROBLEM)
    default, plain = ask.solve(problem), ask.solve(problem, backend="numpy")
    assert (default.attrs["backend"], plain.attrs["backend"]) == ("numba", "numpy")
    for name in ("m", "s", "w", "elbo", "ess", "coverage", "mode_mass_se"):
        # steps of the integrator are chosen by the same numbers to rounding
        np.testing.assert_allclose(default[name], plain[name], rtol=1e-8, atol=1e-8, err_msg=name)


def test_dropped_terms_are_for_numpy():
    problem = Problem.parse(PROBLEM)
    with pytest.raises(BackendError, match="cannot drop a term"):
        ask.solve(problem, backend="numba", drop="along.xi1")
    still = replace(problem, time=replace(problem.time, end=0.0, times=np.zeros(1)))
    assert ask.solve(still, drop="along.xi1").attrs["backend"] == "numpy"
