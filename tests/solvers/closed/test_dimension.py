"""Terms of order d: they cancel before they are added, so that a run in 10¹² dimensions has the digits of one in four.

Right values are typed in, or come from 60-digit arithmetic and fractions that know nothing of h.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from numpy.typing import NDArray

from solvers.closed import ensembles, flow, systems
from solvers.closed.equations import Closed
from solvers.closed.span import Span
from solvers.expectations.divergence import divergence
from solvers.expectations.radial_grids import log_density
from solvers.problem import Problem
from solvers.problem.starts import starts

pytestmark = pytest.mark.slow

Array = NDArray[np.float64]

TEXT = """
dimension = {d}
[target]
separation = 3.0
variances = {u}
[family]
components = 2
weights = [0.4, 0.6]
variances = {v}
learn = ["means", "weights"]
[flow]
{flow}
[init]
overlaps = {{s = [[0.29, -0.18], [-0.18, 0.17]], m = [[1.5, -1.5], [-1.2, 1.2]]}}
[time]
end = 2.0
save = 3
"""
LARGE = 10**12


def problem(d: int, flow: str = "", v: Any = 1.0, u: Any = 1.0) -> Problem:
    return Problem.parse(TEXT.format(d=d, flow=flow, v=v, u=u))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("d", [4, LARGE, 2**53])
def test_the_same_run_at_every_dimension(d: int, backend: str) -> None:
    given = Problem.parse(problem(d).text.replace("weights = [0.4, 0.6]", ""))
    ds = flow.solve(given, backend=backend)
    np.testing.assert_allclose(ds.objective[0], [2.48389817, 1.68960741, 0.76587941], rtol=0, atol=6e-9)
    np.testing.assert_allclose(ds.w[0, -1, 0], 0.52537508, rtol=0, atol=6e-9)


FLOWS = [
    f'objective = "{objective}"\nweights = "{weights}"\nmetric = "{metric}"\n{rest}'
    for objective, rest in (
        ("reverse-kl", ""),
        ("reverse-kl", "temperature = 1.7"),
        ("reverse-kl", "temperature = {start = 0.3, rate = 2.0}"),
        ("forward-kl", ""),
    )
    for weights, metric in (("softmax", "euclidean"), ("fisher-rao", "wasserstein"))
]


@pytest.mark.parametrize("given", FLOWS)
def test_velocities_do_not_know_the_dimension(given: str) -> None:
    """v ≠ u: the objective has a true part of order d, the same for all components; weights move as at d = 4."""
    found = []
    for d in (4, LARGE):
        case = problem(d, given, v=0.7, u=1.3)
        begin = starts(case)
        found.append(flow.velocity(case, systems.for_problem(case), begin.s, begin.m, begin.theta, time=0.4))
    for few, many in zip(*found, strict=True):
        np.testing.assert_array_equal(few, many)


def per_direction(v: float, u: float, beta: float) -> mp.mpf:
    """E[log N(x; 0, v) − β log N(x; 0, u)] for x ~ N(0, v), one direction."""
    v, u, beta = (mp.mpf(x) for x in (v, u, beta))
    return (beta * mp.log(2 * mp.pi * u) - mp.log(2 * mp.pi * v) + beta * v / u - 1) / 2


def objective(case: Problem, time: float = 0.0) -> float:
    module, begin = systems.for_problem(case), starts(case)
    values = systems.evaluate(case, module, begin.s, begin.m, begin.theta, time=time)
    return float(systems.call(module.objective, values)[0])


@pytest.mark.parametrize("seed", range(12))
def test_the_objective_has_the_part_of_order_d(seed: int) -> None:
    """Widths that agree but for 10⁻⁸ … 1, β likewise; relative to what the sum of its parts can hold."""
    rng = np.random.default_rng(seed)
    u = float(np.exp(rng.normal()))
    v = u * (1 + float(rng.choice([-1, 1]) * 10 ** rng.uniform(-8, -0.3)))
    T = 1.0 if seed % 3 else float(np.exp(rng.normal()))
    few, many = (problem(d, f"temperature = {T!r}" if T != 1 else "", v, u) for d in (4, LARGE))
    with mp.workdps(60):
        each = per_direction(v, u, few.flow.beta(0.0))
        added = float((LARGE - 4) * each)
    # A rounding of v/u, in h' = (1 - u/v)/2, and, tempered, of terms of order one.
    allowed = 4e-16 * LARGE * (abs(v / u - 1) + (T != 1) * 8) + 1e-12 * (1 + abs(added))
    assert abs(objective(many) - objective(few) - added) < allowed
    assert abs(objective(many) - objective(few) - added * (1 + 1e-6)) > 1e-12 * abs(added)


@pytest.mark.parametrize("seed", range(6))
def test_divergence_against_sixty_digits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    b = np.exp(rng.normal(size=200))
    e = rng.choice([-1, 1], size=200) * 10.0 ** rng.uniform(-15, 0, size=200) * 0.999
    a = np.concatenate([b * (1 + e), b * 10.0 ** rng.uniform(-200, 200, size=200)])
    b = np.concatenate([b, b])
    with mp.workdps(60):
        x = [mp.mpf(float(above)) / mp.mpf(float(below)) for above, below in zip(a, b, strict=True)]
        exact = np.array([float((y - 1 - mp.log(y)) / 2) for y in x])
    np.testing.assert_allclose(divergence(a, b), exact, rtol=4e-15)
    assert divergence(b, b).max() == 0.0


@pytest.mark.parametrize("degrees", [2, 64, 10**6, LARGE, 2**53])
def test_density_of_the_chi_square(degrees: int) -> None:
    t = np.linspace(-7, 7, 57)
    with mp.workdps(60):
        s = [mp.sqrt(mp.mpf(2) / degrees) * mp.mpf(float(x)) for x in t]
        exact = np.array([float(-mp.mpf(degrees) / 2 * (mp.expm1(y) - y)) for y in s])
    np.testing.assert_allclose(log_density(t, degrees), exact, rtol=1e-13, atol=1e-14)


def concentric(d: int, v: Array, u: Array, w: Array, pi: Array, learn: str = '"weights", "variances"') -> Problem:
    """All means at the origin: everything is a function of the distance."""
    zeros = [[0.0]] * 2
    return Problem.parse(f"""
