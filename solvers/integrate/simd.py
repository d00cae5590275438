"""Vectors of W float64, one entry a lane, as numba values: explicit SIMD without relying on a vectorising compiler.

`x = load(a, i)` reads row i of a C-ordered (rows, W) array into one vector; `store(a, i, x)` writes it. Between them
+, −, *, / and comparisons work lane by lane, numbers are broadcast, and comparisons give masks for `select`, `every` and
`some`, which combine with & | ~. Everything is IEEE arithmetic; `muladd(a, b, c)` is a·b + c with one rounding where the
machine has the instruction and two where not.

Why: with lanes as the innermost loop of ordinary arrays, LLVM must prove that no two arrays overlap before it may
vectorise, gives up on eight iterations, and leaves scalar code ten times slower.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

W = 8
"""Lanes of a vector: one AVX-512 register; narrower machines use two or four."""

_FLOATS = ir.VectorType(ir.DoubleType(), W)
_INTS = ir.VectorType(ir.IntType(64), W)
_BITS = ir.VectorType(ir.IntType(1), W)


class _Vector(types.Type):  # type: ignore[misc]
    """One of the three kinds of vector."""

    def __init__(self, name: str, llvm: ir.Type) -> None:
        self.llvm = llvm
        super().__init__(name=f"{name}x{W}")


class Floats(_Vector):
    """W float64."""

    def __init__(self) -> None:
        super().__init__("float64", _FLOATS)


class Ints(_Vector):
    """W int64."""

    def __init__(self) -> None:
        super().__init__("int64", _INTS)


class Mask(_Vector):
    """W truth values."""

    def __init__(self) -> None:
        super().__init__("mask", _BITS)


floats, ints, mask = Floats(), Ints(), Mask()


@register_model(Floats)
@register_model(Ints)
@register_model(Mask)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    """value in every lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), W), [0] * W)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _as(context: Any, builder: Any, value: Any, ty: Any, wanted: Any) -> Any:
    """value as the vector type `wanted`; numbers are converted and broadcast."""
    if ty == wanted:
        return value
    scalar = types.float64 if wanted == floats else types.int64
    return _splat(builder, context.cast(builder, value, ty, scalar), wanted.llvm)


def _binary(op: Any, kinds: dict[Any, tuple[Any, Any]]) -> None:
    """Register a binary operator: {vector type: (result type, builder method)}."""

    @infer_global(op)
    class _Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            for vector, (result, _) in kinds.items():
                if vector in args and all(a == vector or (vector != mask and isinstance(a, types.Number)) for a in args):
                    return signature(result, *args)
            return None

    for vector, (_, emit) in kinds.items():
        number = () if vector == mask else ((vector, types.Number), (types.Number, vector))
        for pair in ((vector, vector), *number):

            def lower(context: Any, builder: Any, sig: Any, args: Any, vector: Any = vector, emit: Any = emit) -> Any:
                a, b = (_as(context, builder, v, t, vector) for v, t in zip(args, sig.args, strict=True))
                return emit(builder, a, b)

            lower_builtin(op, *pair)(lower)


def _unary(op: Any, kinds: dict[Any, Any]) -> None:
    @infer_global(op)
    class _Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            return signature(args[0], *args) if args[0] in kinds else None

    for vector, emit in kinds.items():

        def lower(context: Any, builder: Any, sig: Any, args: Any, emit: Any = emit) -> Any:
            return emit(builder, args[0])

        lower_builtin(op, vector)(lower)


def _compare(sign: str) -> dict[Any, tuple[Any, Any]]:
    # nan: every comparison is false but !=, as in IEEE 754.
    compare = (lambda b, x, y: b.fcmp_unordered(sign, x, y)) if sign == "!=" else (
        lambda b, x, y: b.fcmp_ordered(sign, x, y)
    )
    return {floats: (mask, compare), ints: (mask, lambda b, x, y: b.icmp_signed(sign, x, y))}


for _op, _float, _int in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
):
    _binary(
        _op,
        {
            floats: (floats, lambda b, x, y, name=_float: getattr(b, name)(x, y)),
            ints: (ints, lambda b, x, y, name=_int: getattr(b, name)(x, y)),
        },
    )
_binary(operator.truediv, {floats: (floats, lambda b, x, y: b.fdiv(x, y))})
for _op, _int in ((operator.and_, "and_"), (operator.or_, "or_")):
    _binary(
        _op,
        {
            ints: (ints, lambda b, x, y, name=_int: getattr(b, name)(x, y)),
            mask: (mask, lambda b, x, y, name=_int: getattr(b, name)(x, y)),
        },
    )
_binary(operator.lshift, {ints: (ints, lambda b, x, y: b.shl(x, y))})
_binary(operator.rshift, {ints: (ints, lambda b, x, y: b.ashr(x, y))})
for _op, _sign in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _binary(_op, _compare(_sign))
_unary(operator.neg, {floats: lambda b, x: b.fneg(x), ints: lambda b, x: b.neg(x)})
_unary(operator.invert, {mask: lambda b, x: b.not_(x), ints: lambda b, x: b.not_(x)})


