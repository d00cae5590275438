"""Every derived flow against its definition in R^d: Monte Carlo with its own few lines, and differences of integrals.

Random points with unequal weights and v ≠ u. The Monte Carlo tests are wrong with probability at most FALSE_ALARM each
over their seeds. Beside each comparison stands its control: the system with any one term dropped must be rejected.
"""

from functools import cache

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from scipy.stats import t as student

from solvers.closed import ensembles, flow, systems
from solvers.closed.equations import Closed
from solvers.closed.span import Span
from solvers.problem import Problem, ProblemError
from solvers.problem.starts import starts
from tests.solvers.closed.flow_cases import overlaps, problem

FALSE_ALARM = 1e-6
REPLICAS, PARTICLES = 32, 6000
V, U = 0.7, 1.4
TEMPERATURE = 1.6
BATCH = {"size": 3, "step": 0.8}  # noise and drift of one order, so that either is seen to be missing

WAYS = [
    {"metric": metric, "weights": weights}
    for metric in ("euclidean", "wasserstein")
    for weights in ("softmax", "fisher-rao")
]
FLOWS = [
    {**way, **rest}
    for rest in (
        {"objective": "reverse-kl"},
        {"objective": "reverse-kl", "temperature": TEMPERATURE},
        {"objective": "forward-kl"},
        {"objective": "reverse-kl", "temperature": TEMPERATURE, "batch": BATCH},
    )
    for way in WAYS
]


def name(flow_):
    kind = "batch" if "batch" in flow_ else "tempered" if "temperature" in flow_ else flow_["objective"]
    return f"{kind} {flow_['metric']} {flow_['weights']}"


def point(flow_, K, L, d):
    """A problem, and vectors mu (K, d) and nu (L, d) whose responsibilities are neither 0 nor 1."""
    rng = np.random.default_rng([K, L, d])
    mu, nu = (rng.standard_normal((n, d)) * size / np.sqrt(d) for n, size in ((K, 1.6), (L, 2.0)))
    weights, pi = rng.dirichlet(np.full(K, 5.0)), rng.dirichlet(np.full(L, 5.0))
    family = {"components": K, "weights": weights, "variances": V, "learn": ["means", "weights"]}
    text = {**flow_, "batch": None}
    del text["batch"]
    given = problem(d, {"means": nu, "weights": pi, "variances": U}, family, {"means": mu}, flow=text)
    if "batch" in flow_:
        entry = f"batch = {{size = {BATCH['size']}, step = {BATCH['step']}}}\n"
        given = Problem.parse(given.text.replace("[flow]\n", f"[flow]\n{entry}"))
    return given, mu, nu


def log_parts(x, means, variance, weights):
    """Log-density of a mixture at x (..., d) and its responsibilities."""
    square = ((x[..., None, :] - means) ** 2).sum(-1)
    terms = np.log(weights) - square / (2 * variance) - means.shape[1] * np.log(2 * np.pi * variance) / 2
    return logsumexp(terms, axis=-1), np.exp(log_softmax(terms, axis=-1))


def flat(ds, dm, dtheta):
    """The different entries of one velocity, or of a stack of them, as (..., entries)."""
    upper = np.triu_indices(ds.shape[-1])
    return np.concatenate([ds[..., upper[0], upper[1]], dm.reshape(*ds.shape[:-2], -1), dtheta], axis=-1)


def closed(given, mu, nu, drop=None):
    """Entries of the velocity, objective and mode masses of the generated system."""
    module = systems.for_problem(given, drop=drop)
    states = *overlaps(mu, nu), np.log(given.family.weights)
    values = systems.evaluate(given, module, *states)
    observed = [systems.call(f, values) for f in (module.objective, module.mode_mass)]
    return flat(*flow.velocity(given, module, *states)), np.hstack(observed)


def averages(given, mu, nu, rng):
    """∂D/∂μ (K, d), ∂D/∂θ (K,), D, mode masses and the variance of one sample's gradient (K,), from fresh particles.

    Everything by its definition: x ~ q or p, log-densities and their gradients there.
    """
    w, pi, beta = given.family.weights, given.target.weights, given.flow.beta(0.0)
    x = mu[:, None] + np.sqrt(V) * rng.standard_normal((len(mu), PARTICLES, mu.shape[1]))
    (log_q, r), (log_p, rho) = log_parts(x, mu, V, w), log_parts(x, nu, U, pi)
    mass = w @ rho.mean(1)
    if given.flow.objective == "forward-kl":
        x = nu[:, None] + np.sqrt(U) * rng.standard_normal((len(nu), PARTICLES, mu.shape[1]))
        (log_q, r), (log_p, _) = log_parts(x, mu, V, w), log_parts(x, nu, U, pi)
        slope = -np.einsum("l,lnk,lnkd->kd", pi, r, x[:, :, None] - mu) / (V * PARTICLES)
        by_weight, objective, scatter = w - pi @ r.mean(1), pi @ (log_p - log_q).mean(1), None
    else:
        g = (r @ mu - x) / V - beta * (rho @ nu - x) / U
        slope, scatter = w[:, None] * g.mean(1), w**2 * g.var(1, ddof=1).sum(-1)
        free = (log_q - beta * log_p).mean(1)
        objective = w @ free
        by_weight = w * (free - objective)
    return slope, by_weight, objective, mass, scatter