dimension = {d}
[target]
means = {zeros}
weights = {pi.tolist()}
variances = {u.tolist()}
[family]
components = 2
weights = {w.tolist()}
variances = {v.tolist()}
learn = [{learn}]
[init]
means = {zeros}
[time]
end = 1.0
save = 2
""")


def by_distance(given: Problem) -> dict[str, Array]:
    """Objective, dθ/dt and d log v/dt, an integral over |x|²/v_k ~ χ²_d in 50 digits, from the definitions."""
    with mp.workdps(50):
        d = mp.mpf(given.dimension)
        q = list(
            zip(map(mp.mpf, given.family.weights.tolist()), map(mp.mpf, given.family.variances.tolist()), strict=True)
        )
        p = list(
            zip(map(mp.mpf, given.target.weights.tolist()), map(mp.mpf, given.target.variances.tolist()), strict=True)
        )

        def log_density_and_pull(mixture: list[Any], square: Any) -> tuple[Any, Any]:
            logits = [mp.log(a) - d / 2 * mp.log(2 * mp.pi * b) - square / (2 * b) for a, b in mixture]
            top = max(logits)
            parts = [mp.exp(x - top) for x in logits]
            total = mp.fsum(parts)
            return top + mp.log(total), mp.fsum(r / b for r, (_, b) in zip(parts, mixture, strict=True)) / total

        # The trapezoidal rule in t, R = d e^{√(2/d) t}, converges exponentially.
        step, root = mp.mpf(1) / 8, mp.sqrt(2 / d)
        nodes = [n * step for n in range(-96, 97)]
        weights = [mp.exp(-d / 2 * (mp.expm1(root * t) - root * t)) for t in nodes]
        F, pulls = [], []
        for _, v in q:
            sums = [mp.mpf(0), mp.mpf(0)]
            for t, weight in zip(nodes, weights, strict=True):
                square = v * d * mp.exp(root * t)
                (log_q, pull_q), (log_p, pull_p) = (log_density_and_pull(m, square) for m in (q, p))
                sums[0] += weight * (log_q - log_p)
                sums[1] += weight * square * (pull_p - pull_q)
            F.append(sums[0] / mp.fsum(weights))
            pulls.append(sums[1] / mp.fsum(weights))
        D = mp.fsum(w * f for (w, _), f in zip(q, F, strict=True))
        return {
            "objective": np.array(float(D)),
            "theta": np.array([float(-w * (f - D)) for (w, _), f in zip(q, F, strict=True)]),
            "log_v": np.array([float(-w / 2 * g) for (w, _), g in zip(q, pulls, strict=True)]),
        }


@pytest.mark.parametrize("d", [10**4, 10**9, LARGE, 10**15])
def test_different_variances_at_any_dimension(d: int) -> None:
    """Widths that differ by 1/√d: differences of order one between terms of order d, in weights and in widths."""
    rng = np.random.default_rng(d % 97)
    spread = 1.3 / np.sqrt(d)
    v, u = (1.7 * (1 + spread * rng.normal(size=2)) for _ in range(2))
    given = concentric(d, v, u, np.array([0.3, 0.7]), np.array([0.45, 0.55]))
    module, begin = systems.for_problem(given), starts(given)
    log_v = np.log(given.family.variances)[None]
    values = systems.evaluate(given, module, begin.s, begin.m, begin.theta) | {"d": d}
    _, _, dtheta, dlog_v = systems.call(module.velocity, values)
    exact = by_distance(given)
    np.testing.assert_allclose(systems.call(module.objective, values)[0], exact["objective"], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(dtheta[0], exact["theta"], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(dlog_v[0], exact["log_v"], rtol=0, atol=1e-9 * np.sqrt(d))
    assert np.abs(exact["log_v"]).min() > 1e-3 * np.sqrt(d)
    assert log_v.shape == (1, 2)


def test_learned_variances_that_agree_stay_where_they_are() -> None:
    """p = q: nothing moves, where terms of order d would leave 10⁻⁴."""
    one = np.array([1.7, 1.7])
    given = concentric(LARGE, one, one, np.array([0.4, 0.6]), np.array([0.4, 0.6]))
    begin = starts(given)
    _, _, dtheta, dlog_v = flow.velocity(given, systems.for_problem(given), begin.s, begin.m, begin.theta)
    assert np.abs(dtheta).max() == np.abs(dlog_v).max() == 0.0


@pytest.mark.parametrize("excess", [0.0, 1e-7, 0.3])
def test_noise_of_finite_batches(excess: float) -> None:
    """One component on one mode: E|g|² = d v (1/v − β/u)² and nothing else, by fractions."""
    u, T = 1.3, 1.25
    v = u * T * (1 + excess)
    text = f"""
