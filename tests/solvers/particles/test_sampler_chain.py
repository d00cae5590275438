"""The sampler in R^d by itself: gradients, compiled against plain, and E W = Z whatever the method."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from solvers.particles import sampler_chain, sampler_compiled
from solvers.particles.sampler_chain import Mixture, Model, gradient, walk
from solvers.particles.streams import normals, stream_keys

KEYS = [
    (method, reference, control)
    for method in ("dis", "mcd", "cmcd", "dbs")
    for reference in ("ou", "prior", "annealed")
    for control in ("none", "exact", "mixture")
    if not (method == "dis" and reference == "annealed")
    and not (control == "exact" and (method, reference) != ("dis", "ou"))
]
EACH = pytest.mark.parametrize("key", KEYS, ids="-".join)
STREAM = stream_keys(0, (99,), range(1))[0]
#: Groups of paths behind a t statistic, and its two-sided limit at 1e-6 for each test.
GROUPS = 32


def limit(numbers):
    return student.isf(0.5e-6 / numbers, GROUPS - 1)


def mixture(rng, K, d, wide):
    w = 0.5 + rng.random(K)
    return Mixture(wide * rng.standard_normal((K, d)), 0.8 + 0.6 * rng.random(K), np.log(w / w.sum()))


def model(key, *, d, steps=5, horizon=0.6, wide=1.0, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"prior": 2, "target": 2, "control": 3, "control_back": 2}
    return Model(*key, steps, horizon, {name: mixture(rng, K, d, wide) for name, K in sizes.items()})


@EACH
def test_gradient_is_that_of_finite_differences(key):
    """d = 3, common random numbers; along a random direction of all parameters of each mixture."""
    at, rng = model(key, d=3), np.random.default_rng(1)
    z, chosen, weights = rng.standard_normal((6, 9, 3)), rng.integers(0, 2, 9), rng.random(9)
    found, bars = gradient(at, lambda step: z[step], chosen, weights)

    def loss(at):
        return -weights @ walk(at, lambda step: z[step], chosen).log_weight

    np.testing.assert_allclose(weights @ found.log_weight, -loss(at), rtol=1e-12)
    for name, m in at.mixtures.items():
        to = [rng.standard_normal(bar.shape) for bar in bars[name]]

        def moved(h, name=name, m=m, to=to):
            new = Mixture(m.means + h * to[0], m.variances * np.exp(h * to[1]), m.log_weights + h * to[2])
            return loss(replace(at, mixtures=at.mixtures | {name: new}))

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
