"""The rules for three and more logits behind C pointers: compiled once for all systems, and linked to them by name.

solvers.closed.compiled executes a copy of this file. As a part of every kernel of every system the rules would
take ten seconds of compilation each time.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import types

from solvers.expectations.lanes.cubature import integrate
from solvers.expectations.lanes.linked import ARGUMENTS, PIECES_ARGUMENTS
from solvers.expectations.lanes.pieces import look_up
from solvers.expectations.lanes.sums import moment_rows
from solvers.machine.code.entries import callback
from solvers.machine.options import FLAGS
from solvers.machine.simd import W

carray: Any = numba.carray  # type: ignore[attr-defined]


@callback(types.void(*ARGUMENTS), **FLAGS)
def entry(
    means: Any,
    covs: Any,
    count: int,
    rows: int,
    n: int,
    points: Any,
    length: int,
    place: int,
    values: Any,
    pairs: int,
    moments: Any,
    order: int,
    errors: Any,
    estimates: int,
) -> None:
    """`integrate` with arrays as pointers; pairs, estimates: 1 if there is room for products, for errors."""
    integrate(
        carray(means, (count, rows, n - 1)),
        carray(covs, (count, n - 1, n - 1)),
        carray(points, (length, W)),
        place,
        carray(values, (count, rows, n + 1 + n * n * pairs)),
        order,
        carray(moments, (count, rows, moment_rows(n - 1, order))),
        carray(errors, (count, rows * estimates)),
    )


@callback(types.void(*PIECES_ARGUMENTS), **FLAGS)
def pieces(
    table: Any,
    length: int,
    means: Any,
    count: int,
    n: int,
    values: Any,
    pairs: Any,
    products: int,
    found: Any,
) -> None:
    """`look_up` of pieces.py with arrays as pointers; products: 1 if there is room for pairs."""
    look_up(
        carray(table, (length, W)),
        carray(means, (count, n - 1)),
        carray(values, (count, n + 1)),
        carray(pairs, (count, n * (n - 1) // 2 * products)),
        carray(found, count),
    )
