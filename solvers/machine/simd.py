"""Vectors of W float64, one entry a lane, as numba values: explicit SIMD that no optimiser has to discover.

`x = load(a, i)` reads row i of a C-ordered array (rows, W) into one vector; `store(a, i, x)` writes it. Between them
+ − * / and comparisons work lane by lane and numbers are broadcast; comparisons give masks, for `select` and `some`,
which combine with & | ~. IEEE arithmetic throughout; a product and a sum may become one instruction (contraction, as C
compilers do). LLVM cuts vectors to what the processor has: AVX-512, AVX2, NEON.

Why: with lanes as the innermost loop over ordinary arrays LLVM first unrolls its eight iterations, then would have to
prove that no two arrays overlap, and leaves scalar code that is ten times slower.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from solvers.machine.instructions import WIDTH

__all__ = ["W", "fabs", "larger", "load", "select", "some", "store"]

W = WIDTH
"""Lanes of a vector: two AVX-512 registers, whose instructions fill each other's waiting time; or four, or eight."""

_FLOATS = ir.VectorType(ir.DoubleType(), W)
_BITS = ir.VectorType(ir.IntType(1), W)
_CONTRACT = ("contract",)

Emit = Callable[..., Any]


class _Vector(types.Type):
    def __init__(self, name: str, llvm: ir.Type) -> None:
        self.llvm = llvm
        super().__init__(name=f"{name}x{W}")


class Floats(_Vector):
    """W float64."""

    def __init__(self) -> None:
        super().__init__("float64", _FLOATS)


class Mask(_Vector):
    """W truth values."""

    def __init__(self) -> None:
        super().__init__("mask", _BITS)


_floats, _mask = Floats(), Mask()


@register_model(Floats)
@register_model(Mask)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def _vector(context: Any, builder: Any, value: Any, ty: Any) -> Any:
    """value as floats; a number in every lane."""
    if ty == _floats:
        return value
    number = context.cast(builder, value, ty, types.float64)
    undefined, zero = ir.Constant(_FLOATS, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(undefined, number, zero)
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), W), [0] * W))


def _operator(op: Any, result: Any, emit: Emit, arity: int = 2, vector: Any = _floats) -> None:
    """Register an operator on `vector`s (and numbers, for floats) for typing and for code."""

    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            known = all(a == vector or (vector == _floats and isinstance(a, types.Number)) for a in args)
            return signature(result, *args) if len(args) == arity and vector in args and known else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if vector == _floats:
            args = [_vector(context, builder, v, t) for v, t in zip(args, sig.args, strict=True)]
        return emit(builder, *args)

    lower_builtin(op, *[vector] * arity)(lower)
    if vector == _floats and arity == 2:
        lower_builtin(op, vector, types.Number)(lower)
        lower_builtin(op, types.Number, vector)(lower)


def _comparison(sign: str) -> Emit:
    # nan: only != is true, as in IEEE 754.
    if sign == "!=":
        return lambda b, x, y: b.fcmp_unordered(sign, x, y)
    return lambda b, x, y: b.fcmp_ordered(sign, x, y)


for _op in (operator.add, operator.iadd):
    _operator(_op, _floats, lambda b, x, y: b.fadd(x, y, flags=_CONTRACT))
for _op in (operator.sub, operator.isub):
    _operator(_op, _floats, lambda b, x, y: b.fsub(x, y, flags=_CONTRACT))
for _op in (operator.mul, operator.imul):
    _operator(_op, _floats, lambda b, x, y: b.fmul(x, y, flags=_CONTRACT))
_operator(operator.truediv, _floats, lambda b, x, y: b.fdiv(x, y))
_operator(operator.neg, _floats, lambda b, x: b.fneg(x), arity=1)
for _op, _sign in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _operator(_op, _mask, _comparison(_sign))
_operator(operator.eq, _mask, _comparison("=="))
_operator(operator.ne, _mask, _comparison("!="))
_operator(operator.and_, _mask, lambda b, x, y: b.and_(x, y), vector=_mask)
_operator(operator.or_, _mask, lambda b, x, y: b.or_(x, y), vector=_mask)
_operator(operator.invert, _mask, lambda b, x: b.not_(x), arity=1, vector=_mask)


def _is_rows(array: Any, row: Any) -> bool:
    rows = isinstance(array, types.Array) and array.layout == "C" and array.dtype == types.float64
    return rows and isinstance(row, types.Integer)


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Address of row args[1] of the array args[0]."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], sig.args[1], types.intp)
    first = builder.gep(array.data, [builder.mul(index, ir.Constant(index.type, W))])
    return builder.bitcast(first, _FLOATS.as_pointer())


@intrinsic
def load(typing: Any, array: Any, row: Any) -> Any:
    """Row `row` of a C-ordered float64 array (rows, W). Not checked against its length."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig, args), align=8)

    return (_floats(array, row), emit) if _is_rows(array, row) else None


@intrinsic
def store(typing: Any, array: Any, row: Any, value: Any) -> Any:
    """Write a vector, or a number in every lane, to row `row` of a C-ordered float64 array (rows, W). Not checked."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = _vector(context, builder, args[2], sig.args[2])
        builder.store(value, _pointer(context, builder, sig, args), align=8)
        return context.get_dummy_value()

    return (types.void(array, row, value), emit) if _is_rows(array, row) else None


def _call(builder: Any, name: str, args: Any) -> Any:
    """The LLVM intrinsic `name` of vectors."""
    function_type = ir.FunctionType(_FLOATS, [_FLOATS] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.v{W}f64"), args)


@intrinsic
def fabs(typing: Any, x: Any) -> Any:
    """|x|."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "fabs", args)

    return (_floats(x), emit) if x == _floats else None


@intrinsic
def larger(typing: Any, x: Any, y: Any) -> Any:
    """max(x, y), nan if either is."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "maximum", [_vector(context, builder, v, t) for v, t in zip(args, sig.args, strict=True)])

    return _floats(x, y), emit


@intrinsic
def select(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """yes where the mask is true, no elsewhere."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_vector(context, builder, args[i], sig.args[i]) for i in (1, 2))
        return builder.select(args[0], a, b)

    return (_floats(condition, yes, no), emit) if condition == _mask else None


@intrinsic
def some(typing: Any, condition: Any) -> Any:
    """Whether a mask is true in any lane."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        packed = builder.bitcast(args[0], ir.IntType(W))
        return builder.icmp_unsigned("!=", packed, ir.Constant(packed.type, 0))

    return (types.boolean(condition), emit) if condition == _mask else None
