"""Finite batches: the iterated closed equations against stochastic gradient descent itself, in d dimensions."""

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import t as student

from solvers.closed import flow, systems
from solvers.problem import Problem
from tests.solvers.closed.flow_cases import overlaps

FALSE_ALARM = 1e-6
D, SIZE, STEP, R = 40, 4, 0.25, 1.0
MEANS = [[1.1, 0.5, 0.2], [-0.6, 0.9, -0.4]]
GROUPS, RUNS = 32, 60  # replica means of so many runs each, near normal


def given(batch=True):
    flow_ = f"batch = {{size = {SIZE}, step = {STEP}}}" if batch else ""
    return Problem.parse(
        f"dimension = {D}\n[target]\nseparation = {R}\nvariances = 1.5\n[family]\ncomponents = 2\n[flow]\n{flow_}\n"
        f"[init]\nmeans = {MEANS}\n[time]\nend = {8 * STEP}\nsave = 9\n"
    )


def descend(mu, rng):
    """One step of SGD on KL(q‖p): mu (runs, 2, D), equal weights, v = 1, u = 1.5, fresh samples of each component."""
    nu = np.zeros((2, D))
    nu[:, 0] = R, -R
    x = mu[:, :, None] + rng.standard_normal((len(mu), 2, SIZE, D))
    cross = np.einsum("rknd,rjd->rknj", x, mu)
    r = np.exp(log_softmax(cross - (mu**2).sum(-1)[:, None, None] / 2, axis=-1))
    rho = np.exp(log_softmax(x @ nu.T / 1.5, axis=-1))
    g = np.einsum("rknj,rjd->rknd", r, mu) - x - (rho @ nu - x) / 1.5
    return mu - STEP * 0.5 * g.mean(2)


def grouped(mu):
    """s of the runs, averaged within replicas: (GROUPS, 3)."""
    s = mu @ mu.mT
    return s.reshape(GROUPS, RUNS, 2, 2).mean(1)[:, [0, 0, 1], [0, 1, 1]]


def agree(estimates, exact, allowed=0.0):
    limit = student.isf(FALSE_ALARM / (2 * exact.size), len(estimates) - 1)
    error = estimates.std(0, ddof=1) / np.sqrt(len(estimates))
    return bool(np.all(np.abs(estimates.mean(0) - exact) <= limit * error + allowed))


@pytest.fixture(scope="module")
def runs():
    """The states of all runs, start and after each of 8 steps."""
    rng = np.random.default_rng(11)
    mu = np.zeros((GROUPS * RUNS, 2, D))
    mu[:, :, :3] = MEANS
    states = [mu]
    for _ in range(8):
        states.append(descend(states[-1], rng))
    return states


def test_mean_second_order_change_of_one_step(runs):
    """E s(1) − s(0) − η (Γ + Γᵀ) = η² E[ĝ·ĝ], exactly, whatever η; and not without the correction."""
    problem, start = given(), runs[0][0]
    nu = np.pad(problem.target.vectors, ((0, 0), (0, D - 1)))
    states = *overlaps(start, nu), np.log(problem.family.weights)
    drift = flow.velocity(given(batch=False), systems.for_problem(given(batch=False)), *states)[0]
    second = (grouped(runs[1]) - grouped(runs[0]) - STEP * drift[[0, 0, 1], [0, 1, 1]]) / STEP**2

    def theory(drop=None):
        ds = flow.velocity(problem, systems.for_problem(problem, drop=drop), *states)[0]
        return ((ds - drift) / STEP)[[0, 0, 1], [0, 1, 1]]

    assert agree(second, theory())
    assert not agree(second, theory("ds.noise"))
    assert not agree(second, theory("ds.step"))
    assert not agree(second, np.zeros(3))


def test_trajectory_of_descent(runs):
    """Eight steps. The closed equations follow means: what s fluctuates by enters at second order, here below 0.3 %."""
    solved = flow.solve(given())
    without = flow.solve(given(batch=False))
    assert solved.status.item() == 0
    for n in (2, 8):
        exact, flow_alone = (ds.s.values[0, n][[0, 0, 1], [0, 1, 1]] for ds in (solved, without))
        allowed = 0.003 * np.abs(exact).max()
        assert agree(grouped(runs[n]), exact, allowed)
        assert not agree(grouped(runs[n]), flow_alone, allowed)
    for term in ("ds.noise", "ds.As/v"):
        wrong = flow.solve(given(), drop=term).s.values[0, 8][[0, 0, 1], [0, 1, 1]]
        assert not agree(grouped(runs[8]), wrong, 0.003 * np.abs(wrong).max()), term


def test_larger_batches_approach_steps_without_noise():
    """What a batch adds to s falls like 1/size; the drift of the step stays."""
    problem = given()
    excess = []
    for size in (4, 40, 400):
        other = Problem.parse(problem.text.replace("size = 4", f"size = {size}"))
        s, m = overlaps(np.array(MEANS), np.pad(problem.target.vectors, ((0, 0), (0, 2))))
        states = s, m, np.log(problem.family.weights)
        whole, quiet = (
            flow.velocity(other, systems.for_problem(other, drop=drop), *states)[0] for drop in (None, "ds.noise")
        )
        excess.append(np.diag(whole - quiet))
    assert excess[0] == pytest.approx(10 * excess[1])
    assert excess[0] == pytest.approx(100 * excess[2])
    assert np.all(excess[0] > 0)
