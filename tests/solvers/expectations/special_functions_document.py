"""Writes the tables of docs/special_functions.md, all or these:

python -m tests.solvers.expectations.special_functions_document [errors] [cost] [errors-of-H] [grids-of-H]
"""

import ctypes
import math
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
from numba import njit
from numpy.polynomial.polynomial import polyder, polyval

import solvers.expectations
from solvers.expectations import softplus_jet
from solvers.expectations.compiled import softplus_jet as scalar_jet
from solvers.expectations.compiled import softplus_jet_rows, softplus_line_rows, softplus_rows
from solvers.expectations.fixed_variance import fixed_variance
from solvers.expectations.gumbel_normal import gumbel_normal
from solvers.expectations.lanes.gumbel import degree_for, gumbel_table, largest_step, taylor_rows
from solvers.expectations.logistic_normal import coefficients, softplus_tail
from solvers.machine.instructions import WIDTH
from tests.solvers.expectations import gumbel_normal_oracle
from tests.solvers.expectations.logistic_normal_oracle import Array, errors, geometry
from tests.solvers.expectations.logistic_normal_quadrature import quadrature

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "special_functions.md"
BANDS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 30.0, 1000.0, 4095.0)
GUMBEL_BANDS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 20.0, 31.98)
POINTS = 4096
GRID = 96


def error_map() -> str:
    rng = np.random.default_rng(2024)
    lines = ["| b | J | J' | J'' | J''' |", "|---|---|---|---|---|"]
    for low, high in pairwise(BANDS):
        b = rng.uniform(low, high, 100) if low < 30 else np.geomspace(low, high, 100)
        a = rng.normal(size=100) * rng.choice([0.3, 1, 3, 8], 100) * np.sqrt(b * b + 3)
        jump_a, jump_v = largest_jumps(low**2, high**2)
        a, v = np.append(a, jump_a), np.append(b * b, jump_v)
        worst = errors(softplus_jet(a, v), a, v).max(axis=1)
        lines.append(f"| {low:g} to {high:g} | " + " | ".join(f"{x:.0e}" for x in worst) + " |")
    return "\n".join(lines)


def gumbel_error_map() -> str:
    rng = np.random.default_rng(2024)
    lines = ["| b | H | H' | H'' | H''' |", "|---|---|---|---|---|"]
    for low, high in pairwise(GUMBEL_BANDS):
        delta = np.append(np.full(100, low), rng.uniform(low, high, 4000)) ** 2
        y = rng.uniform(-6, 6, len(delta)) * np.sqrt(delta + 1.6)
        # Anywhere, and where H''' of two patches, by H' = e^{δ/2 − y} H(y − δ), differs most.
        jet, moved = (np.array(gumbel_normal(place, delta)) for place in (y, y - delta))
        rise = delta / 2 - y
        third = np.exp(np.minimum(rise, 1)) * (moved[2] - 2 * moved[1] + moved[0])
        chosen = np.append(np.arange(200), np.argsort(np.where(rise < 1, np.abs(jet[3] - third), 0))[-60:])
        y, delta = y[chosen], delta[chosen]
        worst = gumbel_normal_oracle.errors(gumbel_normal(y, delta), y, delta).max(axis=1)
        lines.append(f"| {low:g} to {high:g} | " + " | ".join(f"{x:.0e}" for x in worst) + " |")
    return "\n".join(lines)


