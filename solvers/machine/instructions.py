"""Vectors of doubles in LLVM instructions with the operators of Python: what compiled code on vectors is written in.

simd.py makes them values of numba, a row of WIDTH each; solvers/expectations writes whole functions in them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

from llvmlite import ir

BLOCK = 8
"""Numbers loaded at once from a row of coefficients."""
WIDTH = 16
"""Numbers in a row of arguments or results: two registers, so that one's instructions fill the other's waiting time."""
LANES = 8
"""Doubles in one vector; LLVM cuts it to the registers of the processor."""
ONE = 1023 << 52
"""The bits of 1.0."""

_DOUBLE, _INT, _SHORT = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


class Lanes:
    """Where instructions go, and how many numbers each works on: LANES, or one, then without vectors."""

    def __init__(self, builder: Any, width: int) -> None:
        self.builder, self.width = builder, width

    def type(self, element: Any) -> Any:
        return element if self.width == 1 else ir.VectorType(element, self.width)

    def constant(self, element: Any, value: float) -> Any:
        return ir.Constant(self.type(element), value if self.width == 1 else [value] * self.width)

    def real(self, value: float | Any) -> Real:
        """An LLVM value, or the same Python number in every lane."""
        return Real(self, self.constant(_DOUBLE, value) if isinstance(value, float) else value)

    def load(self, pointer: Any, position: Any) -> Real:
        """pointer[position + z] in lane z."""
        return Real(self, self.builder.load(self._place(pointer, position), align=8))

    def store(self, number: Real, pointer: Any, position: Any) -> None:
        self.builder.store(number.value, self._place(pointer, position), align=8)

    def gather(self, pointer: Any, index: Integer) -> Real:
        """pointer[index] lane by lane."""
        builder = self.builder
        elements = [builder.load(builder.gep(pointer, [position])) for position in self._each(index)]
        if self.width == 1:
            return Real(self, elements[0])
        vector = ir.Constant(self.type(_DOUBLE), ir.Undefined)
        for z, element in enumerate(elements):
            vector = builder.insert_element(vector, element, _SHORT(z))
        return Real(self, vector)

    def spread(self, pointer: Any, n: int) -> Real:
        """pointer[n] in every lane."""
        return self.everywhere(self.builder.load(self.builder.gep(pointer, [_INT(n)])))

    def everywhere(self, number: Any) -> Real:
        """An LLVM double in every lane."""
        vector = ir.Constant(self.type(_DOUBLE), ir.Undefined)
        first = self.builder.insert_element(vector, number, _SHORT(0))
        lanes = ir.Constant(ir.VectorType(_SHORT, self.width), None)
        return Real(self, self.builder.shuffle_vector(first, vector, lanes))

    def call(self, name: str, *arguments: Real) -> Real:
        """The intrinsic function of LLVM of that name, of doubles."""
        builder, kind = self.builder, self.type(_DOUBLE)
        name = f"llvm.{name}." + ("f64" if self.width == 1 else f"v{self.width}f64")
        known = builder.module.globals
        kinds = ir.FunctionType(kind, [kind] * len(arguments))
        function = known[name] if name in known else ir.Function(builder.module, kinds, name)
        return Real(self, builder.call(function, [argument.value for argument in arguments]))

    def gather_pair(self, pointer: Any, index: Integer) -> tuple[Real, Real]:
        """pointer[index] and pointer[index + 1] lane by lane."""
        builder = self.builder
        if self.width == 1:
            return self.gather(pointer, index), self.gather(pointer, index + 1)
        pairs = [Lanes(builder, 2).load(pointer, place).value for place in self._each(index)]
        # Even and odd lanes apart: every second number of both is then a number of neighbours.
        halves = [_joined(builder, pairs[z::2]) for z in (0, 1)]
        even = [half * self.width + z for z in range(0, self.width, 2) for half in (0, 1)]
        first, second = (builder.shuffle_vector(*halves, _mask([z + n for z in even])) for n in (0, 1))
        return Real(self, first), Real(self, second)

    def gather_block(self, pointer: Any, index: Integer) -> list[Real]:
        """pointer[index + n] lane by lane for n < BLOCK: contiguous loads, then transposition."""
        if self.width == 1:
            return [self.gather(pointer, index + n) for n in range(BLOCK)]
        rows = [self.load(pointer, place).value for place in self._each(index)]
        return [Real(self, column) for column in _transpose(self.builder, rows)]

    def where_any(self, condition: Any, compute: Callable[[], list[Real]], otherwise: list[Real]) -> list[Real]:
        """compute(), in all lanes, if the condition holds in any of them; else `otherwise`, and it is not computed."""
        builder = self.builder
        some, before = self.some(condition), builder.block
        with builder.if_then(some, likely=False):
            computed = compute()
            inside = builder.block
        joined = []
        for yes, no in zip(computed, otherwise, strict=True):
            joined.append(builder.phi(self.type(_DOUBLE)))
            joined[-1].add_incoming(no.value, before)
            joined[-1].add_incoming(yes.value, inside)
        return [Real(self, value) for value in joined]

    def some(self, condition: Any) -> Any:
        """Whether the condition holds in any lane."""
        if self.width == 1:
            return condition
        packed = self.builder.bitcast(condition, ir.IntType(self.width))
        return self.builder.icmp_unsigned("!=", packed, packed.type(0))

    def _each(self, index: Integer) -> list[Any]:
        """The 64-bit numbers of the lanes."""
        if self.width == 1:
            return [self.builder.sext(index.value, _INT)]
        lanes = (self.builder.extract_element(index.value, _SHORT(z)) for z in range(self.width))
        return [self.builder.sext(lane, _INT) for lane in lanes]

    def _place(self, pointer: Any, position: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(pointer, [position]), self.type(_DOUBLE).as_pointer())


def _mask(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_SHORT, len(places)), places)


def _joined(builder: Any, parts: list[Any]) -> Any:
    """Vectors of one length, a power of two of them, as one."""
    while len(parts) > 1:
        size = 2 * parts[0].type.count
        parts = [builder.shuffle_vector(*parts[n : n + 2], _mask(list(range(size)))) for n in range(0, len(parts), 2)]
    return parts[0]


def _transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of eight, transposed: pairs of numbers, then twice quarters of vectors, are exchanged."""

    def mixed(x: Any, y: Any, masks: tuple[list[int], list[int]]) -> tuple[Any, Any]:
        return tuple(builder.shuffle_vector(x, y, _mask(mask)) for mask in masks)

    def quarters(*which: int) -> list[int]:
        return [2 * quarter + n for quarter in which for n in (0, 1)]

    alternate = ([0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15])
    pairs = [mixed(rows[i], rows[i + 1], alternate) for i in range(0, BLOCK, 2)]
    columns = [None] * BLOCK
    for odd in (0, 1):
        low = [mixed(pairs[i][odd], pairs[i + 1][odd], (quarters(0, 1, 4, 5), quarters(2, 3, 6, 7))) for i in (0, 2)]
        for half in (0, 1):
            first, second = mixed(low[0][half], low[1][half], (quarters(0, 2, 4, 6), quarters(1, 3, 5, 7)))
            columns[4 * half + odd], columns[4 * half + 2 + odd] = first, second
    return columns


