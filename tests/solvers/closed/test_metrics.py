"""A metric is a row of data: new ones at run time, weights that are zero, and terms that only a constant rate hides."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from solvers.closed import flow, mobility, systems
from solvers.closed.backends import SOLVERS
from solvers.closed.equations import Closed, Task
from solvers.closed.mobility import Rate
from solvers.machine.backends import BackendError, check
from solvers.problem import Problem
from solvers.problem.starts import starts

SYSTEMS = ("finite_batch", "forward_kl", "reverse_kl", "reverse_kl_variances")

TEXT = """
dimension = 6
[target]
separation = 2.0
[family]
components = 2
weights = [0.2, 0.8]
learn = ["means", "weights"]
[flow]
objective = "{objective}"
temperature = {temperature}
[init]
scale = 0.7
samples = 3
[time]
end = 2.0
save = 5
"""


def moving(metric: str, weights: str = "softmax", objective: str = "reverse-kl", temperature: float = 1.0) -> Problem:
    """A problem in a metric that its file need not know."""
    given = Problem.parse(TEXT.format(objective=objective, temperature=temperature))
    return replace(given, flow=replace(given.flow, metric=metric, weights=weights))


@pytest.fixture
def roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric that divides slopes by √w, and a way of the weights that divides them by w²: nothing else is told."""
    halves = {"means": Rate(0.5), "variances": Rate(0.5)}
    monkeypatch.setitem(mobility.METRICS, "roots", halves)
    monkeypatch.setitem(mobility.METRICS, "squares", {"weights": Rate(2.0)})


@pytest.mark.usefixtures("roots")
@pytest.mark.parametrize(("objective", "p"), [("reverse-kl", 1), ("forward-kl", 0)])
def test_a_new_metric_is_a_row(objective: str, p: int) -> None:
    """Its velocity is the Euclidean one over √w_k, with weights over w_k²; p only says how that is computed."""
    plain = moving("euclidean", objective=objective)
    given = moving("roots", "squares", objective)
    assert systems.for_problem(given) is systems.for_problem(plain)
    assert {"means": p, "weights": p} == systems.for_problem(given).POWERS
    s, m, theta = starts(plain)
    w = np.exp(theta)
    old, new = (flow.velocity(case, systems.for_problem(case), s, m, theta) for case in (plain, given))
    np.testing.assert_allclose(new[1], old[1] / np.sqrt(w)[..., None], rtol=1e-13)
    np.testing.assert_allclose(new[2], old[2] / w**2, rtol=1e-13)
    assert np.abs(new[1] - old[1]).max() > 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("roots")
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_a_new_metric_is_compiled_without_another_text(temperature: float) -> None:
    given = moving("roots", "squares", temperature=temperature)
    runs = [flow.solve(given, backend=backend, rtol=1e-10, atol=1e-12) for backend in ("numba", "numpy")]
    for name in ("m", "s", "w", "objective"):
        np.testing.assert_allclose(runs[0][name], runs[1][name], atol=1e-7)
    assert (np.diff(runs[0].objective) < 0).all()
    other = flow.solve(moving("euclidean", temperature=temperature), backend="numba")
    assert np.abs(other.w.values - runs[0].w.values).max() > 0.01


@pytest.mark.usefixtures("roots")
def test_a_gpu_takes_whole_powers_only() -> None:
    with pytest.raises(
        BackendError, match="cupy: rates of roots, softmax are no whole powers of w; allowed: numpy, numba"
    ):
        check(SOLVERS, "cupy", Task(Closed.of(moving("roots"))))
    check(SOLVERS, "cupy", Task(Closed.of(moving("wasserstein", "squares"))))


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize(("metric", "weights"), [("euclidean", "softmax"), ("wasserstein", "fisher-rao")])
def test_nothing_is_divided_by_a_weight_where_the_slope_has_it(name: str, metric: str, weights: str) -> None:
    w, powers = np.array([0.0, 0.3, 0.7]), systems.powers(systems.read(name))
    way = SimpleNamespace(metric=metric, weights=weights)
    with np.errstate(divide="ignore"):
        rates = mobility.rates(way, powers, w, np.full(3, 0.8), 5)
    forward = name == "forward_kl"
    for group, power in powers.items():
        assert power == (0 if forward else 1)
        finite = np.isfinite(rates[f"rate_{group}"]).all()
        assert finite == (not forward or (metric, weights) == ("euclidean", "softmax")), group


@pytest.mark.usefixtures("roots")
def test_a_gauge_can_be_dropped_only_where_it_is_seen() -> None:
    """Σ_j w_j F_j times equal rates moves θ by a constant; times w_k, or 1/w_k, it moves weights."""
    source = systems.read("reverse_kl")
    seen = [
        weights for weights in ("softmax", "squares") if "dtheta.Fw" in systems.terms(source, moving("roots", weights))
    ]
    assert seen == ["softmax", "squares"]
    natural = moving("euclidean", "fisher-rao")
    assert set(systems.terms(source)) - set(systems.terms(source, natural)) == {"dtheta.Fw"}
    with pytest.raises(
        systems.TermError, match=r"--drop: dtheta\.Fw: .* moves no weight; allowed are ds\.Bm/u, .*dtheta\.F$"
    ):
        systems.for_problem(natural, drop="dtheta.Fw")
    assert systems.for_problem(moving("euclidean"), drop="dtheta.Fw").SYSTEM.endswith("without dtheta.Fw")
    # What would have been dropped indeed moves no weight.
    s, m, theta = starts(natural)
    module = systems.load(source, drop="dtheta.Fw")
    whole, without = (flow.velocity(natural, one, s, m, theta)[2] for one in (systems.load(source), module))
    difference = whole - without
    np.testing.assert_allclose(difference - difference[:, :1], 0, atol=1e-14)
    assert np.abs(difference).max() > 1e-3