def gumbel_grids() -> str:
    """Errors over cells that cover the line, and nanoseconds a point."""
    lines = ["| δ | step h | digits | degree | H | h H' | h² H'' | h³ H''' | time |", "|" + "---|" * 9]
    table = gumbel_table()
    for delta in (0.0, 1.0, 25.0, 400.0):
        for part, digits in ((0.8, 6), (0.8, 8), (0.8, 10), (0.5, 12)):
            step = part * largest_step(delta)
            degree, first = degree_for(delta, step, digits), -5 - 10 * delta**0.5
            out = np.empty((degree + 1, 16 * math.ceil((50 + 20 * delta**0.5) / step / 16)))
            grid_rows(1, delta, first, step, out.shape[1], degree, table, out)
            worst = np.zeros(4)
            for x in np.linspace(-0.5, 0.5, 21):
                jet = gumbel_normal(first + step * (np.arange(out.shape[1]) + x), delta)
                for m in range(4):
                    worst[m] = max(worst[m], np.abs(polyval(x, polyder(out, m)) - step**m * jet[m]).max())
            out, width = np.empty((degree + 1, GRID)), (8 + 10 * delta**0.5) / GRID
            grid = (delta, -4 - 5 * delta**0.5, width, GRID, degree, table, out)
            time = nanoseconds(partial(grid_rows, 20, *grid), 20 * GRID)
            errors = " | ".join(f"{x:.0e}" for x in worst)
            lines.append(f"| {delta:g} | {step:.2f} | {digits} | {degree} | {errors} | {time:.0f} ns |")
    return "\n".join(lines)


def largest_jumps(low: float, high: float) -> tuple[Array, Array]:
    """(a, v) on both sides of the edges between levels of v in that range, where they differ most; 20 a derivative."""
    edges, _, _ = geometry()
    edges = edges[(edges > low) & (edges < high)]
    v = np.repeat(edges, 2000)
    alpha = np.tile(np.linspace(0, 9, 2000), len(edges)) * np.sqrt(v + 10)
    below, above = v * (1 - 4e-16), v * (1 + 4e-16)
    one, other = (np.array(softplus_tail(alpha, side)) for side in (below, above))
    relative = np.abs(one - other) / np.maximum(1, np.abs(one))
    chosen = np.argsort(relative, axis=1)[:, -20:].ravel()
    return -np.append(alpha[chosen], alpha[chosen]), np.append(below[chosen], above[chosen])


def nanoseconds(call: Callable[[], object], points: int = POINTS) -> float:
    """Best of many, of one evaluation."""
    call()
    best = math.inf
    for _ in range(100):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / points * 1e9


@njit(error_model="numpy")
def pair_loop(a, v, out, table):
    for i in range(len(a)):
        jet = scalar_jet(a[i], v[i], table)
        out[0, i], out[1, i] = jet[0], jet[1]


@njit(error_model="numpy")
def jet_loop(a, v, out, table):
    for i in range(len(a)):
        out[0, i], out[1, i], out[2, i], out[3, i] = scalar_jet(a[i], v[i], table)


@njit(error_model="numpy")
def pair_rows(work, table):
    for i in range(len(work)):
        softplus_rows(work[i], 0, 1, 2, 3, table)


@njit(error_model="numpy")
def jet_rows(work, table):
    for i in range(len(work)):
        softplus_jet_rows(work[i], 0, 1, 2, 3, 4, 5, table)


@njit(error_model="numpy")
def grid_rows(times, delta, first, step, count, degree, table, out):
    for _ in range(times):
        taylor_rows(delta, first, step, count, degree, table, out)


@njit(error_model="numpy")
def line_rows(work, line):
    for i in range(len(work)):
        softplus_line_rows(work[i], 0, 2, 3, line, 0)


@njit(error_model="numpy")
def exp_loop(x, out):
    for i in range(len(x)):
        out[i] = math.exp(x[i])


