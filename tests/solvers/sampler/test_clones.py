"""Clones of sampler paths: reduced chain, R^d and the closed equations agree; what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from solvers import reopen
from solvers.machine.arrays import BackendError
from solvers.particles.sampler import clones as sampler_clones
from solvers.problem import Problem, ProblemError
from solvers.results.files import write
from solvers.sampler import Mixture, Sampler, clones
from solvers.sampler.backends import WALKERS
from solvers.verdict.speciation import speciation

#: Bounded numbers of thousands of independent pairs: a mean of them is normal; 1e-6 a comparison.
BOUND = float(norm.isf(0.5e-6))

TEXT = """
dimension = 5
[target]
separation = {separation}
variances = {variances}
[family]
components = 1
learn = []
[init]
means = [[0.0]]
seed = 3
[time]
end = 0.0
save = [0.0]
[sampler]
method = "dis"
control = "exact"
steps = 40
horizon = 3.0
"""
SPLITS = (0, 16, 28, 40)


def problem(text: str = TEXT, separation: float = 3.0, variances: str = "1.0") -> Problem:
    return Problem.parse(text.format(separation=separation, variances=variances), "clones.toml")


def sampler(target: Mixture, prior: Mixture, *, steps: int, horizon: float, d: int = 5) -> Sampler:
    return Sampler("dis", "ou", "exact", steps, horizon, d, {"prior": prior, "target": target})


@pytest.fixture(scope="module")
def found():
    return speciation(problem(), splits=SPLITS, paths=20_000)


@pytest.mark.slow
def test_reduced_chain_and_all_dimensions_agree(found) -> None:
    error = np.hypot(found["reduced_se"], found["simulated_se"])
    assert np.all(np.abs(found["reduced"] - found["simulated"]) < BOUND * error)
    # control: clones that part six steps earlier
    earlier = speciation(problem(), splits=[n - 6 for n in SPLITS[1:3]], paths=20_000)
    error = np.hypot(earlier["reduced_se"].values, found["simulated_se"].values[1:3])
    assert np.all(np.abs(earlier["reduced"].values - found["simulated"].values[1:3]) > BOUND * error)


@pytest.mark.slow
def test_ends_of_the_curve(found) -> None:
    """From noise alone both modes are as likely; clones that never part are one path, with Σρ² near 1."""
    for name in ("closed", "reduced"):
        assert found[name].values[0] == pytest.approx(0.5, abs=0.03)
        assert found[name].values[-1] == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
def test_backends_are_one(found) -> None:
    plain = speciation(problem(), splits=[16], paths=500, backend="numpy")
    fast = speciation(problem(), splits=[16], paths=500)
    for name in ("reduced", "simulated"):
        np.testing.assert_allclose(plain[name], fast[name], rtol=1e-9)  # the rounding of 40 steps


@pytest.mark.slow
def test_many_steps_are_the_closed_form() -> None:
    """From the noised target itself, four modes in a plane. Euler steps err by O(η): 1 % is allowed, twice η."""
    means = np.array([[2.0, 0.3], [-1.5, 1.0], [0.2, -2.0], [-0.5, -0.4]])
    weights, u, horizon = [0.4, 0.3, 0.2, 0.1], 0.6, 1.0
    target = Mixture.of(means, u, weights)
    noised = Mixture.of(means * np.exp(-horizon), 1 + (u - 1) * np.exp(-2 * horizon), weights)
    s = sampler(target, noised, steps=200, horizon=horizon)
    value, error = clones.same_mode(s, [0, 100], 20_000, np.random.default_rng(1), walker=WALKERS["numba"])
    expected = np.array([clones.closed_form(s, tau) for tau in (1.0, 0.5)])
    assert np.all(np.abs(value - expected) < 0.01 + BOUND * error)
    assert np.all(np.abs(value - expected[::-1]) > 0.01 + BOUND * error)


@pytest.mark.parametrize("u", [1.0, 0.3])
def test_closed_form_of_two_modes(u) -> None:
    """½ + ½ E tanh²(b² + bz), b = R e^{−τ}/√Γ, typed in; by 30 nodes of Gauss–Hermite where they do."""
    tau, r = 0.9, 1.7
    s = sampler(Mixture.of([[r], [-r]], u, [0.5, 0.5]), Mixture.of([[0.0]], 1.0, [1.0]), steps=4, horizon=1.0)
    b = r * np.exp(-tau) / np.sqrt(1 + (u - 1) * np.exp(-2 * tau))
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    expected = 0.5 + 0.5 * weight @ np.tanh(b**2 + b * z) ** 2 / weight.sum()
    assert clones.closed_form(s, tau) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("u", [1.0, 0.3])
def test_times_of_two_modes(u) -> None:
    """τ of the double well and of the unstable drift, from section 7 by hand; and a target that has none."""
    r = 2.3
    s = sampler(Mixture.of([[r], [-r]], u, [0.5, 0.5]), Mixture.of([[0.0]], 1.0, [1.0]), steps=4, horizon=1.0)
    known = clones.times(s)
    assert known["double_well"] == pytest.approx(0.5 * np.log(r**2 + 1 - u), abs=1e-9)
    assert known["unstable"] == pytest.approx(0.5 * np.log(r**2 + np.sqrt(r**4 + (u - 1) ** 2)), abs=1e-9)
    assert known["covariance"] == pytest.approx(0.5 * np.log(r**2 + u), abs=1e-12)
    if u == 1:
        near = sampler(Mixture.of([[0.5], [-0.5]], u, [0.5, 0.5]), s.mixtures["prior"], steps=4, horizon=1.0)
        assert np.isnan(clones.times(near)["double_well"])


def test_slopes_are_derivatives() -> None:
    """Hessian of log p_τ by central differences of its definition, three modes that are not symmetric."""
    means, weights, u, tau = np.array([[1.0, 0.2], [-0.8, 0.9], [0.1, -1.2]]), np.array([0.5, 0.3, 0.2]), 0.7, 0.4
    s = sampler(Mixture.of(means, u, weights), Mixture.of([[0.0, 0.0]], 1.0, [1.0]), steps=4, horizon=1.0)
    m, v = means * np.exp(-tau), 1 + (u - 1) * np.exp(-2 * tau)

    def log_p(x):
        return np.log(np.exp(-0.5 * ((x - m) ** 2).sum(-1) / v) @ weights)

    x, h, e = weights @ m, 1e-3, 1e-3 * np.eye(2)
    ends = [[(log_p(x + a + b) + log_p(x - a - b), log_p(x + a - b) + log_p(x - a + b)) for b in e] for a in e]
    hessian = -np.diff(ends)[..., 0] / (4 * h * h)
    curvature, drift = clones.slopes(s, tau)
    # Fourth derivatives of order 1 times h², and rounding 1e-16/h².
    assert curvature == pytest.approx(np.linalg.eigvalsh(hessian)[-1], abs=1e-5)
    assert drift == pytest.approx(1 + 2 * curvature, abs=1e-12)


def test_a_narrow_field_decides_as_the_logistic(found) -> None:
    """Before anything is drawn again the share is E Σρ² of the ends themselves: by hand at the data end."""
    rng = np.random.default_rng(2)
    x = 3.0 + rng.standard_normal(200_000)
    rho = expit(2 * 3.0 * x)
    assert found["closed"].values[-1] == pytest.approx(float(np.mean(rho**2 + (1 - rho) ** 2)), abs=1e-3)


def test_result_is_read_back(found, tmp_path) -> None:
    write(found, tmp_path / "clones.nc")
    again = reopen.open(tmp_path / "clones.nc")
    assert again.equals(found)
    assert all("long_name" in again[name].attrs for name in again.data_vars)


def test_refusals() -> None:
    other = TEXT.replace('control = "exact"', 'control = "none"')
    cases: list[tuple[Problem, dict[str, Any], str]] = [
        (problem(other), {}, 'sampler.control: must be "exact"'),
        (problem(variances="[1.0, 0.5]"), {}, "target.variances: differ"),
        (problem(), {"splits": [41]}, "splits: one is 41; must be 0 to sampler.steps = 40"),
        (problem(), {"paths": 1}, "paths: is 1; must be at least 2"),
    ]
    for asked, options, message in cases:
        with pytest.raises(ProblemError, match=f"clones.toml: {message.replace('.', r'.')}"):
            speciation(asked, **{"splits": [1], **options})
    with pytest.raises(BackendError, match="cupy: clones are not simulated on it"):
        sampler_clones.same_mode(problem(), [1], 10, backend="cupy")
