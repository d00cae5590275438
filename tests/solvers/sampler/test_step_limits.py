"""How long a step of a sampler may be: for every method, reference and control, while variances move, and in R^d."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from solvers.ask import compare
from solvers.particles.plan import SimulationError
from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.mixtures import Mixture as InSpace
from solvers.particles.sampler.simulation import rounding, simulate
from solvers.problem import Problem, ProblemError
from solvers.results.outcomes import LOST, STATUS, TOO_LONG
from solvers.sampler.gradients import Slope
from solvers.sampler.limits import check, overshoot, pull, sampler_of_variances
from solvers.sampler.model import Mixture, chain_module
from solvers.sampler.solve import solve, traced
from solvers.sampler.steering import Schedule

KEYS = sorted(chain_module().DRIFTS)

TEXT = """
dimension = 3
[target]
separation = 0.5
variances = {u}
[family]
components = {K}
learn = {learn}
variances = {v}
[init]
means = {means}
[time]
end = {end}
save = {save}
[sampler]
method = "{method}"
reference = "{reference}"
control = "{control}"
steps = {steps}
horizon = {horizon}
paths = 200
"""
DEFAULT = {
    "u": [0.1, 0.1], "v": [0.1], "K": 1, "learn": "[]", "means": [[0.2]], "end": 0.0, "save": 1, "method": "cmcd",
    "reference": "prior", "control": "mixture", "steps": 64, "horizon": 7.04,
}  # fmt: skip


def problem(**changes):
    return Problem.parse(TEXT.format(**DEFAULT | changes), "p.toml")


def test_the_sum_of_two_scores_halves_the_limit():
    """All variances 0.1: the drift is −20 x, so the step must be below 0.1, not 0.2; it gave −2.5e11 ± 0.7."""
    with pytest.raises(ProblemError) as refused:
        check(problem())
    assert str(refused.value) == (
        "p.toml: sampler.steps: is 64; the step horizon / steps is 0.11, must be < 0.1: the forward drift pulls in at "
        "up to 20 and overshoots from twice its inverse on"
    )
    run = solve(problem(horizon=6.3), backend="numpy")
    assert int(run.status[0]) == 0
    assert -1e4 < float(run.elbo[0, 0]) < 0


#: Largest −a of the forward and the backward drift by hand: v, u, q variances of prior, target and control. With the OU
#: reference v_τ = 1 + (v − 1) e^{−2τ} at τ = T − nη; n runs over 0..N−1 forward and 1..N backward, here N = 4, T = 1.
def typed(v, u, q):
    noised = [[1 + (x - 1) * np.exp(-2 * (1 - n / 4)) for n in range(5)] for x in (u, q)]
    target, control = (2 / np.array(x) - 1 for x in noised)
    beta = np.arange(5) / 4
    annealed = beta / u + (1 - beta) / v
    return {
        ("dis", "ou", "none"): (1.0, 1.0),
        ("dis", "ou", "exact"): (target[:4].max(), 1.0),
        ("dis", "ou", "mixture"): (control[:4].max(), 1.0),
        ("mcd", "ou", "mixture"): (1.0, control[1:].max()),
        ("cmcd", "ou", "mixture"): (control[:4].max(), (2 - control)[1:].max()),
        ("dbs", "ou", "mixture"): (control[:4].max(), control[1:].max()),
        ("dis", "prior", "mixture"): (1 / v + 1 / q, 1 / v),
        ("mcd", "prior", "mixture"): (1 / v, 1 / v + 1 / q),
        ("cmcd", "prior", "mixture"): (1 / v + 1 / q, 1 / v - 1 / q),
        ("dbs", "prior", "mixture"): (1 / v + 1 / q, 1 / v + 1 / q),
        ("mcd", "annealed", "none"): (annealed[:4].max(), annealed[1:].max()),
        ("mcd", "annealed", "mixture"): (annealed[:4].max(), annealed[1:].max() + 1 / q),
        ("cmcd", "annealed", "mixture"): (annealed[:4].max() + 1 / q, annealed[1:].max() - 1 / q),
        ("dbs", "annealed", "mixture"): (annealed[:4].max() + 1 / q, annealed[1:].max() + 1 / q),
    }


@pytest.mark.parametrize("seed", range(5))
def test_pulls_are_those_of_section_7(seed):
    v, u, q = 10 ** np.random.default_rng(seed).uniform(-1.5, 0.7, 3)
    key: tuple[str, str, str]
    for key, expected in typed(v, u, q).items():
        s = sampler_of_variances(*key, 4, 1.0, 5, np.array([v]), np.array([u]))
        moved = {name: Mixture.of([[0.0]], [q], [1.0]) for name in s.mixtures if name.startswith("control")}
        found = pull(replace(s, mixtures=s.mixtures | moved))
        np.testing.assert_allclose([side.max() for side in found], expected, rtol=1e-12, err_msg=str(key))


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_narrowest_and_widest_variances_decide_and_both_sides_say_so(key: tuple[str, str, str]):
    """Unequal variances, the whole table: the derived limit, that of the simulation, and slopes of drifts at points."""
    rng = np.random.default_rng(KEYS.index(key))
    for _ in range(4):
        v, u = 10 ** rng.uniform(-1, 0.5, 3), 10 ** rng.uniform(-1, 0.5, 2)
        s = sampler_of_variances(*key, 6, 1.2, 5, v, u)
        space = {n: InSpace(np.zeros((len(m.log_w), 5)), np.exp(m.log_var), m.log_w) for n, m in s.mixtures.items()}
        model = Model(*key, 6, 1.2, space)
        assert model.overshoot() == pytest.approx(overshoot(s), rel=1e-12)
        # Wherever x is, −a is no more; a(x) is the factor of the orthogonal part.
        x = np.abs(rng.standard_normal((200, 1))) * 10 ** rng.uniform(-2, 2, (200, 1)) * np.eye(5)[:1]
        for n in range(6):
            for side, at in ((0, n), (1, n + 1)):
                drift = model.drifts(at)[side]
                values = sum(
                    c * (x if name[0] == "x" else model.score_of(name, at).at(x).score) for name, c in drift.items()
                )
                assert np.all(-np.asarray(values)[:, 0] / x[:, 0] <= pull(s)[side][n] * (1 + 1e-12))


def test_a_chain_beyond_the_limit_has_no_stationary_law():
    """x' = (1 − 20 η) x + …: at a tenth beyond the limit |x|² grows by 1.2² a step, at a tenth below it does not."""
    s = sampler_of_variances("cmcd", "prior", "mixture", 64, 6.4, 3, np.array([0.1]), np.array([0.1]))
    for horizon, grows in ((5.76, False), (7.04, True)):
        chain = replace(s, horizon=horizon)
        second = 0.1
        for _ in range(64):
            second = (1 - 20 * chain.eta[0]) ** 2 * second + 2 * chain.eta[0]
        assert (overshoot(chain) >= 2) == grows
        assert (second > 1e8) == grows


