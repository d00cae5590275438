"""H for C, C++ and CUDA is that of NumPy, and its polynomials are those of numba's lanes, to rounding; nan included."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial.polynomial import polyval

import solvers.expectations
from solvers.expectations import gumbel_normal as numbers
from solvers.expectations.gumbel_normal import gumbel_normal
from solvers.expectations.lanes.gumbel import _PAIRS, DEGREES, gumbel_table, taylor_rows
from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from tests.solvers.cuda.cuda_compiler import compile_cuda

FOLDER = Path(solvers.expectations.__file__).parent
HEADERS = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("logistic_normal.h", "gumbel_normal.h"))
LOOPS = """
#ifdef __cplusplus
extern "C" {
#endif
void jets(const double *y, const double *delta, double *out, long n, const double *table) {
    for (long i = 0; i < n; i++) {
        gn_jet jet = gumbel_normal(y[i], delta[i], table);
        out[i] = jet.h0; out[n + i] = jet.h1; out[2 * n + i] = jet.h2; out[3 * n + i] = jet.h3;
    }
}
void grid(double delta, double first, double step, long count, long degree, const double *table, double *out) {
    gn_level level = gn_find(delta, table);
    for (long q = 0; q < count; q++)
        gumbel_cell(first + q * step, step, (int)degree, level, table, out + q, (int)count);
}
#ifdef __cplusplus
}
#endif
"""
KERNEL = """
extern "C" __global__ void grid(double delta, double first, double step, int degree, const double *table, double *out) {
    const int q = threadIdx.x;
    const gn_level level = gn_find(delta, table);
    gumbel_cell(first + q * step, step, degree, level, table, out + q, blockDim.x);
    out[q] += gumbel_normal(first + q * step, delta, table).h3;
}
"""


@entry(**FLAGS)
def rows(delta, first, step, count, degree, table, out):
    taylor_rows(delta, first, step, count, degree, table, out)


def test_constants_are_those_of_python() -> None:
    values = dict(re.findall(r"#define GN_(\w+) ([\d.]+)", HEADERS))
    for name in ("LEVELS", "HEADER", "FIRST_LEVEL", "SHIFT", "HIGHEST", "SPACING"):
        assert float(values[name]) == getattr(numbers, name), name
    assert range(int(values["FIRST_DEGREE"]), int(values["LAST_DEGREE"]) + 1) == DEGREES
    assert int(values["PAIRS"]) == _PAIRS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiler", "flags"),
    [("g++", "-O2 -std=c++11"), ("g++", "-O3 -march=native"), ("gcc", "-x c -std=c99 -O1 -ffp-contract=off")],
)
def test_on_the_host(compiler: str, flags: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    (tmp_path / "header.cc").write_text(HEADERS + LOOPS, encoding="utf-8")
    strict = "-Wall -Wextra -Wpedantic -Werror -shared -fPIC"
    command = [compiler, *f"{flags} {strict}".split(), "header.cc", "-o", "header.so", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    library, table = ctypes.CDLL(str(tmp_path / "header.so")), gumbel_table()

    def address(array: np.ndarray) -> ctypes.c_void_p:
        return array.ctypes.data_as(ctypes.c_void_p)

    rng = np.random.default_rng(8)
    delta = np.where(rng.random(4000) < 0.03, 0.0, 10 ** rng.uniform(-4, 3, 4000))
    y = np.sqrt(delta + 1.6) * rng.uniform(-9, 9, 4000) + rng.choice([0, 0, 30], 4000)
    y[:8], delta[:8] = [np.nan, 1, 1e5, 1, 1, np.inf, -np.inf, 0.5], [1, np.nan, np.nan, np.inf, 1024, 2, 2, -1e-16]
    out = np.empty((4, 4000))
    library.jets(address(y), address(delta), address(out), ctypes.c_long(4000), address(table))
    assert np.isnan(out[:, :5]).all()
    np.testing.assert_allclose(out, gumbel_normal(y, delta), rtol=0, atol=5e-15)

    library.grid.argtypes = [ctypes.c_double] * 3 + [ctypes.c_long] * 2 + [ctypes.c_void_p] * 2
    for degree in DEGREES:
        for variance in (0.0, 0.7, 9.0, 500.0, np.nan):
            step = 0.5 + 0.9 * variance**0.5
            out, lanes = np.full((2, DEGREES.stop, 96), -7.0)
            library.grid(variance, -12 * step, step, 96, degree, table.ctypes.data, out.ctypes.data)
            rows(variance, -12 * step, step, 96, degree, table, lanes)
            np.testing.assert_array_equal(out[degree + 1 :], -7)
            np.testing.assert_array_equal(np.isnan(out), np.isnan(lanes))
            for x in (-0.5, -0.3, 0.0, 0.1, 0.5):
                assert np.abs(polyval(x, np.nan_to_num(out - lanes))).max() <= 5e-15


@pytest.mark.slow
def test_as_cuda() -> None:
    compile_cuda(HEADERS + KERNEL, "sm_90")