class Number:
    """One value for each lane, with the operators of its element; the other operand may be a Python number."""

    element: Any

    def __init__(self, lanes: Lanes, value: Any) -> None:
        self.lanes, self.value = lanes, value

    def operand(self, other: Any) -> Any:
        return other.value if isinstance(other, Number) else self.lanes.constant(self.element, other)


class Real(Number):
    element = _DOUBLE

    def _apply(self, name: str, x: Any, y: Any) -> Real:
        # A product and a sum may become one instruction, as C compilers do; no other liberty with IEEE arithmetic.
        return Real(self.lanes, getattr(self.lanes.builder, name)(x, y, flags=("contract",)))

    def __add__(self, other: Any) -> Real:
        return self._apply("fadd", self.value, self.operand(other))

    def __sub__(self, other: Any) -> Real:
        return self._apply("fsub", self.value, self.operand(other))

    def __rsub__(self, other: Any) -> Real:
        return self._apply("fsub", self.operand(other), self.value)

    def __mul__(self, other: Any) -> Real:
        return self._apply("fmul", self.value, self.operand(other))

    def __truediv__(self, other: Any) -> Real:
        return Real(self.lanes, self.lanes.builder.fdiv(self.value, self.operand(other)))

    def __neg__(self) -> Real:
        return Real(self.lanes, self.lanes.builder.fneg(self.value))

    def times_plus(self, factor: Real, term: Real) -> Real:
        """self * factor + term, these two in one instruction where the processor has it."""
        return self.lanes.call("fmuladd", self, factor, term)

    def compare(self, sign: str, other: Any) -> Any:
        """A condition. Where either is nan only != is true, as in IEEE 754."""
        builder = self.lanes.builder
        compare = builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered
        return compare(sign, self.value, self.operand(other))

    def replaced(self, condition: Any, other: Any) -> Real:
        """`other` where the condition holds, self elsewhere."""
        return Real(self.lanes, self.lanes.builder.select(condition, self.operand(other), self.value))

    def total(self) -> Any:
        """The sum over lanes, a power of two of them, by halves; an LLVM double."""
        builder, value, width = self.lanes.builder, self.value, self.lanes.width
        while width > 1:
            width //= 2
            low, high = (builder.shuffle_vector(value, value, _mask([z + n for z in range(width)])) for n in (0, width))
            value = builder.fadd(low, high)
        return builder.extract_element(value, _SHORT(0))

    def absolute(self) -> Real:
        magnitude: Real = (self.bits() & (1 << 63) - 1).double()
        return magnitude

    def bits(self) -> Integer:
        return Integer(self.lanes, self.lanes.builder.bitcast(self.value, self.lanes.type(_INT)))

    def short(self) -> Short:
        """Rounded towards zero."""
        return Short(self.lanes, self.lanes.builder.fptosi(self.value, self.lanes.type(_SHORT)))


