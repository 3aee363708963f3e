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


class VectorType(types.Type):
    """The type of vectors of so many elements of a dtype."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: VectorType) -> None:
        element = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.lanes))


def _type(dtype: Any, size: Any) -> VectorType:
    return VectorType(dtype, size.literal_value * 8 // dtype.bitwidth)


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
        pointer = _pointer(context, builder, sig, args)
        if size.literal_value == WIDE:
            value = builder.load(_as_vector(context, builder, pointer, vector))
            value.align = vector.dtype.bitwidth // 8
            return value
        return load_first(context, builder, pointer, args[2], vector)

    return vector(x, types.intp, types.intp, size), make


@intrinsic(prefer_literal=True)
def store(typing: Any, x: Array, start: int, count: int, size: Any, value: Vector) -> Any:
    """Write a vector of `size` bytes to `x`, its first element to ``x[start]``."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig, args)
        if size.literal_value == WIDE:
            builder.store(args[4], _as_vector(context, builder, pointer, value)).align = (
                value.dtype.bitwidth // 8
            )
        else:
            store_first(context, builder, pointer, args[2], value, args[4])
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, size, value), make


@intrinsic(prefer_literal=True)
def splat(typing: Any, number: Any, size: int) -> Any:
    """Return the vector of `size` bytes whose elements are all `number`."""
    vector = _type(number, size)

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, args[0], vector.lanes)

    return vector(number, size), make


@intrinsic
def fma(typing: Any, a: Vector, b: Vector, c: Vector) -> Any:
    """Return ``a * b + c``, in one instruction if the machine has it."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return c(a, b, c), make


@intrinsic
def add(typing: Any, a: Vector, b: Vector) -> Any:
    """Return ``a + b``."""
    return a(a, b), lambda context, builder, sig, args: builder.fadd(args[0], args[1])


@intrinsic
def maximum(typing: Any, a: Vector, b: Vector) -> Any:
    """Return the larger element of both at each place, and nan where one is nan."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        larger = builder.fcmp_ordered(">", args[0], args[1])
        is_nan = builder.fcmp_unordered("uno", args[0], args[0])
        return builder.select(builder.or_(larger, is_nan), args[0], args[1])

    return a(a, b), make


@intrinsic
def where_equal(typing: Any, a: Vector, b: Vector, x: Vector, y: Vector) -> Any:
    """Return the element of `x` where those of `a` and `b` are equal, else that of `y`."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("==", args[0], args[1]), args[2], args[3])

    return x(a, b, x, y), make


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


def load_first(context: Any, builder: Any, pointer: Any, count: Any, vector: VectorType) -> Any:
    """Return the LLVM vector of the first `count` elements at a pointer, and zeros."""
    nothing = ir.Constant(context.get_value_type(vector), None)
    align = _I32(vector.dtype.bitwidth // 8)
    pointer = _as_vector(context, builder, pointer, vector)
    return _masked(
        builder, "load", nothing.type, vector, [pointer, align, mask(builder, count, vector), nothing]
    )


def store_first(context: Any, builder: Any, pointer: Any, count: Any, vector: VectorType, value: Any) -> None:
    """Write the first `count` elements of an LLVM vector to a pointer."""
    pointer, align = _as_vector(context, builder, pointer, vector), _I32(vector.dtype.bitwidth // 8)
    _masked(builder, "store", ir.VoidType(), vector, [value, pointer, align, mask(builder, count, vector)])


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Return a pointer to ``x[start]``, the first two arguments."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


def _as_vector(context: Any, builder: Any, pointer: Any, vector: VectorType) -> Any:
    return builder.bitcast(pointer, context.get_value_type(vector).as_pointer())


def mask(builder: Any, count: Any, vector: VectorType) -> Any:
    """Return the LLVM vector of which of the elements are the first `count`."""
    numbers = ir.Constant(ir.VectorType(_I32, vector.lanes), list(range(vector.lanes)))
    bound = spread(builder, builder.trunc(count, _I32), vector.lanes)
    return builder.icmp_signed("<", numbers, bound)


def spread(builder: Any, number: Any, lanes: int) -> Any:
    """Return the LLVM vector of so many elements that are all `number`."""
    nothing = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    first = builder.insert_element(nothing, number, _I32(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_I32, lanes), None))


def _masked(builder: Any, what: str, result: Any, vector: VectorType, args: list[Any]) -> Any:
    """Call LLVM's masked load or store."""
    function = ir.FunctionType(result, [arg.type for arg in args])
    name = f"llvm.masked.{what}.v{vector.lanes}f{vector.dtype.bitwidth}.p0"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)
