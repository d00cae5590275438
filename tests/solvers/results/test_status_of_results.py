"""What is no number, or has no digit left, never goes with status 0; what cannot be run is refused by key."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from solvers import results
from solvers.closed import flow
from solvers.particles.flow import simulate
from solvers.problem import Problem, ProblemError
from solvers.problem.starts import Starts

TEXT = """
dimension = 4
[target]
separation = {R}
[family]
components = 2
learn = {learn}
[flow]
{flow}
[init]
{init}
[time]
end = {end}
save = 3
"""
NEAR = "overlaps = {s = [[0.29, -0.18], [-0.18, 0.17]], m = [[1.5, -1.5], [-1.2, 1.2]]}"


def problem(flow: str = "", init: str = NEAR, R: float = 3.0, end: float = 2.0, learn: str = '["means"]') -> Problem:
    return Problem.parse(TEXT.format(flow=flow, init=init, R=R, end=end, learn=learn))


@pytest.mark.parametrize("step", ["1e-300", "5e-324", "1e-12", "2.1", "1e300"])
def test_impossible_steps_of_batches(step: str) -> None:
    with pytest.raises(ProblemError, match=r"flow.batch.step: is .*; must be from 2e-08 to time.end = 2"):
        problem(f"batch = {{size = 8, step = {step}}}")


@pytest.mark.parametrize("step", [2.0, 0.7, 0.01])
def test_possible_steps_of_batches(step: float) -> None:
    ds = flow.solve(problem(f"batch = {{size = 8, step = {step}}}"))
    assert ds.status.item() == 0
    assert np.isfinite(ds.objective).all()
    assert (ds.s[0, -1] != ds.s[0, 0]).any()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("size", [4e150, 1e300])
def test_overlaps_whose_differences_have_no_digits(size: float, backend: str) -> None:
    """Both means on the modes: what is left of the objective is the rounding of its terms."""
    R = float(np.sqrt(size))
    c = R * R
    init = f"overlaps = {{s = [[{c!r}, {-c!r}], [{-c!r}, {c!r}]], m = [[{c!r}, {-c!r}], [{-c!r}, {c!r}]]}}"
    ds = flow.solve(problem(init=init, R=R, end=1.0), backend=backend)
    assert ds.status.item() == 2
    assert all(np.isnan(ds[name]).all() for name in ("objective", "s"))
    assert ds.collapsed.item() == -1


@pytest.mark.parametrize("seed", range(4))
def test_large_overlaps_say_how_many_digits_are_left(seed: int) -> None:
    """K = L = 1, KL = |μ − ν|²/2 in fractions of the overlaps: off by no more than is stated."""
    rng = np.random.default_rng(seed)
    nu = float(10 ** rng.uniform(2, 6))
    mu = nu + float(rng.normal())
    text = f"""
dimension = 1
[target]
means = [[{nu!r}]]
[family]
components = 1
learn = []
[init]
means = [[{mu!r}]]
[time]
end = 0.0
"""
    ds = flow.solve(Problem.parse(text))
    exact = float((mp.mpf(mu) - mp.mpf(nu)) ** 2 / 2)
    assert abs(ds.objective.item() - exact) <= ds.quadrature_error.item() * max(1.0, exact)
    assert ds.quadrature_error.item() > 1e-16 * nu**2 / max(1.0, exact)


@pytest.mark.parametrize("temperature", ["", "temperature = 2.0"])
def test_a_negative_divergence_is_no_result(temperature: str) -> None:
    """Overlaps of no vectors, |μ − ν|² < 0. Control: tempered, an objective may be negative."""
    case = problem(temperature, learn="[]")
    bad = Starts(np.full((1, 2, 2), 0.01), np.array([[[7.0, -7.0], [7.0, -7.0]]]), np.zeros((1, 2)))
    ds = flow.solve(case, backend="numpy", begin=bad)
    assert ds.status.item() == (0 if temperature else 2)
    assert temperature == "" or (ds.objective < 0).all()


@pytest.mark.slow
def test_whatever_is_not_finite_has_a_status() -> None:
    given, names = problem(), ("m", "s", "w", "objective", "mode_mass", "B", "quadrature_error")
    ds = flow.solve(given)
    arrays = {name: ds[name].values.copy() for name in names if name != "B"} | {"B": np.full((1, 2, 2), 0.5)}
    options = {"system": "", "backend": "numpy", "rtol": 1e-8, "atol": 1e-10, "status": np.zeros(1)}
    assert results.run_dataset(given, **arrays, **options).status.item() == 0
    for name in names:
        for value in (np.nan, np.inf):
            broken = {n: a.copy() for n, a in arrays.items()}
            broken[name].ravel()[-1] = value
            made = results.run_dataset(given, **broken, **options)
            assert made.status.item() == 2, name
            assert np.isnan(made.objective).all(), name


def test_a_simulation_that_overflows_has_a_status() -> None:
    means = "means = [[1e160], [1e160]]"
    with pytest.raises(ProblemError, match=r"init\.means"):
        problem(init=means)
    ds = simulate(problem(init="means = [[1e150], [1e140]]", end=0.05), particles=4, replicas=2, step=0.05)
    assert ds.status.item() == 0 or np.isnan(ds.objective).all()
    assert np.isfinite(ds.objective).all() == (ds.status.item() == 0)


@pytest.mark.parametrize("start", [1e-100, 1e-17, 0.3, 1.0 + 1e-12, 1e20, 1e100])
def test_the_schedule_at_extreme_temperatures(start: float) -> None:
    given = problem(f"temperature = {{start = {start!r}, rate = 0.1}}")
    with mp.workdps(250):
        for t in (0.0, 1e-30, 0.2, 2.0, 900.0):
            T = 1 + (mp.mpf(start) - 1) * mp.exp(-mp.mpf(0.1) * mp.mpf(t))
            assert given.flow.beta(t) == pytest.approx(float(1 / T), rel=1e-15 + 2e-17 * t)


@pytest.mark.parametrize("start", ["1e-300", "1e300", "1e-101", "0.0", "-1.0"])
@pytest.mark.parametrize("schedule", [True, False])
def test_temperatures_out_of_range(start: str, schedule: bool) -> None:
    with pytest.raises(ProblemError, match=r"flow\.temperature: is .* must be a number > 0.* from 1e-100 to 1e"):
        problem(f"temperature = {{start = {start}, rate = 0.1}}" if schedule else f"temperature = {start}")


@pytest.mark.slow
@pytest.mark.parametrize(("start", "rate", "end"), [(1e-17, 0.1, 2.0), (1e20, 1.0, 50.0)])
def test_schedules_from_far_away_are_the_same_in_machine_code(start: float, rate: float, end: float) -> None:
    """There T is a state: as β from 10²⁰, less than any tolerance, it would be lost."""
    given = problem(f"temperature = {{start = {start!r}, rate = {rate}}}", end=end, learn='["means", "weights"]')
    plain, compiled = (flow.solve(given, backend=backend) for backend in ("numpy", "numba"))
    for ds in (plain, compiled):
        assert ds.status.item() == 0
    for name in ("s", "m", "w"):
        np.testing.assert_allclose(compiled[name], plain[name], rtol=3e-7, atol=3e-7)
    if start < 1:
        np.testing.assert_allclose(plain.w[0, -1], [0.56277367, 0.43722633], rtol=0, atol=1e-7)
        np.testing.assert_allclose(plain.m[0, -1, :, 0], [8.96662658, -8.96815529], rtol=0, atol=1e-6)