class Integer(Number):
    """64 bits."""

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

    def at_least(self, bound: int) -> Any:
        low = self.lanes.builder.icmp_signed("<", self.value, self.operand(bound))
        return type(self)(self.lanes, self.lanes.builder.select(low, self.operand(bound), self.value))

    def double(self) -> Real:
        """The double with these bits."""
        return Real(self.lanes, self.lanes.builder.bitcast(self.value, self.lanes.type(_DOUBLE)))


class Short(Integer):
    """32 bits, which every processor converts to and from doubles in vectors."""

    element = _SHORT

    def real(self) -> Real:
        return Real(self.lanes, self.lanes.builder.sitofp(self.value, self.lanes.type(_DOUBLE)))


def exponential(x: Real) -> Real:
    """e^x for x ≤ 709, to two units in the last place; 0 below −708."""
    clipped = x.replaced(x.compare("<", -708.0), -708.0)
    counted = clipped * 1.4426950408889634 + 6755399441055744.0  # 1.5 · 2^52: the last bits are the rounded product
    whole = counted - 6755399441055744.0
    rest = clipped - whole * _LN2_HIGH - whole * _LN2_LOW
    total = rest * (1 / factorial(12)) + 1 / factorial(11)
    for n in range(10, -1, -1):
        total = total * rest + 1 / factorial(n)
    power: Real = ((counted.bits() << 52) + ONE).double()
    return (total * power).replaced(x.compare("<", -708.0), 0.0)
