"""Functions of `nn` that have operations but no kernel, called outside a compiled step.

Such a call is a program of its own, which is made, carried out and dropped: that takes less than a
millisecond, and its arrays are not kept. What operations do not take is for the portable twin.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from xpnet import nn
from xpnet.replay.trace import Call, NotReplayableError, Trace, Value
from xpnet_numba import lazy
from xpnet_numba.images import CompressedImages
from xpnet_numba.program import NumbaProgram

Array = Any


def functions() -> dict[str, Callable[..., Any]]:
    """Return the functions by name."""
    names = "images", "pooling", "normalisation", "batch_normalisation", "synchronised"
    modules = {f"xpnet.nn.{name}" for name in names}
    declared = (function for function in nn.FUNCTIONS.values() if function.twin.__module__ in modules)
    found = {f.name: _function(f) for f in declared if lazy.module_of(f) is None}
    # Its twin also multiplies zeros around and between pixels, from where what is not finite spreads.
    del found["conv2d_backward"]
    return found


def _function(function: nn.Function) -> Callable[..., Any]:
    twin = numpy.errstate(under="ignore")(functools.partial(function.twin, numpy))
    signature = inspect.signature(functools.partial(function.twin, None))

    @lazy.named_like_its_twin(function.name)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        numbers = dict(bound.arguments)
        arrays = {name: numbers.pop(name) for name in function.arrays}
        found = _call(function, twin, arrays, numbers) if _are_alike([*arrays.values()]) else None
        try:
            return _carried_out(found, arrays) if found else twin(*args, **kwargs)
        except NotReplayableError:  # Numba's settings ask for code that raises errors.
            return twin(*args, **kwargs)

    return call


def _are_alike(arrays: Sequence[Array]) -> bool:
    """Return whether all are NumPy's arrays, hold something, and have one dtype that operations take."""
    if any(type(x) is not numpy.ndarray or not x.size for x in arrays):
        return False
    return {x.dtype for x in arrays} in ({numpy.dtype("float32")}, {numpy.dtype("float64")})


def _call(
    function: nn.Function, twin: Callable[..., Any], arrays: dict[str, Array], numbers: dict[str, Any]
) -> Call | None:
    """Return a call, or None if the arrays do not fit each other."""
    values = {name: Value(x.shape, x.dtype, i) for i, (name, x) in enumerate(arrays.items())}
    sizes = Call(function, twin, values, numbers, ()).sizes
    if sizes is None:
        return None
    dtype = next(iter(arrays.values())).dtype
    results = [
        None if form.optional and not numbers.get("input_gradient", True) else Value(form.shape(sizes), dtype)
        for form in function.results.values()
    ]
    return Call(function, twin, values, numbers, tuple(results))


def _carried_out(call: Call, arrays: dict[str, Array]) -> Any:
    given = [numpy.ascontiguousarray(x) for x in arrays.values()]
    trace = Trace(given, dict(zip(call.arrays.values(), given, strict=True)), [call], call.results)
    program = NumbaProgram(trace, CompressedImages())
    program.run([*given], [*range(len(given))])
    made = tuple([None if value is None else program.getter(value)() for value in call.results])
    return made if len(made) > 1 else made[0]
