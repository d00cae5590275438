"""Optimisers as they are run in practice: their updates, and where they lead beside the flow."""

import numpy as np
import pytest
from scipy.stats import t

from solvers import ask
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.optimisers import Adam, Sgd
from solvers.particles.sampler.simulation import replica_curves
from solvers.problem import Problem, ProblemError
from solvers.problem.learning_section import LearningOptions
from solvers.problem.starts import starts
from solvers.results.telling import told
from tests.limits import ROUNDING

TEXT = """
dimension = 6
[target]
separation = 1.0
weights = [0.3, 0.7]
[family]
components = 2
learn = ["means", "weights"]
[init]
means = [[0.9, 0.4], [-0.6, 0.3]]
[time]
end = 1.0
save = [0.0, 0.5, 1.0]
[sampler]
steps = {steps}
horizon = 0.4
paths = 64
method = "cmcd"
"""
FLOW = Problem.parse(TEXT.format(steps=0))


def problem(learning, steps=0, more=""):
    return Problem.parse(TEXT.format(steps=steps) + more + f"\n[learning]\n{learning}\n", "p.toml")


def test_steps_of_other_objectives_need_two_paths_in_a_component():
    more = '\ncontrol = "mixture"\nobjective = "trajectory-balance"'
    with pytest.raises(ProblemError, match=r"^p.toml: learning.batch: is 3; must be >= 4: learning starts as many"):
        problem('optimiser = "adam"\nrate = 0.01\nbatch = 3', 4, more)
    found = problem('optimiser = "sgd"\nrate = 0.25\nbatch = 4\nsteps = 2', 4, more)
    curves = replica_curves(found, starts(found), 0, particles=64, replicas=2, step=0.1, backend="numpy")
    c = curves.values["log_z_learned"]
    assert (c[:, 0] == 0).all()
    assert (np.diff(c, axis=1) != 0).all()  # at the rate of a control


def test_adam_is_algorithm_1_of_kingma_and_ba():
    """Number by number as it is printed, α = 0.01 and the default β₁, β₂, ε; and the two first steps typed in."""
    alpha, beta1, beta2, eps = 0.01, 0.9, 0.999, 1e-8
    gradients = [0.3, -0.1, 0.25, 1e-9, -40.0, 2.0]
    theta, m, v, path = 0.7, 0.0, 0.0, []
    for n, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        theta -= alpha * (m / (1 - beta1**n)) / (np.sqrt(v / (1 - beta2**n)) + eps)
        path.append(theta)
    adam, now, found = Adam(LearningOptions("adam", 1.0, alpha, None, 6), 1.0), 0.7, []
    for g in gradients:
        velocity = {"prior": Bars(np.array([[-g]]), np.array([0.0]), np.array([5.0]))}
        moved = adam.displacement(velocity)["prior"]
        now += moved.means.item()
        found.append(now)
        assert moved.log_variances.item() == 0.0  # what has no velocity stays
    np.testing.assert_allclose(found, path, rtol=1e-14)
    assert found[0] == pytest.approx(0.69, abs=1e-9)  # its first step has the length of the rate
    # m̂ = (0.09·0.3 − 0.1·0.1)/0.19, v̂ = (0.999·0.09 + 0.01)/1.999
    assert found[1] == pytest.approx(0.69 - 0.01 * (0.017 / 0.19) / np.sqrt(0.09991 / 1.999), abs=1e-9)
    adam.forget()
    again = adam.displacement({"prior": Bars(np.full((3, 1), -40.0), np.zeros(3), np.zeros(3))})["prior"]
    np.testing.assert_allclose(again.means, -0.01, rtol=1e-9)


def test_prior_and_control_have_rates_of_their_own():
    sgd = Sgd(LearningOptions("sgd", 0.2, 0.1, None, 10), 1.0)
    one = Bars(np.ones((1, 2)), np.ones(1), np.ones(1))
    moved = sgd.displacement({"prior": one, "control": one})
    assert (moved["prior"].means == 0.1).all()
    assert (moved["control"].log_weights == 0.2).all()
    assert [sgd.moves(0.0, 0.25), sgd.moves(0.25, 1.0)] == [2, 8]


