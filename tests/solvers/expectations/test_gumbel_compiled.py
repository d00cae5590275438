"""Polynomials of H around the points of a grid: NumPy's H within bounds that are said before."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.polynomial.polynomial import polyder, polyval

from solvers.expectations.gumbel_normal import HIGHEST, gumbel_normal
from solvers.expectations.lanes.gumbel import DEGREES, degree_for, gumbel_table, largest_step, taylor_rows
from solvers.machine.code.entries import entry
from solvers.machine.instructions import WIDTH
from solvers.machine.options import FLAGS

UNTOUCHED = -7.0


@entry(**FLAGS)
def rows(delta, first, step, count, degree, table, out):
    taylor_rows(delta, first, step, count, degree, table, out)


def polynomials(delta: float, first: float, step: float, count: int, degree: int) -> np.ndarray:
    """(degree + 1, count); nothing else of what there is room for is written, but the rest of a vector."""
    columns = -(-count // WIDTH) * WIDTH + WIDTH
    out = np.full((DEGREES.stop, columns), UNTOUCHED)
    rows(delta, first, step, count, degree, gumbel_table(), out)
    np.testing.assert_array_equal(out[degree + 1 :], UNTOUCHED)
    np.testing.assert_array_equal(out[:, -WIDTH:], UNTOUCHED)
    assert not (out[: degree + 1, :-WIDTH] == UNTOUCHED).any()
    return out[: degree + 1, :count]


def worst(delta: float, step: float, degree: int, shift: float = 0.0) -> np.ndarray:
    """Largest errors of H, hH', h²H'', h³H''' over cells that cover the line."""
    first = -5 - 10 * delta**0.5 + shift * step
    count = int((50 + 20 * delta**0.5) / step)
    a, y = polynomials(delta, first, step, count, degree), first + step * np.arange(count)
    found = np.zeros(4)
    for x in (-0.5, -0.41, -0.2, 0.0, 0.13, 0.33, 0.5):
        jet = gumbel_normal(y + x * step, delta)
        for m in range(4):
            found[m] = max(found[m], np.abs(polyval(x, polyder(a, m)) - step**m * jet[m]).max())
    return found


@pytest.mark.parametrize("delta", [0.0, 0.01, 0.0625, 0.4, 1.0, 4.0, 17.0, 130.0, HIGHEST])
def test_errors_are_within_the_bound(delta: float) -> None:
    tight = 0
    for part in (0.4, 0.7, 1.0):
        step = part * largest_step(delta)
        for digits in (5, 7.5, 10, 11.5):
            degree = degree_for(delta, step, digits)
            if degree in DEGREES:
                found = worst(delta, step, degree, shift=part)
                assert found[:3].max() <= 10**-digits
                tight += found[2] > 0.01 * 10**-digits
    assert tight > 2  # it is no bound that anything would meet


def test_the_highest_degree_meets_rounding() -> None:
    for delta in (0.0, 0.3, 2.0, 60.0, 900.0):
        value, first, second, third = worst(delta, largest_step(delta), 16)
        assert max(value, first / 10, second / 100, third / 1e4) <= 1e-13


def test_degrees_that_are_not_enough() -> None:
    assert degree_for(0.0, 5.0, 10) == DEGREES.stop
    assert degree_for(1.0, 1e-3, 6) == DEGREES.start
    assert largest_step(0.0) == pytest.approx(0.6)
    assert largest_step(400.0) == pytest.approx(1.264 * 20, rel=1e-3)


@pytest.mark.parametrize("degree", DEGREES)
def test_centres_are_exact(degree: int) -> None:
    """Whatever the degree, H and H' of the points themselves; with a number of points that fills no vector."""
    for delta in (0.0, 5.0):
        a, y = polynomials(delta, -7.3, 0.37, 101, degree), -7.3 + 0.37 * np.arange(101)
        value, slope = gumbel_normal(y, delta, order=2)
        np.testing.assert_allclose(a[0], value, rtol=0, atol=1e-14)
        np.testing.assert_allclose(a[1], 0.37 * slope, rtol=0, atol=1e-14)


def test_points_do_not_know_each_other() -> None:
    for delta in (0.2, 30.0):
        whole = polynomials(delta, -9.0, 0.5, 160, 11)
        np.testing.assert_allclose(polynomials(delta, -9.0 + 0.5 * 7, 0.5, 40, 11), whole[:, 7:47], rtol=0, atol=1e-13)
        np.testing.assert_array_equal(polynomials(delta, -9.0, 0.5, 3, 11), whole[:, :3])


def test_no_numbers() -> None:
    for delta in (np.nan, np.inf, 1024.0):
        assert np.isnan(polynomials(delta, 0.0, 0.5, 20, 8)).all()
    assert np.isnan(polynomials(1.0, np.nan, 0.5, 20, 8)).all()
    np.testing.assert_array_equal(polynomials(-1e-16, -3.0, 0.5, 20, 8), polynomials(0.0, -3.0, 0.5, 20, 8))
    np.testing.assert_array_equal(polynomials(1.0, -1e9, 0.5, 20, 8), 0)
    np.testing.assert_array_equal(polynomials(1.0, 1e9, 0.5, 20, 8), np.arange(9)[:, None] == 0 * np.ones(20))


def test_rows_are_vector_instructions() -> None:
    polynomials(1.0, 0.0, 0.5, 20, 8)
    multiplied = re.findall(r"\bv?f?n?m(?:ul|add|sub)\w*([sp])d\b", "".join(rows.inspect_asm().values()))
    if not multiplied:
        pytest.skip("not an x86 processor")
    assert multiplied.count("p") > 2 * max(1, multiplied.count("s"))
