"""Vectors of W float64, one entry a lane, as numba values: explicit SIMD that no optimiser has to discover.

`x = load(a, i)` reads row i of a C-ordered array (rows, W) into one vector; `store(a, i, x)` writes it. Between them
+ − * / and comparisons, those of instructions.py, work lane by lane and numbers are broadcast; comparisons give masks,
for `select` and `some`, which combine with & | ~. IEEE arithmetic throughout; a product and a sum may become one
instruction (contraction, as C compilers do). LLVM cuts vectors to what the processor has: AVX-512, AVX2, NEON.

Why: with lanes as the innermost loop over ordinary arrays LLVM first unrolls its eight iterations, then would have to
prove that no two arrays overlap, and leaves scalar code that is ten times slower.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typeconv.castgraph import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

from solvers.machine import stack
from solvers.machine.instructions import WIDTH, Lanes, Real, exponential

__all__ = ["Floats", "W", "across", "empty", "fabs", "larger", "load", "load_from", "rows", "select", "some", "store"]

W = WIDTH
"""Lanes of a vector: two AVX-512 registers, whose instructions fill each other's waiting time; or four, or eight."""

_FLOATS = ir.VectorType(ir.DoubleType(), W)
_BITS = ir.VectorType(ir.IntType(1), W)

Compute = Callable[..., Any]


class _Vector(types.Type):
    def __init__(self, name: str, llvm: ir.Type) -> None:
        self.llvm = llvm
        super().__init__(name=f"{name}x{W}")


class Floats(_Vector):
    """W float64."""

    def __init__(self) -> None:
        super().__init__("float64", _FLOATS)

    def can_convert_from(self, typingctx: Any, other: Any) -> Any:
        return Conversion.safe if isinstance(other, types.Number) else None

    def unify(self, typingctx: Any, other: Any) -> Any:
        return self if isinstance(other, types.Number) else None


class Mask(_Vector):
    """W truth values."""

    def __init__(self) -> None:
        super().__init__("mask", _BITS)


_floats, _mask = Floats(), Mask()
empty, rows = stack.room(_floats), stack.view(_floats)


@register_model(Floats)
@register_model(Mask)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def _reals(context: Any, builder: Any, values: Any, kinds: Any) -> list[Real]:
    """Vectors as what instructions.py computes with; a number in every lane."""
    lanes = Lanes(builder, W)
    return [
        lanes.real(value) if kind == _floats else lanes.everywhere(context.cast(builder, value, kind, types.float64))
        for value, kind in zip(values, kinds, strict=True)
    ]


@lower_cast(types.Number, _floats)
def _everywhere(context: Any, builder: Any, kind: Any, to: Any, value: Any) -> Any:
    return _reals(context, builder, [value], [kind])[0].value


def _operator(op: Any, result: Any, arity: int = 2, compute: Compute | None = None) -> None:
    """Register an operator on vectors and numbers for typing and for code; compute: on reals, default `op` itself."""

    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            known = all(a == _floats or isinstance(a, types.Number) for a in args)
            return signature(result, *args) if len(args) == arity and _floats in args and known else None

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = (compute or op)(*_reals(context, builder, args, sig.args))
        return found.value if result == _floats else found

    lower_builtin(op, *[_floats] * arity)(lower)
    if arity == 2:
        lower_builtin(op, _floats, types.Number)(lower)
        lower_builtin(op, types.Number, _floats)(lower)


def _mask_operator(op: Any, arity: int, instruction: str) -> None:
    """The same on masks, by one instruction of LLVM."""

    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return signature(_mask, *args) if args == (_mask,) * arity else None

    lower_builtin(op, *[_mask] * arity)(lambda context, builder, sig, args: getattr(builder, instruction)(*args))


for _op, _in_place in (
    (operator.add, operator.iadd),
    (operator.sub, operator.isub),
    (operator.mul, operator.imul),
):
    _operator(_op, _floats)
    _operator(_in_place, _floats, compute=_op)
_operator(operator.truediv, _floats)
_operator(operator.neg, _floats, arity=1)
_operator(math.exp, _floats, arity=1, compute=exponential)
_operator(math.sqrt, _floats, arity=1, compute=lambda x: x.lanes.call("sqrt", x))
_operator(max, _floats, compute=lambda x, y: x.replaced(y.compare(">", x), y))
for _op, _sign in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="),
    (operator.eq, "=="), (operator.ne, "!="),
):  # fmt: skip
    _operator(_op, _mask, compute=lambda x, y, sign=_sign: x.compare(sign, y))
_mask_operator(operator.and_, 2, "and_")
_mask_operator(operator.or_, 2, "or_")
_mask_operator(operator.invert, 1, "not_")


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
def load_from(typing: Any, array: Any, place: Any) -> Any:
    """The W entries of a C-ordered float64 array, taken as flat, from `place` on. Not checked against its length."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        first = builder.gep(data, [context.cast(builder, args[1], sig.args[1], types.intp)])
        return builder.load(builder.bitcast(first, _FLOATS.as_pointer()), align=8)

    return (_floats(array, place), emit) if _is_rows(array, place) else None


@intrinsic
def store(typing: Any, array: Any, row: Any, value: Any) -> Any:
    """Write a vector, or a number in every lane, to row `row` of a C-ordered float64 array (rows, W). Not checked."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (value,) = _reals(context, builder, args[2:], sig.args[2:])
        builder.store(value.value, _pointer(context, builder, sig, args), align=8)
        return context.get_dummy_value()

    return (types.void(array, row, value), emit) if _is_rows(array, row) else None


@intrinsic
def across(typing: Any, x: Any) -> Any:
    """Σ x over lanes: halves are added until one lane is left."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return Lanes(builder, W).real(args[0]).total()

    return (types.float64(x), emit) if x == _floats else None


@intrinsic
def fabs(typing: Any, x: Any) -> Any:
    """|x|."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return Lanes(builder, W).call("fabs", *_reals(context, builder, args, sig.args)).value

    return (_floats(x), emit) if x == _floats else None


@intrinsic
def larger(typing: Any, x: Any, y: Any) -> Any:
    """max(x, y), nan if either is."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return Lanes(builder, W).call("maximum", *_reals(context, builder, args, sig.args)).value

    return _floats(x, y), emit


@intrinsic
def select(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """yes where the mask is true, no elsewhere."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = _reals(context, builder, args[1:], sig.args[1:])
        return b.replaced(args[0], a).value

    return (_floats(condition, yes, no), emit) if condition == _mask else None


@intrinsic
def some(typing: Any, condition: Any) -> Any:
    """Whether a mask is true in any lane."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return Lanes(builder, W).some(args[0])

    return (types.boolean(condition), emit) if condition == _mask else None
