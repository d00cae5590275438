"""Priors with a variance in each coordinate: gradients, both engines, ELBO by quadrature, and where learning leads."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from solvers.particles.engines import engine
from solvers.particles.sampler import by_coordinate
from solvers.particles.sampler.chain import gradient, walk
from solvers.particles.sampler.diagonal import Diagonal
from solvers.particles.sampler.learn import Learner, velocity, widened
from solvers.particles.sampler.mixtures import Mixture
from solvers.particles.sampler.optimisers import Euler
from solvers.particles.sampler.ratio import by_starts
from solvers.particles.sampler.simulation import replica_curves
from solvers.particles.streams import normals
from solvers.problem import Problem
from solvers.problem.starts import starts
from tests.solvers.particles.path_cases import KEYS, STREAM, model

pytestmark = pytest.mark.slow

EACH = pytest.mark.parametrize("key", KEYS, ids="-".join)
ALPHA = 1e-6
EXACT = ("dis", "ou", "exact")


def diagonal(at, equal=False):
    """The model with such prior and controls, their variances spread by e^{±0.5} about those they had."""
    rng, changed = np.random.default_rng(7), {}
    for name, m in at.mixtures.items():
        spread = np.exp(0.0 if equal else rng.uniform(-0.5, 0.5, m.means.shape))
        changed[name] = Diagonal(m.means, m.variances[:, None] * np.ones(m.means.shape) * spread, m.log_weights)
    return replace(at, mixtures=changed | {"target": at.mixtures["target"]})


def numbers(some, d, source=3, begin=0):
    return lambda n: normals(np, STREAM[None], begin + n, source, some, d)[0]


@EACH
@pytest.mark.parametrize("kind", ["plain", "compiled"])
def test_gradient_is_that_of_finite_differences(key, kind):
    """Common random numbers; along a random direction of all parameters of each mixture. Central differences of fourth
    order: error h⁴ and rounding 1e-13/h. Control: without any one group of parameters it is another number."""
    at, rng, some = diagonal(model(key, d=3)), np.random.default_rng(1), range(9)
    chosen, weights = rng.integers(0, 2, 9), rng.random(9)

    def loss(at):
        if kind == "plain":
            return -weights @ walk(at, numbers(some, 3), chosen).log_weight
        return -weights @ by_coordinate.walk(at, STREAM, 3, some, chosen).log_weight

    if kind == "plain":
        bars = gradient(at, numbers(some, 3), chosen, weights)[1]
    else:
        bars = by_coordinate.gradient(at, STREAM, 3, 0, some, chosen, weights, of=at.mixtures)[1]
    for name, m in at.mixtures.items():
        to = [rng.standard_normal(bar.shape) for bar in bars[name]]
        assert bars[name].log_variances.shape == m.variances.shape

        def moved(h, name=name, m=m, to=to):
            means, widths, log_w = m.means + h * to[0], m.variances * np.exp(h * to[1]), m.log_weights + h * to[2]
            new = replace(m, means=means, variances=widths, log_weights=log_w)
            return loss(replace(at, mixtures=at.mixtures | {name: new}))

        h = 1e-4
        slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
        along = [float(np.sum(a * b)) for a, b in zip(bars[name], to, strict=True)]
        assert sum(along) == pytest.approx(slope, rel=1e-7, abs=1e-7)
        if name == "prior":
            assert all(abs(sum(along) - part - slope) > 1e-4 for part in along)


@EACH
def test_compiled_equals_plain(key):
    """d = 19 is no whole number of tiles, 300 paths no whole number of blocks. Rounding as for isotropic ones."""
    rng = np.random.default_rng(2)
    for steps in (0, 5) if key[2] == "none" else (1, 5):
        at, some, chosen = diagonal(model(key, d=19, steps=steps)), range(7, 307), rng.integers(0, 2, 300)
        for backward in (False, True):
            plain = walk(at, numbers(some, 19), chosen, backward=backward)
            fast = by_coordinate.walk(at, STREAM, 3, some, chosen, backward=backward, ends=True)
            np.testing.assert_allclose(fast.log_weight, plain.log_weight, atol=1e-10)
            np.testing.assert_allclose(fast.modes, plain.modes, atol=1e-12)
            np.testing.assert_allclose(fast.end, plain.end, atol=1e-12)
        for paths in (1, 30):
            some, chosen, weights = range(7, 7 + paths), rng.integers(0, 2, paths), rng.random(paths)
            plain, bars = gradient(at, numbers(some, 19, begin=11), chosen, weights)
            log_weight, found = by_coordinate.gradient(at, STREAM, 3, 11, some, chosen, weights, of=at.mixtures)
            np.testing.assert_allclose(log_weight, plain.log_weight, atol=1e-10)
            for name, bar in bars.items():
                for mine, theirs in zip(found[name], bar, strict=True):
                    np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-11 * paths)
    prior = at.mixtures["prior"]  # control: a single variance that is another in the eighth digit
    other = prior.variances.copy()
    other[0, 3] *= 1 + 1e-8
    off = replace(at, mixtures=at.mixtures | {"prior": replace(prior, variances=other)})
    moved = by_coordinate.gradient(off, STREAM, 3, 11, some, chosen, weights, of=["prior"])[1]["prior"].means
    assert not np.allclose(moved, bars["prior"].means, rtol=1e-11, atol=1e-11 * paths)


@EACH
@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_equal_variances_are_the_isotropic_sampler(key, name):
    """To rounding: squares are added up in another order."""
    one, some, rng = model(key, d=5), range(40), np.random.default_rng(4)
    two, using, chosen, weights = diagonal(one, equal=True), engine(name), rng.integers(0, 2, 40), rng.random(40)
    for backward in (False, True):
        iso, own = (using.walk(at, STREAM, 3, some, chosen, backward=backward, ends=True) for at in (one, two))
        np.testing.assert_allclose(own.log_weight, iso.log_weight, atol=1e-11)
        np.testing.assert_allclose(own.end, iso.end, atol=1e-12)
    shared_bars, own_bars = (
        using.gradient(at, STREAM, 3, 0, some, chosen, weights, of=at.mixtures)[1] for at in (one, two)
    )
    for mixture, bars in shared_bars.items():
        found = own_bars[mixture]
        widths = found.log_variances
        shared = (bars.means, bars.log_variances, bars.log_weights)
        summed = (found.means, widths if widths.ndim == 1 else widths.sum(1), found.log_weights)
        for a, b in zip(summed, shared, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_threads_and_clones(monkeypatch):
    """Threads change no bit; clones have the numbers of array code."""
    at, some, chosen = diagonal(model(EXACT, d=19)), range(47), np.arange(47) % 2
    weights = np.random.default_rng(3).random(47)
    monkeypatch.setattr(by_coordinate, "PIECE_BYTES", 40_000)  # some ten paths
    monkeypatch.setattr(by_coordinate, "CALL_NORMALS", 2000)
    once, again = (
        by_coordinate.gradient(at, STREAM, 3, 0, some, chosen, weights, of=["prior"], threads=n) for n in (1, 3)
    )
    assert np.array_equal(once[0], again[0])
    assert all(np.array_equal(a, b) for a, b in zip(once[1]["prior"], again[1]["prior"], strict=True))
    for options in ({"split": 2}, {"threads": 3}):
        found, plain = (
            engine(name).walk(at, STREAM, 3, some, chosen, ends=True, **options) for name in ("numba", "numpy")
        )
        np.testing.assert_allclose(found.log_weight, plain.log_weight, atol=1e-10)
        np.testing.assert_allclose(found.end, plain.end, atol=1e-12)


def test_the_law_of_the_starts_has_the_mean_of_the_gradient_along_paths():
    """Bonferroni over all entries of 96 groups. Control: twice as large in means, or in variances."""
    at, paths, groups = diagonal(model(EXACT, d=3, steps=2)), 512, 96
    chosen = np.arange(paths) % 2
    weights = (np.exp(at.mixtures["prior"].log_weights) / np.bincount(chosen))[chosen]

    def flat(bars):
        return np.concatenate([bars.means.ravel(), bars.log_variances.ravel()])

    run = engine("numba")
    one = np.array([
        flat(by_starts(at, STREAM, n, chosen, weights, engine=run, threads=1)[1]["prior"]) for n in range(groups)
    ])  # fmt: skip
    two = np.array([
        flat(run.gradient(at, STREAM, 0, 9 * n, range(paths), chosen, weights, of=["prior"])[1]["prior"])
        for n in range(1, groups + 1)
    ])  # fmt: skip
    limit, size = student.isf(ALPHA / (2 * one.shape[1]), groups - 1), at.mixtures["prior"].means.size

    def off(one):
        error = np.sqrt((one.var(0, ddof=1) + two.var(0, ddof=1)) / groups)
        return np.abs(one.mean(0) - two.mean(0)) / error

    assert off(one).max() < limit
    for group in (slice(size), slice(size, None)):
        wrong = one.copy()
        wrong[:, group] *= 2
        assert off(wrong).max() > limit, group


# --- ELBO against quadrature -----------------------------------------------------------------------------------------

X = np.linspace(-9.0, 9.0, 541)
PLANE = {  # weights; of the first coordinate means and variances, which the second has of one Gaussian: φ is a product
    "prior": ([0.4, 0.6], [-0.7, 0.8], [0.6, 1.1], 0.3, 1.9),
    "target": ([0.3, 0.7], [-1.0, 1.2], [0.9, 0.9], 0.0, 0.9),
    "control": ([0.5, 0.5], [-0.5, 0.9], [0.7, 1.3], -0.2, 1.5),
}


def in_plane(name):
    w, first, widths, second, own = PLANE[name]
    means, log_w = np.stack([first, np.full(2, second)], axis=1), np.log(w)
    if name == "target":
        return Mixture(means, np.array(widths), log_w)
    return Diagonal(means, np.stack([widths, np.full(2, own)], axis=1), log_w)


def law(name, coordinate, decay=1.0):
    """Density on X, and score, of one coordinate, noised."""
    w, first, widths, second, own = PLANE[name]
    terms = zip(w, first, widths, strict=True) if coordinate == 0 else [(1.0, second, own)]
    density, slope = np.zeros_like(X), np.zeros_like(X)
    for weight, mean, v in terms:
        v = v * decay**2 + 1 - decay**2
        part = weight * norm.pdf(X, decay * mean, np.sqrt(v))
        density, slope = density + part, slope - part * (X - decay * mean) / v
    return density, slope / density


def drifts(key, n, N, horizon, coordinate):
    """F and G at step n: dis with ou, whose control is noised, or cmcd with annealed; no control where N is 0."""
    if key[0] == "dis":
        s = law("control", coordinate, np.exp(-horizon * (1 - n / N)))[1]
        return -X + 2 * (s + X), -X
    f = n / N * law("target", coordinate)[1] + (1 - n / N) * law("prior", coordinate)[1]
    u = law("control", coordinate)[1]
    return f + u, f - u


def elbo(key, N, horizon):
    """Σ over coordinates of E log W: densities carried from grid to grid, trapezoids, exact to rounding for such."""
    h, total = X[1] - X[0], 0.0
    for coordinate in (0, 1):
        now, _ = law("prior", coordinate)
        total -= h * now @ np.log(now)
        for n in range(N):
            eta = horizon / N
            step, back = drifts(key, n, N, horizon, coordinate)[0], drifts(key, n + 1, N, horizon, coordinate)[1]
            joint = h * now[:, None] * norm.pdf(X[None], (X + eta * step)[:, None], np.sqrt(2 * eta))
            residual = X[:, None] - X[None] - eta * back[None]
            total += 0.5 - h * np.sum(joint * residual**2) / (4 * eta)
            now = joint.sum(0)
        total += h * now @ np.log(law("target", coordinate)[0])
    return total


@pytest.mark.parametrize("key", [("cmcd", "annealed", "mixture"), ("dis", "ou", "mixture")], ids="-".join)
@pytest.mark.parametrize("steps", [0, 8])
def test_elbo_and_log_z_of_a_product(key, steps):
    """Coordinates are independent, so their ELBO add up, and E W = 1: two z statistics at 1e-6 together. Control: with
    the variances of the prior's coordinates exchanged, or made equal, the ELBO is another."""
    horizon, paths, rng = 0.4, 60_000, np.random.default_rng(5)
    key = key if steps else (*key[:2], "none")
    at = replace(model(key, d=2, steps=steps, horizon=horizon), mixtures={name: in_plane(name) for name in PLANE})
    chosen = rng.choice(2, size=paths, p=PLANE["prior"][0])

    def deviations(at):
        log_w = by_coordinate.walk(at, STREAM, 5, range(paths), chosen).log_weight
        return [
            abs(x.mean() - mean) * np.sqrt(paths) / x.std() for x, mean in ((log_w, expected), (np.exp(log_w), 1.0))
        ]

    expected, limit = elbo(key, steps, horizon), norm.isf(ALPHA / 4)
    assert max(deviations(at)) < limit
    prior = at.mixtures["prior"]
    for variances in (prior.variances[:, ::-1], np.broadcast_to(prior.variances.mean(1)[:, None], (2, 2))):
        wrong = replace(at, mixtures=at.mixtures | {"prior": replace(prior, variances=np.array(variances))})
        assert deviations(wrong)[0] > limit


