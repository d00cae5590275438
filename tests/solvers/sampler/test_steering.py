"""Schedules that are learned: the derived gradient in steps and annealing, and what learning them does."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.closed import systems
from solvers.sampler import Noise, gradient
from solvers.sampler.backends import PLAIN, WALKERS
from solvers.sampler.gradients import path_gradient, start_gradient
from solvers.sampler.model import Bars
from solvers.sampler.steering import Schedule
from tests.solvers.sampler.plain_chain import KEYS, case, uneven


def slope(of, h=1e-3):
    """f'(0) by central differences of fourth order: error h⁴ and rounding 1e-15/h."""
    return (8 * (of(h) - of(-h)) - (of(2 * h) - of(-2 * h))) / (12 * h)


def sampler_at(key, *, d=5, steps=4):
    return uneven(case(*key, d=d, steps=steps, rng=np.random.default_rng(1))[0])


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_slopes_are_those_of_finite_differences(key):
    """In every log η_n and every logit of the annealing, at fixed noise, through drifts, kernels and noised scores."""
    sampler, rng = sampler_at(key), np.random.default_rng(2)
    noise, weights, chosen = Noise.draw(sampler, 7, rng), rng.random(7), np.arange(7) % 2
    bars = Bars.zeros(sampler)
    gradient(sampler, noise, chosen, weights, bars)
    found, at = Schedule.slope(sampler, bars), Schedule.of(sampler)
    for name, moving in (("log_eta", "steps"), ("logits", "annealing")):
        for n in range(sampler.steps):

            def loss(h, name=name, moving=moving, n=n):
                moved = replace(at, **{name: getattr(at, name) + h * np.eye(sampler.steps)[n]})
                paths, _ = gradient(moved.put(sampler, (moving,)), noise, chosen, weights)
                return -weights @ paths.log_weight

            assert getattr(found, name)[n] == pytest.approx(slope(loss), rel=1e-7, abs=1e-8), (name, n)
    if sampler.reference != "annealed":
        assert not found.logits.any()


def test_a_term_that_is_forgotten_is_seen():
    """Control: without the part of the noise in the increment of log W the same number is another."""
    source, term = systems.read("sampler_chain"), "        + beyond * chi2 * increment_bar / 2"
    assert source.count(term) == 1
    found = []
    for text in (source, source.replace(term, "        + 0.0")):
        sampler, *_ = case("dis", "ou", "exact", steps=4, rng=np.random.default_rng(1), module=systems.load(text))
        rng, bars = np.random.default_rng(2), Bars.zeros(sampler)
        gradient(sampler, Noise.draw(sampler, 7, rng), np.arange(7) % 2, rng.random(7), bars)
        found.append(bars.eta)
    assert np.min(np.abs(found[0] - found[1])) > 1e-3


def both(key, walker, paths=130):
    sampler, rng = sampler_at(key, steps=3), np.random.default_rng(3)
    noise, weights, chosen = Noise.draw(sampler, paths, rng), rng.random(paths), np.arange(paths) % 2
    found = []
    for by in (PLAIN, walker):
        bars = Bars.zeros(sampler)
        slopes = by.gradient(sampler, noise, chosen, weights, bars)[1]
        found.append([*bars, slopes["prior"].mean])
    return zip(*found, strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("key", [("dis", "ou", "exact"), ("cmcd", "annealed", "mixture")], ids="-".join)
def test_machine_code_has_the_same_slopes(key):
    """More than two blocks of paths, in two threads."""
    for expected, found in both(key, WALKERS["numba"].within(2)):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11 * (1 + np.max(np.abs(expected))))


def test_the_exact_control_takes_the_prior_from_starts_and_the_steps_from_paths():
    sampler = sampler_at(("dis", "ou", "exact"))
    noise = Noise.spread(sampler, 16, np.random.default_rng(4))
    one, other = Bars.zeros(sampler), Bars.zeros(sampler)
    (value, slopes), (again, along) = (
        start_gradient(sampler, noise, PLAIN, one),
        path_gradient(sampler, noise, PLAIN, other),
    )
    plain, alone = start_gradient(sampler, noise)
    assert (value, again) == pytest.approx((plain, plain), rel=1e-12)
    np.testing.assert_allclose(one.eta, other.eta, rtol=1e-14)
    np.testing.assert_allclose(slopes["prior"].mean, alone["prior"].mean, rtol=1e-12)
    assert not np.allclose(slopes["prior"].mean, along["prior"].mean, rtol=1e-3)
