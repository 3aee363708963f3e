"""Calls of a library's own functions as calls of a trace."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from xpnet.nn import Function
from xpnet.replay.counting import Counting
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


def takes_numbers(name: str, function: Callable[..., Any]) -> bool:
    """Return whether a function of the library may be given numbers that differ from call to call.

    Shapes must not depend on them.
    """
    return (
        isinstance(function, numpy.ufunc)
        or name in ("xp.asarray", "xp.where")
        or name.startswith("operator.")
    )


def results_of(found: Any) -> list[Any]:
    """Return the results of a call one by one."""
    return [*found] if isinstance(found, tuple | list) else [found]


def value_of(array: Array) -> Value:
    """Return a value for what a function of the library gave; a program has it stored row by row."""
    return Value(tuple(array.shape), array.dtype, None, kind_of(numpy.array(array, order="C")))


def call_of(
    name: str, function: Callable[..., Any], args: Any, options: Any, results: Sequence[Value]
) -> Call:
    """Return a call of a library's function for a trace; it runs a `LibraryRun`."""
    function, args = _as_ufunc(function, args)
    flat = leaves((args, options))
    places = [i for kind in (Recorded, Counting) for i, x in enumerate(flat) if type(x) is kind]
    given = {f"x{n}": flat[i] for n, i in enumerate(places)}
    arrays = {key: x.value for key, x in given.items() if type(x) is Recorded}
    numbers = {key: x.running for key, x in given.items() if type(x) is Counting}
    run = _run(
        function, (args, options), [None if i in places else plain_of(x) for i, x in enumerate(flat)], places
    )
    values = tuple(results)
    return Call(_declared(name, [*given]), LibraryRun(name, function, run, values), arrays, numbers, values)


class LibraryRun:
    """A recorded call of a library's function, as a function of arrays.

    Parameters
    ----------
    name : str
    function : callable
        Of the library.
    run : callable
        Takes the arrays and the numbers that may change, and further options, and calls the function.
    results : sequence of Value

    Attributes
    ----------
    writes : bool
        Whether `into` can be called.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], run: Callable[..., Any], results: Sequence[Value]
    ) -> None:
        self._name = name
        self._run = run
        self._forms = [(value.shape, value.dtype) for value in results]
        self.writes = isinstance(function, numpy.ufunc) and len(results) == 1

    def __call__(self, *arrays: Any) -> Any:
        """Return new arrays, which are stored row by row and share no memory with those given."""
        found = [numpy.asarray(x) for x in results_of(self._run(arrays))]
        if [(x.shape, x.dtype) for x in found] != self._forms:
            raise ValueError(
                f"`{self._name}` gives other shapes or dtypes than before with arguments of the same shapes; "
                "a compiled step needs shapes that do not depend on values"
            )
        made = [x if _is_new(x, arrays) else x.copy() for x in found]
        return tuple(made) if len(made) > 1 else made[0]

    def into(self, *arrays: Array) -> None:
        """Fill the last array with the result."""
        self._run(arrays[:-1], out=arrays[-1])


def _run(
    function: Callable[..., Any], tree: tuple[Any, Any], flat: list[Any], places: list[int]
) -> Callable[..., Any]:
    """Return what calls a function with arrays at these places among the leaves of its arguments."""
    args, options = tree
    is_flat = not options and not any(type(x) in (dict, tuple, list) for x in args)
    # Before the arguments among the leaves stand two forms; the names of no options stand behind.
    kept, first = (flat[2:-1], 2) if is_flat else (flat, 0)
    at = [i - first for i in places]

    def run(arrays: Sequence[Array], **further: Any) -> Any:
        given = kept.copy()
        for i, array in zip(at, arrays, strict=True):
            given[i] = array
        if is_flat:
            return function(*given, **further)
        args, options = rebuilt(tree, iter(given))
        return function(*args, **options, **further)

    return run


def _is_new(x: Array, arrays: Sequence[Array]) -> bool:
    """Return whether an array is stored row by row and is no view."""
    return x.flags.owndata and x.flags.c_contiguous and all(x is not array for array in arrays)


def _as_ufunc(function: Callable[..., Any], args: Any) -> tuple[Callable[..., Any], Any]:
    """Return the universal function that an operator of arrays is, if there is one, and its arguments."""
    # Powers stay operators, which are faster than the function, except for squares.
    if function is operator.__pow__ and type(args[1]) is int and args[1] == 2:
        return numpy.square, args[:1]
    return _UFUNCS.get(function, function), args


_UFUNCS: dict[Callable[..., Any], numpy.ufunc] = {
    operator.__add__: numpy.add,
    operator.__sub__: numpy.subtract,
    operator.__mul__: numpy.multiply,
    operator.__truediv__: numpy.true_divide,
    operator.__floordiv__: numpy.floor_divide,
    operator.__mod__: numpy.remainder,
    operator.__matmul__: numpy.matmul,
    operator.__and__: numpy.bitwise_and,
    operator.__or__: numpy.bitwise_or,
    operator.__xor__: numpy.bitwise_xor,
    operator.__neg__: numpy.negative,
    operator.__abs__: numpy.absolute,
    operator.__invert__: numpy.invert,
    operator.__eq__: numpy.equal,
    operator.__ne__: numpy.not_equal,
    operator.__lt__: numpy.less,
    operator.__le__: numpy.less_equal,
    operator.__gt__: numpy.greater,
    operator.__ge__: numpy.greater_equal,
}


def _declared(name: str, parameters: Sequence[str]) -> Function:
    """Return the declaration of a function of these arrays, of which nothing more is known."""

    def twin(*arrays: Array) -> None: ...

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    twin.__signature__ = inspect.Signature([inspect.Parameter(p, kind) for p in ("xp", *parameters)])  # type: ignore[attr-defined]
    return Function(name, twin, {}, {})
