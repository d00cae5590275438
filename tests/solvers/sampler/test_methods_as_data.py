"""A method is a row of the emitted table: what runs paths of one that nobody knows, and who else knows the methods."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from solvers.closed import systems
from solvers.particles.sampler.chain import Model
from solvers.problem.sampler_section import SamplerSection, sampler_options
from solvers.sampler import Mixture
from solvers.sampler.backends import WALKERS
from solvers.sampler.limits import pull
from solvers.sampler.model import chain_module
from tests.solvers.sampler.plain_chain import KEYS, case, plain, score

#: Of x and of scores, (mixture, noised): coefficients forward and backward, constant and slope in n/N.
OWN = {
    ("x", False): ((-0.5, 0.25), (-0.75, 0.5)),
    ("prior", False): ((0.5, 0.0), (0.0, 0.0)),
    ("target", True): ((0.0, 0.5), (0.25, 0.5)),
    ("control", True): ((0.75, -0.5), (0.0, 0.25)),
    ("control_back", False): ((0.0, 0.0), (0.5, -0.25)),
}


def with_row(row):
    """The emitted chain with one method more."""
    source, start = systems.read("sampler_chain"), "DRIFTS = {\n"
    assert source.count(start) == 1
    return systems.load(source.replace(start, f"{start}    ('own', 'mixed', 'mixture'): {row!r},\n"))


def own_case(row, rng):
    return case("own", "mixed", "mixture", d=5, steps=4, rng=rng, module=with_row(row))


BACKENDS = pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])


@BACKENDS
def test_a_row_is_all_there_is_to_a_method(backend):
    """Path by path against d dimensions, where its drifts are typed in; a coefficient that is off by 1e-4 is seen."""
    sampler, mixtures, frame = own_case(OWN, np.random.default_rng(1))

    def drift(side, n, x):
        out = 0.0
        for (name, noised), pairs in OWN.items():
            constant, slope = pairs[side == "backward"]
            if name == "x":
                field = x
            elif noised:
                mean, v, w = mixtures[name]
                e = np.exp(-sampler.left[n])
                field = score(x, e * mean, 1 + (v - 1) * e**2, w)
            else:
                field = score(x, *mixtures[name])
            out = out + (constant + slope * n / sampler.steps) * field
        return out

    log_w, x, noise, chosen = plain(sampler, mixtures, 40, np.random.default_rng(2), frame, drift)
    walk = WALKERS[backend].forward
    found = walk(sampler, noise, chosen)
    np.testing.assert_allclose(found.log_weight, log_w, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.end, x @ frame, rtol=0, atol=1e-12)
    assert sampler.controls == ("control", "control_back")
    off = OWN | {("control", True): ((0.75, -0.5), (1e-4, 0.25))}
    wrong = walk(replace(sampler, module=with_row(off)), noise, chosen)
    assert np.max(np.abs(wrong.log_weight - log_w)) > 1e-6


@BACKENDS
def test_its_gradient_is_that_of_its_log_weight(backend):
    """Central differences in every mean of every mixture; noise reaches those that are noised."""
    rng = np.random.default_rng(3)
    sampler, mixtures, frame = own_case(OWN, rng)
    *_, noise, chosen = plain(replace(sampler, method="dis", reference="prior"), mixtures, 20, rng, frame)
    weights, by, h = rng.random(20), WALKERS[backend], 1e-5
    _, slopes = by.gradient(sampler, noise, chosen, weights)
    for name, m in sampler.mixtures.items():
        direction = rng.standard_normal(m.mean.shape)
        losses = []
        for sign in (1, -1):
            moved = Mixture(m.mean + sign * h * direction, m.log_var, m.log_w)
            there = replace(sampler, mixtures=sampler.mixtures | {name: moved})
            losses.append(-weights @ by.forward(there, noise, chosen).log_weight)
        found = np.sum(slopes[name].mean * direction)
        assert abs(found) > 1e-3
        assert found == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6, abs=1e-7)


def test_the_limit_of_its_steps_follows():
    """Largest −a by hand at N = 4, T = 0.6, one variance v each: c_x and the sum of c/v."""
    sampler, *_ = own_case(OWN, np.random.default_rng(1))
    v = {"prior": 1.4, "target": 0.8, "control": 1.2, "control_back": 0.9}
    mixtures = {name: Mixture.of([[0.0, 0.0]], [u], [1.0]) for name, u in v.items()}
    forward, backward = pull(replace(sampler, mixtures=mixtures))
    beta, e = np.arange(5) / 4, np.exp(2 * (np.arange(5) * 0.15 - 0.6))
    target, control = 1 / (1 - 0.2 * e), 1 / (1 + 0.2 * e)
    ahead = 0.5 - 0.25 * beta + 0.5 / 1.4 + 0.5 * beta * target + (0.75 - 0.5 * beta) * control
    back = 0.75 - 0.5 * beta + (0.25 + 0.5 * beta) * target + 0.25 * beta * control + (0.5 - 0.25 * beta) / 0.9
    np.testing.assert_allclose(forward, ahead[:4], rtol=1e-13)
    np.testing.assert_allclose(backward, back[1:], rtol=1e-13)


def test_problem_files_and_the_simulation_know_the_methods_of_the_table():
    """Both have them typed in: which combinations there are, and which mixtures their drifts have."""
    words = product(("dis", "mcd", "cmcd", "dbs"), ("ou", "prior", "annealed"), ("none", "exact", "mixture"))
    accepted = []
    for method, reference, control in words:

        def fail(key, message):
            raise LookupError(key)

        try:
            section = SamplerSection(method=method, reference=reference, control=control)
            sampler_options(section, ("means",), 2, fail)
        except LookupError:
            continue
        accepted.append((method, reference, control))
    assert sorted(accepted) == KEYS
    key: tuple[str, str, str]
    for key in KEYS:
        names = {name for name, _ in chain_module().DRIFTS[key]} - {"x", "prior", "target"}
        assert set(Model(*key, 4, 1.0, {}).controls) == names