# --- learning --------------------------------------------------------------------------------------------------------

RELAXING = """
dimension = 3
[target]
means = [[0.5]]
[family]
components = 1
variances = [[2.5, 0.4, 1.0]]
covariance = "diagonal"
learn = ["means", "variances"]
[flow]
metric = "{metric}"
[init]
means = [[0.5]]
seed = {seed}
[time]
end = 0.6
save = [0.0, 0.6]
[sampler]
steps = 0
"""


def relaxed(metric, rate=1.0):
    """v(t) of KL(N(ν, diag v)‖N(ν, I)) = Σ_j (v_j − 1 − log v_j)/2: dv/dt = −v(v − 1)/2 for log-variances in the
    Euclidean metric, −2(v − 1) in that of Wasserstein (σ = √v: dσ/dt = −(σ − 1/σ))."""
    v, t = np.array([2.5, 0.4, 1.0]), 0.6 * rate
    return 1 / (1 - (1 - 1 / v) * np.exp(-t / 2)) if metric == "euclidean" else 1 + (v - 1) * np.exp(-2 * t)


@pytest.mark.parametrize("metric", ["euclidean", "wasserstein"])
def test_a_gaussian_relaxes_coordinate_by_coordinate(metric):
    """The first order in the step is taken out, replica by replica; what is left of the second is below 0.0002.
    Bonferroni over coordinates. Controls: rates a fifth too small, those of a variance that three coordinates share."""
    runs = []
    for seed, step in ((1, 0.02), (2, 0.01)):
        problem = Problem.parse(RELAXING.format(metric=metric, seed=seed))
        found = replica_curves(problem, starts(problem), 0, particles=1024, replicas=32, step=step)
        runs.append(found.values["v_diag"][:, -1, 0])
    values = 2 * runs[1] - runs[0]
    error, limit = values.std(0, ddof=1) / np.sqrt(32), student.isf(ALPHA / 6, 31)

    def off(expected):
        return (np.abs(values.mean(0) - expected) / (limit * error + 0.0002)).max()

    assert off(relaxed(metric)) < 1
    assert off(relaxed(metric, 0.8)) > 1
    assert off(relaxed(metric, 1 / 3)) > 3


