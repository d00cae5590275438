"""The committed table is what its generator computes, and neighbouring patches agree everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.expectations.logistic_normal import LEVELS, ROWS, TERMS, coefficients, softplus_tail
from solvers.expectations.make_coefficients import PATCHES, patches
from tests.solvers.expectations.logistic_normal_oracle import geometry


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 7, 51, LEVELS - 1])
def test_patches_are_what_the_generator_makes(level: int) -> None:
    scale, rows = patches(level)
    table = coefficients()
    code = int(table[2 * level + 1])
    assert (table[2 * level], code & 63) == (scale, len(rows))
    first = ROWS + (code >> 6) * TERMS
    np.testing.assert_array_equal(table[first : first + rows.size], rows.ravel())


def test_layout() -> None:
    table = coefficients()
    counts = np.repeat(PATCHES, 4)
    assert len(counts) == LEVELS
    np.testing.assert_array_equal(table[1:ROWS:2], 64 * (np.cumsum(counts) - counts) + counts)
    assert table.shape == (ROWS + TERMS * counts.sum(),)
    assert table.nbytes < 400_000
    assert np.isfinite(table).all()
    assert not table.flags.writeable


def test_neighbours_agree_at_every_edge() -> None:
    """Across each edge in α and, at many α, across each edge in v, results change by no more than they should."""
    edges, half, counts = geometry()
    levels = int(np.searchsorted(edges, 1.1e6))  # b up to 1e3
    counts, edges = counts[:levels], edges[: levels + 1]
    level = np.repeat(np.arange(levels), counts)
    patch = np.arange(len(level)) - np.repeat(np.cumsum(counts) - counts, counts)
    middle = (edges[:-1] + edges[1:]) / 2
    alpha = (2 * patch + 1) * half[level]
    sides = [np.array(softplus_tail(alpha * (1 + sign), middle[level])) for sign in (-2e-16, 2e-16)]
    assert (np.abs(sides[1] - sides[0]) <= 2e-14 * np.maximum(1, sides[0])).all()

    v = np.repeat(edges[1:], 200)
    alpha = np.tile(np.linspace(0, 9, 200), levels) * np.sqrt(v + 10)
    sides = [np.array(softplus_tail(alpha, v * (1 + sign))) for sign in (-4e-16, 4e-16)]
    assert (np.abs(sides[1] - sides[0]) <= 2e-14 * np.maximum(1, sides[0])).all()
