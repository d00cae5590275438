"""Systems as machine code: the cache, and the emitted equations of two components and two modes against NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest

from solvers.closed import compiled, systems
from tests.limits import HANG
from tests.rated import rated

pytestmark = pytest.mark.slow

TEXT = """
N, WORK, OUT, PARAMETERS = 1, 0, 1, 1
LOGITS = (K, L)

@njit(**FLAGS)
def fixed(p, work):
    pass

@njit(**FLAGS)
def rhs(y, p, dy, work):
    store(dy, 0, -load(y, 0))

@njit(**FLAGS)
def jacobian(y, p, jac, work):
    store(jac, 0, -1.0)

@njit(**FLAGS)
def observables(y, p, out, work):
    store(out, 0, p[0] * load(y, 0))
"""
USE = """
import sys
import numpy as np
from solvers.closed import compiled
assert not {"numba", "llvmlite"} & set(sys.modules), "numba is imported before it is needed"
y = np.arange(11.0)[:, None]
for text in sys.argv[1:]:
    system = compiled.build(text, components=1, modes=1, directions=1)
    assert np.array_equal(system.observables(y, np.array([3.0])), 3 * y)
    stats = system.modules["pointwise"].observe.stats
    print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def start(cache, *texts):
    """A process that builds and uses systems, its cache below `cache`."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    environment.pop("MODECOLLAPSE_CACHE", None)
    command = [sys.executable, "-W", "error", "-c", USE, *texts]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """How often it loaded machine code, and how often it had to compile, for each of its systems."""
    out, error = process.communicate(timeout=HANG)
    assert process.returncode == 0, error
    return [tuple(map(int, line.split())) for line in out.splitlines()]


def test_machine_code_is_made_once_also_by_two_processes_at_once(tmp_path):
    folder = tmp_path / "modecollapse"
    both = [start(tmp_path, TEXT) for _ in range(2)]
    assert all(sum(used) == 1 for process in both for used in finish(process))
    assert len(list(folder.iterdir())) == 2  # a function and a key, and nothing left of the slower process
    assert finish(start(tmp_path, TEXT, TEXT + "# another text\n")) == [(1, 0), (0, 1)]
    assert len(list(folder.iterdir())) == 3


def test_the_folder_of_the_cache_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MODECOLLAPSE_CACHE", str(tmp_path / "chosen"))
    assert compiled.cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("MODECOLLAPSE_CACHE")
    assert compiled.cache_folder() == tmp_path / "modecollapse"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert compiled.cache_folder().parts[-2:] == (".cache", "modecollapse")


def test_more_components_than_compiled_are_refused():
    with pytest.raises(ValueError, match=r"65 components, 2 modes: .* at most 64"):
        compiled.build(TEXT, 65, 2, 3)


# --- the emitted equations ------------------------------------------------------------------------------------------

K = L = 2
R = 3
#: Powers of w_k in the rates of means and of log-weights, beside the metrics that they are.
METRICS = {"plain": (1.0, 1.0), "fisher-rao": (1.0, 0.0), "wasserstein": (0.0, 1.0), "roots": (0.5, -0.5)}
V, U, D = 0.8, 1.3, 64.0
PI = np.array([0.4, 0.6])
NU = np.array([[2.0, 0.5, 0.0], [-1.5, 0.0, 1.0]])


@pytest.fixture(scope="module")
def system():
    return compiled.build(systems.read_text("reverse_kl.numba"), K, L, R)


def parameters(learn_means=1.0, learn_weights=1.0, powers=(1.0, 1.0)):
    """At temperature 1: no rate of a schedule, and β = 1."""
    numbers = [V, U, D, np.log(V), np.log(U), learn_means, learn_weights, *powers, 0.0, 1.0]
    return np.concatenate([NU.ravel(), (NU @ NU.T).ravel(), np.log(PI), numbers])


@pytest.fixture(scope="module")
def states():
    return np.random.default_rng(0).normal(size=(19, K * R + K))


def tables(module, y):
    x, theta = y[:, : K * R].reshape(-1, K, R), y[:, K * R :]
    known = {"s": x @ x.mT, "m": x @ NU.T, "theta": theta, "c": NU @ NU.T, "log_pi": np.log(PI)}
    return x, rated(module, known | {"v": V, "u": U, "d": D})


@pytest.mark.parametrize("metric", METRICS)
def test_velocity_and_observables_are_those_of_numpy(system, metric, states):
    module, powers = systems.load(systems.read("reverse_kl")), METRICS[metric]
    x, known = tables(module, states)
    w = np.exp(module.log_weights(known["theta"]))
    known |= {"rate_means": w ** powers[0], "rate_weights": w ** powers[1]}
    velocity, _ = system.derivatives(states, parameters(powers=powers))
    dx, dtheta = velocity[:, : K * R].reshape(-1, K, R), velocity[:, K * R :]
    ds, dm, expected = systems.call(module.velocity, known)
    scale = 1e-11
    assert dtheta == pytest.approx(expected, rel=1e-11, abs=scale)
    assert dx @ NU.T == pytest.approx(dm, rel=1e-11, abs=scale)
    assert dx @ x.mT + x @ dx.mT == pytest.approx(ds, rel=1e-11, abs=scale)
    observed = system.observables(states, parameters())
    assert observed[:, 0] == pytest.approx(systems.call(module.objective, known), rel=1e-11, abs=scale)
    assert observed[:, 1 : 1 + L] == pytest.approx(systems.call(module.mode_mass, known), rel=1e-11, abs=scale)
    assert observed[:, 1 + L :].reshape(-1, K, L) == pytest.approx(known["B"], rel=1e-11, abs=scale)


@pytest.mark.parametrize("metric", METRICS)
def test_jacobian_is_the_derivative_of_the_velocity(system, metric, states):
    p = parameters(powers=METRICS[metric])
    _, slope = system.derivatives(states, p)
    h = 1e-5
    for j in range(states.shape[1]):
        step = h * np.eye(states.shape[1])[j]
        ahead, _ = system.derivatives(states + step, p)
        behind, _ = system.derivatives(states - step, p)
        assert slope[:, :, j] == pytest.approx((ahead - behind) / (2 * h), rel=1e-6, abs=1e-7)


def test_what_is_not_learned_does_not_move(system, states):
    fixed, slope = system.derivatives(states, parameters(learn_means=0.0))
    assert not fixed[:, : K * R].any()
    assert not slope[:, : K * R].any()
    assert fixed[:, K * R :].any()
    fixed, slope = system.derivatives(states, parameters(learn_weights=0.0))
    assert not fixed[:, K * R :].any()
    assert not slope[:, K * R :].any()


def test_methods_agree_and_equilibria_are_found(system, states):
    """To t = 10⁶, whatever the fastest rate; the objective never rises on the way."""
    starts, times = states * 0.3, [0.0, 1.0, 10.0, 100.0, 1e6]
    options = {"rtol": 1e-9, "atol": 1e-10}
    auto = compiled.ensemble(system, starts, parameters(), times, stop_at_equilibrium=True, **options)
    stiff = compiled.ensemble(system, starts, parameters(), times, method="rosenbrock", **options)
    assert not auto.status.any()
    assert auto.steps.max() < 3000
    assert np.median(np.abs(auto.y - stiff.y).max(axis=(1, 2))) < 1e-8
    assert np.abs(auto.y - stiff.y).max() < 1e-4  # next to a saddle errors grow by orders of magnitude
    assert auto.equilibrium.mean() > 0.8
    velocity, slope = system.derivatives(auto.y[auto.equilibrium, -1], parameters())
    assert np.abs(velocity).max() < 1e-8
    assert auto.spectrum.real.max() < 1e-8
    trace = np.trace(slope, axis1=1, axis2=2)
    assert auto.spectrum.sum(axis=1).real == pytest.approx(trace, rel=1e-6)
    objective = system.observables(auto.y.reshape(-1, K * R + K), parameters())[:, 0].reshape(auto.y.shape[:2])
    assert np.diff(objective, axis=1).max() < 1e-8