def test_velocities_are_those_of_one_coordinate_each():
    """dλ_kj/dt = −∂D/∂λ_kj, or −4/(w_k v_kj) of that by Wasserstein; nothing where variances are not learned."""
    at = diagonal(model(EXACT, d=3))
    chosen, weights = np.arange(8) % 2, np.ones(8)
    slopes = engine("numba").gradient(at, STREAM, 3, 0, range(8), chosen, weights, of=["prior"])[1]
    prior, w = at.mixtures["prior"], np.exp(at.mixtures["prior"].log_weights)
    for metric, rate in (("euclidean", 1.0), ("wasserstein", 4 / (w[:, None] * prior.variances))):
        learner = Learner({"prior": ("variances",)}, "softmax", metric, 8, lambda: Euler(1.0, 1), lambda: None)
        moved = velocity(at, learner, slopes)["prior"]
        np.testing.assert_allclose(moved.log_variances, -rate * slopes["prior"].log_variances, rtol=1e-14)
        assert not moved.means.any()
        still = velocity(at, replace(learner, learn={"prior": ("means",)}), slopes)["prior"]
        assert not still.log_variances.any()


def test_a_component_more_has_equal_variances():
    at = diagonal(model(("cmcd", "annealed", "mixture"), d=3))
    larger = widened(at, np.ones(3), 0.1, 0.7)
    for name in ("prior", "control"):
        old, new = at.mixtures[name], larger.mixtures[name]
        np.testing.assert_array_equal(new.variances, np.vstack([old.variances, np.full(3, 0.7)]))
        assert isinstance(new, Diagonal)
