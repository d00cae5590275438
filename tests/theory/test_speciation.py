"""Speciation times: curvature, drift, covariance and clones from the engine, against formulas typed in and numbers."""

from __future__ import annotations

import numpy as np
import pytest
from sympy import Integer, Rational, Symbol, log, simplify, sqrt

from derivations import speciation
from derivations.speciation import LAMBDA, R, U
from theory.configuration import Configuration
from theory.correspondence import DECAY
from theory.derivation import Step
from theory.tanh import TanhMean, numbers

HALF = Rational(1, 2)


@pytest.fixture(scope="module")
def curvature():
    return speciation.two_modes(speciation.along()[1], cosine=1)


def same(one, other) -> bool:
    return simplify(one - other) == 0


def test_every_step_holds_numerically() -> None:
    derivation, *_ = speciation.along()
    assert len(derivation.steps) >= 4
    assert max(step.residual for step in derivation.steps) < Configuration.TOLERANCE
    # control: a curvature without the square of the mean slope
    last = derivation.steps[-1]
    assert Step(last.of, last.rule, last.before, last.after / 2).residual > 1e-2


def test_curvature_at_the_centre(curvature) -> None:
    assert same(curvature, (R**2 / U - 1) / U)
    assert same(speciation.two_modes(speciation.along()[1], cosine=0), -1 / U)
    assert same(speciation.two_modes(speciation.along()[2], cosine=1), U + R**2)


def test_times_are_those_of_section_7(curvature) -> None:
    """The drift is unstable where 1 − 2/Γ + 2R²e^{−2τ}/Γ² = 0, for unit width at τ = ½ log 2R²."""
    noised, gamma = speciation.noised(curvature), 1 + (U - 1) * DECAY**2
    assert same(noised, (R**2 * DECAY**2 / gamma - 1) / gamma)
    drift = speciation.drift_slope(noised)
    assert same(drift, 1 - 2 / gamma + 2 * R**2 * DECAY**2 / gamma**2)
    assert same(speciation.time_of(drift).subs(U, 1), HALF * log(2 * R**2))
    assert same(speciation.time_of(noised), HALF * log(R**2 + 1 - U))
    assert same(speciation.covariance_time(), HALF * log(LAMBDA))


def test_clones_of_two_modes_are_a_moment_of_tanh() -> None:
    found = speciation.clones()
    assert same(found, HALF + TanhMean(2, R**2 / U, R / sqrt(U)) / 2)
    # Bayes: E tanh = E tanh² under the law of the field on its own mode
    one, two = numbers([TanhMean(1, R**2, R), TanhMean(2, R**2, R)], [R])(0.8)
    assert one == pytest.approx(two, abs=1e-12)
    value = numbers([found.xreplace({U: Integer(1)})], [R])
    assert value(1e-6)[0] == pytest.approx(0.5, abs=1e-6)
    assert value(6.0)[0] == pytest.approx(1.0, abs=1e-4)


def test_clones_by_drawing_points() -> None:
    """φ in R³ by 10⁵ points of the mixture: within 5 standard errors (6e-7); R larger by a tenth is not."""
    rng, r, u = np.random.default_rng(3), 1.1, 0.8
    sign = rng.choice([-1.0, 1.0], size=100_000)
    x = sign * r + np.sqrt(u) * rng.standard_normal(len(sign))
    rho = 1 / (1 + np.exp(-2 * r * x / u))
    square = rho**2 + (1 - rho) ** 2
    value = numbers([speciation.clones()], [R, U])
    error = square.std() / np.sqrt(len(square))
    assert abs(square.mean() - value(r, u)[0]) < 5 * error
    assert abs(square.mean() - value(1.1 * r, u)[0]) > 5 * error


@pytest.mark.slow
def test_document_has_all_its_parts() -> None:
    text = speciation.document()
    assert "@" not in text
    assert str(Symbol("nan")) not in text
    assert r"R_c=1.4608" in text
