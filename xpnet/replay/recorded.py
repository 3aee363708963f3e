"""Arrays that note what a step does with them, and the functions of a library that note their calls."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy

from xpnet.namespace import Namespace
from xpnet.replay.counting import as_int
from xpnet.replay.trace import Value

Array = Any

READS = "reads a value on the host"
CHANGES = "changes an array in place, other than by `xp.nn`"

_KNOWN = frozenset(("shape", "dtype", "ndim", "size", "device", "itemsize", "nbytes", "flags"))
_VIEWS = frozenset(("T", "mT"))
_METHODS = frozenset(
    (
        *("sum", "mean", "std", "var", "prod", "min", "max", "any", "all", "argmin", "argmax", "argsort"),
        *("astype", "copy", "reshape", "ravel", "flatten", "squeeze", "transpose", "swapaxes", "diagonal"),
        *("clip", "round", "dot", "trace", "cumsum", "cumprod", "take", "conj", "conjugate", "to_device"),
    )
)
_READING = frozenset(
    (
        *("item", "tolist", "tobytes", "dump", "dumps", "tofile", "data", "ctypes", "flat"),
        *("__array_struct__", "__array_interface__", "__buffer__", "__dlpack__"),
    )
)
_CHANGING = frozenset(("fill", "put", "sort", "partition", "resize", "itemset", "setfield", "byteswap"))


class Recorder(Protocol):
    """What notes the calls of functions on recorded arrays."""

    def call(self, name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
        """Return what a function of the library gives, and note the call."""
        ...

    def refuse(self, reason: str) -> None:
        """Raise an error that says that the line that runs cannot be recorded."""
        ...


class Recorded:
    """An array of a step that is traced. It passes for one of the library, and notes what is done with it.

    Attributes
    ----------
    array : array
    value : Value
        What stands for it in the trace.
    recorder : Recorder
    """

    __slots__ = ("array", "recorder", "value")

    def __init__(self, array: Array, value: Value, recorder: Recorder) -> None:
        self.array, self.value, self.recorder = array, value, recorder

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.array)

    def __getattr__(self, name: str) -> Any:
        if name in _KNOWN:
            return getattr(self.array, name)
        if name in _VIEWS:
            return self.recorder.call(f"array.{name}", operator.attrgetter(name), (self,), {})
        if name in _METHODS:
            return _method(self, name)
        getattr(self.array, name)  # It may have no such attribute.
        reason = READS if name in _READING else CHANGES if name in _CHANGING else f"uses `{name}` of an array"
        return self.recorder.refuse(reason)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return self.array.__array_namespace__(api_version=api_version)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "at":
            self.recorder.refuse(CHANGES)
        called = function if method == "__call__" else getattr(function, method)
        return self.recorder.call(f"xp.{function.__name__}", called, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return self.recorder.call(f"xp.{function.__name__}", function, args, options)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self.recorder.refuse(READS)

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Any]:
        return iter([operator.getitem(self, i) for i in range(len(self.array))])

    def __repr__(self) -> str:
        return repr(self.array)

    def __format__(self, form: str) -> str:
        return format(self.array, form)


def _method(x: Recorded, name: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return x.recorder.call(f"array.{name}", called, (x, *args), options)

    def called(array: Array, *args: Any, **options: Any) -> Any:
        return getattr(array, name)(*args, **options)

    return call


def _recording(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    """Return a method that records an operator, behind the other operand if it is reflected."""
    function = getattr(operator, name)

    def method(self: Recorded, *others: Any) -> Any:
        given = (*others, self) if reflected else (self, *others)
        return self.recorder.call(f"operator.{name.strip('_')}", function, given, {})

    return method


def _in_place(name: str) -> Callable[..., Any]:
    """Return a method of an operator such as ``+=``, which makes a new one of a number of NumPy's."""
    record = _recording(name)

    def method(self: Recorded, other: Any) -> Any:
        if not isinstance(self.array, numpy.generic):
            self.recorder.refuse(CHANGES)
        return record(self, other)

    return method


def _refusing(reason: str) -> Callable[..., Any]:
    def method(self: Recorded, *others: Any) -> Any:
        return self.recorder.refuse(reason)

    return method


_BINARY = "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lshift", "rshift"
_BITWISE = "and", "or", "xor"
_METHODS_OF_OPERATORS = {
    **{f"__{name}__": _recording(f"__{name}__") for name in (*_BINARY, *_BITWISE)},
    **{f"__r{name}__": _recording(f"__{name}__", reflected=True) for name in (*_BINARY, *_BITWISE)},
    **{f"__i{name}__": _in_place(f"__{name}__") for name in (*_BINARY, *_BITWISE)},
    **{f"__{name}__": _recording(f"__{name}__") for name in ("eq", "ne", "lt", "le", "gt", "ge", "getitem")},
    **{f"__{name}__": _recording(f"__{name}__") for name in ("neg", "pos", "abs", "invert")},
    **{f"__{name}__": _refusing(READS) for name in ("bool", "int", "float", "complex", "index", "contains")},
    **{f"__{name}__": _refusing(CHANGES) for name in ("setitem", "delitem")},
    "__copy__": lambda self: _method(self, "copy")(),
    "__deepcopy__": lambda self, memo: _method(self, "copy")(),
    "__hash__": None,
}
for _name, _operator in _METHODS_OF_OPERATORS.items():
    setattr(Recorded, _name, _operator)


def plain_of(x: Any) -> Any:
    """Return the array or the number in place of what a traced step is given, and all else as it is."""
    return x.array if type(x) is Recorded else as_int(x)


def recording_namespace(xp: Namespace, functions: Any, recorder: Recorder) -> Namespace:
    """Return a namespace with these functions as `nn`, whose library's functions are recorded."""
    other = xp.with_functions(functions)
    own = vars(other)
    library = {name: f for name, f in own.items() if _is_function(xp.library, name, f)}
    own.update({name: _noting(f"xp.{name}", f, recorder) for name, f in library.items()})
    own.update({name: _Extension(xp, name, recorder) for name in ("linalg", "fft") if hasattr(xp, name)})
    own["check_array"] = lambda name, x: xp.check_array(name, plain_of(x))
    own["to_host"] = lambda x: recorder.refuse(READS)
    return other


def _is_function(library: Any, name: str, f: Any) -> bool:
    return hasattr(library, name) and callable(f) and not isinstance(f, type) and not name.startswith("_")


def _noting(name: str, function: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    return lambda *args, **options: recorder.call(name, function, args, options)


class _Extension:
    """An extension of the library, such as `linalg`, with its functions recorded."""

    def __init__(self, xp: Namespace, name: str, recorder: Recorder) -> None:
        self._library, self._name, self._recorder = getattr(xp, name), name, recorder

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._library, name)
        return _noting(f"xp.{self._name}.{name}", found, self._recorder) if callable(found) else found
