"""softplus_jet for numba: one argument, or lanes of eight written as vector instructions. The only file here with numba.

Pass coefficients() of logistic_normal.py as `table`; method and error are described there, nan behaves as there.

    softplus_jet(a, variance, table) -> J, J', J'', J'''
    softplus_lanes(a, variance, value, slope, table)
    softplus_jet_lanes(a, variance, value, slope, curvature, third, table)

Lanes are C-contiguous float64 arrays of one size, a multiple of LANES, of any shape; results are written into the
arrays named after them. What LLVM's own vectoriser makes of such a loop depends on aliasing, on branches and on the trip
count around it, and a gather costs as much as eight loads; so the instructions are written here for eight doubles at
once, and a row of coefficients is loaded contiguously and transposed in registers. LLVM cuts them to what the processor
has (AVX-512, AVX2, NEON). The same text with lanes of one is the scalar function.
"""

from __future__ import annotations

from math import factorial
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from solvers.expectations.logistic_normal import FIRST_LEVEL, LOGISTIC_VARIANCE, ROWS, SHIFT, TERMS

LANES = 8

_DOUBLE, _INT, _SHORT = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
_ONE = 1023 << 52  # bits of 1.0
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


class _Lanes:
    """Vectors of `width` numbers as LLVM sees them; plain numbers if the width is one."""

    def __init__(self, builder: Any, width: int) -> None:
        self.builder, self.width = builder, width

    def type(self, element: Any) -> Any:
        return element if self.width == 1 else ir.VectorType(element, self.width)

    def constant(self, element: Any, value: float) -> Any:
        return ir.Constant(self.type(element), value if self.width == 1 else [value] * self.width)

    def real(self, value: Any) -> _Real:
        return _Real(self, value)

    def lane(self, vector: Any, z: int) -> Any:
        return vector if self.width == 1 else self.builder.extract_element(vector, _SHORT(z))

    def join(self, elements: list[Any]) -> _Real:
        if self.width == 1:
            return _Real(self, elements[0])
        vector = ir.Constant(self.type(_DOUBLE), ir.Undefined)
        for z, element in enumerate(elements):
            vector = self.builder.insert_element(vector, element, _SHORT(z))
        return _Real(self, vector)


class _Number:
    """An LLVM value of these lanes with the operators of its element; the other operand may be a Python number."""

    element: Any

    def __init__(self, lanes: _Lanes, value: Any) -> None:
        self.lanes, self.value = lanes, value

    def operand(self, other: Any) -> Any:
        return other.value if isinstance(other, _Number) else self.lanes.constant(self.element, other)


class _Real(_Number):
    element = _DOUBLE

    def _apply(self, name: str, x: Any, y: Any) -> _Real:
        # A product and a sum may become one instruction, as C compilers do; no other liberty with IEEE arithmetic.
        return _Real(self.lanes, getattr(self.lanes.builder, name)(x, y, flags=("contract",)))

    def __add__(self, other: Any) -> _Real:
        return self._apply("fadd", self.value, self.operand(other))

    def __sub__(self, other: Any) -> _Real:
        return self._apply("fsub", self.value, self.operand(other))

    def __rsub__(self, other: Any) -> _Real:
        return self._apply("fsub", self.operand(other), self.value)

    def __mul__(self, other: Any) -> _Real:
        return self._apply("fmul", self.value, self.operand(other))

    def __neg__(self) -> _Real:
        return _Real(self.lanes, self.lanes.builder.fneg(self.value))

    def compare(self, sign: str, other: Any) -> Any:
        """False where either is nan."""
        return self.lanes.builder.fcmp_ordered(sign, self.value, self.operand(other))

    def where(self, condition: Any, other: Any) -> _Real:
        """`other` where the condition holds, else self."""
        return _Real(self.lanes, self.lanes.builder.select(condition, self.operand(other), self.value))

    def bits(self) -> _Integer:
        return _Integer(self.lanes, self.lanes.builder.bitcast(self.value, self.lanes.type(_INT)))

    def short(self) -> _Short:
        return _Short(self.lanes, self.lanes.builder.fptosi(self.value, self.lanes.type(_SHORT)))


