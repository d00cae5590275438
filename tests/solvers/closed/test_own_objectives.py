"""Objectives named in a problem file: the flow descends just them, by closed equations and by particles alike.

The objective is typed here once more, as an integral over a grid in d = 1 and 2, of means and log-weights alone; its
slopes are finite differences. Neither the engine nor the particles know of it.
"""

from __future__ import annotations

import numpy as np
import pytest

from solvers import ask
from solvers.closed import compiled, ensembles, systems
from solvers.closed.equations import Closed, Task
from solvers.closed.own import own
from solvers.closed.span import Span
from solvers.particles.regulariser import regulariser
from solvers.problem import Problem, ProblemError

PROBLEM = """
dimension = {d}
[target]
means = {nu}
weights = [0.3, 0.7]
variances = 1.2
[family]
components = 2
variances = 0.8
learn = ["means", "weights"]
[flow]
objective = "{objective}"
{more}
[init]
means = {mu}
[time]
end = 1.0
save = 3
"""
NU, MU, PI, U, V = [[-1.5, 0.4], [1.1, -0.3]], [[-0.6, 0.2], [0.9, 0.5]], np.array([0.3, 0.7]), 1.2, 0.8


def given(objective: str, d: int = 2, more: str = "") -> Problem:
    nu, mu = ([row[:d] for row in rows] for rows in (NU, MU))
    return Problem.parse(PROBLEM.format(d=d, nu=nu, mu=mu, objective=objective, more=more), "p.toml")


def densities(d: int, mu: np.ndarray, theta: np.ndarray):
    """Points of a grid, their weight, log q and log p there."""
    axis = np.linspace(-11, 11, 111)  # the trapezoidal rule is exact to rounding: exp(−2π² 0.8/0.2²)
    x = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), axis=-1).reshape(-1, d)

    def log_mixture(means, variance, log_w):
        square = ((x[:, None] - np.asarray(means)[None]) ** 2).sum(-1)
        return np.logaddexp.reduce(log_w - square / (2 * variance) - d / 2 * np.log(2 * np.pi * variance), axis=1)

    log_w = theta - np.logaddexp.reduce(theta)
    log_q = log_mixture(mu, V, log_w)
    log_p = log_mixture([row[:d] for row in NU], U, np.log(PI))
    return x, (axis[1] - axis[0]) ** d, log_q, log_p, np.exp(log_w)


def reverse(d, mu, theta, beta=1.0):
    _, volume, q, p, _ = densities(d, mu, theta)
    return volume * (np.exp(q) * (q - beta * p)).sum()


def forward(d, mu, theta):
    _, volume, q, p, _ = densities(d, mu, theta)
    return volume * (np.exp(p) * (p - q)).sum()


def second_moment(d, mu, theta):
    x, volume, q, *_ = densities(d, mu, theta)
    return volume * (np.exp(q) * (x**2).sum(-1)).sum()


def fourth_moment(d, mu, theta):
    x, volume, q, *_ = densities(d, mu, theta)
    return volume * (np.exp(q) * (x**2).sum(-1) ** 2).sum()


def weights(theta):
    return np.exp(theta - np.logaddexp.reduce(theta))


#: Text, further lines of [flow], and the objective.
CASES = {
    "jeffreys": ("0.5 reverse-kl + 0.5 forward-kl", "", lambda *at: (reverse(*at) + forward(*at)) / 2),
    "weighted": ("0.3 forward-kl + reverse-kl", "", lambda *at: 0.3 * forward(*at) + reverse(*at)),
    "difference": ("2 reverse-kl - forward-kl / 4", "", lambda *at: 2 * reverse(*at) - forward(*at) / 4),
    "norms": (
        "reverse-kl + lam sum(w mu.mu)", "parameters = {lam = 0.4}",
        lambda d, mu, theta: reverse(d, mu, theta) + 0.4 * (weights(theta) * (mu**2).sum(-1)).sum(),
    ),
    "second moment": (
        "reverse-kl + 0.1 E(x.x)", "", lambda *at: reverse(*at) + 0.1 * second_moment(*at),
    ),
    "fourth moment": (
        "reverse-kl + 0.02 E((x.x)^2)", "", lambda *at: reverse(*at) + 0.02 * fourth_moment(*at),
    ),
    "attraction": (
        "reverse-kl + lam sum(w pi mu.nu) - eps2 sum(w w' mu.mu')", "parameters = {lam = -0.3, eps2 = 0.2}",
        lambda d, mu, theta: reverse(d, mu, theta) - 0.3 * weights(theta) @ mu @ np.array(NU)[:, :d].T @ PI
        - 0.2 * ((weights(theta) @ mu) ** 2).sum(),
    ),
    "entropy": (
        "reverse-kl + 0.7 sum(w log(w))", "",
        lambda d, mu, theta: reverse(d, mu, theta) + 0.7 * (weights(theta) * np.log(weights(theta))).sum(),
    ),
    "two temperatures": (
        "reverse-kl + 0.5 reverse-kl(2)", "temperature = 1.6",
        lambda d, mu, theta: reverse(d, mu, theta, 1 / 1.6) + 0.5 * reverse(d, mu, theta, 2.0),
    ),
}  # fmt: skip
THETA = np.log([0.35, 0.65])
STEP = 1e-4


