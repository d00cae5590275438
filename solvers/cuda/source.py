"""The CUDA source of an ensemble: an emitted system, special functions and integrators as one text.

The text needs no header and no file: NVRTC compiles it as it is, and so does a host compiler, for which it is one
thread (the headers in this folder use nothing else that is CUDA's). Methods are those of solvers.integrate.tableaus,
rules and constants those of the compiled ensembles on the CPU; here they are only written down in C++.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import solvers.expectations
from solvers.expectations import divergence, quadrature
from solvers.integrate.tableaus import DOP853, RODAS5P

__all__ = ["LARGEST", "MANY", "OPTIONS", "THREADS", "assemble", "missing"]

LARGEST = 16
"""Components, and modes."""

THREADS = 64
"""Threads of a block."""
OPTIONS = ("--std=c++17", "--fmad=true", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
"""Options of NVRTC; what fmad means for the results is said in portable.h."""

#: What a kernel is given, in order: (C type, name), eight bytes each. `count` trajectories lie innermost.
MANY = (
    ("const int *", "queue"),  # (length,) rows to integrate
    ("int *", "counter"),  # how many of them are taken
    ("double *", "y"),  # (N, count) states
    ("double *", "t"),  # (count,)
    ("double *", "h"),  # (count,) the step to try, 0 for "choose"
    ("int *", "saved"),  # (count,) save points written
    ("int *", "status"),  # (count,)
    ("int *", "steps"),  # (count,) attempted
    ("int *", "evaluations"),  # (count,) of the right-hand side
    ("double *", "paths"),  # (save_points, N, count)
    ("const double *", "times"),  # (save_points,)
    ("const double *", "parameters"),  # (PARAMETERS,)
    ("const double *", "table"),  # coefficients of the special function
    ("const double *", "lattice"),  # (3, lattice_nodes) z in steps, nearest first, for three directions
    ("const double *", "sobol_q"),  # (K − 1, SOBOL_STRIDE), see `node`, for more
    ("const double *", "sobol_p"),  # (L − 1, SOBOL_STRIDE)
    ("double *", "scratch"),  # (SCRATCH,) for each trajectory being integrated
    ("long long ", "count"),
    ("long long ", "length"),
    ("long long ", "save_points"),
    ("long long ", "lattice_nodes"),
    ("long long ", "max_steps"),
    ("long long ", "hand_over"),
    ("double ", "end"),
    ("double ", "rtol"),
    ("double ", "atol"),
    ("double ", "digits"),  # of the expectations, see solvers/expectations/quadrature.py
)
#: What an emitted text finds in scope.
PROVIDED = frozenset(
    ("DEVICE", "UNROLL", "ROLL", "Rows", "K", "L", "R", "DRIVEN", "SLOPES", "logarithm", "divergence", "weights")
) | {"mobility", "expect", "expect_fixed", "expect_tangent"}
_HERE = Path(__file__).parent
_SPECIAL = Path(solvers.expectations.__file__).with_name("logistic_normal.h")


def assemble(text: str, components: int, modes: int, directions: int, driven: int = 0) -> str:
    """CUDA source of the ensemble of an emitted text (view "cuda"), for K components and L modes in R directions.

    driven: 1 if the temperature is a state, 0 if it is a parameter.

    Its kernels are explicit_ensemble and rosenbrock_ensemble, both (const Many *). Raises ValueError for more
    components or modes than the kernels can do.
    """
    small = max(components, modes) <= 2
    if max(components, modes) > LARGEST:
        raise ValueError(f"{components} components, {modes} modes: CUDA ensembles have at most {LARGEST} of each")
    return "\n".join(
        [
            _SPECIAL.read_text(encoding="utf-8"),
            f"#define THREADS {THREADS}\n#define SMALL {int(small)}",
            _read("portable.h"),
            f"constexpr int K = {components}, L = {modes}, R = {directions}, DRIVEN = {driven};",
            _text({"DIVERGENCE_TERMS": divergence.TERMS}, {"DIVERGENCE_SERIES": divergence.SERIES}, {}),
            _read("system.h"),
            text,
            "struct Many {\n" + "".join(f"    {kind}{name};\n" for kind, name in MANY) + "};",
            _constants(),
            _read("control.h"),
            *([] if small else [_rules(), _read("rules.h"), _read("quadrature.h")]),
            *map(_read, ("expectations.h", "explicit.h", "linear.h", "rosenbrock.h")),
        ]
    )


def missing(text: str) -> list[str]:
    """What an emitted text needs in scope, by its header, and the kernels do not have."""
    needs = re.search(r"Needed in scope: ([^.;]*)", text)
    return sorted(set(needs[1].replace("\n//", "").split(", ")) - PROVIDED) if needs else []


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _constants() -> str:
    """The methods and the rules of the integrators on the CPU, as C++."""
    from solvers.integrate import explicit, linear, rosenbrock
    from solvers.machine import lanes  # with numba, so not sooner than needed

    integers = {
        "EXPLICIT_ORDER": DOP853.error_order, "STAGES": DOP853.stages, "ALL_STAGES": len(DOP853.a),
        "DENSE_ROWS": len(DOP853.dense), "STIFF_STEPS": explicit.STIFF_STEPS, "ROSENBROCK_ORDER": RODAS5P.error_order,
        "STEP_STAGES": RODAS5P.stages, "CURVES": len(RODAS5P.dense), "PENDING": lanes.PENDING,
        "REACHED": lanes.REACHED, "STEP_LIMIT": lanes.STEP_LIMIT, "NOT_FINITE": lanes.NOT_FINITE,
        "STIFF": lanes.STIFF,
    }  # fmt: skip
    numbers = {
        "STABILITY": DOP853.stability, "NEAR": explicit.NEAR, "WORTH": explicit.WORTH, "GAMMA": RODAS5P.gamma,
        "FIXED": rosenbrock.FIXED, "SMALL_PIVOT": linear.SMALL, "SMALLEST_ERROR": lanes.SMALLEST_ERROR,
    }  # fmt: skip
    arrays = {
        "A": DOP853.a, "ERRORS": DOP853.errors, "SPREADS": explicit.SPREADS, "DENSE": DOP853.dense,
        "ALPHA": RODAS5P.a, "COUPLING": RODAS5P.c, "CURVE": RODAS5P.dense,
    }  # fmt: skip
    return "// From solvers/integrate: the methods, and the rules of step-size control.\n" + _text(
        integers, numbers, arrays
    )


def _rules() -> str:
    """The rules of quadrature for three and more logits, as C++."""
    integers = {name: getattr(quadrature, name) for name in ("MAX_NODES", "POINTS", "HALVINGS")}
    nodes = quadrature.POINTS * quadrature.REPLICATES
    integers |= {"SOBOL_NODES": nodes, "SOBOL_STRIDE": nodes - (nodes >> quadrature.HALVINGS + 1)}
    names = ("RANK_CUT", "NARROW", "LEVEL", "LATTICE", "LATTICE_RADIUS", "REACH")
    numbers = {name: getattr(quadrature, name) for name in names}
    return "// From solvers/expectations/quadrature.py.\n" + _text(integers, numbers, {})


def _text(integers: dict[str, int], numbers: dict[str, float], arrays: dict[str, NDArray[np.float64]]) -> str:
    lines = [f"constexpr int {name} = {int(value)};" for name, value in integers.items()]
    lines += [f"constexpr double {name} = {float(value)!r};" for name, value in numbers.items()]
    return "\n".join([*lines, *(_array(name, value) for name, value in arrays.items())]) + "\n"


def _array(name: str, values: NDArray[np.float64]) -> str:
    """A constant array; repr of a double reads back as the same one."""
    size = "".join(f"[{n}]" for n in values.shape)
    rows = [", ".join(repr(float(x)) for x in row) for row in np.atleast_2d(values)]
    body = ", ".join(rows) if values.ndim == 1 else ",\n".join(f"    {{{row}}}" for row in rows) + "\n"
    return f"CONSTANT double {name}{size} = {{" + ("" if values.ndim == 1 else "\n") + body + "};"