class _Integer(_Number):
    element = _INT

    def _apply(self, name: str, other: Any) -> Any:
        return type(self)(self.lanes, getattr(self.lanes.builder, name)(self.value, self.operand(other)))

    def __add__(self, other: Any) -> Any:
        return self._apply("add", other)

    def __sub__(self, other: Any) -> Any:
        return self._apply("sub", other)

    def __mul__(self, other: Any) -> Any:
        return self._apply("mul", other)

    def __lshift__(self, other: int) -> Any:
        return self._apply("shl", other)

    def __rshift__(self, other: int) -> Any:
        return self._apply("ashr", other)

    def __and__(self, other: int) -> Any:
        return self._apply("and_", other)

    def __or__(self, other: int) -> Any:
        return self._apply("or_", other)

    def double(self) -> _Real:
        """The double with these bits."""
        return _Real(self.lanes, self.lanes.builder.bitcast(self.value, self.lanes.type(_DOUBLE)))


class _Short(_Integer):
    """32 bits, which every processor converts to and from doubles in vectors."""

    element = _SHORT

    def real(self) -> _Real:
        return _Real(self.lanes, self.lanes.builder.sitofp(self.value, self.lanes.type(_DOUBLE)))


def _jet(a: _Real, variance: _Real, table: Any, order: int) -> list[_Real]:
    """The first `order` of J ... J'''; `table` is a pointer. Line by line the method of logistic_normal.py."""
    lanes, builder = a.lanes, a.lanes.builder
    zero = lanes.real(lanes.constant(_DOUBLE, 0.0))
    variance = variance.where(variance.compare("<", 0.0), 0.0)
    exponent = ((variance.bits() >> 52) - (1023 + 22)) >> 1
    exponent = _Integer(
        lanes, builder.select(builder.icmp_signed("<", exponent.value, exponent.operand(0)), exponent.operand(0), exponent.value)
    )
    grown, shrunk = ((exponent << 52) + _ONE).double(), ((exponent * -1 << 52) + _ONE).double()
    shrunk2 = shrunk * shrunk
    alpha = (a.bits() & (1 << 63) - 1).double() * shrunk
    v = variance * shrunk2 - (1.0 - shrunk2) * LOGISTIC_VARIANCE

    shifted = v + SHIFT
    highest = lanes.real(lanes.constant(_DOUBLE, 2.0**24 - 1))
    leading = highest.where(shifted.compare("<", highest), shifted).bits() >> 49
    middle = (leading << 49 | 1 << 48).double()
    level = (leading - FIRST_LEVEL) << 1
    scale, coded = (
        lanes.join([builder.load(builder.gep(table, [lanes.lane((level + part).value, z)])) for z in range(lanes.width)])
        for part in (0, 1)
    )
    code = coded.short()
    patches = (code & 63).real()
    end = patches + patches - 1.0
    position = alpha * scale
    beyond = position.compare(">=", end)
    position = position.where(beyond, end)
    nearest, last = (position + 1.0) * 0.5, patches - 1.0
    index = last.where(nearest.compare("<", last), nearest).short()
    delta = (index + index).real() - position
    tau2 = (shifted - middle) * (scale * scale)

    rows = ((code >> 6) + index) * TERMS + ROWS
    c = _coefficients(lanes, table, rows)
    sums = [c[m] + c[m + 1] * delta for m in range(order)]
    before, u = zero + 1.0, delta
    for n in range(2, TERMS):
        before, u = u, delta * (1 / n) * u + tau2 * (1 / n) * before
        sums = [total + c[n + m] * u if n + m < TERMS else total for m, total in enumerate(sums)]

    rise = v * 0.5 - alpha
    exponential = _exponential(rise.where(rise.compare(">", 0.0), 0.0))
    exponential = exponential.where(alpha.compare("<", v), 0.0)
    units = [grown, scale, scale * scale * shrunk, scale * scale * scale * shrunk2][:order]
    sums = [(total * unit).where(beyond, exponential) for total, unit in zip(sums, units, strict=True)]
    ramp, small = (total.where(total.compare("<", 0.0), 0.0) for total in sums[:2])
    above = a.compare(">", 0.0)
    jet = [ramp.where(above, ramp + a), small.where(above, 1.0 - small)]
    return jet if order == 2 else [*jet, sums[2], sums[3].where(above, -sums[3])]