def slopes(value, d, mu, theta):
    """∂D/∂μ (K, d) and ∂D/∂θ (K,) by central differences of fourth order: error ~ STEP⁴, rounding 1e-16/STEP."""

    def slope(move):
        at = [value(d, *move(n * STEP)) for n in (-2, -1, 1, 2)]
        return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * STEP)

    by_mean = np.array([
        [slope(lambda h, k=k, i=i: (mu + h * (np.indices(mu.shape)[0] == k) * (np.indices(mu.shape)[1] == i), theta))
         for i in range(d)] for k in range(2)
    ])  # fmt: skip
    return by_mean, np.array([slope(lambda h, k=k: (mu, theta + h * np.eye(2)[k])) for k in range(2)])


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_the_flow_descends_the_objective(case: str, d: int) -> None:
    text, more, value = CASES[case]
    problem, mu, nu = given(text, d, more), np.array(MU)[:, :d], np.array(NU)[:, :d]
    by_mean, by_theta = slopes(value, d, mu, THETA)
    module = systems.for_problem(problem)
    states = mu @ mu.T, mu @ nu.T, THETA
    values = systems.evaluate(problem, module, *(a[None] for a in states))
    ds, dm, dtheta = (a[0] for a in systems.call(module.velocity, values))
    wanted = -(by_mean @ mu.T + mu @ by_mean.T), -by_mean @ nu.T, -by_theta
    np.testing.assert_allclose(ds, wanted[0], atol=1e-8)
    np.testing.assert_allclose(dm, wanted[1], atol=1e-8)
    np.testing.assert_allclose(dtheta - dtheta.mean(), wanted[2] - wanted[2].mean(), atol=1e-8)
    assert float(systems.call(module.objective, values)[0]) == pytest.approx(value(d, mu, THETA), abs=1e-9)
    assert np.abs(dm).max() > 0.01  # there was something to see


@pytest.mark.parametrize("case", ["jeffreys", "norms"])
def test_compiled_equations_are_the_same(case: str) -> None:
    text, more, _ = CASES[case]
    problem = given(text, 2, more)
    fast, slow = (ask.solve(problem, backend=backend, rtol=1e-9, atol=1e-11) for backend in ("numba", "numpy"))
    assert fast.status.values.tolist() == slow.status.values.tolist() == [0]
    for name in ("m", "s", "w", "objective", "mode_mass"):
        np.testing.assert_allclose(fast[name].values, slow[name].values, atol=1e-7)
    assert float(fast.objective[0, -1]) < float(fast.objective[0, 0])


@pytest.mark.parametrize("case", CASES)
def test_particles_descend_the_same(case: str) -> None:
    """The right-hand side of `compare`: unbiased, so the theory lies within the spread of the replicas."""
    from solvers.particles.replicas import velocities

    text, more, value = CASES[case]
    problem, mu = given(text, 2, more), np.array(MU)
    by_mean, by_theta = slopes(value, 2, mu, THETA)
    found = velocities(problem, mu, THETA, particles=400, replicas=64, backend="numpy")
    for got, wanted in (
        (found.dmu, -by_mean),
        (found.dtheta - found.dtheta.mean(1, keepdims=True), -(by_theta - by_theta.mean())),
        (found.objective, np.array(value(2, mu, THETA))),
    ):
        error = got.std(0, ddof=1) / np.sqrt(len(got))
        # 64 replicas, at most 4 entries each: beyond 6.5 errors of a t law with 63 degrees of freedom once in 10⁶.
        assert (np.abs(got.mean(0) - wanted) < 6.5 * error + 1e-9).all(), case
    # Control: the reverse KL alone is another flow.
    if case != "two temperatures":
        plain = velocities(given("reverse-kl"), mu, THETA, particles=400, replicas=64, backend="numpy").dmu
        apart = np.abs(plain.mean(0) - found.dmu.mean(0)) / np.hypot(plain.std(0), found.dmu.std(0)) * 8
        assert apart.max() > 6.5 or case == "entropy"