def _call(builder: Any, name: str, result: Any, args: Any) -> Any:
    """The LLVM intrinsic of that name on vectors."""
    function_type = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)


def _row(context: Any, builder: Any, array_type: Any, array: Any, row: Any, row_type: Any) -> Any:
    """Pointer to a row of a C-ordered array whose last axis is W long."""
    struct = context.make_array(array_type)(context, builder, array)
    index = context.cast(builder, row, row_type, types.intp)
    first = builder.mul(index, ir.Constant(index.type, W))
    return builder.bitcast(builder.gep(struct.data, [first]), _FLOATS.as_pointer())


def _rows(ty: Any) -> bool:
    return isinstance(ty, types.Array) and ty.layout == "C" and ty.dtype == types.float64


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, array: Any, row: Any) -> Any:
    """Row `row` of a C-ordered float64 array (rows, W)."""
    if not (_rows(array) and isinstance(row, types.Integer)):
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _row(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        return builder.load(pointer, align=8)

    return floats(array, row), emit


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, row: Any, value: Any) -> Any:
    """Write a vector, or a number into every lane, to row `row` of a C-ordered float64 array (rows, W)."""
    if not (_rows(array) and isinstance(row, types.Integer)):
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _row(context, builder, sig.args[0], args[0], args[1], sig.args[1])
        builder.store(_as(context, builder, args[2], sig.args[2], floats), pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, row, value), emit


def _function(name: str, doc: str, arguments: int, llvm: str) -> Any:
    """An LLVM intrinsic of float vectors as a numba function; numbers are broadcast."""

    def typed(typing: Any, *args: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            vectors = [_as(context, builder, v, t, floats) for v, t in zip(values, sig.args, strict=True)]
            return _call(builder, f"llvm.{llvm}.v{W}f64", _FLOATS, vectors)

        return floats(*args), emit

    wrappers = {
        1: lambda typing, a: typed(typing, a),
        2: lambda typing, a, b: typed(typing, a, b),
        3: lambda typing, a, b, c: typed(typing, a, b, c),
    }
    wrapper = wrappers[arguments]
    wrapper.__name__, wrapper.__doc__ = name, doc
    return intrinsic(wrapper)


muladd = _function("muladd", "a·b + c, fused where the machine can.", 3, "fmuladd")
fabs = _function("fabs", "|a|.", 1, "fabs")
root = _function("root", "√a.", 1, "sqrt")
larger = _function("larger", "The larger of a and b; if one is nan, the other.", 2, "maxnum")
smaller = _function("smaller", "The smaller of a and b; if one is nan, the other.", 2, "minnum")
nearest = _function("nearest", "The nearest integer, ties to even.", 1, "rint")


@intrinsic  # type: ignore[untyped-decorator]
def select(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """yes where the mask is true, no elsewhere."""
    vector = ints if ints in (yes, no) else floats

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_as(context, builder, args[i], sig.args[i], vector) for i in (1, 2))
        return builder.select(args[0], a, b)

    return (vector(condition, yes, no), emit) if condition == mask else None


@intrinsic  # type: ignore[untyped-decorator]
def some(typing: Any, condition: Any) -> Any:
    """Whether any lane of a mask is true."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(W))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(W), 0))

    return (types.boolean(condition), emit) if condition == mask else None


@intrinsic  # type: ignore[untyped-decorator]
def whole(typing: Any, x: Any) -> Any:
    """Float vector rounded towards zero, as integers. Entries must be within int64."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptosi(args[0], _INTS)

    return (ints(x), emit) if x == floats else None


@intrinsic  # type: ignore[untyped-decorator]
def bits(typing: Any, x: Any) -> Any:
    """The 64 bits of every float as an integer."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _INTS)

    return (ints(x), emit) if x == floats else None


@intrinsic  # type: ignore[untyped-decorator]
def from_bits(typing: Any, x: Any) -> Any:
    """The float with these 64 bits."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _FLOATS)

    return (floats(x), emit) if x == ints else None


@intrinsic  # type: ignore[untyped-decorator]
def gather(typing: Any, table: Any, index: Any) -> Any:
    """table[index], lane by lane, of a contiguous float64 array. Indices are not checked."""
    if not (_rows(table) and index == ints):
        return None

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        struct = context.make_array(sig.args[0])(context, builder, args[0])
        pointers = builder.gep(_splat_pointer(builder, struct.data), [args[1]])
        name = f"llvm.masked.gather.v{W}f64.v{W}p0"
        true = ir.Constant(_BITS, [1] * W)
        return _call(builder, name, _FLOATS, [pointers, ir.Constant(ir.IntType(32), 8), true, ir.Constant(_FLOATS, ir.Undefined)])

    return floats(table, index), emit
