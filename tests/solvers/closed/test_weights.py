"""A dying weight: 1/t under softmax, exponential under Fisher–Rao; and which mechanism a collapse is labelled with."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.closed.flow import solve
from solvers.problem import Problem
from solvers.results.mechanisms import LABELS

# Means fixed at 0 and 2, v = 1, target N(0, ½): with all weight on the first, log q − log p = x²/2 + constant, so
# Δ = E₂[x²/2] − E₁[x²/2] = (2² + 1)/2 − 1/2 = 2.
EXCESS = 2.0


def dying(weights: str, end: float, save: str) -> tuple[np.ndarray, np.ndarray]:
    """Times and the dying weight."""
    run = solve(
        Problem.parse(
            f"""
            dimension = 2
            target = {{means = [[0.0]], variances = 0.5}}
            family = {{components = 2, learn = ["weights"]}}
            flow = {{weights = "{weights}"}}
            init = {{means = [[0.0], [2.0]]}}
            time = {{end = {end}, save = {save}}}
            """
        ),
        rtol=1e-10,
        atol=1e-14,
    )
    return run["time"].values, run["w"].values[0, :, 1]


@pytest.mark.slow
def test_a_dying_weight_decays_as_derived() -> None:
    """derivations/documents/stability.md: w = 1/(2Δt) under softmax (K = 2), w ∝ e^{−Δt} under Fisher–Rao.

    The next order is w E₂[N(x; 2)/N(x; 0)] = e⁴ w ≈ 55 w relative to Δ, at w ≤ 3e-6 and e^{−10}: 1e-3 covers both.
    """
    times, w = dying("softmax", 1e7, "[1e5, 3e5, 1e6, 3e6, 1e7]")
    assert np.polyfit(np.log(times), np.log(w), 1)[0] == pytest.approx(-1, abs=1e-3)
    assert 2 * EXCESS * times[-1] * w[-1] == pytest.approx(1, abs=1e-3)
    times, w = dying("fisher-rao", 12.0, "[8.0, 9.0, 10.0, 11.0, 12.0]")
    assert np.polyfit(times, np.log(w), 1)[0] == pytest.approx(-EXCESS, abs=1e-3 * EXCESS)


def test_each_law_is_rejected_for_the_other() -> None:
    """The negative controls: the same fits, softmax read as exponential and Fisher–Rao as a power law."""
    times, w = dying("softmax", 12.0, "[8.0, 9.0, 10.0, 11.0, 12.0]")
    assert abs(np.polyfit(times, np.log(w), 1)[0] + EXCESS) > 1e-3 * EXCESS
    times, w = dying("fisher-rao", 12.0, "[8.0, 9.0, 10.0, 11.0, 12.0]")
    assert abs(np.polyfit(np.log(times), np.log(w), 1)[0] + 1) > 1e-3


@pytest.mark.parametrize(
    ("learn", "words"), [('["means"]', {"aligned"}), ('["means", "weights"]', {"aligned", "vanished"})]
)
def test_mechanisms_of_each_way_of_learning(learn: str, words: set[str]) -> None:
    """With fixed weights every collapse is an alignment; with learned ones weights vanish as well."""
    run = solve(
        Problem.parse(
            f"""
            dimension = 8
            target = {{separation = 4.0}}
            family = {{components = 2, learn = {learn}}}
            init = {{scale = 0.5, samples = 60}}
            time = {{end = 2000.0, save = [2000.0]}}
            """
        ),
        backend="numba",
    )
    found = run["mechanism"].values
    lost = run["mode_mass"].values[:, -1] < 0.25
    np.testing.assert_array_equal(found > 0, lost)
    np.testing.assert_array_equal(run["collapse"].values > 0, run["collapsed"].values == 1)
    names = LABELS["mechanism"].names
    assert {names[code] for code in found[lost]} == words
