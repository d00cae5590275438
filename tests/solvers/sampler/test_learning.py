"""The derived adjoint against finite differences and against the closed flow, and what learning does."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import t as student

from solvers.closed import systems
from solvers.sampler import Mixture, Noise, Sampler, forward, gradient
from solvers.sampler.gradients import path_gradient
from solvers.sampler.learn import Learning
from tests.rated import rated
from tests.solvers.sampler.plain_chain import KEYS as ALL
from tests.solvers.sampler.plain_chain import case, in_dimensions

#: Controls none follow from these: every drift is part of one of them.
KEYS = sorted(key for key in ALL if key[2] != "none")


def moved(sampler, name, field, index, h):
    """The sampler with one parameter moved by h; weights by their logits."""
    old = sampler.mixtures[name]
    array = getattr(old, field).copy()
    array[index] += h
    new = replace(old, **{field: log_softmax(array) if field == "log_w" else array})
    return replace(sampler, mixtures=sampler.mixtures | {name: new})


@pytest.mark.slow
@pytest.mark.parametrize(("key", "d"), in_dimensions(KEYS, 6, 2))
def test_adjoint_against_finite_differences(key, d):
    """D = Σ_k α_k mean_k(−log W) on fixed noise: every parameter of every mixture, to the error of the differences."""
    rng = np.random.default_rng(1)
    sampler, *_ = case(*key, d=d, steps=3, rng=rng)
    noise = Noise.draw(sampler, 20, rng)
    _, slopes = path_gradient(sampler, noise)
    for name, mixture in sampler.mixtures.items():
        for field, found in (
            ("mean", slopes[name].mean),
            ("log_var", slopes[name].log_var),
            ("log_w", slopes[name].theta),
        ):
            for index in np.ndindex(getattr(mixture, field).shape):
                h = 1e-3
                f = [path_gradient(moved(sampler, name, field, index, n * h), noise)[0] for n in (-2, -1, 1, 2)]
                expected = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h)
                # fourth-order differences: h⁴ = 1e-12 times fifth derivatives, rounding 1e-14 / h
                assert found[index] == pytest.approx(expected, abs=1e-7 * max(1.0, abs(expected))), (name, field, index)


def test_adjoint_of_another_loss_is_seen():
    """Control of the test above: the gradient at other noise is not the gradient."""
    rng = np.random.default_rng(1)
    sampler, *_ = case("dis", "ou", "exact", d=6, rng=rng)
    one, other = (path_gradient(sampler, Noise.draw(sampler, 30, rng))[1]["prior"].mean for _ in range(2))
    assert np.max(np.abs(one - other)) > 1e-2


def closed_velocity(s, m, theta, c, u=1.0, v=1.0, d=5):
    """ds/dt, dm/dt, dθ/dt of section 3, from the generated flow."""
    module = systems.load(systems.read("reverse_kl"))
    values = {"s": s, "m": m, "theta": theta, "c": c, "log_pi": np.log([0.35, 0.65]), "v": v, "u": u, "d": d}
    return systems.call(module.velocity, rated(module, values))


def sampled_velocity(sampler, groups, paths, rng):
    """ds/dt, dm/dt, dθ/dt from the adjoint, one row a group of paths."""
    prior, target = sampler.mixtures["prior"], sampler.mixtures["target"]
    rows = []
    for _ in range(groups):
        slope = path_gradient(sampler, Noise.draw(sampler, paths, rng))[1]["prior"]
        gamma = -slope.mean @ prior.mean.T
        rows.append(np.concatenate([(gamma + gamma.T).ravel(), (-slope.mean @ target.mean.T).ravel(), -slope.theta]))
    return np.array(rows)


def worst_t(rows, expected):
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return np.max(np.abs(rows.mean(axis=0) - expected) / error)


def flattened(velocity):
    return np.concatenate([np.ravel(a) for a in velocity])


def test_no_steps_is_the_flow_of_section_3():
    rng = np.random.default_rng(2)
    sampler, *_ = case("mcd", "annealed", "none", steps=0, varied=False, rng=rng)
    prior, target = sampler.mixtures["prior"], sampler.mixtures["target"]
    overlaps = (prior.mean @ prior.mean.T, prior.mean @ target.mean.T, prior.log_w, target.mean @ target.mean.T)
    rows = sampled_velocity(sampler, 32, 4000, rng)
    limit = student.isf(0.5e-6 / rows.shape[1], len(rows) - 1)
    assert worst_t(rows, flattened(closed_velocity(*overlaps))) < limit
    wrong = closed_velocity(overlaps[0], 0.9 * overlaps[1], *overlaps[2:])
    assert worst_t(rows, flattened(wrong)) > limit


@pytest.mark.slow
def test_ideal_control_is_the_flow_on_the_noised_target():
    """N = 96 steps of T = 0.7 from a prior near p_T: section 3 with the modes at e^{−T}, and not with them at 1."""
    rng = np.random.default_rng(3)
    coarse, *_ = case("dis", "ou", "exact", steps=24, horizon=0.7, varied=False, rng=rng)
    prior, target, e = coarse.mixtures["prior"], coarse.mixtures["target"], np.exp(-0.7)
    groups = []
    # The bias is first order in 1/N: Richardson on the same prior noise, group by group.
    for _ in range(32):
        slopes = []
        for steps in (24, 48):
            sampler = replace(coarse, steps=steps)
            slopes.append(sampled_velocity(sampler, 1, 1000, rng)[0])
        groups.append(2 * slopes[1] - slopes[0])
    rows = np.array(groups)
    limit = student.isf(0.5e-6 / rows.shape[1], len(rows) - 1)

    def expected(decay):
        s, m, c = prior.mean @ prior.mean.T, prior.mean @ target.mean.T, target.mean @ target.mean.T
        ds, dm, dtheta = closed_velocity(s, decay * m, prior.log_w, decay**2 * c)
        return flattened((ds, dm / decay, dtheta))

    assert worst_t(rows, expected(e)) < limit
    assert worst_t(rows, expected(1.0)) > limit


@pytest.mark.slow
def test_tied_control_is_the_flow_on_the_target():
    """φ = q_{θ,T}: the slope of D along θ with φ tied is that of KL(q_θ‖p)."""
    rng = np.random.default_rng(4)
    base, *_ = case("dis", "ou", "mixture", steps=24, horizon=0.7, varied=False, rng=rng)
    q, target, e = base.mixtures["control"], base.mixtures["target"], np.exp(-0.7)
    tied = replace(base, mixtures=base.mixtures | {"prior": Mixture(e * q.mean, q.log_var, q.log_w)})
    groups = []
    for _ in range(32):
        total = []
        for steps in (24, 48):
            sampler = replace(tied, steps=steps)
            slopes = path_gradient(sampler, Noise.draw(sampler, 1000, rng))[1]
            mean = -(slopes["control"].mean + e * slopes["prior"].mean)
            theta = -(slopes["control"].theta + slopes["prior"].theta)
            total.append(np.concatenate([(mean @ target.mean.T).ravel(), theta]))
        groups.append(2 * total[1] - total[0])
    rows = np.array(groups)
    s, m, c = q.mean @ q.mean.T, q.mean @ target.mean.T, target.mean @ target.mean.T
    _, dm, dtheta = closed_velocity(s, m, q.log_w, c)
    limit = student.isf(0.5e-6 / rows.shape[1], len(rows) - 1)
    assert worst_t(rows, flattened((dm, dtheta))) < limit
    assert worst_t(rows, flattened((2 * dm, dtheta))) > limit


def test_learning_lowers_the_loss_and_moves_only_what_it_may():
    rng = np.random.default_rng(5)
    sampler, *_ = case("dis", "ou", "mixture", d=8, steps=4, rng=rng)
    learning = Learning(sampler, 400, rng, {"prior": ("means", "variances"), "control": ("weights",)})
    found, status = learning.run(np.array([0.0, 0.5, 2.0]), 1e-4, 1e-5)
    assert status == 0
    noise = Noise.draw(sampler, 400, rng)
    losses = [path_gradient(one, noise)[0] for one in found]
    assert losses[0] > losses[1] > losses[2]
    before, after = sampler.mixtures, found[-1].mixtures
    np.testing.assert_allclose(after["prior"].log_w, before["prior"].log_w, atol=1e-14)
    np.testing.assert_array_equal(after["control"].mean, before["control"].mean)
    assert np.max(np.abs(after["prior"].mean - before["prior"].mean)) > 0.01
    assert np.max(np.abs(after["prior"].log_var - before["prior"].log_var)) > 0.01
    assert np.max(np.abs(after["control"].log_w - before["control"].log_w)) > 0.001


def test_per_path_gradient_needs_no_stratification():
    """`gradient` weighs paths as it is told; twice the weights, twice the gradient."""
    rng = np.random.default_rng(6)
    sampler, *_ = case("dis", "ou", "exact", rng=rng)
    noise, chosen = Noise.draw(sampler, 20, rng), rng.integers(0, 2, 20)
    paths, once = gradient(sampler, noise, chosen, np.ones(20))
    _, twice = gradient(sampler, noise, chosen, np.full(20, 2.0))
    np.testing.assert_allclose(2 * once["prior"].mean, twice["prior"].mean, rtol=1e-12)
    np.testing.assert_array_equal(paths.log_weight, forward(sampler, noise, chosen).log_weight)


def test_dimension_below_the_span_is_refused():
    prior = Mixture.of([[1.0, 0.0], [0.0, 1.0]], 1.0, [0.5, 0.5])
    sampler = Sampler("dis", "ou", "none", 2, 0.1, 1, {"prior": prior, "target": prior})
    with pytest.raises(ValueError, match="smaller than the span"):
        Noise.draw(sampler, 3, np.random.default_rng(0))


def test_metrics_are_those_of_section_3():
    """Fisher–Rao: dw = −w (F − D). Wasserstein: dμ = −∂D/∂μ / w, dv = −4v/(d w) ∂D/∂v."""
    rng = np.random.default_rng(7)
    sampler, *_ = case("dis", "ou", "exact", d=6, steps=2, rng=rng)
    everything = {"prior": ("means", "weights", "variances")}
    learning = Learning(sampler, 50, rng, everything)
    noise = learning.draw()
    plain = learning.velocity(sampler, noise)[0]["prior"]
    other = replace(learning, weights="fisher-rao", metric="wasserstein").velocity(sampler, noise)[0]["prior"]
    w, v = sampler.mixtures["prior"].weights, np.exp(sampler.mixtures["prior"].log_var)
    np.testing.assert_allclose(w * other.theta, plain.theta)
    np.testing.assert_allclose(w[:, None] * other.mean, plain.mean)
    slope_v = -plain.log_var / v  # ∂D/∂v from d log v/dt = −∂D/∂log v
    np.testing.assert_allclose(v * other.log_var, -4 * v / (6 * w) * slope_v)


def test_blocks_of_paths_add_up(monkeypatch):
    rng = np.random.default_rng(8)
    sampler, *_ = case("dis", "ou", "mixture", d=6, steps=2, rng=rng)
    noise = Noise.draw(sampler, 50, rng)
    value, slopes = path_gradient(sampler, noise)
    monkeypatch.setattr("solvers.sampler.gradients.TOGETHER", 16)
    again, parts = path_gradient(sampler, noise)
    assert again == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(parts["control"].mean, slopes["control"].mean, rtol=1e-11)
    np.testing.assert_allclose(parts["prior"].theta, slopes["prior"].theta, rtol=1e-11)


def test_a_gradient_of_nan_at_the_start_is_a_status():
    """The first step would be nan, and was tried for ever."""
    rng = np.random.default_rng(1)
    sampler, *_ = case("dis", "ou", "exact", d=6, rng=rng)
    prior = sampler.mixtures["prior"]
    broken = replace(sampler, mixtures=sampler.mixtures | {"prior": replace(prior, mean=prior.mean * 1e200)})
    few, enough = (Learning(one, 2, rng, {"prior": ("means",)}) for one in (broken, sampler))
    with np.errstate(all="ignore"):
        assert few.run(np.array([0.1]), 1e-4, 1e-6) == ([], 2)
    found, status = enough.run(np.array([0.1]), 1e-4, 1e-6)
    assert (len(found), status) == (1, 0)