@pytest.mark.slow
def test_one_file_of_twenty_lines_is_compared() -> None:
    text, more, _ = CASES["norms"]
    problem = given(text, 2, more)
    assert len([line for line in problem.text.splitlines() if line]) <= 20
    report = ask.compare(problem, particles=64, backend="numpy", resolve=1.0)
    assert report.agrees
    # Negative control: the theory without the regulariser's pull on the means.
    (term,) = [name for name in systems.terms(systems.source(problem)) if name.startswith("dm.lam")]
    assert not ask.compare(problem, particles=64, backend="numpy", resolve=1.0, drop=term).agrees


def test_one_flow_whatever_way_it_is_written() -> None:
    first, second = (given(text) for text in ("0.5 reverse-kl + 0.5 forward-kl", "forward-kl/2 + (1/2) * reverse-kl"))
    assert first.flow.objective == second.flow.objective
    assert own(first.flow.objective) is own(second.flow.objective)
    assert given("1.0 reverse-kl").flow.objective == "reverse-kl"


@pytest.mark.parametrize(
    ("objective", "more", "said"),
    [
        ("reverse-kl + lam sum(w mu.mu)", "", "flow.parameters: lacks lam; must give every parameter"),
        ("reverse-kl", "parameters = {lam = 1.0}",
         "flow.parameters.lam: is no parameter of flow.objective; allowed: none, since flow.objective has none"),
        ("reverse-kl + lam sum(w mu.mu)", "parameters = {lam = nan}", "flow.parameters: is {lam = nan}; must be"),
        ("reverse-kl", 'parameters = "lam"', 'flow.parameters: is "lam"; must be a table of finite numbers'),
        ("reverse-kl reverse-kl", "", "a divergence is multiplied by numbers and parameters only"),
        ("__import__('os')", "", "means nothing here"),
        ("reverse-kl - 1.0 reverse-kl", "", "everything cancels"),
        ("sum(w log(w)) + 0.2 E(x.x)", "", 'flow.objective: is "sum(w log(w)) + 1/5 E(x.x)"; without a divergence'),
        ("sum(pi)", "", "without a divergence"),
        ("beta reverse-kl", "parameters = {beta = 2.0}",
         "flow.parameters.beta: is 1/temperature, of flow.temperature; must be left out"),
    ],
)  # fmt: skip
def test_refused_when_read(objective: str, more: str, said: str) -> None:
    with pytest.raises(ProblemError) as refused:
        given(objective, more=more)
    assert said in str(refused.value)
    assert str(refused.value).startswith("p.toml: flow.")


@pytest.mark.parametrize(
    ("objective", "more", "said"),
    [
        (
            "0.5 reverse-kl + 0.5 forward-kl",
            "batch = {size = 4, step = 0.1}",
            "for the flow, not for the steps",
        ),
        ("reverse-kl(2)", "temperature = 2.0", "no reverse-kl that flow.temperature could temper"),
    ],
)
def test_refused_where_no_equations_are(objective: str, more: str, said: str) -> None:
    with pytest.raises(ProblemError) as refused:
        ask.solve(given(objective, more=more))
    assert said in str(refused.value)
    assert str(refused.value).startswith("p.toml: flow")


def test_a_backend_without_a_text_says_so() -> None:
    said = ensembles.refused_on_gpu(Task(Closed.of(given("0.5 reverse-kl + 0.5 forward-kl"))))
    assert said is not None
    assert said.endswith("is not among the kernels")


def test_equations_given_must_be_those_of_the_problem() -> None:
    jeffreys = systems.for_problem(given("0.5 reverse-kl + 0.5 forward-kl"))
    fixed = systems.for_problem(given("reverse-kl(2)"))
    norms = systems.for_problem(given("reverse-kl + lam sum(w mu.mu)", more="parameters = {lam = 0.4}"))
    tempered = given("reverse-kl", more="temperature = 2.0")
    each = systems.load(systems.read("reverse_kl_variances"))
    unequal = Problem.parse(given("reverse-kl").text.replace("variances = 0.8", "variances = [0.8, 0.9]"), "p.toml")
    one = systems.load(systems.read("reverse_kl"))
    cases = (
        (given("reverse-kl"), jeffreys, 'objective is "reverse-kl"; the system given is objective_'),
        (given("reverse-kl"), fixed, 'of "reverse-kl(2)"'),
        (tempered, fixed, 'of "reverse-kl(2)"'),
        (given("reverse-kl"), norms, 'of "reverse-kl + lam sum(w mu.mu)"'),
        (given("reverse-kl"), each, "with one of each component"),
        (unequal, one, "with one of q and one of p"),
    )
    for problem, module, said in cases:
        for asked in (lambda p, m: ask.solve(p, system=m), lambda p, m: ask.compare(p, system=m)):
            with pytest.raises(ProblemError) as refused:
                asked(problem, module)
            assert said in str(refused.value)
    right = ask.solve(given("0.5 reverse-kl + 0.5 forward-kl"), system=jeffreys)
    assert right.attrs["system"] == jeffreys.SYSTEM


