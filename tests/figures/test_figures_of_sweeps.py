"""Figures of sweeps, of samplers and of the benchmark: legible, captioned, and their reference numbers right.

The quick tiers are too dear for the suite. Figures are drawn from made-up results of the same shape; of the reference
numbers, which a quick tier wrote, the deterministic ones are computed again at a few points.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from figures import (
    collapse_probability,
    phase_diagram,
    refinement,
    sampler_convergence,
    sampler_phase,
    speciation,
    work_precision,
)
from figures.stores import Swept
from solvers import ask
from solvers.reopen import problem_of
from solvers.results.errors import ResultError
from tests.figures.figure_cases import results_of
from tests.figures.figure_results import stand_in
from tests.figures.legible import drawn_whole

pytestmark = pytest.mark.slow

MODULES = [
    collapse_probability,
    phase_diagram,
    refinement,
    sampler_convergence,
    sampler_phase,
    speciation,
    work_precision,
]
REFERENCE = Path(__file__).parent / "reference"


def name_of(module) -> str:
    return module.__name__.rpartition(".")[2]


@pytest.fixture(scope="module", params=MODULES, ids=name_of)
def case(request):
    return request.param, results_of(request.param)


def test_nothing_is_clipped_and_no_names_overlap(case) -> None:
    module, results = case
    drawing = module.main(results)
    renderer = drawn_whole(drawing)
    for ax in drawing.axes:
        assert ax.has_data(), "an empty panel"
        assert ax.get_xlabel() or ax.get_ylabel()
        marks = [tick for tick in ax.get_xticklabels() if tick.get_text()]
        boxes = [tick.get_window_extent(renderer) for tick in marks if ax.get_xlim()[0] <= tick.get_position()[0]]
        for one, other in combinations(boxes, 2):
            assert not one.overlaps(other), [tick.get_text() for tick in marks]


def test_caption_and_numbers(case) -> None:
    module, results = case
    text = module.caption(results)
    assert len(text) > 200
    assert text.endswith(".")
    assert "nan" not in text
    json.dumps(module.numbers(results), allow_nan=False)


def test_reference_has_what_the_figure_writes(case) -> None:
    """To renew it after a change that is meant to move it: python -m figures NAME --quick; copy outputs/NAME.json."""
    module, results = case
    reference = json.loads((REFERENCE / f"{name_of(module)}.json").read_text(encoding="utf-8"))["numbers"]
    assert shape(module.numbers(results)) == shape(reference)


def shape(numbers):
    """Names and lengths of what may be a table of tables."""
    if isinstance(numbers, dict):
        return {key: shape(value) for key, value in numbers.items()}
    return np.shape(numbers)


def reference(module):
    return json.loads((REFERENCE / f"{name_of(module)}.json").read_text(encoding="utf-8"))["numbers"]


def again(kind: Swept, point: dict[str, object], quantity: str = "collapsed") -> float:
    """The mean of an outcome at a point of a quick tier, computed without a sweep."""
    ds = stand_in(kind)
    run = ask.solve(problem_of(ds.sel(point, method=None)))
    return float(run[quantity].mean())


def test_probabilities_of_the_reference() -> None:
    """One start of some hundred may change sides where another processor rounds differently: three are allowed."""
    known, kind = reference(collapse_probability), collapse_probability.RESULTS["theory"]
    r, d = known["R"].index(4.0), known["dimension"].index(64)
    for learn, name in collapse_probability.KINDS.items():
        found = again(kind, {"target.separation": 4.0, "dimension": 64, "family.learn": learn})
        assert abs(found - known[name]["theory"][d][r]) < 3.5 / 200
        assert known[name]["theory"][d][r] > 0.05
    known, kind = reference(phase_diagram), phase_diagram.RESULTS["theory"]
    i, j = len(known["scale"]) - 4, len(known["R"]) - 3
    at = {"init.scale": known["scale"][i], "target.separation": known["R"][j]}
    run = ask.solve(problem_of(stand_in(kind).sel(at, method=None)))
    codes = {"aligned": 1, "vanished": 2, "straddling": 3}
    for name in phase_diagram.PANELS:
        lost = run["collapse"].values % 10 == codes[name] if name in codes else run["collapsed"].values
        assert abs(lost.mean() - known[name]["theory"][i][j]) < 3.5 / 200
    assert known["t"] == 40.0


def test_mechanisms_of_the_reference_add_up_to_the_probability_of_collapse() -> None:
    known = reference(phase_diagram)
    for side in ("theory", "simulation"):
        parts = sum(np.array(known[name][side]) for name in phase_diagram.MECHANISMS)
        np.testing.assert_allclose(parts, known["collapsed"][side], atol=1e-12)


def test_simulations_of_the_references_agree_with_the_closed_equations() -> None:
    """Shares of 100 starts, within six standard errors of their difference; the noise of 32 particles decides some."""
    known = reference(collapse_probability)
    for name in collapse_probability.KINDS.values():
        same, simulation = np.array(known[name]["same"]), np.array(known[name]["simulation"])
        error = np.sqrt((same * (1 - same) + simulation * (1 - simulation) + 0.01) / 100)
        assert np.all(np.abs(same - simulation) < 6 * error)


def test_powers_of_small_starts() -> None:
    """Section 6 of the theory, R = 3: 0.77310. Probabilities fall as they say, within the errors of 1,000 starts."""
    small = reference(collapse_probability)["small"]
    assert small["exponents"][1] == pytest.approx(0.77310, abs=1e-3)  # interpolated between points 0.1 apart
    scale, found = np.array(small["scale"]), np.array(small["theory"])
    few = np.flatnonzero(scale < 0.12)
    for power, share in zip(small["exponents"], found, strict=True):
        counts = 1000 * share[few]
        # Both ends as logarithms of counts: √(1/n + 1/m) is the error of their difference, 5 of them 1e-6; the power
        # holds up to a relative correction of the order of the scale.
        if counts.min() >= 5:
            fitted = np.log(counts[-1] / counts[0])
            expected = power * np.log(scale[few[-1]] / scale[few[0]])
            assert abs(fitted - expected) < 5 * np.sqrt(1 / counts[0] + 1 / counts[-1]) + scale[few[-1]]


def test_sampler_of_the_reference_learns_as_the_flow_at_the_noised_separation() -> None:
    known = reference(sampler_phase)
    assert known["critical"] == pytest.approx(1.46083, abs=1e-5)
    one = known["one"]
    noised = np.array(one["R"])[:, None] * np.exp(-np.array(one["T"]))
    below = noised < known["critical"] * 0.95
    assert below.any()
    assert np.all(np.array(one["sampler"])[below] < 0.02)
    above = noised > known["critical"] * 1.5
    assert np.all(np.array(one["sampler"])[above] > 0.3)
    # Above it what was learned is that of the flow. 512 paths tell the mass of a mode to 0.0075 where it is 0.97, and
    # its divergence, whose slope is log(0.97 / 0.03), to 0.026: six of these.
    assert np.all(np.abs(np.array(one["sampler"]) - one["flow"])[above] < 0.16)
    simulation = known["simulation"]
    noised = np.array(simulation["R"])[:, None] * np.exp(-np.array(simulation["T"]))
    assert np.all(np.array(simulation["coverage"])[noised < known["critical"] * 0.95] < 0.05)
    assert np.all(np.array(simulation["coverage"])[noised > known["critical"] * 1.5] > 0.3)


def test_gap_of_the_reference_falls_to_the_closed_equations() -> None:
    known = reference(sampler_convergence)
    for k in sampler_convergence.COMPONENTS:
        theory = known[f"k{k}"]["theory"]
        left, error = np.array(theory["gap"]) - known[f"k{k}"]["plateau"], 6 * np.array(theory["elbo_se"])
        assert np.all(np.diff(left) < np.hypot(error[1:], error[:-1])), k
        # The last step from N to 2N halves it, up to the next order and six standard errors.
        assert abs(left[-1] - left[-2] / 2) < 0.25 * left[-2] + np.hypot(*error[-2:]), k
    levels = [known[f"k{k}"]["plateau"] for k in sampler_convergence.COMPONENTS]
    assert levels[:3] == sorted(levels[:3], reverse=True)
    assert known["k4"]["plateau"] == pytest.approx(0.0, abs=1e-8)  # a Gaussian at each noised mode


def test_samplers_of_the_reference_are_one_in_theory_and_simulation() -> None:
    """ELBO and, where weights are not heavy-tailed, ESS: t quantiles at 1e-6 of the few replicas, and of many paths."""
    known = reference(sampler_convergence)
    bound = student.ppf(1 - 0.5e-6, known["replicas"] - 1)
    for k in sampler_convergence.COMPONENTS:
        theory, simulation = known[f"k{k}"]["theory"], known[f"k{k}"]["simulation"]
        at = [theory["steps"].index(n) for n in simulation["steps"]]
        for name, error in (("gap", "elbo_se"), ("ess", "ess_se")):
            one, two = np.array(theory[name])[at], np.array(simulation[name])
            spread = np.hypot(np.array(theory[error])[at], simulation[error])
            good = slice(None) if name == "gap" else one > 0.8
            assert np.all(np.abs(one - two)[good] < bound * spread[good]), (k, name)
    # control: the gap with one component less is another
    fewer, simulation = known["k2"]["theory"], known["k3"]["simulation"]
    spread = np.hypot(fewer["elbo_se"][-1], simulation["elbo_se"][-1])
    assert abs(fewer["gap"][-1] - simulation["gap"][-1]) > bound * spread


def test_clones_of_the_reference() -> None:
    """Reduced chain against R^d, and the curves at the derived time: 1e-6 a comparison, thousands of pairs."""
    known, bound = reference(speciation), norm.isf(0.5e-6)
    for role, r in speciation.CURVES.items():
        found = known[role]
        error = np.hypot(found["reduced_se"], found["simulated_se"])
        assert np.all(np.abs(np.subtract(found["reduced"], found["simulated"])) <= bound * error), role
        assert found["double_well"] == pytest.approx(np.log(r), abs=1e-9)
        assert found["unstable"] == pytest.approx(0.5 * np.log(2 * r**2), abs=1e-9)
        for name in ("reduced", "simulated"):
            time, spread = found[f"{name}_time"]
            # Interpolated between splits a quarter apart, of a chain with steps of 0.05.
            assert abs(time - found["double_well"]) < 0.05 + bound * spread, (role, name)
            assert abs(time - found["unstable"]) > 0.15, (role, name)
        shared = np.subtract(found["reduced"], known["r2" if r > 2 else "r4"]["simulated"])
        assert np.any(np.abs(shared) > bound * error), role  # control: the curve of another separation


def test_closed_curves_of_the_reference_again(case) -> None:
    module, results = case
    if module is speciation:
        known = reference(speciation)
        for role in speciation.CURVES:
            np.testing.assert_allclose(results[role]["closed"], known[role]["closed"], atol=1e-9)


def test_growing_recovers_what_a_fixed_prior_loses() -> None:
    known = reference(refinement)
    assert sum(known["growing"]["collapsed"]) == 0
    assert sum(known["fixed"]["collapsed"]) > 0
    assert all(known["one"]["collapsed"])
    # In R^d too, at the end, in nats: nothing missing, some mode in some start, more than half in every start.
    simulated = {role: np.array(known[f"simulated_{role}"]["distance"])[:, -1] for role in refinement.LABELS}
    assert np.all(simulated["growing"] < 0.03)
    assert np.any(simulated["fixed"] > 0.05)
    assert np.all(simulated["one"] > np.log(2))


def test_this_solver_is_the_lowest_curve() -> None:
    found = work_precision.curves(results_of(work_precision)["benchmark"])
    ours = found.pop("modecollapse")
    assert len(found) == 5
    assert all(float(ours["cost"].max()) < float(ds["cost"].min()) * 2 for ds in found.values())


def test_results_without_their_keys_are_refused() -> None:
    for module, role, key in ((collapse_probability, "small", "init.scale"), (phase_diagram, "theory", "init.scale")):
        results = results_of(module)
        results[role] = results[role].isel({key: 0})
        with pytest.raises(ResultError, match=f"{role}: must have the key {key}"):
            module.main(results)
    results = results_of(sampler_phase)
    results["critical"]["kind"][:] = 0
    with pytest.raises(ResultError, match="pitchfork"):
        sampler_phase.main(results)
