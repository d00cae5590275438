"""softplus_jet for numba: one argument, or rows of them in vector instructions. The only file here with numba.

Pass coefficients() of logistic_normal.py as `table`; method and error are described there, nan behaves as there.

    softplus_jet(a, variance, table) -> J, J', J'', J'''
    softplus_rows(work, a, variance, value, slope, table)
    softplus_curve_rows(work, a, variance, value, slope, curvature, table)
    softplus_jet_rows(work, a, variance, value, slope, curvature, third, table)
    softplus_five_rows(work, a, variance, value, slope, curvature, third, fourth, table)
    softplus_line_rows(work, a, value, slope, line, start)      a table of fixed_variance.py, at line[start:]

`work` is a C-contiguous float64 array (rows, WIDTH); the other arguments but the tables are numbers of its rows: mean
and variance of the logit in, J and its derivatives out. A result may take the place of an argument.

What LLVM's own vectoriser makes of such a loop depends on aliasing, on branches and on the trip count around it; so the
instructions are written here for eight doubles at once. Rows of coefficients are loaded contiguously and transposed in
registers. LLVM cuts them to what the processor has (AVX-512, AVX2, NEON). The same text with lanes of one is the scalar
function.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
from numba import njit
from numba.extending import intrinsic

from solvers.expectations.fixed_variance import TERMS as PIECE
from solvers.expectations.logistic_normal import FIRST_LEVEL, LOGISTIC_VARIANCE, ROWS, SHIFT, TERMS
from solvers.machine.instructions import BLOCK, LANES, ONE, WIDTH, Lanes, Real, exponential

_types: Any = numba.types

LARGEST_VARIANCE = 2.0**24
"""Where the table ends."""


def _jet(a: Real, variance: Real, table: Any, order: int) -> list[Real]:
    """J and its first order − 1 ≤ 4 derivatives; `table` is a pointer. Line by line as logistic_normal.py."""
    lanes = a.lanes
    variance = variance.replaced(variance.compare("<", 0.0), 0.0)
    alpha, v, grown, shrunk = lanes.where_any(
        variance.compare(">=", LARGEST_VARIANCE),
        lambda: _shrunk(a, variance),
        [a.absolute(), variance, lanes.real(1.0), lanes.real(1.0)],
    )
    shifted = v + SHIFT
    highest = lanes.real(2.0**24 - 1)
    leading = highest.replaced(shifted.compare("<", highest), shifted).bits() >> 49
    middle = (leading << 49 | 1 << 48).double()
    scale, packed = lanes.gather_pair(table, (leading - FIRST_LEVEL) << 1)
    code = packed.short()
    patches = (code & 63).real()
    end = patches + patches - 1.0
    position = alpha * scale
    beyond = position.compare(">=", end)
    position = position.replaced(beyond, end)
    nearest, last = (position + 1.0) * 0.5, patches - 1.0
    index = last.replaced(nearest.compare("<", last), nearest).short()
    delta = (index + index).real() - position
    tau2 = (shifted - middle) * (scale * scale)

    row = ((code >> 6) + index) * TERMS + ROWS
    sums: list[Real] = []
    before: list[Real] = []
    for n in range(TERMS - 1, -1, -1):
        if n % BLOCK == BLOCK - 1:
            block = lanes.gather_block(table, row + (n - BLOCK + 1))
        step = tau2 * float(n + 1)
        parts = [block[n % BLOCK], *sums][:order]
        # In this order only one operation waits for the last result.
        for factor, known in ((step, before), (delta, sums)):
            for m, total in enumerate(known):
                parts[m] = factor.times_plus(total, parts[m])
        sums, before = parts, sums

    (tail,) = lanes.where_any(beyond, lambda: [_tail(alpha, v)], [lanes.real(0.0)])
    unit = grown
    for m in range(order):
        sums[m] = (sums[m] * unit).replaced(beyond, tail)
        unit = unit * (scale * shrunk * float(m + 1))
    ramp, small = (total.replaced(total.compare("<", 0.0), 0.0) for total in sums[:2])
    above = a.compare(">", 0.0)
    thirds = (third.replaced(above, -third) for third in sums[3:4])
    return [ramp.replaced(above, ramp + a), small.replaced(above, 1.0 - small), *sums[2:3], *thirds, *sums[4:]]


def _shrunk(a: Real, variance: Real) -> list[Real]:
    """|a| and v of the table for an argument with large variance, 2ᵏ and 2⁻ᵏ; the same and 1 where k = 0."""
    exponent = (((variance.bits() >> 52) - (1023 + 22)) >> 1).at_least(0)
    grown, shrunk = ((exponent << 52) + ONE).double(), ((exponent * -1 << 52) + ONE).double()
    v = variance * (shrunk * shrunk) - (1.0 - shrunk * shrunk) * LOGISTIC_VARIANCE
    return [a.absolute() * shrunk, v, grown, shrunk]


def _line(a: Real, line: Any) -> list[Real]:
    """J and J' by a table of fixed_variance.py; `line` is a pointer."""
    lanes = a.lanes
    scale, last = (lanes.spread(line, n) for n in range(2))
    position = a.absolute() * scale
    nearest = (position + 1.0) * 0.5
    index = last.replaced(nearest.compare("<", last), nearest).short()
    delta = (index + index).real() - position
    c = lanes.gather_block(line, index * PIECE + PIECE)
    value, slope = c[-1], lanes.real(0.0)
    for n in range(PIECE - 2, -1, -1):
        slope, value = slope.times_plus(delta, value), value.times_plus(delta, c[n])
    ramp, small = (part.replaced(part.compare("<", 0.0), 0.0) for part in (value, slope * scale))
    above = a.compare(">", 0.0)
    return [ramp.replaced(above, ramp + a), small.replaced(above, 1.0 - small)]


