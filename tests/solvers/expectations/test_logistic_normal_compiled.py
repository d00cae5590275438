"""The same function for numba and for C and C++ is the same function: NumPy to rounding, nan included."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

import solvers.expectations
from solvers.expectations import softplus_jet
from solvers.expectations.compiled import softplus_jet as scalar_jet
from solvers.expectations.compiled import softplus_jet_rows, softplus_line_rows, softplus_rows
from solvers.expectations.fixed_variance import ERROR, fixed_variance
from solvers.expectations.logistic_normal import FIRST_LEVEL, LEVELS, LOGISTIC_VARIANCE, SHIFT, TERMS, coefficients
from solvers.machine.instructions import WIDTH
from tests.limits import ROUNDING
from tests.solvers.expectations.logistic_normal_oracle import corners, geometry

Array = NDArray[np.float64]
HEADER = Path(solvers.expectations.__file__).with_name("logistic_normal.h")


@pytest.fixture(scope="module")
def points() -> tuple[Array, Array]:
    """(a, v), a multiple of 8 of each: everywhere, at edges of patches, and where something special happens."""
    rng = np.random.default_rng(3)
    v = 10 ** rng.uniform(-6, 7.5, 5000) * (rng.random(5000) < 0.98)
    a = rng.normal(size=5000) * np.sqrt(v + 3) * rng.choice([0.1, 2, 6, 20], 5000)
    alpha, at_edge = corners(rng, 700)
    _, half, patches = geometry()
    reach = ((2 * patches - 1) * half)[rng.integers(0, LEVELS, 300)]
    special = [0.0, -0.0, 1e-300, 0.5, -37.0, 45.0, -700.0, -750.0, 1e4, -1e4, np.inf, -np.inf]
    pairs = np.array([(x, y) for x in special for y in (0.0, -0.0, -1e-16, 1e-300, 3.0, 100.0, 2.0**24, 1e12)])
    a = np.concatenate([a, alpha, -alpha, reach, -reach, pairs[:, 0]])
    v = np.concatenate([v, at_edge, at_edge, reach**2 / 72, reach**2 / 72, pairs[:, 1]])
    return a, v


def agree(jet: Array, a: Array, v: Array) -> None:
    expected = np.array(softplus_jet(a, v))[: len(jet)]
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(jet[~finite], expected[~finite])
    jet, expected = np.where(finite, jet, 0), np.where(finite, expected, 0)
    # A term of the sum may be a thousandth of √v where J itself is small.
    # 3.3e-15 is seen: the sums run upwards in NumPy and downwards elsewhere.
    assert (
        np.abs(jet - expected) <= 5e-15 * np.maximum(1, np.maximum(np.abs(expected), np.sqrt(np.abs(v)) / 1e3))
    ).all()
    assert (jet[1] >= 0).all()
    assert (jet[1] <= 1).all()


@njit
def rows(work, table):
    for i in range(len(work)):
        softplus_jet_rows(work[i], 5, 2, 0, 7, 3, 4, table)
        softplus_rows(work[i], 5, 2, 1, 2, table)  # the slope in place of the variance


@njit
def line_rows(work, line, start):
    for i in range(len(work)):
        softplus_line_rows(work[i], 3, 0, 1, line, start)


def test_rows_of_lanes(points: tuple[Array, Array]) -> None:
    a, v = (np.resize(x, (-(-len(x) // WIDTH), WIDTH)) for x in points)
    work = np.full((len(a), 8, WIDTH), -7.0)
    work[:, 5], work[:, 2] = a, v
    rows(work, coefficients())
    agree(np.moveaxis(work[:, [0, 7, 3, 4]], 1, 0).reshape(4, -1), a.ravel(), v.ravel())
    np.testing.assert_array_equal(work[:, 6], -7)
    np.testing.assert_array_equal(work[:, [1, 2]], work[:, [0, 7]])


@pytest.mark.parametrize("variance", [0.0, 1e-3, 1.0, 15.9, 16.1, 25.0, 1e4, 1e6, 1e9])
def test_rows_of_one_variance(variance: float) -> None:
    reach = 50 + 10 * np.sqrt(variance)
    a = np.random.default_rng(1).uniform(-reach, reach, (500, WIDTH))
    a.ravel()[:5] = 0.0, -0.0, 1e4, -1e4, np.nan
    work = np.full((len(a), 4, WIDTH), -7.0)
    work[:, 3] = a
    # Not at the start of the array: as behind the parameters of a system.
    line_rows(work, np.concatenate([np.full(5, np.nan), fixed_variance(variance)]), 5)
    expected = np.array(softplus_jet(a, variance, order=2))
    scale = np.maximum(max(1.0, variance**0.5 / 1e3), np.abs(expected))
    error = np.abs(np.moveaxis(work[:, :2], 1, 0) - expected) / scale
    assert np.nanmax(error) <= ERROR
    assert work[0, 1, 0] == 0.5
    np.testing.assert_array_equal(np.isnan(work[:, :2]).any(axis=1), np.isnan(a))
    np.testing.assert_array_equal(work[:, 2], -7)


def test_scalars(points: tuple[Array, Array]) -> None:
    @njit
    def loop(a, v, out, table):
        for i in range(len(a)):
            out[0, i], out[1, i], out[2, i], out[3, i] = scalar_jet(a[i], v[i], table)

    out = np.empty((4, len(points[0])))
    loop(*points, out, coefficients())
    agree(out, *points)


def test_nan_in_one_lane_stays_there() -> None:
    assert WIDTH == 16
    work = np.empty((6, WIDTH))
    work[0], work[1] = 1.0, 2.0
    work[0, 3] = work[1, 9] = work[0, 12] = work[1, 12] = np.nan
    softplus_jet_rows(work, 0, 1, 2, 3, 4, 5, coefficients())
    broken = np.isin(np.arange(16), [3, 9, 12])
    assert np.isnan(work[2:, broken]).all()
    np.testing.assert_allclose(
        work[2:, ~broken], np.array(softplus_jet(1.0, 2.0))[:, None] * np.ones(13), rtol=ROUNDING
    )


def test_lanes_are_vector_instructions() -> None:
    softplus_rows(np.ones((4, WIDTH)), 0, 1, 2, 3, coefficients())
    assembly = "".join(softplus_rows.inspect_asm().values())
    multiplied = re.findall(r"\bv?f?n?m(?:ul|add|sub)\w*([sp])d\b", assembly)
    if not multiplied:
        pytest.skip("not an x86 processor")
    assert multiplied.count("p") > 50 * max(1, multiplied.count("s"))


def test_arguments_are_checked() -> None:
    with pytest.raises(Exception, match="C-contiguous array of float64"):
        softplus_rows(np.ones((4, WIDTH), dtype=np.float32), 0, 1, 2, 3, coefficients())


def test_header_has_the_constants_of_python() -> None:
    values = dict(re.findall(r"#define LN_(\w+) ([\d.]+)", HEADER.read_text()))
    assert int(values["TERMS"]) == TERMS
    assert int(values["LEVELS"]) == LEVELS
    assert int(values["FIRST_LEVEL"]) == FIRST_LEVEL
    assert float(values["SHIFT"]) == SHIFT
    assert float(values["LOGISTIC_VARIANCE"]) == LOGISTIC_VARIANCE


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("g++", "-O2 -std=c++11"), ("g++", "-O3 -march=native"), ("gcc", "-x c -std=c99 -O1 -ffp-contract=off")],
)
def test_header(compiler: str, flags: str, points: tuple[Array, Array], tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    source, library = tmp_path / "header.cc", tmp_path / "header.so"
    source.write_text(
        f'#include "{HEADER}"\n'
        "#ifdef __cplusplus\n"
        'extern "C"\n'
        "#endif\n"
        "void jets(const double *a, const double *v, double *out, long n, const double *table) {\n"
        "    for (long i = 0; i < n; i++) {\n"
        "        ln_jet jet = logistic_normal(a[i], v[i], table);\n"
        "        out[i] = jet.j0; out[n + i] = jet.j1; out[2 * n + i] = jet.j2; out[3 * n + i] = jet.j3;\n"
        "    }\n"
        "}\n"
    )
    strict = "-Wall -Wextra -Wpedantic -Werror -shared -fPIC"
    subprocess.run([compiler, *f"{flags} {strict}".split(), str(source), "-o", str(library), "-lm"], check=True)
    jets = ctypes.CDLL(str(library)).jets
    broken = np.array([[np.nan, 1.0, 50.0, 1.0], [1.0, np.nan, np.nan, np.inf]])
    a, v = (np.concatenate(parts) for parts in zip(points, broken, strict=True))
    out = np.empty((4, len(a)))
    pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (a, v, out, coefficients())]
    jets(*pointers[:3], ctypes.c_long(len(a)), pointers[3])
    assert np.isnan(out[:, -4:]).all()
    agree(out[:, :-4], *points)
