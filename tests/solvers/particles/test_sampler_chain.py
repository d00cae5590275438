"""The sampler in R^d by itself: gradients, compiled against plain, and E W = Z whatever the method."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from solvers.particles.sampler import chain as sampler_chain
from solvers.particles.sampler import compiled as sampler_compiled
from solvers.particles.sampler.chain import gradient, walk
from solvers.particles.sampler.learn import rescheduled
from solvers.particles.sampler.mixtures import Mixture
from solvers.particles.sampler.schedule import Schedule, in_coordinates
from solvers.particles.streams import normals
from tests.solvers.particles.path_cases import KEYS, STREAM, model

pytestmark = pytest.mark.slow

EACH = pytest.mark.parametrize("key", KEYS, ids="-".join)
#: Groups of paths behind a t statistic, and its two-sided limit at 1e-6 for each test.
GROUPS = 32


def limit(numbers):
    return student.isf(0.5e-6 / numbers, GROUPS - 1)


def plain(z):
    """Loss Σ weights (−log W), and the gradient with log W, from given numbers."""

    def loss(at, chosen, weights):
        return -weights @ walk(at, lambda step: z[step], chosen).log_weight

    def slopes(at, chosen, weights):
        found, bars = gradient(at, lambda step: z[step], chosen, weights)
        return found.log_weight, bars

    return loss, slopes


def compiled():
    def loss(at, chosen, weights):
        return -weights @ sampler_compiled.walk(at, STREAM, 3, range(len(chosen)), chosen).log_weight

    def slopes(at, chosen, weights):
        return sampler_compiled.gradient(at, STREAM, 3, 0, range(len(chosen)), chosen, weights, of=at.mixtures)

    return loss, slopes


@EACH
@pytest.mark.parametrize("kind", ["plain", "compiled"])
def test_gradient_is_that_of_finite_differences(key, kind):
    """d = 3, common random numbers; along a random direction of all parameters of each mixture."""
    at, rng = model(key, d=3), np.random.default_rng(1)
    z, chosen, weights = rng.standard_normal((6, 9, 3)), rng.integers(0, 2, 9), rng.random(9)
    loss, slopes = plain(z) if kind == "plain" else compiled()
    log_weight, bars = slopes(at, chosen, weights)
    np.testing.assert_allclose(weights @ log_weight, -loss(at, chosen, weights), rtol=1e-12)
    for name, m in at.mixtures.items():
        to = [rng.standard_normal(bar.shape) for bar in bars[name]]

        def moved(h, name=name, m=m, to=to):
            new = Mixture(m.means + h * to[0], m.variances * np.exp(h * to[1]), m.log_weights + h * to[2])
            return loss(replace(at, mixtures=at.mixtures | {name: new}), chosen, weights)

        h = 1e-4  # central differences of fourth order: error h⁴ and rounding 1e-13/h
        slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
        along = [float(np.sum(a * b)) for a, b in zip(bars[name], to, strict=True)]
        assert sum(along) == pytest.approx(slope, rel=1e-7, abs=1e-7)
        if name == "prior":  # negative control: without any one of the three it is another number
            assert all(abs(sum(along) - part - slope) > 1e-4 for part in along)


@EACH
@pytest.mark.parametrize("backward", [False, True])
def test_compiled_equals_plain(key, backward):
    """The same random numbers; d = 19 is no whole number of tiles, 300 paths no whole number of blocks."""
    for steps in (0, 5) if key[2] == "none" else (1, 5):
        at, some = model(key, d=19, steps=steps), range(7, 307)
        chosen = np.random.default_rng(2).integers(0, 2, 300)
        plain = walk(at, lambda n: normals(np, STREAM[None], n, 3, some, 19)[0], chosen, backward=backward)  # noqa: B023
        fast = sampler_compiled.walk(at, STREAM, 3, some, chosen, backward=backward, ends=True)
        # rounding of squares of some hundreds divided by 4η
        np.testing.assert_allclose(fast.log_weight, plain.log_weight, atol=1e-10)
        np.testing.assert_allclose(fast.modes, plain.modes, atol=1e-12)
        np.testing.assert_allclose(fast.end, plain.end, atol=1e-12)


def both_gradients(at, some, **options):
    """The derivatives by either code, of paths with unequal weights whose numbers begin at step 11."""
    d, rng = at.dimension, np.random.default_rng(2)
    chosen, weights = rng.integers(0, 2, len(some)), rng.random(len(some))
    plain, bars = gradient(at, lambda n: normals(np, STREAM[None], 11 + n, 3, some, d)[0], chosen, weights)
    fast = sampler_compiled.gradient(at, STREAM, 3, 11, some, chosen, weights, of=at.mixtures, **options)
    return (plain.log_weight, bars), fast


@EACH
def test_compiled_gradient_equals_plain(key):
    """Every mixture, path by path (a single path has no sums to hide in) and in sum; steps 0 and 1 are special."""
    for steps, paths in [(steps, n) for steps in ((0, 1, 5) if key[2] == "none" else (1, 5)) for n in (1, 30)]:
        at = model(key, d=19, steps=steps)
        (log_weight, bars), (fast_weight, fast) = both_gradients(at, range(7, 7 + paths))
        np.testing.assert_allclose(fast_weight, log_weight, atol=1e-10)  # as of walk
        assert set(fast) == set(bars)
        for name, bar in bars.items():
            # The largest are sums of some ten terms of order 10 for each path, which may cancel.
            for mine, theirs in zip(fast[name], bar, strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-11 * paths)
    # negative control: the same comparison sees that a single number of a single mixture is another
    prior = at.mixtures["prior"]
    moved = replace(prior, variances=prior.variances * (1 + 1e-8))
    _, (_, other) = both_gradients(replace(at, mixtures=at.mixtures | {"prior": moved}), range(7, 37))
    assert not np.allclose(other["prior"].means, bars["prior"].means, rtol=1e-11, atol=1e-11 * paths)


@pytest.mark.parametrize("options", [{"threads": 3}, {"block": 1}, {"block": 7, "threads": 2}])
def test_threads_and_blocks_change_no_bit(options, monkeypatch):
    monkeypatch.setattr(sampler_compiled, "PIECE_BYTES", 40_000)  # some ten paths
    at, some = model(("cmcd", "ou", "mixture"), d=19), range(47)
    once, again = both_gradients(at, some)[1], both_gradients(at, some, **options)[1]
    assert np.array_equal(once[0], again[0])
    for name, bar in once[1].items():
        assert all(np.array_equal(a, b) for a, b in zip(bar, again[1][name], strict=True))
    monkeypatch.setattr(sampler_compiled, "CALL_NORMALS", 2000)
    chosen = np.arange(47) % 2
    walks = [sampler_compiled.walk(at, STREAM, 3, some, chosen, ends=True, threads=n) for n in (1, 3)]
    assert all(np.array_equal(*parts) for parts in zip(*(vars(found).values() for found in walks), strict=True))


def test_only_what_is_asked_for_is_differentiated():
    at = model(("dbs", "ou", "mixture"), d=19)
    chosen, weights = np.arange(9) % 2, np.ones(9)
    every = sampler_compiled.gradient(at, STREAM, 3, 0, range(9), chosen, weights, of=at.mixtures)[1]
    some = sampler_compiled.gradient(at, STREAM, 3, 0, range(9), chosen, weights, of=["control_back", "prior"])[1]
    assert set(some) == {"control_back", "prior"}
    assert all(np.array_equal(a, b) for name in some for a, b in zip(some[name], every[name], strict=True))


def test_a_gradient_can_be_stopped(monkeypatch):
    monkeypatch.setattr(sampler_compiled, "PIECE_BYTES", 40_000)
    calls = []

    def stop():
        calls.append(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        both_gradients(model(("cmcd", "ou", "none"), d=19), range(100), stop=stop, threads=2)
    assert len(calls) == 1


def mean_weight(at, walked, *, backward):
    """t statistic of E W = 1, or E[1/W] = 1 for paths from the target, over groups of paths."""
    first = at.mixtures["target" if backward else "prior"]
    chosen = np.random.default_rng(3).choice(2, size=GROUPS * 1000, p=np.exp(first.log_weights))
    log_w = walked(at, chosen).log_weight
    means = np.exp(-log_w if backward else log_w).reshape(GROUPS, -1).mean(1)
    return abs(means.mean() - 1) / (means.std(ddof=1) / np.sqrt(GROUPS))


@EACH
@pytest.mark.parametrize("backward", [False, True])
def test_mean_weight_is_z_at_every_number_of_steps(key, backward):
    """Z = 1. Overlapping mixtures and a short horizon, so that weights are light-tailed and t statistics hold."""

    def walked(at, chosen):
        return sampler_compiled.walk(at, STREAM, 4, range(len(chosen)), chosen, backward=backward)

    for steps in (0, 1, 6) if key[2] == "none" else (1, 6):
        at = model(key, d=3, steps=steps, horizon=0.06, wide=0.3)
        assert mean_weight(at, walked, backward=backward) < limit(3), steps


@pytest.mark.parametrize("key", [("dis", "ou", "exact"), ("cmcd", "annealed", "none")], ids="-".join)
def test_wrong_kernels_are_rejected(key):
    """A backward kernel of variance 2.2η with the normaliser of 2η: 1.1^(d/2) too much a step."""
    source = inspect.getsource(sampler_chain)
    assert source.count('np.einsum("nd,nd->n", back, back) / (4 * eta)\n') == 2
    wrong = {"__name__": sampler_chain.__name__}
    exec(source.replace("back, back) / (4 * eta)", "back, back) / (4.4 * eta)"), wrong)
    at = model(key, d=3, horizon=0.06, wide=0.3)
    rng = np.random.default_rng(4)

    def walked(using):
        return lambda at, chosen: using(at, lambda step: rng.standard_normal((len(chosen), 3)), chosen)

    assert mean_weight(at, walked(walk), backward=False) < limit(1)
    assert mean_weight(at, walked(wrong["walk"]), backward=False) > limit(1)


@EACH
def test_slopes_in_the_schedule_are_those_of_finite_differences(key):
    """In every log η_n and logit of the annealing, and compiled the same. Control: a part in a thousand is seen."""
    at, rng = model(key, d=3, steps=4), np.random.default_rng(1)
    chosen, weights = rng.integers(0, 2, 9), rng.random(9)
    steered = Schedule(np.zeros(4), np.zeros(5)), Schedule(np.zeros(4), np.zeros(5))
    gradient(at, lambda n: normals(np, STREAM[None], n, 3, range(9), 3)[0], chosen, weights, steered[0])
    sampler_compiled.gradient(at, STREAM, 3, 0, range(9), chosen, weights, of=at.mixtures, schedule=steered[1])
    for plain, fast in zip(*steered, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-10, atol=1e-9)
    found, loss = in_coordinates(at.eta, at.beta, steered[0]), compiled()[0]
    assert found.annealing.any() == (at.reference == "annealed")
    for name in ("steps", "annealing"):
        for n in range(4):

            def moved(h, name=name, n=n):
                by = Schedule(np.zeros(4), np.zeros(4))
                getattr(by, name)[n] = h
                return loss(rescheduled(at, by), chosen, weights)

            h = 1e-3
            slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
            assert getattr(found, name)[n] == pytest.approx(slope, rel=1e-7, abs=1e-7), (name, n)
            if name == "steps":
                assert abs(1.001 * found.steps[n] - slope) > 1e-7
