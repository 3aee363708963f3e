"""Several vectors as one value, for kernels that keep many sums in registers; see `vectors`.

A loop makes them for some places at a time: `places` divides a row of places into such blocks.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from xpnet_numba.kernels import vectors
from xpnet_numba.kernels.compiled import named, part

Array = Any
Sums = Any
Vector = Any


class _SumsType(types.Type):
    def __init__(self, vector: vectors.VectorType, count: int) -> None:
        self.vector, self.count = vector, count
        super().__init__(f"Sums({vector}, {count})")


@register_model(_SumsType)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, sums: _SumsType) -> None:
        vector = manager.lookup(sums.vector).get_value_type()
        super().__init__(manager, sums, ir.ArrayType(vector, sums.count))


@intrinsic(prefer_literal=True)
def repeat(typing: Any, vector: Vector, count: int) -> Any:
    """Return `count` sums that begin as a vector."""
    sums = _SumsType(vector, count.literal_value)  # type: ignore[attr-defined]

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made = ir.Constant(context.get_value_type(sums), ir.Undefined)
        for i in range(sums.count):
            made = builder.insert_value(made, args[0], i)
        return made

    return sums(vector, count), make


@intrinsic
def add_products(typing: Any, sums: Sums, x: Array, start: int, step: int, factor: Vector) -> Any:
    """Return sums, to the i-th of which ``x[start + i * step] * factor`` is added."""

    def element(context: Any, builder: Any, pointer: Any, args: Any) -> Any:
        return vectors.spread(builder, builder.load(pointer), sums.vector.lanes)

    return sums(sums, x, types.intp, types.intp, factor), _adding(element, factor=4)


@intrinsic
def add_products_by_lane(
    typing: Any, sums: Sums, x: Array, start: int, step: int, lanes: int, factor: Vector
) -> Any:
    """Return sums, to the i-th of which the vector at ``x[start + i * step]`` times `factor` is added."""

    def element(context: Any, builder: Any, pointer: Any, args: Any) -> Any:
        return vectors.load_first(context, builder, pointer, args[4], sums.vector)

    return sums(sums, x, types.intp, types.intp, types.intp, factor), _adding(element, factor=5)


def _adding(element: Callable[..., Any], *, factor: int) -> Callable[..., Any]:
    """Return what makes the code of products; the arguments begin with the sums, `x`, `start` and `step`."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        sums = args[0]
        pointers = _pointers(context, builder, sig.args[1], args[1:], sig.args[0].count)
        for i, pointer in enumerate(pointers):
            product = builder.fmul(
                element(context, builder, pointer, args), args[factor], flags=("contract",)
            )
            total = builder.fadd(product, builder.extract_value(sums, i), flags=("contract",))
            sums = builder.insert_value(sums, total, i)
        return sums

    return make


@intrinsic
def store_all(typing: Any, x: Array, start: int, step: int, lanes: int, sums: Sums) -> Any:
    """Write sums to `x`, the i-th to ``x[start + i * step]`` and the elements behind it."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = _pointers(context, builder, sig.args[0], args, sums.count)
        for i, pointer in enumerate(pointers):
            value = builder.extract_value(args[4], i)
            vectors.store_first(context, builder, pointer, args[3], sums.vector, value)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, types.intp, sums), make


@intrinsic
def add_all(typing: Any, x: Array, start: int, step: int, lanes: int, sums: Sums) -> Any:
    """Add sums to what is there in `x`, see `store_all`."""

    def make(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = _pointers(context, builder, sig.args[0], args, sums.count)
        for i, pointer in enumerate(pointers):
            there = vectors.load_first(context, builder, pointer, args[3], sums.vector)
            value = builder.fadd(there, builder.extract_value(args[4], i))
            vectors.store_first(context, builder, pointer, args[3], sums.vector, value)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, types.intp, sums), make


def _pointers(context: Any, builder: Any, kind: Any, args: Any, count: int) -> list[Any]:
    """Return pointers to ``x[start + i * step]``, where `args` begins with `x`, `start` and `step`."""
    x, start, step, *_ = args
    found = [builder.gep(context.make_array(kind)(context, builder, x).data, [start])]
    while len(found) < count:
        found.append(builder.gep(found[-1], [step]))
    return found


def places(make: Callable[[int], Any]) -> Any:
    """Return a part that does its work for places `begin` to `end`, for up to 14 of them at a time.

    `make` takes how many and returns a function for so many: ``(first place, ...)``. From 8 sums on, both
    units of a processor that multiply are busy.
    """
    fourteen, ten, seven, four, two, one = (
        part(named(make(count), f"{count}")) for count in (14, 10, 7, 4, 2, 1)
    )

    def work(begin: int, end: int, *args: Any) -> None:
        while begin + 14 <= end:
            fourteen(begin, *args)
            begin += 14
        if begin + 10 <= end:
            ten(begin, *args)
            begin += 10
        if begin + 7 <= end:
            seven(begin, *args)
            begin += 7
        while begin + 4 <= end:
            four(begin, *args)
            begin += 4
        if begin + 2 <= end:
            two(begin, *args)
            begin += 2
        if begin < end:
            one(begin, *args)

    return part(named(work, make.__name__))