@pytest.mark.slow
def test_texts_are_kept_and_damage_is_not_believed(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MODECOLLAPSE_CACHE", str(tmp_path / "cache"))
    objective = given("reverse-kl + 0.25 forward-kl").flow.objective
    own.cache_clear()
    first = own(objective)
    (kept,) = (tmp_path / "cache").glob("*.code")
    own.cache_clear()
    monkeypatch.setattr("solvers.closed.own._derived", lambda text: pytest.fail("derived again"))
    assert own(objective) == first
    monkeypatch.undo()
    monkeypatch.setenv("MODECOLLAPSE_CACHE", str(tmp_path / "cache"))
    content = kept.read_bytes()
    kept.write_bytes(content[:-200] + content[-200:].replace(b"return", b"raise "))
    own.cache_clear()
    with pytest.warns(UserWarning, match="damaged or was not made here"):
        assert own(objective) == first
    own.cache_clear()


def test_slopes_of_regularisers_are_exact() -> None:
    """Of every kind of atom, against central differences of the value."""
    text = "reverse-kl + lam sum(w v) + sum(mu.mu)^2 + sqrt(sum(w mu.nu)^2 + d) + exp(E(x.x) / 50)"
    text += " + sum(w' pi nu.nu mu'.mu') + sum(w pi mu.nu/u) + sum(pi' w mu.mu log(v u'))"
    polynomial = given(text, more="parameters = {lam = 0.4}").flow.terms[1:]
    rng = np.random.default_rng(5)
    mu, nu = rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 2, 4))
    theta, log_v = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)) / 4
    values = {"lam": 0.4, "beta": 1.0}

    def at(mu, theta, log_v):
        w = np.exp(theta - np.logaddexp.reduce(theta, axis=1)[:, None])
        return regulariser(polynomial, values, mu, nu, w, np.exp(log_v), PI, np.array([1.2, 0.9]))

    found = at(mu, theta, log_v)
    for place, name in enumerate(("mean", "weight", "variance")):
        state = (mu, theta, log_v)
        for entry in np.ndindex(*state[place].shape[1:]):
            moved = []
            for h in (-1e-5, 1e-5):
                changed = [a.copy() for a in state]
                changed[place][(slice(None), *entry)] += h
                moved.append(at(*changed).value)
            difference = (moved[1] - moved[0]) / 2e-5
            if place == 2:
                difference = difference * np.exp(-log_v)[(slice(None), *entry)]
            got = getattr(found, name)[(slice(None), *entry)]
            np.testing.assert_allclose(got, difference, rtol=1e-6, atol=1e-6)


def test_a_span_is_no_hindrance() -> None:
    """Compiled velocities equal NumPy's where the components leave the span of the modes."""
    text, more, _ = CASES["norms"]
    problem = given(text, 2, more)
    rng = np.random.default_rng(3)
    mu, nu = rng.normal(size=(5, 2, 2)), np.array(NU)
    s, m, theta = mu @ mu.swapaxes(1, 2), mu @ nu.T, rng.normal(size=(5, 2))
    space = Span.of(problem, s, m)
    closed = Closed.of(problem)
    system = ensembles.build(closed, space)
    y = np.concatenate([space.coordinates(s, m).reshape(5, -1), theta], axis=1)
    velocity, _ = system.derivatives(y, ensembles.parameters(closed, space))
    x, dx = (a[:, : y.shape[1] - 2].reshape(5, 2, -1) for a in (y, velocity))
    module = systems.for_problem(problem)
    ds, dm, dtheta = systems.call(module.velocity, systems.evaluate(problem, module, s, m, theta))
    np.testing.assert_allclose(dx @ x.swapaxes(1, 2) + x @ dx.swapaxes(1, 2), ds, atol=1e-10)
    np.testing.assert_allclose(dx @ space.target().T, dm, atol=1e-10)
    moved = velocity[:, -2:]
    np.testing.assert_allclose(moved - moved.mean(1)[:, None], dtheta - dtheta.mean(1)[:, None], atol=1e-10)
    assert isinstance(system, compiled.CompiledSystem)
