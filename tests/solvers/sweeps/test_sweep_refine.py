"""Adaptive boundaries: the whole contour at a fraction of the cost."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.sweeps.refine import Rounds
from tests.solvers.sweeps.sweep_cases import SMALL, swept


def refined(probability, width, rounds, contour=0.5, follow=True):
    """Which points are computed, for a field that is known everywhere."""
    known = np.zeros(probability.shape, dtype=bool)
    for level in range(rounds.levels + 1):
        while True:
            low, high = (np.where(known, probability + sign * width, np.nan) for sign in (-1, 1))
            wanted = rounds.wanted(level, low, high, contour)
            if not (wanted & ~known).any():
                break
            known |= wanted
            if not follow:
                break
    return known


def boundary(probability, contour=0.5):
    """Points with a neighbour on the other side."""
    above = probability > contour
    at = np.zeros(above.shape, dtype=bool)
    for axis in range(above.ndim):
        a, b = (np.take(above, range(s, above.shape[axis] + s - 1), axis) for s in (0, 1))
        change = a != b
        first, last = [slice(None)] * above.ndim, [slice(None)] * above.ndim
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        at[tuple(first)] |= change
        at[tuple(last)] |= change
    return at


@pytest.mark.parametrize("shape", [(129, 129), (100, 77), (65,), (33, 20, 27)])
def test_every_point_beside_the_contour_is_computed(shape) -> None:
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum((x - 0.1) ** 2 for x in grid)) * (1 + 0.1 * np.sin(5 * grid[0]))
    probability = 1 / (1 + np.exp(40 * (radius - 0.6)))
    known = refined(probability, 0.0, Rounds(shape, (True,) * len(shape), 3))
    assert known[boundary(probability)].all()
    assert known.mean() < 0.55
    if shape == (129, 129):
        assert known.mean() < 0.12  # 1/64 for the first round, and three points across the contour at each level


def test_a_contour_that_leaves_a_cell_through_a_face_is_followed() -> None:
    """A thin tongue: of the cells it enters only the first has a corner in it."""
    x, y = np.meshgrid(np.arange(33), np.arange(33), indexing="ij")
    probability = ((np.abs(y - 12) <= 1) & (x < 30) | (x == 0)).astype(float)
    known = refined(probability, 0.0, Rounds((33, 33), (True, True), 3))
    assert known[boundary(probability)].all()
    assert known.mean() < 0.5
    # control: asked once a round only, the tip is lost
    assert not refined(probability, 0.0, Rounds((33, 33), (True, True), 3), follow=False)[boundary(probability)].all()


def test_wide_intervals_are_computed_everywhere() -> None:
    """What the samples cannot tell from ½ is not left out."""
    probability = np.full((17, 17), 0.45)
    assert refined(probability, 0.1, Rounds((17, 17), (True, True), 3)).all()
    assert refined(probability, 0.01, Rounds((17, 17), (True, True), 3)).mean() < 0.04


def test_keys_without_numbers_are_computed_in_full() -> None:
    probability = np.stack([np.linspace(0, 1, 33), np.linspace(1, 0, 33) ** 2], axis=1)
    known = refined(probability, 0.0, Rounds((33, 2), (True, False), 3))
    assert known[boundary(probability[:, :1])[:, 0], 0].all()
    assert known[boundary(probability[:, 1:])[:, 0], 1].all()
    assert known.mean() < 0.5


@pytest.mark.slow
def test_a_refined_sweep_has_the_numbers_of_the_full_one(tmp_path) -> None:
    grid = (
        '"target.separation" = {start = 1.0, stop = 4.0, count = 17}\n"init.scale" = {start = 0.1, stop = 4, count = 9}'
    )
    text = SMALL[: SMALL.index('"target.separation"')] + grid
    full = swept(tmp_path, text, name="full.zarr")
    edits = [("[grid]", "[refine]\ncontour = 0.15\nlevels = 2\n[grid]")]
    part = swept(tmp_path, text, *edits, name="part.zarr")
    known = part.samples.values > 0
    assert 0.05 < known.mean() < 1
    for name in full.data_vars:
        np.testing.assert_array_equal(part[name].values[known], full[name].values[known])
    low, high = full.collapsed_low.values, full.collapsed_high.values
    # a cell of the first round that is crossed nowhere on its corners is the resolution that was asked for
    certain = (low > 0.15) | (high < 0.15)
    assert (boundary(np.where(certain, full.collapsed.values, 0.15), 0.15) & ~known).sum() <= 0.02 * known.size
