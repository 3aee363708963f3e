"""Arrays by address and atomic integers, for kernels that threads share.

All threads see the changes of atomic integers in the same order.
"""

import os
from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from xpnet_numba.kernels.compiled import part

Array = Any


@intrinsic
def _pointer(typing: Any, address: int, number: Any) -> Any:
    """Return an address as a pointer to numbers like `number`."""
    pointer = types.CPointer(number)

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, number), make


@part
def view(address: int, shape: Any, number: Any) -> Array:
    """Return the array of numbers like `number` at an address; it is flat if `shape` is a size."""
    return carray(_pointer(address, number), shape)


@intrinsic
def _address(typing: Any, x: Array) -> Any:
    """Return the address of an array."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.ptrtoint(array.data, ir.IntType(64))

    return types.int64(x), make


@part
def rows(x: Array, first: int, end: int) -> Array:
    """Return rows of a matrix, which is stored row by row, as one flat array.

    `reshape` calls functions of Numba's, which an entry must not need.
    """
    columns = x.shape[1]
    return view(_address(x) + first * columns * x.itemsize, (end - first) * columns, x.dtype.type(0))


def _at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def get(typing: Any, x: Array, index: int) -> Any:
    """Return ``x[index]`` for an `index` of at least 0: checking its sign takes time in short loops."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_at(context, builder, sig, args))

    return x.dtype(x, types.int64), make


@intrinsic
def eight_bytes(typing: Any, x: Array, index: int) -> Any:
    """Return the eight bytes from ``x[index]`` as one number."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(builder.bitcast(_at(context, builder, sig, args), ir.IntType(64).as_pointer()))
        value.align = 1
        return value

    return types.int64(x, types.int64), make


@intrinsic
def put(typing: Any, x: Array, index: int, value: Any) -> Any:
    """Set ``x[index]``, for an `index` of at least 0, to a value of the dtype of `x`."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _at(context, builder, sig, args))
        return context.get_dummy_value()

    return types.void(x, types.int64, x.dtype), make


@intrinsic
def read(typing: Any, x: Array, index: int) -> Any:
    """Return ``x[index]``, int64, and see everything that was written before it."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_at(context, builder, sig, args), "seq_cst", 8)

    return types.int64(x, types.int64), make


@intrinsic
def write(typing: Any, x: Array, index: int, value: int) -> Any:
    """Set ``x[index]``; a thread that reads it sees everything that was written before."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _at(context, builder, sig, args), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64), make


@intrinsic
def increase(typing: Any, x: Array, index: int, by: int) -> Any:
    """Add to ``x[index]``, and return the value before."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _at(context, builder, sig, args), args[2], "seq_cst")

    return types.int64(x, types.int64, types.int64), make


@intrinsic
def exchange(typing: Any, x: Array, index: int, old: int, new: int) -> Any:
    """Set ``x[index]`` to `new` if it is `old`, and return whether it was."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found = builder.cmpxchg(
            _at(context, builder, sig, args), args[2], args[3], "seq_cst", failordering="seq_cst"
        )
        return builder.extract_value(found, 1)

    return types.boolean(x, types.int64, types.int64, types.int64), make


@intrinsic
def rest(typing: Any) -> Any:
    """Yield the processor to another thread, if the system can."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if os.name == "posix":
            function = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), make