def test_sgd_is_eulers_step_of_the_flow():
    """From the same paths, whose number is the batch, and with steps that fill the time between save times."""
    options = {"particles": 24, "replicas": 3, "backend": "numpy"}
    flow = ask.simulate(Problem.parse(TEXT.format(steps=2)), step=0.1, **options)
    sgd = ask.simulate(problem('optimiser = "sgd"\nrate = 0.1', steps=2), **options)
    for name in ("m", "s", "w", "elbo", "m_se"):
        np.testing.assert_allclose(sgd[name], flow[name], rtol=100 * ROUNDING, atol=1e-13)
    batch = ask.simulate(problem('optimiser = "sgd"\nrate = 0.1\nbatch = 12', steps=2), **options)
    assert not np.allclose(batch.m[:, -1], flow.m[:, -1], rtol=1e-6)
    assert np.allclose(batch.elbo[:, 0], flow.elbo[:, 0])  # evaluations are from as many paths as before


def test_what_the_file_and_the_screen_say():
    options = {"particles": 24, "replicas": 2, "backend": "numpy"}
    ds = ask.simulate(problem('optimiser = "adam"\nrate = 0.02\nsteps = 5\nbatch = 8'), **options)
    assert ds.attrs["optimiser"] == "adam"
    assert [ds.attrs[f"learning_{name}"] for name in ("steps", "batch", "rate", "rate_prior")] == [5, 8, 0.02, 0.02]
    assert ds.attrs["step"] == 0.2  # of learning time
    assert ds["learning_step"].values.tolist() == [0, 2, 5]
    lines = list(told(ds, "sim.nc", "p.toml"))
    assert (
        "learned   by adam: 5 steps of rate 0.02, 8 paths each; the theory is of the flow, and says nothing of this"
        in lines
    )
    assert lines[-1] == 'next: learning.optimiser = "flow" in p.toml, and python -m solvers compare p.toml'
    flow = ask.simulate(FLOW, step=0.5, **options)
    assert flow.attrs["optimiser"] == "flow"
    assert not [line for line in told(flow, "sim.nc", "p.toml") if line.startswith("learned")]


def extrapolated(learning):
    """m (replica, K, L) at the last time, free of the first order in the rate, and its scatter over replicas."""
    runs = []
    for rate, seed in ((0.1, 1), (0.05, 2)):
        made = problem(learning.format(rate=rate), more="").text.replace("[time]", f"seed = {seed}\n[time]")
        once = Problem.parse(made)
        found = replica_curves(once, starts(once), 0, particles=512, replicas=32, step=0.1)
        runs.append(found.values["m"][:, -1])
    return 2 * runs[1] - runs[0]


@pytest.mark.slow
def test_sgd_of_small_rate_follows_the_flow_and_adam_does_not():
    """No steps: the flow is that of KL(φ‖p), which quadrature solves. Bonferroni over 4 entries at 1e-6 in all; what is
    left of second order in the rate is of the order of (0.1 · relaxation rate ≤ 1)² times the way, 0.2: 0.002."""
    exact = ask.solve(FLOW, backend="numpy").m.values[0, -1]
    start = ask.solve(FLOW, backend="numpy").m.values[0, 0]
    assert np.abs(exact - start).max() > 0.15
    limit = t.isf(1e-6 / 8, 31)

    def off(values):
        error = values.std(0, ddof=1) / np.sqrt(len(values))
        return (np.abs(values.mean(0) - exact) / (limit * error + 0.002)).max()

    assert off(extrapolated('optimiser = "sgd"\nrate = {rate}')) < 1
    assert off(extrapolated('optimiser = "adam"\nrate = {rate}')) > 3


def test_adam_goes_on_past_an_addition():
    more = 'refine = {rule = "interval", every = 0.4, until = 3, source = [[0.5, 0.1]], weight = 0.2}\n'
    ds = ask.simulate(problem('optimiser = "adam"\nrate = 0.05', more=more), particles=24, replicas=2, backend="numpy")
    assert (ds.status == 0).all()
    assert np.isnan(ds.v.values[0, 0, 2])
    assert ds.w.values[0, -1, 2] > 0.1
    assert ds["learning_step"].values.tolist() == [0, 10, 20]


def test_a_rate_that_leaves_the_range_of_numbers_is_a_status():
    far = problem('optimiser = "adam"\nrate = 1e200\nsteps = 3')
    with pytest.raises(Exception, match="no replica of start 0 has a result: not finite"):
        ask.simulate(far, particles=24, replicas=2, backend="numpy")