SIZES = (2, 3, 7)


@cache
def drawn(objective, temperature):
    """`averages` of each replica: neither metric nor batch enters, so those of an objective are drawn once."""
    given, mu, nu = point({"objective": objective, "temperature": temperature}, *SIZES)
    rng = np.random.default_rng(5)
    return [averages(given, mu, nu, rng) for _ in range(REPLICAS)]


def estimate(given, mu, nu, found):
    """One unbiased estimate of what `closed` returns, of one of `averages`."""
    slope, by_weight, objective, mass, scatter = found
    w = given.family.weights
    mobility = 1 / w if given.flow.metric == "wasserstein" else np.ones_like(w)
    dmu, dtheta = -mobility[:, None] * slope, -by_weight / (w if given.flow.weights == "fisher-rao" else 1.0)
    gamma = dmu @ mu.T
    ds = gamma + gamma.T
    if given.flow.batch:
        # E[ĝ_k·ĝ_i] of a batch: the product of means of many particles is too large by their own noise
        extra = dmu @ dmu.T + np.diag(mobility**2 * scatter) * (1 / given.flow.batch.size - 1 / PARTICLES)
        ds = ds + given.flow.batch.step * extra
    return flat(ds, dmu @ nu.T, dtheta), np.hstack([objective, mass])


def agree(estimates, exact):
    """Whether unbiased estimates (replica, entries) have the mean `exact`, by t quantiles shared out to the entries."""
    limit = student.isf(FALSE_ALARM / (2 * exact.size), len(estimates) - 1)
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    return bool(np.all(np.abs(estimates.mean(0) - exact) <= limit * error + 1e-12))


@pytest.mark.slow
@pytest.mark.parametrize("flow_", FLOWS, ids=name)
def test_agrees_with_monte_carlo_and_no_term_is_idle(flow_):
    given, mu, nu = point(flow_, *SIZES)
    replicas = drawn(flow_["objective"], flow_.get("temperature", 1.0))
    velocities, observed = (np.array(a) for a in zip(*(estimate(given, mu, nu, r) for r in replicas), strict=True))
    exact, observables = closed(given, mu, nu)
    assert agree(velocities, exact)
    assert agree(observed, observables)
    assert not agree(observed, observables * 1.1)
    for term in systems.terms(systems.read(systems.for_problem(given).NAME), given):
        assert not agree(velocities, closed(given, mu, nu, drop=term)[0]), term


SIDE = np.arange(-11, 11, 0.09)


@cache
def plane():
    return np.stack(np.meshgrid(SIDE, SIDE), axis=-1)


def integral(given, mu, nu, theta):
    """The objective in the plane, by its definition: ∫ q (log q − β log p), or ∫ p (log p − log q)."""
    log_q, _ = log_parts(plane(), mu, V, np.exp(log_softmax(theta)))
    log_p, _ = log_parts(plane(), nu, U, given.target.weights)
    # A smooth integrand that decays like a Gaussian: the trapezoidal rule is exact to 1e-12 at this step.
    if given.flow.objective == "forward-kl":
        return np.sum(np.exp(log_p) * (log_p - log_q)) * 0.09**2
    return np.sum(np.exp(log_q) * (log_q - given.flow.beta(0.0) * log_p)) * 0.09**2


@cache
def differences(objective, temperature):
    """∂D/∂μ (K, d) and ∂D/∂θ (K,) of an objective in the plane, which no metric enters."""
    given, mu, nu = point({"objective": objective, "temperature": temperature}, 2, 2, 2)
    theta = np.log(given.family.weights)
    h = 0.02 * np.array([-2, -1, 1, 2])
    slope = np.array([1, -8, 8, -1]) / (12 * 0.02)  # fourth order in the step: 1e-7

    def derivative(f):
        return slope @ [f(x) for x in h]

    unit = np.eye(2)
    gradient = np.array(
        [
            [
                derivative(lambda x, k=k, b=b: integral(given, mu + x * np.outer(unit[k], unit[b]), nu, theta))
                for b in (0, 1)
            ]
            for k in (0, 1)
        ]
    )
    by_theta = np.array([derivative(lambda x, k=k: integral(given, mu, nu, theta + x * unit[k])) for k in (0, 1)])
    return gradient, by_theta