dimension = {LARGE}
[target]
means = [[0.0]]
variances = {u!r}
[family]
components = 1
variances = {v!r}
[flow]
temperature = {T!r}
batch = {{size = 8, step = 0.01}}
[init]
means = [[0.0]]
[time]
end = 1.0
"""
    given = Problem.parse(text)
    begin = starts(given)
    ds, *_ = flow.velocity(given, systems.for_problem(given), begin.s, begin.m, begin.theta)
    V, U, beta = Fraction(v), Fraction(u), Fraction(given.flow.beta(0.0))
    exact = float(Fraction(0.01) / 8 * LARGE * V * (1 / V - beta / U) ** 2)
    # One rounding of βv in u − βv.
    np.testing.assert_allclose(ds[0, 0, 0], exact, rtol=1e-14 + 1e-15 / (excess or 1.0), atol=1e-15)


def test_compiled_observables_at_large_dimension() -> None:
    """The constant part in machine code, h and log β: that of NumPy."""
    case = problem(LARGE, "temperature = 1.7", v=0.7, u=1.3)
    begin = starts(case)
    space = Span.of(case, begin.s, begin.m)
    system = ensembles.build(Closed.of(case), space)
    y = np.concatenate([space.coordinates(begin.s, begin.m).ravel(), begin.theta[0], ensembles.driven(case)])
    out = system.observables(y[None], ensembles.parameters(Closed.of(case), space))
    np.testing.assert_allclose(out[0, 0], objective(case), rtol=2e-15)
