"""Different and learned variances: Monte Carlo in d dimensions, finite differences, limits, known answers."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from solvers.closed import flow, systems
from solvers.machine.arrays import BackendError
from solvers.problem import Problem
from solvers.verdict.flow import compare
from tests.rated import rated
from tests.solvers.closed.variance_cases import monte_carlo, point, problem

Array = NDArray[np.float64]

REPLICAS, FALSE_ALARM = 32, 1e-6
NAMES = ("s", "m", "theta", "log_v")


def overlaps(at: dict[str, Array]) -> tuple[Array, Array, Array, Array]:
    """s, m, theta, log v of a point."""
    return at["mu"] @ at["mu"].T, at["mu"] @ at["nu"].T, np.log(at["w"]), np.log(at["v"])


def theory(given: Problem, module: ModuleType, at: dict[str, Array]) -> dict[str, Array]:
    """Velocities and objective by the closed equations."""
    found = dict(zip(NAMES, flow.velocity(given, module, *overlaps(at)), strict=True))
    return found | {"objective": value(given, module, at)}


def value(given: Problem, module: ModuleType, at: dict[str, Array]) -> Array:
    """The objective by the closed equations."""
    return np.asarray(systems.call(module.objective, systems.evaluate(given, module, *overlaps(at))))


def statistic(found: dict[str, Array], replicas: list[dict[str, Array]], names: tuple[str, ...]) -> tuple[float, float]:
    """The largest |t| over all entries, and the quantile that it exceeds by chance with FALSE_ALARM (Bonferroni)."""
    rows = np.array([np.concatenate([np.ravel(one[name]) for name in names]) for one in replicas])
    expected = np.concatenate([np.ravel(np.asarray(found[name])) for name in names])
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    t = np.abs(rows.mean(axis=0) - expected) / error
    limit = student.isf(FALSE_ALARM / (2 * expected.size), len(rows) - 1)
    return float(t.max()), float(limit)


@pytest.mark.parametrize(
    ("d", "K", "L", "metric", "samples"),
    [
        (1, 2, 2, "euclidean", 2000),
        (2, 3, 2, "euclidean", 1000),
        (5, 2, 3, "wasserstein", 1000),
        (50, 2, 2, "euclidean", 400),
        (10**4, 2, 2, "euclidean", 12),
    ],
)
def test_right_hand_side_against_monte_carlo(d: int, K: int, L: int, metric: str, samples: int) -> None:
    at = point(d, K, L)
    given = problem(d, **at, metric=metric)
    module = systems.for_problem(given)
    rng = np.random.default_rng([d, K, L])
    replicas = [monte_carlo(at, d, samples, rng, metric) for _ in range(REPLICAS)]
    t, limit = statistic(theory(given, module, at), replicas, (*NAMES, "objective"))
    assert t < limit


def test_every_dropped_term_is_rejected() -> None:
    at = point(5)
    given = problem(5, **at)
    rng = np.random.default_rng(5)
    replicas = [monte_carlo(at, 5, 4000, rng) for _ in range(REPLICAS)]
    names = systems.terms(systems.read("reverse_kl_variances"))
    assert len(names) == len(set(names)) == 16
    for term in names:
        wrong = dict(
            zip(NAMES, flow.velocity(given, systems.for_problem(given, drop=term), *overlaps(at)), strict=True)
        )
        t, limit = statistic(wrong, replicas, NAMES)
        assert t > limit, term


@pytest.mark.slow
@pytest.mark.parametrize(("d", "K", "L"), [(1, 2, 2), (2, 2, 2), (5, 3, 2), (50, 2, 2), (10**4, 2, 2)])
def test_velocities_are_slopes_of_the_objective(d: int, K: int, L: int) -> None:
    """dD along any direction of means, log-weights and log-variances, by central differences of the objective."""
    at = point(d, K, L, seed=1)
    given = problem(d, **at)
    module = systems.for_problem(given)
    _, _, dtheta, dlog_v = flow.velocity(given, module, *overlaps(at))
    h = 1e-4

    def slope(name: str, entry: tuple[int, ...]) -> float:
        ends = []
        for sign in (-2, -1, 1, 2):
            moved = {n: a.copy() for n, a in at.items()}
            if name == "mu":
                moved["mu"][entry] += sign * h
            else:
                moved[name][entry] *= np.exp(sign * h)
            if name == "w":
                moved["w"] /= moved["w"].sum()
            ends.append(value(given, module, moved))
        return float((ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h))

    # The quadrature's 1e-11 of values of order 1 to d, over h; rounding of logits of order d beside it.
    tolerance: dict[str, Any] = {"rtol": 1e-6, "atol": 2e-6 * max(1, d / 50)}
    for k in range(K):
        np.testing.assert_allclose(dtheta[k], -slope("w", (k,)), **tolerance)
        np.testing.assert_allclose(dlog_v[k], -slope("v", (k,)), **tolerance)
    # dm/dt = −∂D/∂μ_k·ν_l
    _, dm, *_ = flow.velocity(given, module, *overlaps(at))
    for k in range(K):
        gradient = np.array([slope("mu", (k, i)) for i in range(at["mu"].shape[1])])
        np.testing.assert_allclose(dm[k], -at["nu"] @ gradient, **tolerance)


@pytest.mark.parametrize("weights", ["softmax", "fisher-rao"])
@pytest.mark.parametrize(("K", "L"), [(2, 2), (3, 2)])
def test_equal_variances_give_the_equal_variance_system(weights: str, K: int, L: int) -> None:
    d, v, u = 7, 0.8, 1.3
    at = point(d, K, L, seed=2) | {"v": np.full(K, v), "u": np.full(L, u)}
    given = problem(d, **at, weights=weights)
    own = theory(given, systems.for_problem(given), at)
    module = systems.load(systems.read("reverse_kl"))
    s, m, theta, _ = overlaps(at)
    c = at["nu"] @ at["nu"].T
    values = {"s": s, "m": m, "theta": theta, "c": c, "log_pi": np.log(at["pi"]), "v": v, "u": u, "d": d}
    values = rated(module, values, weights=weights)
    equal = dict(zip(NAMES, systems.call(module.velocity, values), strict=False))
    for quantity in ("s", "m", "theta"):
        np.testing.assert_allclose(own[quantity], equal[quantity], rtol=0, atol=1e-10)
    np.testing.assert_allclose(own["objective"], systems.call(module.objective, values), rtol=0, atol=1e-10)


def test_permutations() -> None:
    at = point(6, 3, 2, seed=3)
    given = problem(6, **at)
    found = theory(given, systems.for_problem(given), at)
    order, modes = [2, 0, 1], [1, 0]
    turned = {n: a[order] for n, a in at.items() if n in ("mu", "w", "v")}
    turned |= {n: a[modes] for n, a in at.items() if n in ("nu", "pi", "u")}
    again = theory(other := problem(6, **turned), systems.for_problem(other), turned)
    # Differences to another last logit are integrated on another grid: the quadrature error of two directions is left.
    np.testing.assert_allclose(again["s"], found["s"][np.ix_(order, order)], atol=1e-7)
    np.testing.assert_allclose(again["m"], found["m"][np.ix_(order, modes)], atol=1e-7)
    np.testing.assert_allclose(again["log_v"], found["log_v"][order], atol=1e-7)


@pytest.mark.parametrize("metric", ["euclidean", "wasserstein"])
def test_one_component_and_one_mode_is_learned_exactly(metric: str) -> None:
    one = np.ones(1)
    start = {"mu": np.array([[2.0, 1.0]]), "nu": np.array([[0.5]]), "w": one, "pi": one, "v": 3 * one, "u": 0.7 * one}
    run = flow.solve(problem(5, **start, metric=metric, end=30.0, save=31))
    assert (run["status"] == 0).all()
    np.testing.assert_allclose(run["v"].values[0, -1], 0.7, rtol=1e-7)
    np.testing.assert_allclose(run["s"].values[0, -1], 0.25, rtol=1e-6)
    np.testing.assert_allclose(run["objective"].values[0, -1], 0.0, atol=1e-9)
    # At equal means KL(N(ν, v) ‖ N(ν, u)) = d/2 (v/u − 1 − log v/u): the start is off by |μ − ν|²/2u as well.
    first = 5 / 2 * (3 / 0.7 - 1 - np.log(3 / 0.7)) + (1.5**2 + 1) / (2 * 0.7)
    np.testing.assert_allclose(run["objective"].values[0, 0], first, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("d", [3, 40])
def test_fixed_point_of_one_component(d: int) -> None:
    """1/v = E[ΔV]/d, V = −log p, where dV is at rest: ΔV by Monte Carlo in R^d, from log p as it stands."""
    at = {
        "mu": np.array([[0.3, -0.2]]), "nu": np.array([[1.2, 0.0], [-0.6, 0.9]]), "w": np.ones(1),
        "pi": np.array([0.45, 0.55]), "v": np.ones(1), "u": np.exp(np.array([0.6, -0.5]) / np.sqrt(d)),
    }  # fmt: skip
    run = flow.solve(problem(d, **at, end=200.0, save=2), rtol=1e-10, atol=1e-12)
    v, s, m = (run[name].values[0, -1] for name in ("v", "s", "m"))
    mu = m[0] @ np.linalg.pinv(at["nu"]).T  # the mean ends in the plane of the modes
    np.testing.assert_allclose(mu @ mu, s[0, 0], rtol=1e-8)

    def laplacian(variance: float, samples: int, rng: np.random.Generator) -> float:
        z = rng.standard_normal((samples, d))
        x = np.sqrt(variance) * np.concatenate([z, -z])
        x[:, :2] += mu
        offsets = np.zeros((2, d))
        offsets[:, :2] = at["nu"]
        square = ((x[:, None] - offsets) ** 2).sum(axis=-1)
        logits = np.log(at["pi"]) - d / 2 * np.log(at["u"]) - square / (2 * at["u"])
        rho = np.exp(logits - logits.max(axis=1, keepdims=True))
        rho /= rho.sum(axis=1, keepdims=True)
        scores = -(x[:, None] - offsets) / at["u"][:, None]
        mean = np.einsum("nl,nld->nd", rho, scores)
        # ΔV = −Σ ρ_l (Δℓ_l + |∇ℓ_l|²) + |Σ ρ_l ∇ℓ_l|²
        return float(np.mean((rho * (d / at["u"] - (scores**2).sum(-1))).sum(-1) + (mean**2).sum(-1)))

    rng = np.random.default_rng(d)
    estimates = np.array([laplacian(v[0], 2000, rng) / d for _ in range(REPLICAS)])
    error = estimates.std(ddof=1) / np.sqrt(REPLICAS)
    limit = student.isf(FALSE_ALARM / 2, REPLICAS - 1)
    assert abs(estimates.mean() - 1 / v[0]) < limit * error
    assert abs(estimates.mean() - 1.02 / v[0]) > limit * error  # two per cent off would be seen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "metric", "weights", "end"),
    [
        (5, "euclidean", "softmax", 4.0),
        (50, "wasserstein", "fisher-rao", 4.0),
        (10**4, "wasserstein", "softmax", 4.0),
    ],
)
def test_the_objective_never_increases(d: int, metric: str, weights: str, end: float) -> None:
    at = point(d, seed=4)
    run = flow.solve(problem(d, **at, metric=metric, weights=weights, end=end, save=21))
    assert run["status"].values.tolist() == [0]
    D = run["objective"].values[0]
    assert (np.diff(D) < 1e-9 * max(1.0, D[0])).all()  # the integrator's tolerance
    assert (D > -1e-9).all()
    assert D[-1] < D[0]
    assert np.ptp(run["v"].values[0], axis=0).min() > 0
    assert run["quadrature_error"].values.max() < 1e-9
    assert run["v"].dims == ("sample", "time", "component")


def test_trajectory_against_gradient_descent_on_monte_carlo() -> None:
    """A short path in d = 10⁴: the theory's mean velocity over a step is what Monte Carlo at its middle says."""
    d = 10**4
    at = point(d, seed=5)
    run = flow.solve(problem(d, **at, metric="wasserstein", end=0.02, save=[0.0, 0.01, 0.02]), rtol=1e-10, atol=1e-12)
    change = np.log(run["v"].values[0, 2] / run["v"].values[0, 0]) / 0.02
    w, v = run["w"].values[0, 1], run["v"].values[0, 1]
    s, m = run["s"].values[0, 1], run["m"].values[0, 1]
    # vectors of R^d with the overlaps of the middle
    inside = m @ np.linalg.pinv(at["nu"]).T
    values, axes = np.linalg.eigh(s - inside @ inside.T)
    middle = at | {
        "mu": np.hstack([inside, axes * np.sqrt(np.clip(values, 0, None))]),
        "nu": np.hstack([at["nu"], np.zeros((2, 2))]), "w": w, "v": v,
    }  # fmt: skip
    rng = np.random.default_rng(6)
    replicas = [monte_carlo(middle, d, 12, rng, "wasserstein") for _ in range(REPLICAS)]
    t, limit = statistic({"log_v": change}, replicas, ("log_v",))
    # The mean over the step and its middle differ by (0.02)²/24 of the third derivative, far below the noise.
    assert t < limit
    t, limit = statistic({"log_v": 0.9 * change}, replicas, ("log_v",))
    assert t > limit


@pytest.mark.parametrize("backend", ["numba"])
def test_other_backends_refuse(backend: str) -> None:
    given = problem(5, **point(5))
    with pytest.raises(BackendError, match=f"{backend}: variances that differ or are learned; allowed"):
        flow.solve(given, backend=backend)


@pytest.mark.slow
def test_comparison_with_the_particle_simulation() -> None:
    """Right-hand side and trajectory, variances included; without one term of d log v/dt the verdict turns."""
    at = point(4, seed=8)
    given = problem(4, **at, end=0.2, save=2)
    options: dict[str, Any] = {"particles": 64, "step": 0.02, "backend": "numpy", "resolve": 1.0}
    assert compare(given, **options).agrees
    assert not compare(given, **options, drop="dlog_v.Zu").agrees