def header_loops(folder: Path) -> ctypes.CDLL:
    header = Path(solvers.expectations.__file__).with_name("logistic_normal.h")
    loop = (
        'extern "C" void {name}(const double *a, const double *v, double *out, long n, const double *table) {{\n'
        "    for (long i = 0; i < n; i++) {{\n        ln_jet jet = logistic_normal(a[i], v[i], table);\n"
        "        out[i] = jet.j0; out[n + i] = jet.j1;{more}\n    }}\n}}\n"
    )
    (folder / "loops.cc").write_text(
        f'#include "{header}"\n'
        + loop.format(name="pair", more="")
        + loop.format(name="jet", more=" out[2 * n + i] = jet.j2; out[3 * n + i] = jet.j3;")
    )
    command = ["g++", "-O3", "-march=native", "-shared", "-fPIC", "loops.cc", "-o", "loops.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "loops.so"))


def cost() -> str:
    rng = np.random.default_rng(1)
    a, v = rng.uniform(-10, 10, POINTS), rng.uniform(0, 10, POINTS) ** 2
    work, table, line = np.empty((POINTS // WIDTH, 6, WIDTH)), coefficients(), fixed_variance(25.0)
    work[:, 0], work[:, 1] = a.reshape(-1, WIDTH), v.reshape(-1, WIDTH)
    out = np.empty((4, POINTS))
    with tempfile.TemporaryDirectory() as folder:
        library = header_loops(Path(folder))
        pointers = [x.ctypes.data_as(ctypes.c_void_p) for x in (a, v, out, table)]
        arguments = (*pointers[:3], ctypes.c_long(POINTS), pointers[3])
        exponential = nanoseconds(lambda: exp_loop(-np.abs(a), out[0]))
        rows = {
            "numba, lanes": (
                nanoseconds(lambda: pair_rows(work, table)),
                nanoseconds(lambda: jet_rows(work, table)),
            ),
            "numba, lanes, one variance": (nanoseconds(lambda: line_rows(work, line)), math.nan),
            "numba, scalar": (
                nanoseconds(lambda: pair_loop(a, v, out, table)),
                nanoseconds(lambda: jet_loop(a, v, out, table)),
            ),
            "C++ (g++ -O3 -march=native), scalar": (
                nanoseconds(lambda: library.pair(*arguments)),
                nanoseconds(lambda: library.jet(*arguments)),
            ),
            "NumPy": (nanoseconds(lambda: softplus_jet(a, v, order=2)), nanoseconds(lambda: softplus_jet(a, v))),
        }
    old = nanoseconds(lambda: quadrature(np.abs(a), np.sqrt(v)))
    lines = ["| | J, J' | all four | J, J' in `math.exp` |", "|---|---|---|---|"]
    lines += [
        f"| {k} | {x:.1f} ns | {'' if math.isnan(y) else f'{y:.1f} ns'} | {x / exponential:.1f} |"
        for k, (x, y) in rows.items()
    ]
    lines.append(f"| quadrature in NumPy, 44 to 61 nodes (before) | {old:.0f} ns | | {old / exponential:.0f} |")
    return "\n".join(
        [
            f"One core of {processor()}, numba {numba.__version__}, NumPy {np.__version__}, |a| < 10, 0 ≤ b < 10, "
            f"{POINTS} arguments at a time;",
            f"`math.exp` in a numba loop on the same arguments takes {exponential:.1f} ns.",
            *instructions(),
            "",
            *lines,
        ]
    )


def instructions() -> list[str]:
    counts = []
    for function in (softplus_rows, softplus_jet_rows):
        text = next(iter(function.inspect_asm().values()))
        fused, plain, shuffles = (
            len(re.findall(pattern, text))
            for pattern in (r"\bvf\w+pd\b", r"\bv(?:mul|add|sub|div)pd\b", r"\bv(?:unpck|shuf|perm|insert)\w+\b")
        )
        counts.append(f"{fused} fused multiply-adds, {plain} multiplications and additions and {shuffles} shuffles")
    return [f"Sixteen evaluations in lanes are {counts[0]} for J and J',", f"and {counts[1]} for all four."]


def processor() -> str:
    information = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", information.read_text()) if information.exists() else []
    flags = " with AVX-512" if information.exists() and "avx512f" in information.read_text() else ""
    return (names[0] if names else platform.processor()) + flags


def _filled(table: str, found: re.Match[str]) -> str:
    return f"{found[1]}{table}\n{found[2]}"


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    tables = {"errors": error_map, "cost": cost, "errors-of-H": gumbel_error_map, "grids-of-H": gumbel_grids}
    for name in sys.argv[1:] or tables:
        table = tables[name]()
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", partial(_filled, table), text, flags=re.S)
    DOCUMENT.write_text(text, encoding="utf-8")
    print(text[text.index("## Errors") :])


if __name__ == "__main__":
    main()
