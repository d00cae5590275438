"""softplus_jet for numba: one argument, or eight at once in vector instructions. The only file here with numba.

Pass coefficients() of logistic_normal.py as `table`; method and error are described there, nan behaves as there.

    softplus_jet(a, variance, table) -> J, J', J'', J'''
    softplus_rows(work, a, variance, value, slope, table)
    softplus_jet_rows(work, a, variance, value, slope, curvature, third, table)

`work` is a C-contiguous float64 array (rows, W), W a multiple of LANES; the other arguments but the table are numbers
of its rows: mean and variance of the logit in, J and its derivatives out. A result may take the place of an argument.

What LLVM's own vectoriser makes of such a loop depends on aliasing, on branches and on the trip count around it; so the
instructions are written here for eight doubles at once. Rows of coefficients are loaded contiguously and transposed in
registers. LLVM cuts them to what the processor has (AVX-512,
AVX2, NEON). The same text with lanes of one is the scalar function.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import njit
from numba.extending import intrinsic

from solvers.expectations.instructions import LANES, ONE, Lanes, Real, exponential
from solvers.expectations.logistic_normal import FIRST_LEVEL, LOGISTIC_VARIANCE, ROWS, SHIFT, TERMS

_types: Any = numba.types


def _jet(a: Real, variance: Real, table: Any, order: int) -> list[Real]:
    """The first `order` of J ... J'''; `table` is a pointer. Line by line the method of logistic_normal.py."""
    lanes = a.lanes
    variance = variance.replaced(variance.compare("<", 0.0), 0.0)
    exponent = (((variance.bits() >> 52) - (1023 + 22)) >> 1).at_least(0)
    grown, shrunk = ((exponent << 52) + ONE).double(), ((exponent * -1 << 52) + ONE).double()
    alpha = (a.bits() & (1 << 63) - 1).double() * shrunk
    v = variance * (shrunk * shrunk) - (1.0 - shrunk * shrunk) * LOGISTIC_VARIANCE

    shifted = v + SHIFT
    highest = lanes.real(2.0**24 - 1)
    leading = highest.replaced(shifted.compare("<", highest), shifted).bits() >> 49
    middle = (leading << 49 | 1 << 48).double()
    level = (leading - FIRST_LEVEL) << 1
    scale, code = lanes.gather(table, level), lanes.gather(table, level + 1).short()
    patches = (code & 63).real()
    end = patches + patches - 1.0
    position = alpha * scale
    beyond = position.compare(">=", end)
    position = position.replaced(beyond, end)
    nearest, last = (position + 1.0) * 0.5, patches - 1.0
    index = last.replaced(nearest.compare("<", last), nearest).short()
    delta = (index + index).real() - position
    tau2 = (shifted - middle) * (scale * scale)

    c = lanes.gather_rows(table, ((code >> 6) + index) * TERMS + ROWS, TERMS)
    sums = [c[m] + c[m + 1] * delta for m in range(order)]
    before, u = lanes.real(1.0), delta
    for n in range(2, TERMS):
        before, u = u, delta * (1 / n) * u + tau2 * (1 / n) * before
        sums = [total + c[n + m] * u if n + m < TERMS else total for m, total in enumerate(sums)]

    rise = v * 0.5 - alpha
    tail = exponential(rise.replaced(rise.compare(">", 0.0), 0.0)).replaced(alpha.compare("<", v), 0.0)
    unit = grown
    for m in range(order):
        sums[m] = (sums[m] * unit).replaced(beyond, tail)
        unit = unit * (scale * shrunk)
    ramp, small = (total.replaced(total.compare("<", 0.0), 0.0) for total in sums[:2])
    above = a.compare(">", 0.0)
    jet = [ramp.replaced(above, ramp + a), small.replaced(above, 1.0 - small)]
    return jet if order == 2 else [*jet, sums[2], sums[3].replaced(above, -sums[3])]


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


def _eight(typing: Any, work: Any, a: Any, variance: Any, out: Any, table: Any) -> Any:
    """From eight numbers at each of the flat positions a and variance of `work` to eight at each of those in `out`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(builder, LANES)
        numbers, coefficients = (_pointer(context, builder, signature.args[n], args[n]) for n in (0, 4))
        mean, spread = (lanes.load(numbers, position) for position in args[1:3])
        for m, part in enumerate(_jet(mean, spread, coefficients, len(out))):
            lanes.store(part, numbers, builder.extract_value(args[3], m))
        return context.get_dummy_value()

    position = _types.int64
    return _types.void(work, position, position, _types.Tuple([position] * len(out)), table), generate


_one_argument: Any = intrinsic(_one)
_eight_lanes: Any = intrinsic(_eight)


def _softplus_jet(a, variance, table):  # type: ignore[no-untyped-def]
    return _one_argument(a, variance, table)


def _softplus_rows(work, a, variance, value, slope, table):  # type: ignore[no-untyped-def]
    width = work.shape[1]
    if width % LANES:
        raise ValueError("rows of work: need a multiple of 8 lanes")
    for z in range(0, width, LANES):
        _eight_lanes(work, a * width + z, variance * width + z, (value * width + z, slope * width + z), table)


def _softplus_jet_rows(work, a, variance, value, slope, curvature, third, table):  # type: ignore[no-untyped-def]
    width = work.shape[1]
    if width % LANES:
        raise ValueError("rows of work: need a multiple of 8 lanes")
    for z in range(0, width, LANES):
        out = (value * width + z, slope * width + z, curvature * width + z, third * width + z)
        _eight_lanes(work, a * width + z, variance * width + z, out, table)


# Not as decorators: they would hide the functions from mypy.
softplus_jet = njit(error_model="numpy", forceinline=True)(_softplus_jet)
softplus_rows = njit(error_model="numpy")(_softplus_rows)
softplus_jet_rows = njit(error_model="numpy")(_softplus_jet_rows)
