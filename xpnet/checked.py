"""Namespaces that compare the arguments and results of each call of `nn` with its declaration."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import numbers
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from xpnet import nn
from xpnet.namespace import Namespace
from xpnet.nn import Form
from xpnet.nn.declaration import FURTHER

Array = Any

_FLOATS = ("float32", "float64")
_DTYPES = {
    "float": _FLOATS,
    "stored": ("uint8", *_FLOATS),
    "int": tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}


def checked(xp: Namespace) -> Namespace:
    """Return `xp` with functions of `nn` that check each call; the same one each time.

    Steps that it compiles run as they are, since a program makes no calls.
    """
    if xp.checked:
        return xp
    if "_checked" not in vars(xp):
        functions = {name: check_calls(xp, name, _found(xp, name)) for name in vars(xp.nn)}
        other = xp.with_functions(types.SimpleNamespace(**vars(xp.nn) | functions))
        vars(other).update(
            checked=True,
            _compile=Unreplayed,
            _device=dataclasses.replace(
                xp._device,
                at=lambda _, text: checked(xp.on(text)),
                all_reduce=lambda group: check_calls(xp, "all_reduce", xp._device.all_reduce(group)),
            ),
            _tf32=lambda: checked(xp.with_tf32()),
            _remade=(checked, (xp,)),
        )
        vars(xp).setdefault("_checked", other)
    found: Namespace = vars(xp)["_checked"]
    return found


def _found(xp: Namespace, name: str) -> Callable[..., Any]:
    # Looked up at each call, because a backend may replace a function.
    return lambda *args, **kwargs: getattr(xp.nn, name)(*args, **kwargs)


class Unreplayed:
    """A step that runs as it is.

    Attributes
    ----------
    report : str
        Why.
    """

    report = "every call of `xp.nn` is checked, so the step runs as it is"

    def __init__(self, step: Callable[..., Any]) -> None:
        self.__wrapped__ = step

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the step does."""
        return self.__wrapped__(*args, **kwargs)


def check_calls(
    xp: Namespace, name: str, function: Callable[..., Any], *, values: bool = True
) -> Callable[..., Any]:
    """Return a function of `nn` that checks how it is called and what it returns.

    Parameters
    ----------
    xp : Namespace
    name : str
    function : callable
        Has the parameters of the twin of this name, less `xp`.
    values : bool
        Whether to look at indices and labels, which reads them back from the device.
    """
    twin = functools.partial(nn.FUNCTIONS[name].twin, None)
    signature = inspect.signature(twin)

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"nn.{name}: {e}") from None
        bound.apply_defaults()
        check = _Check(xp, name, bound.arguments)
        check.arguments(values=values)
        result = function(*args, **kwargs)
        check.results(result)
        return result

    call.__name__, call.__doc__ = name, twin.func.__doc__
    call.__wrapped__ = twin  # type: ignore[attr-defined]
    return call