NARROWING = {"v": [1.0], "u": [1.0, 1.0], "learn": '["variances"]', "end": 1.0, "save": 5, "steps": 4, "horizon": 3.0}


@pytest.fixture
def falling(monkeypatch):
    """Learning by which log v falls at rate 1, on both sides: 1/v + 1/q at η = 0.75 is too much from t = log 4/3 on."""

    def theory(self, sampler, noise):
        mixtures = {
            name: Slope(0 * m.mean, np.full_like(m.log_var, -1.0), 0 * m.log_w)
            for name, m in sampler.mixtures.items()
            if name in self.learn
        }
        return mixtures, Schedule.of(sampler)

    def in_space(model, paths, differentiate, *_, **__):
        return 0.0, {
            n: Bars(0 * m.means, np.ones_like(m.variances), 0 * m.log_weights) for n, m in model.mixtures.items()
        }

    monkeypatch.setattr("solvers.sampler.learn.Learning.velocity", theory)
    monkeypatch.setattr("solvers.particles.sampler.learn.path_gradient", in_space)


@pytest.mark.parametrize(("end", "status"), [(0.25, 0), (0.32, TOO_LONG), (1.0, TOO_LONG)])
def test_variances_that_become_too_small_end_with_a_status(falling, end, status):
    run = solve(problem(**NARROWING | {"end": end}), backend="numpy")
    assert int(run.status[0]) == status
    assert np.isnan(run.elbo_se.values).all() == (status != 0)
    options = {"particles": 64, "replicas": 2, "step": 0.01, "backend": "numpy"}
    if status == 0:
        assert int(simulate(problem(**NARROWING | {"end": end}), **options).status[0]) == 0
        return
    with pytest.raises(SimulationError, match="no replica of start 0 has a result: sampler step too long"):
        simulate(problem(**NARROWING | {"end": end}), **options)


def test_steps_that_float64_does_not_see():
    """η = 1e-40: in R^d no x moves, and |ξ|²/2 is not made up for; the theory has the value at N = 0."""
    tiny = problem(u=[1.0, 1.0], v=[1.0], steps=4, horizon=4e-40, method="mcd", reference="annealed", control="none")
    none = problem(u=[1.0, 1.0], v=[1.0], steps=0, horizon=1.0, method="mcd", reference="annealed", control="none")
    run, known = solve(tiny, backend="numpy"), solve(none, backend="numpy")
    assert float(run.elbo[0, 0]) == pytest.approx(float(known.elbo[0, 0]), abs=6 * float(known.elbo_se[0, 0]))
    with pytest.raises(SimulationError, match="lost to rounding"):
        simulate(tiny, particles=64, replicas=2, step=0.05, backend="numpy")
    model = Model(
        "mcd",
        "annealed",
        "none",
        4,
        1.0,
        {n: InSpace(np.zeros((1, 3)), np.ones(1), np.zeros(1)) for n in ("prior", "target")},
    )
    assert rounding(model) < 1e-13


def test_compare_gives_no_verdict_on_what_has_no_result(monkeypatch):
    """A status of either side is a disagreement that is named; a sampler beyond the limit does not come that far."""
    small = problem(u=[1.0, 1.0], v=[1.0], steps=1, horizon=0.2)
    monkeypatch.setattr("solvers.verdict.sampler.traced", partial(traced, backend="numpy"))
    options = {"particles": 32, "replicas": 32, "step": 0.05, "backend": "numpy"}
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["solvers.sampler.evaluate"], "status_of", lambda *_: LOST)
        report = compare(small, **options)
    assert report.broken == (f"start 0: the theory has no solution up to the last time ({STATUS[LOST]})",)
    with monkeypatch.context() as patch:
        turns = iter([True] + [False] * 99)
        patch.setattr("solvers.particles.sampler.simulation.rounding", lambda model: 1.0 if next(turns) else 0.0)
        report = compare(small, **options)
    assert report.broken == (f"start 0: the simulation has no result up to the last time ({STATUS[LOST]})",)
    assert not report.agrees
