"""Calls of a library's own functions as calls of a trace."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from xpnet.nn import Function
from xpnet.replay.recorded import READS, Recorded, plain_of
from xpnet.replay.trace import Call, Value, kind_of
from xpnet.replay.tree import is_array, leaves, rebuilt

Array = Any

VALUES = "makes an array whose shape depends on values"
UNKNOWN = "uses an array that neither came as an argument nor was made by the step's own `xp`"

# What a call may be given besides arrays: it cannot change, and needs no array.
_CONSTANTS = (
    *(bool, int, float, complex, str, bytes, type(None), type(...), slice, range, type, tuple),
    *(numpy.generic, numpy.dtype),
)
_OF_VALUES = re.compile(
    r"(.*\.)?(nonzero|argwhere|flatnonzero|compress|extract|trim_zeros|bincount|unique\w*|histogram\w*|"
    r"(union|intersect|setdiff|setxor)1d)"
)
# Functions that read shapes and dtypes only.
_ABOUT_ARRAYS = re.compile(
    r"xp\.(result_type|can_cast|isdtype|finfo|iinfo|shape|ndim|size|iscomplexobj|isrealobj)"
)


def fault_of_call(name: str, args: Any, options: Any) -> str:
    """Return what a call of a library's function does that cannot be recorded; empty if it can be."""
    if options.get("out") is not None:
        return "writes to an array, other than by `xp.nn`"
    given = leaves((args, options))
    masks = name == "operator.getitem" and any(x.dtype == "bool" for x in given[1:] if type(x) is Recorded)
    if masks or _OF_VALUES.fullmatch(name) or _repeats(name, args, options):
        return VALUES
    for x in given:
        if type(x) is Recorded or isinstance(x, _CONSTANTS):
            continue
        return UNKNOWN if is_array(x) else f"gives `{name}` a {type(x).__name__}"
    return ""


def _repeats(name: str, args: Any, options: Any) -> bool:
    if name == "xp.where":
        return len(args) + len(options) == 1
    return name == "xp.repeat" and type(options.get("repeats", args[-1])) is Recorded


def fault_of_result(name: str, given: Sequence[Recorded], found: Any) -> str:
    """Return why what a function of the library gave cannot be a value of a trace; empty if it can."""
    several = results_of(found)
    if all(map(is_array, several)) and several:
        return ""
    if any(map(is_array, several)):
        return f"uses `{name}`, which returns more than arrays"
    return READS if given and not _ABOUT_ARRAYS.fullmatch(name) else ""


def results_of(found: Any) -> list[Any]:
    """Return the results of a call one by one."""
    return [*found] if isinstance(found, tuple | list) else [found]


def value_of(array: Array) -> Value:
    """Return a value for what a function of the library gave; a program has it stored row by row."""
    return Value(tuple(array.shape), array.dtype, None, kind_of(numpy.array(array, order="C")))


def call_of(
    name: str, function: Callable[..., Any], args: Any, options: Any, results: Sequence[Value]
) -> Call:
    """Return a call of a library's function for a trace.

    What the call runs returns arrays that are stored row by row and share no memory with its arguments.
    """
    flat = leaves((args, options))
    places = [i for i, x in enumerate(flat) if type(x) is Recorded]
    arrays = {f"x{n}": flat[i].value for n, i in enumerate(places)}
    run = _run(
        function, (args, options), [None if i in places else plain_of(x) for i, x in enumerate(flat)], places
    )
    shapes = [(value.shape, value.dtype) for value in results]

    def settled(*arrays: Array) -> Any:
        found = results_of(run(arrays))
        made = [_new(numpy.asarray(x), arrays) for x in found]
        if [(x.shape, x.dtype) for x in made] != shapes:
            raise ValueError(
                f"`{name}` gives other shapes or dtypes than before with arguments of the same shapes; "
                "a compiled step needs shapes that do not depend on values"
            )
        return tuple(made) if len(made) > 1 else made[0]

    return Call(_declared(name, [*arrays]), settled, arrays, {}, tuple(results))


def _run(
    function: Callable[..., Any], tree: tuple[Any, Any], flat: list[Any], places: list[int]
) -> Callable[[Sequence[Array]], Any]:
    """Return what calls a function with arrays at these places among the leaves of its arguments."""
    args, options = tree
    is_flat = not options and not any(type(x) in (dict, tuple, list) for x in args)
    # Before the arguments among the leaves stand two forms; the names of no options stand behind.
    kept, first = (flat[2:-1], 2) if is_flat else (flat, 0)
    at = [i - first for i in places]

    def run(arrays: Sequence[Array]) -> Any:
        given = kept.copy()
        for i, array in zip(at, arrays, strict=True):
            given[i] = array
        if is_flat:
            return function(*given)
        args, options = rebuilt(tree, iter(given))
        return function(*args, **options)

    return run


def _new(x: Array, arrays: Sequence[Array]) -> Array:
    """Return an array, or a copy if it is a view or not stored row by row."""
    is_new = x.flags.owndata and x.flags.c_contiguous and all(x is not array for array in arrays)
    return x if is_new else x.copy()


def _declared(name: str, parameters: Sequence[str]) -> Function:
    """Return the declaration of a function of these arrays, of which nothing more is known."""

    def twin(*arrays: Array) -> None: ...

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    twin.__signature__ = inspect.Signature([inspect.Parameter(p, kind) for p in ("xp", *parameters)])  # type: ignore[attr-defined]
    return Function(name, twin, {}, {})