@pytest.mark.parametrize("flow_", [f for f in FLOWS if "batch" not in f], ids=name)
def test_is_the_gradient_of_its_objective_in_its_metric(flow_):
    given, mu, nu = point(flow_, 2, 2, 2)
    w, theta = given.family.weights, np.log(given.family.weights)
    gradient, by_theta = differences(flow_["objective"], flow_.get("temperature", 1.0))
    dmu = -gradient / (w[:, None] if flow_["metric"] == "wasserstein" else 1.0)
    dtheta = -by_theta / (w if flow_["weights"] == "fisher-rao" else 1.0)
    gamma = dmu @ mu.T
    expected = flat(gamma + gamma.T, dmu @ nu.T, dtheta)
    found, observables = closed(given, mu, nu)
    # θ is defined up to a constant
    for entries in (found, expected):
        entries[-2:] -= w @ entries[-2:]
    assert np.abs(found - expected).max() < 2e-6
    assert observables[0] == pytest.approx(integral(given, mu, nu, theta), abs=1e-9)
    for term in systems.terms(systems.read(systems.for_problem(given).NAME), given):
        wrong = closed(given, mu, nu, drop=term)[0]
        wrong[-2:] -= w @ wrong[-2:]
        assert np.abs(wrong - expected).max() > 1e-3 or term in ("dtheta.w", "dtheta.Fw"), term


def two_modes(flow_="", **time):
    text = (
        "dimension = 8\n[target]\nseparation = 3.0\n[family]\ncomponents = 2\n"
        f"[init]\nmeans = [[1.5, 0.4], [0.6, -0.2]]\n[time]\nend = {time.get('end', 40.0)}\nsave = 5\n[flow]\n{flow_}"
    )
    return Problem.parse(text)


def test_one_word_changed_covers_both_modes():
    reverse, forward = (flow.solve(two_modes(f'objective = "{kind}-kl"')) for kind in ("reverse", "forward"))
    assert reverse.collapsed.item() == 1
    assert forward.collapsed.item() == 0
    assert forward.objective.values[0, -1] < 1e-6
    assert np.all(np.diff(forward.objective.values[0]) < 1e-10)
    assert forward.mode_mass.values[0, -1] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.slow
def test_temperature_one_is_the_flow_itself_and_schedules_end_there():
    plain = flow.solve(two_modes())
    for same in ("temperature = 1.0", "temperature = {start = 1.0, rate = 0.3}"):
        found = flow.solve(two_modes(same))
        assert np.abs(found.m.values - plain.m.values).max() < 1e-6
    hot = flow.solve(two_modes("temperature = {start = 8.0, rate = 0.1}", end=200.0))
    assert hot.collapsed.item() == 0  # where the cold flow collapses
    assert hot.objective.values[0, -1] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("way", ['metric = "wasserstein"\n', ""])
def test_compiled_schedules_are_those_of_numpy(way):
    """In compiled code β is a state of its own equation; here it is the formula of the problem file."""
    given = two_modes(f"temperature = {{start = 3.0, rate = 0.15}}\n{way}", end=20.0)
    plain, compiled = (flow.solve(given, backend=backend, rtol=1e-9) for backend in ("numpy", "numba"))
    # both within rtol of the truth in every step, errors amplified while a saddle is left
    assert np.abs(plain.m.values - compiled.m.values).max() < 1e-5
    frozen = flow.solve(two_modes(f"temperature = 3.0\n{way}", end=20.0))
    assert np.abs(plain.m.values - frozen.m.values).max() > 0.1


@pytest.mark.parametrize(
    ("flow_", "beyond"),
    [
        ('objective = "forward-kl"\ntemperature = 2.0', "temperature"),
        ('objective = "forward-kl"\nbatch = {size = 4, step = 0.1}', "batch"),
    ],
)
def test_what_is_not_derived_is_refused_with_what_is(flow_, beyond):
    others = "none of these, or variances that differ or are learned"
    message = f"flow: no equations are derived for forward-kl with {beyond}; allowed: {others}$"
    with pytest.raises(ProblemError, match=message):
        flow.solve(two_modes(flow_))
    assert flow.solve(two_modes(flow_.split("\n")[0], end=0.1)).status.values.max() == 0


@pytest.mark.slow
def test_compiled_forward_kl_is_that_of_numpy():
    """The right-hand side, and its Jacobian against differences, of two components: averages of products are exact."""
    given = two_modes('objective = "forward-kl"')
    s, m, theta = starts(given)
    space = Span.of(given, s, m)
    system, p = ensembles.build(Closed.of(given), space), ensembles.parameters(Closed.of(given), space)
    y = np.concatenate([space.coordinates(s, m).reshape(1, -1), theta + np.array([[0.3, -0.2]])], axis=1)
    velocity, slope = system.derivatives(y, p)
    ds, dm, _dtheta = flow.velocity(given, systems.for_problem(given), s, m, y[:, -2:])
    x, dx = (a[:, :-2].reshape(1, 2, -1) for a in (y, velocity))
    np.testing.assert_allclose(dx @ x.mT + x @ dx.mT, ds, atol=1e-12)
    np.testing.assert_allclose(dx @ space.target().T, dm, atol=1e-12)
    h = 1e-5  # central differences: h² of truncation, 1e-14/h of rounding
    sides = (system.derivatives(y + sign * h * np.eye(y.shape[1]), p)[0] for sign in (1, -1))
    np.testing.assert_allclose(slope[0].T, np.subtract(*sides) / (2 * h), atol=1e-8)


def test_what_is_not_compiled_says_so():
    from solvers.machine.arrays import BackendError

    with pytest.raises(BackendError, match=r"flow\.batch is descent by steps"):
        flow.solve(two_modes("batch = {size = 4, step = 0.1}"), backend="numba")