def _exponential(x: _Real) -> _Real:
    """e^x for x ≤ 0, to two units in the last place; 0 below −708."""
    clipped = x.where(x.compare("<", -708.0), -708.0)
    counted = clipped * 1.4426950408889634 + 6755399441055744.0  # 1.5 · 2^52: the last bits are the rounded product
    whole = counted - 6755399441055744.0
    rest = clipped - whole * _LN2_HIGH - whole * _LN2_LOW
    total = rest * (1 / factorial(12)) + 1 / factorial(11)
    for n in range(10, -1, -1):
        total = total * rest + 1 / factorial(n)
    return (total * ((counted.bits() << 52) + _ONE).double()).where(x.compare("<", -708.0), 0.0)


def _coefficients(lanes: _Lanes, table: Any, rows: _Integer) -> list[_Real]:
    """The TERMS coefficients that start at table[rows[z]] in lane z."""
    builder = lanes.builder
    starts = [builder.gep(table, [builder.zext(lanes.lane(rows.value, z), _INT)]) for z in range(lanes.width)]
    if lanes.width == 1:
        return [lanes.real(builder.load(builder.gep(starts[0], [_INT(n)]))) for n in range(TERMS)]
    pointer = lanes.type(_DOUBLE).as_pointer()
    columns = []
    for first in range(0, TERMS, LANES):
        blocks = [builder.bitcast(builder.gep(start, [_INT(first)]), pointer) for start in starts]
        columns += _transpose(builder, [builder.load(block, align=8) for block in blocks])
    return [lanes.real(column) for column in columns]


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight, transposed by exchanging halves of blocks of 2, 4 and 8: three steps of eight shuffles."""
    for size in (1, 2, 4):
        mixed = list(rows)
        for i in range(LANES):
            if not i & size:
                kept = [z if not z & size else LANES + z - size for z in range(LANES)]
                moved = [z + size if not z & size else LANES + z for z in range(LANES)]
                mixed[i], mixed[i + size] = (
                    builder.shuffle_vector(rows[i], rows[i + size], ir.Constant(ir.VectorType(_SHORT, LANES), mask))
                    for mask in (kept, moved)
                )
        rows = mixed
    return rows


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


@intrinsic  # type: ignore[misc]
def _one(typing: Any, a: Any, variance: Any, table: Any) -> Any:
    """(J, J', J'', J''') of one argument."""
    number = types.float64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = _Lanes(builder, 1)
        pointer = _data(context, builder, signature.args[2], args[2])
        jet = _jet(lanes.real(args[0]), lanes.real(args[1]), pointer, 4)
        return context.make_tuple(builder, signature.return_type, [part.value for part in jet])

    return types.UniTuple(number, 4)(number, number, table), generate


@intrinsic  # type: ignore[misc]
def _block(typing: Any, k: Any, a: Any, variance: Any, out: Any, table: Any) -> Any:
    """Lanes LANES k, ..., LANES k + 7 of a and variance into those of every array of the tuple `out`."""
    arrays = (a, variance, *out, table)
    if any(array.dtype != types.float64 or array.layout != "C" for array in arrays):
        raise TypeError("lanes and table have to be C-contiguous arrays of float64")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = _Lanes(builder, LANES)
        start = builder.mul(args[0], _INT(LANES))

        def place(kind: Any, array: Any) -> Any:
            pointer = builder.gep(_data(context, builder, kind, array), [start])
            return builder.bitcast(pointer, lanes.type(_DOUBLE).as_pointer())

        inputs = [lanes.real(builder.load(place(signature.args[n], args[n]), align=8)) for n in (1, 2)]
        jet = _jet(*inputs, _data(context, builder, signature.args[4], args[4]), len(out))
        for m, part in enumerate(jet):
            array = builder.extract_value(args[3], m)
            builder.store(part.value, place(signature.args[3][m], array), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, a, variance, out, table), generate


def _softplus_jet(a, variance, table):  # type: ignore[no-untyped-def]
    return _one(a, variance, table)


def _softplus_lanes(a, variance, value, slope, table):  # type: ignore[no-untyped-def]
    for k in range(a.size // LANES):
        _block(k, a, variance, (value, slope), table)


def _softplus_jet_lanes(a, variance, value, slope, curvature, third, table):  # type: ignore[no-untyped-def]
    for k in range(a.size // LANES):
        _block(k, a, variance, (value, slope, curvature, third), table)


softplus_jet = njit(error_model="numpy", forceinline=True)(_softplus_jet)
softplus_lanes = njit(error_model="numpy")(_softplus_lanes)
softplus_jet_lanes = njit(error_model="numpy")(_softplus_jet_lanes)
