"""The gap shrinks as it must: n^(−1/2) with particles, first order with the step, and it does not grow with d."""

import numpy as np
import pytest
from scipy.stats import norm

from figures.stored import PROBLEMS
from solvers.closed import flow, systems
from solvers.problem import Problem
from solvers.verdict.scaling import LINES, exponent, line_of, scaling, series

FALSE_ALARM = 1e-6
REPLICAS = 64


def problem(name="agreement_scaling"):
    return Problem.load(PROBLEMS / f"{name}.toml")


@pytest.fixture(scope="module")
def found():
    return scaling(
        problem(), particles=(16, 64, 256), steps=(0.4, 0.2, 0.1, 0.05), dimensions=(4, 32, 256, 2048), many=512,
        replicas=REPLICAS, at_particles=16, at_step=0.2,
    )  # fmt: skip


def misses(values, errors, expected):
    """Whether any of these estimates is further off than FALSE_ALARM allows for all of them."""
    limit = norm.isf(FALSE_ALARM / (2 * len(values)))
    return bool(np.any(np.abs(np.subtract(values, expected)) > limit * np.array(errors)))


def spread_exponents(found, line: str) -> tuple[np.ndarray, np.ndarray]:
    entries = found["entry"].values
    # Standard error of a standard deviation of normal numbers; entries are near normal, being sums of many.
    fits = [
        exponent(x, y, y / np.sqrt(2 * (REPLICAS - 1))) for x, y, _, _ in (line_of(found, line, e) for e in entries)
    ]
    found_exponents, errors = np.array(fits).T
    return found_exponents, errors


@pytest.mark.slow
def test_standard_errors_fall_as_the_square_root_of_particles(found):
    assert not misses(*spread_exponents(found, "particles"), -0.5)
    assert misses(*spread_exponents(found, "particles"), -0.25)
    assert misses(*spread_exponents(found, "particles"), -1.0)


def biases(found, powers, line="step"):
    fits = [
        series(x, bias, error, powers) for x, _, bias, error in (line_of(found, line, e) for e in found["entry"].values)
    ]
    return np.array([fit[0] for fit in fits]), np.array([fit[1] for fit in fits])


@pytest.mark.slow
def test_the_bias_vanishes_in_first_order_of_the_step(found):
    """b = c₀ + a h + b h²: c₀ is zero, or theory and simulation differ; a is not, or the order is higher."""
    coefficients, errors = biases(found, (0, 1, 2))
    assert not misses(coefficients[:, 0], errors[:, 0], 0.0)
    coefficients, errors = biases(found, (1, 2))
    assert misses(coefficients[:, 0], errors[:, 0], 0.0)


@pytest.mark.slow
def test_a_wrong_theory_has_a_gap_that_stays(found):
    """The negative control: one term 10 % off, and there is a gap at step zero."""
    wrong = systems.load(systems.read("reverse_kl"), scale={"dm.Bc/u": 1.1, "ds.Bm/u": 1.1})
    end = flow.solve(problem(), system=wrong).isel(sample=0, time=-1)
    s, m, w = (end[name].values for name in ("s", "m", "w"))
    theory = np.concatenate([s[np.triu_indices(2)], m.ravel(), w[:1]])
    coefficients, errors = biases(
        found.assign(theory=found["theory"].copy(data=np.tile(theory, (found.sizes["run"], 1)))), (0, 1, 2)
    )
    assert misses(coefficients[:, 0], errors[:, 0], 0.0)


@pytest.mark.slow
def test_nothing_grows_with_the_dimension(found):
    assert not misses(*spread_exponents(found, "dimension"), 0.0)
    coefficients, errors = biases(found, (0, 1), line="dimension")
    assert not misses(coefficients[:, 1], errors[:, 1], 0.0)


def test_with_different_variances_the_noise_of_a_finite_batch_does():
    """The negative control, and a fact: at v ≠ u squared lengths gain h d/n, and the same fits say so."""
    unequal = scaling(problem("agreement_scaling_unequal"), dimensions=(4, 32, 256, 2048), at_particles=16, at_step=0.2)
    coefficients, errors = biases(unequal, (0, 1), line="dimension")
    assert misses(coefficients[:, 1], errors[:, 1], 0.0)
    assert coefficients[0, 1] > 0


def test_fits():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    assert exponent(x, 3 * x**-0.5, 0.1 * x**-0.5) == pytest.approx((-0.5, 0.1 / 3 / np.sqrt(5) / np.log(2)))
    assert exponent(x, -2 * x * np.exp(0.3 * x), 0.1 * x, correction=True)[0] == pytest.approx(1.0)
    coefficients, errors = series(x, 2 * x - 0.5 * x**2, np.full(4, 0.1), (1, 2))
    assert coefficients == pytest.approx([2.0, -0.5])
    assert series(x, x, np.full(4, 0.2), (1, 2))[1] == pytest.approx(2 * errors)


@pytest.mark.slow
def test_only_lines_that_were_asked_for(found):
    assert LINES == ("particles", "step", "dimension")
    small = scaling(problem(), steps=(0.5, 0.25), many=4, replicas=2)
    assert small.sizes["run"] == 2
    assert set(small["line"].values) == {"step"}
    assert list(small.attrs["steps"]) == [0.5, 0.25]
    assert list(found["entry"].values) == ["s[0,0]", "s[0,1]", "s[1,1]", "m[0,0]", "m[0,1]", "m[1,0]", "m[1,1]", "w[0]"]