def _tail(alpha: Real, v: Real) -> Real:
    """J and its derivatives beyond the patches."""
    rise = v * 0.5 - alpha
    return exponential(rise.replaced(rise.compare(">", 0.0), 0.0)).replaced(alpha.compare("<", v), 0.0)


def _pointer(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    if kind.dtype != _types.float64 or kind.layout != "C":
        raise TypeError(f"a C-contiguous array of float64 is needed, not {kind}")
    return context.make_array(kind)(context, builder, array).data


def _one(typing: Any, a: Any, variance: Any, table: Any) -> Any:
    """J, J', J'', J''' of one argument."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(builder, 1)
        pointer = _pointer(context, builder, signature.args[2], args[2])
        jet = _jet(lanes.real(args[0]), lanes.real(args[1]), pointer, 4)
        return context.make_tuple(builder, signature.return_type, [part.value for part in jet])

    number = _types.float64
    return _types.Tuple([number] * 4)(number, number, table), generate


def _rows(typing: Any, work: Any, a: Any, variance: Any, out: Any, table: Any) -> Any:
    """From the rows a and variance of `work` to those in `out`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers, coefficients = (_pointer(context, builder, signature.args[n], args[n]) for n in (0, 4))
        for lanes, place in _parts(builder):
            mean, spread = (lanes.load(numbers, place(row)) for row in args[1:3])
            for m, part in enumerate(_jet(mean, spread, coefficients, len(out))):
                lanes.store(part, numbers, place(builder.extract_value(args[3], m)))
        return context.get_dummy_value()

    row = _types.int64
    return _types.void(work, row, row, _types.Tuple([row] * len(out)), table), generate


def _line_rows(typing: Any, work: Any, a: Any, value: Any, slope: Any, line: Any, start: Any) -> Any:
    """From row a of `work` to the rows value and slope."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers, lines = (_pointer(context, builder, signature.args[n], args[n]) for n in (0, 4))
        for lanes, place in _parts(builder):
            mean = lanes.load(numbers, place(args[1]))
            for row, part in zip(args[2:4], _line(mean, builder.gep(lines, [args[5]])), strict=True):
                lanes.store(part, numbers, place(row))
        return context.get_dummy_value()

    row = _types.int64
    return _types.void(work, row, row, row, line, row), generate


def _parts(builder: Any) -> list[tuple[Lanes, Callable[[Any], Any]]]:
    """For every register that a row of WIDTH numbers fills: its lanes, and where in an array its part of a row is."""

    def place(row: Any, z: int) -> Any:
        return builder.add(builder.mul(row, row.type(WIDTH)), row.type(z))

    return [(Lanes(builder, LANES), partial(place, z=z)) for z in range(0, WIDTH, LANES)]


_one_argument: Any = intrinsic(_one)
_jet_rows: Any = intrinsic(_rows)
_fixed_rows: Any = intrinsic(_line_rows)


def _softplus_jet(a, variance, table):  # type: ignore[no-untyped-def]
    return _one_argument(a, variance, table)


def _softplus_rows(work, a, variance, value, slope, table):  # type: ignore[no-untyped-def]
    _jet_rows(work, a, variance, (value, slope), table)


def _softplus_curve_rows(work, a, variance, value, slope, curvature, table):  # type: ignore[no-untyped-def]
    _jet_rows(work, a, variance, (value, slope, curvature), table)


def _softplus_five_rows(  # type: ignore[no-untyped-def]
    work, a, variance, value, slope, curvature, third, fourth, table
):
    _jet_rows(work, a, variance, (value, slope, curvature, third, fourth), table)


def _softplus_jet_rows(work, a, variance, value, slope, curvature, third, table):  # type: ignore[no-untyped-def]
    _jet_rows(work, a, variance, (value, slope, curvature, third), table)


def _softplus_line_rows(work, a, value, slope, line, start):  # type: ignore[no-untyped-def]
    _fixed_rows(work, a, value, slope, line, start)


# Not as decorators: they would hide the functions from mypy.
softplus_jet = njit(error_model="numpy", forceinline=True)(_softplus_jet)
softplus_rows = njit(error_model="numpy")(_softplus_rows)
softplus_curve_rows = njit(error_model="numpy")(_softplus_curve_rows)
softplus_five_rows = njit(error_model="numpy")(_softplus_five_rows)
softplus_jet_rows = njit(error_model="numpy")(_softplus_jet_rows)
softplus_line_rows = njit(error_model="numpy")(_softplus_line_rows)