class _Check:
    """One call: what is known of its axes and dtypes."""

    def __init__(self, xp: Namespace, name: str, given: Mapping[str, Any]) -> None:
        self._xp = xp
        self._name = name
        self._given = given
        self._function = nn.FUNCTIONS[name]
        self._lengths: dict[str, Any] = {}
        self._dtypes: dict[str, Any] = {}  # by kind

    def arguments(self, *, values: bool) -> None:
        """Raise unless the arguments fit."""
        for key, form in self._function.arguments.items():
            if form.kind == "count":
                self._count(key, self._given[key])
            elif form.kind == "key":
                self._key(key, self._given[key])
            else:
                self._array(f"`{key}`", form, self._given[key])
        for key, kind in self._function.numbers.items():
            self._number(key, kind, self._given[key])
        try:
            self._lengths = self._function.completed(self._lengths, self._given)
        except ValueError as e:
            self._refuse(ValueError, str(e))
        for key, form in self._function.arguments.items():
            if form.below and values:
                self._range(key, form, self._given[key])

    def results(self, result: Any) -> None:
        """Raise unless this is what the function must return."""
        found = result if isinstance(result, tuple) else (result,)
        made = self._function.results.values()
        if len(found) != len(made):
            self._refuse(ValueError, f"returned {len(found)} results, but must return {len(made)}")
        if "dtype" in self._given:
            self._dtypes["float"] = self._given["dtype"]
        for i, (form, value) in enumerate(zip(made, found, strict=True)):
            what = f"result {i}" if len(found) > 1 else "the result"
            if value is None and form.optional and not self._given["input_gradient"]:
                continue
            self._array(what, form, value)

    def _array(self, what: str, form: Form, value: Any) -> None:
        try:
            self._xp.check_array(what.strip("`"), value)
        except (TypeError, ValueError) as e:
            self._refuse(type(e), str(e))
        self._dtype(what, form.kind, value.dtype)
        shape = tuple(value.shape)
        if form.axes is None:
            known = self._lengths.setdefault("*", shape)
            fits, wanted = shape == known, str(known)
        else:
            fits, wanted = self._axes(form, shape), self._spelled(form.axes)
        if not fits:
            self._refuse(ValueError, f"{what} has shape {shape}, but must have {wanted}")
        if form.changed and not getattr(getattr(value, "flags", None), "writeable", True):
            self._refuse(ValueError, f"{what} is read-only, but is changed in place; pass a copy")

    def _dtype(self, what: str, kind: str, dtype: Any) -> None:
        names = _DTYPES[kind]
        if not any(dtype == getattr(self._xp, name, None) for name in names):
            wanted = "an integer dtype" if kind == "int" else " or ".join(names)
            self._refuse(TypeError, f"{what} must have {wanted}, got {dtype}; pass `xp.astype` of it")
        if kind == "float" or not what.startswith("`"):
            known = self._dtypes.setdefault(kind, dtype)
            if dtype != known:
                self._refuse(TypeError, f"{what} has dtype {dtype}, but must have {known} as the others do")
        else:
            self._dtypes.setdefault(kind, dtype)

    def _axes(self, form: Form, shape: tuple[int, ...]) -> bool:
        """Return whether a shape has the axes of a form, and keep the lengths that were not known."""
        lengths = form.lengths(shape)
        if lengths is None:
            return False
        for axis, length in lengths:
            is_empty = axis != "batch" and (0 in length if axis == FURTHER else length == 0)
            if self._lengths.setdefault(axis, length) != length or is_empty:
                return False
        return True

    def _spelled(self, axes: tuple[str, ...]) -> str:
        names = ", ".join(axes) + "," * (len(axes) == 1)
        lengths = [f"{axis} = {self._lengths[axis]}" for axis in axes if self._lengths.get(axis)]
        return f"({names})" + (f" with {', '.join(lengths)}" if lengths else "")

    def _range(self, key: str, form: Form, value: Array) -> None:
        limit = max(int(axis) if axis.isdecimal() else self._lengths[axis] for axis in form.below)
        host = numpy.asarray(self._xp.to_host(value))
        wrong = host[(host < 0) | (host >= limit)]
        if wrong.size:
            self._refuse(ValueError, f"`{key}` holds {int(wrong[0])}, but must be in [0, {limit})")

    def _count(self, key: str, value: Any) -> None:
        self._whole(key, value)
        if value < 1:
            self._refuse(ValueError, f"`{key}` must be a whole number above 0, got {value!r}")
        self._lengths[key] = int(value)

    def _key(self, key: str, value: Any) -> None:
        self._whole(key, value)
        if not 0 <= value < 2**64:
            self._refuse(ValueError, f"`{key}` must be in [0, 2**64), got {value!r}")

    def _whole(self, key: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | numpy.integer):
            self._refuse(TypeError, f"`{key}` must be a whole number, got {value!r}")

    def _number(self, key: str, kind: Any, value: Any) -> None:
        if key == "dtype":
            if not any(value is not None and value == getattr(self._xp, name, None) for name in _FLOATS):
                self._refuse(TypeError, f"`dtype` must be `xp.float32` or `xp.float64`, got {value!r}")
        elif kind is bool:
            if not isinstance(value, bool | numpy.bool_):
                self._refuse(TypeError, f"`{key}` must be True or False, got {value!r}")
        elif not _is_real(self._xp, value):
            self._refuse(TypeError, f"`{key}` must be a real number, got {value!r}")

    def _refuse(self, error: type[Exception], text: str) -> None:
        raise error(f"nn.{self._name}: {text}") from None


def _is_real(xp: Namespace, value: Any) -> bool:
    """Return whether this is a real number, or an array of `xp` that holds one."""
    if isinstance(value, bool | numpy.bool_):
        return False
    if isinstance(value, numbers.Real):
        return True
    try:
        xp.check_array("", value)
    except (TypeError, ValueError):
        return False
    return tuple(value.shape) == () and bool(xp.isdtype(value.dtype, ("real floating", "integral")))
