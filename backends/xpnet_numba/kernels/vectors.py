"""Vectors as a type for kernels, so that the sums of a loop stay in registers.

Numba vectorises loops that it can prove safe, but writes each sum back to memory. Here a vector is a value
like a number; LLVM divides it among as many registers as the machine needs. A *wide* vector is read and
written whole. Of a *narrow* one only the first `count` elements are; the others count as 0.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

Array = Any
Vector = Any

_BYTES = 64
WIDE, NARROW = 4 * _BYTES, _BYTES
"""Sizes of a vector in bytes: 64 and 16 elements of float32, half of that of float64."""

_I32 = ir.IntType(32)


class _VectorType(types.Type):
    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: _VectorType) -> None:
        element = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


def _type(dtype: Any, size: Any) -> _VectorType:
    return _VectorType(dtype, size.literal_value * 8 // dtype.bitwidth)


@intrinsic(prefer_literal=True)
def lanes(typing: Any, x: Array, size: int) -> Any:
    """Return how many elements of array `x` a vector of `size` bytes holds."""
    count = _type(x.dtype, size).lanes
    return types.intp(x, size), lambda context, builder, sig, args: ir.Constant(ir.IntType(64), count)


@intrinsic(prefer_literal=True)
def load(typing: Any, x: Array, start: int, count: int, size: Any) -> Any:
    """Return the vector of `size` bytes that begins with ``x[start]``."""
    vector = _type(x.dtype, size)

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig, args, vector)
        if size.literal_value == WIDE:
            value = builder.load(pointer)
            value.align = vector.dtype.bitwidth // 8
            return value
        nothing = ir.Constant(pointer.type.pointee, None)
        mask, align = _mask(builder, args[2], vector), _I32(vector.dtype.bitwidth // 8)
        return _call(builder, "load", nothing.type, vector, [pointer, align, mask, nothing])

    return vector(x, types.intp, types.intp, size), make


@intrinsic(prefer_literal=True)
def store(typing: Any, x: Array, start: int, count: int, size: Any, value: Vector) -> Any:
    """Write a vector of `size` bytes to `x`, its first element to ``x[start]``."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig, args, value)
        if size.literal_value == WIDE:
            builder.store(args[4], pointer).align = value.dtype.bitwidth // 8
        else:
            mask, align = _mask(builder, args[2], value), _I32(value.dtype.bitwidth // 8)
            _call(builder, "store", ir.VoidType(), value, [args[4], pointer, align, mask])
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, size, value), make


@intrinsic(prefer_literal=True)
def splat(typing: Any, number: Any, size: int) -> Any:
    """Return the vector of `size` bytes whose elements are all `number`."""
    vector = _type(number, size)

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _spread(builder, args[0], vector.lanes)

    return vector(number, size), make


@intrinsic
def fma(typing: Any, a: Vector, b: Vector, c: Vector) -> Any:
    """Return ``a * b + c``, in one instruction if the machine has it."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return c(a, b, c), make


@intrinsic
def prefetch(typing: Any, x: Array, index: int) -> Any:
    """Prefetch the cache line of ``x[index]``, which may lie outside the array."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        pointer = builder.bitcast(builder.gep(array.data, [args[1]]), cgutils.voidptr_t)
        function = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        to_read, keep, data = _I32(0), _I32(3), _I32(1)
        callee = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
        builder.call(callee, [pointer, to_read, keep, data])
        return context.get_dummy_value()

    return types.void(x, types.intp), make


def _pointer(context: Any, builder: Any, sig: Any, args: Any, vector: _VectorType) -> Any:
    """Return a pointer to the vector at ``x[start]``, the first two arguments."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    pointer = builder.gep(array.data, [args[1]])
    return builder.bitcast(pointer, context.get_value_type(vector).as_pointer())


def _mask(builder: Any, count: Any, vector: _VectorType) -> Any:
    numbers = ir.Constant(ir.VectorType(_I32, vector.lanes), list(range(vector.lanes)))
    bound = _spread(builder, builder.trunc(count, _I32), vector.lanes)
    return builder.icmp_signed("<", numbers, bound)


def _spread(builder: Any, number: Any, lanes: int) -> Any:
    nothing = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    first = builder.insert_element(nothing, number, _I32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_I32, lanes), None))


def _call(builder: Any, what: str, result: Any, vector: _VectorType, args: list[Any]) -> Any:
    """Call LLVM's masked load or store."""
    function = ir.FunctionType(result, [arg.type for arg in args])
    name = f"llvm.masked.{what}.v{vector.lanes}f{vector.dtype.bitwidth}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)
