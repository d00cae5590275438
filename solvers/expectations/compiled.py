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

from solvers.expectations.instructions import BLOCK, LANES, ONE, Lanes, Real, exponential
from solvers.expectations.logistic_normal import FIRST_LEVEL, LOGISTIC_VARIANCE, ROWS, SHIFT, TERMS

_types: Any = numba.types


def _jets(means: list[Real], variance: Real, table: Any, order: int) -> list[list[Real]]:
    """The first `order` of J ... J''' at each of the means; `table` is a pointer. Line by line logistic_normal.py.

    Means with a variance in common share its level; and their instructions alternate, so that none waits for itself.
    """
    lanes = variance.lanes
    variance = variance.replaced(variance.compare("<", 0.0), 0.0)
    exponent = (((variance.bits() >> 52) - (1023 + 22)) >> 1).at_least(0)
    grown, shrunk = ((exponent << 52) + ONE).double(), ((exponent * -1 << 52) + ONE).double()
    v = variance * (shrunk * shrunk) - (1.0 - shrunk * shrunk) * LOGISTIC_VARIANCE

    shifted = v + SHIFT
    highest = lanes.real(2.0**24 - 1)
    leading = highest.replaced(shifted.compare("<", highest), shifted).bits() >> 49
    middle = (leading << 49 | 1 << 48).double()
    scale, code = lanes.gather_pair(table, (leading - FIRST_LEVEL) << 1)
    first_row, patches = code.short() >> 6, (code.short() & 63).real()
    end, last = patches + patches - 1.0, patches - 1.0
    tau2 = (shifted - middle) * (scale * scale)

    alphas = [(a.bits() & (1 << 63) - 1).double() * shrunk for a in means]
    beyond, deltas, rows = [], [], []
    for alpha in alphas:
        position = alpha * scale
        beyond.append(position.compare(">=", end))
        position = position.replaced(beyond[-1], end)
        nearest = (position + 1.0) * 0.5
        index = last.replaced(nearest.compare("<", last), nearest).short()
        deltas.append((index + index).real() - position)
        rows.append((first_row + index) * TERMS + ROWS)

    # polynomials[j][n] is u_n for the j-th mean, coefficients[j] those of the block that n is in.
    polynomials = [[lanes.real(1.0), delta] for delta in deltas]
    coefficients: list[list[Real]] = []
    sums: list[list[Real]] = [[] for _ in means]
    for n in range(TERMS):
        if n % BLOCK == 0:
            coefficients = [lanes.gather_block(table, row + n) for row in rows]
        if n > 1:
            for u, delta in zip(polynomials, deltas, strict=True):
                u.append(u[n - 1].times_plus(delta * (1 / n), tau2 * (1 / n) * u[n - 2]))
        for total, u, block in zip(sums, polynomials, coefficients, strict=True):
            c = block[n % BLOCK]
            for m in range(min(n, order)):
                total[m] = u[n - m].times_plus(c, total[m])
            if n < order:
                total.append(c)

    jets = []
    for a, alpha, outside, total in zip(means, alphas, beyond, sums, strict=True):
        tail = lanes.where_any(outside, lambda alpha=alpha: _tail(alpha, v))
        unit = grown
        for m in range(order):
            total[m] = (total[m] * unit).replaced(outside, tail)
            unit = unit * (scale * shrunk)
        ramp, small = (part.replaced(part.compare("<", 0.0), 0.0) for part in total[:2])
        above = a.compare(">", 0.0)
        jet = [ramp.replaced(above, ramp + a), small.replaced(above, 1.0 - small)]
        jets.append(jet if order == 2 else [*jet, total[2], total[3].replaced(above, -total[3])])
    return jets


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
        (jet,) = _jets([lanes.real(args[0])], lanes.real(args[1]), pointer, 4)
        return context.make_tuple(builder, signature.return_type, [part.value for part in jet])

    number = _types.float64
    return _types.Tuple([number] * 4)(number, number, table), generate


def _eight(typing: Any, work: Any, means: Any, variance: Any, out: Any, table: Any) -> Any:
    """From vectors at the flat positions `means` and one at `variance` of `work` to those at `out`, J of all means first."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(builder, LANES)
        numbers, coefficients = (_pointer(context, builder, signature.args[n], args[n]) for n in (0, 4))
        places = [builder.extract_value(args[1], n) for n in range(len(means))]
        jets = _jets([lanes.load(numbers, p) for p in places], lanes.load(numbers, args[2]), coefficients, order)
        for place, part in enumerate(part for parts in zip(*jets, strict=True) for part in parts):
            lanes.store(part, numbers, builder.extract_value(args[3], place))
        return context.get_dummy_value()

    order = len(out) // len(means)
    position = _types.int64
    tuples = (_types.Tuple([position] * len(group)) for group in (means, out))
    return _types.void(work, next(tuples), position, next(tuples), table), generate


_one_argument: Any = intrinsic(_one)
_eight_lanes: Any = intrinsic(_eight)


def _softplus_jet(a, variance, table):  # type: ignore[no-untyped-def]
    return _one_argument(a, variance, table)


def _softplus_rows(work, a, variance, value, slope, table):  # type: ignore[no-untyped-def]
    _eight_lanes(work, (a * LANES,), variance * LANES, (value * LANES, slope * LANES), table)


def _softplus_pair(work, a, b, variance, value, value_b, slope, slope_b, table):
    _eight_lanes(work, (a * LANES,b*LANES), variance * LANES, (value * LANES, value_b*LANES,slope * LANES,slope_b*LANES), table)


def _softplus_jet_rows(work, a, variance, value, slope, curvature, third, table):  # type: ignore[no-untyped-def]
    out = (value * LANES, slope * LANES, curvature * LANES, third * LANES)
    _eight_lanes(work, (a * LANES,), variance * LANES, out, table)


# Not as decorators: they would hide the functions from mypy.
softplus_jet = njit(error_model="numpy", forceinline=True)(_softplus_jet)
softplus_rows = njit(error_model="numpy")(_softplus_rows)
softplus_pair = njit(error_model="numpy")(_softplus_pair)
softplus_jet_rows = njit(error_model="numpy")(_softplus_jet_rows)
