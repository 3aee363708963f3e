"""A backend: an array-API namespace with the extension `nn`."""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import array_api_compat
import numpy

from xpnet import nn
from xpnet.compiled import Bound, Compiled
from xpnet.device import Device
from xpnet.errors import BackendUnavailableError
from xpnet.folding import check_rows, check_tuple, fold, items_of

Array = Any
Step = TypeVar("Step", bound=Callable[..., Any])

_CREATION = (
    "arange",
    "asarray",
    "empty",
    "eye",
    "from_dlpack",
    "full",
    "linspace",
    "ones",
    "zeros",
)


class Namespace:
    """An array library's standard functions, with `nn` beside them.

    Every public name of `library` is an attribute (``xp.matmul``, ``xp.float32``, ``xp.linalg``). If the
    library has a name that this class defines, such as `compile` or `device`, this class's wins.
    Copying a namespace returns the same one. It is pickled by the name that was passed to `xpnet.backend`.

    Parameters
    ----------
    name : str
        The name under which `xpnet.backend` finds it.
    library : module
        Any array-API namespace, version 2024.12 or later; see `xpnet.standard` for one that lacks some of it.
    fused : mapping of str to callable, optional
        Kernels that replace portable twins of `xpnet.nn`. Each has its twin's name and signature, without
        `xp`.
    device : Device or object, optional
        Where the arrays are; a device of the library's own stands for ``Device(device)``. If omitted, the
        library's default device, taken to be the host.
    compile : callable, optional
        Takes a step as a function of arrays and returns a faster one with the same results, as `jax.jit`
        does. If omitted, steps stay as they are.
    tf32 : callable, optional
        Returns the namespace whose large matrix products in `nn` may round float32 factors to TF32.
    versions : mapping of str to str, optional
        The libraries underneath, the most important one first. If omitted, only `library`.
    advice : callable, optional
        Returns lines that say what decides the speed here. If omitted, there are none.

    Attributes
    ----------
    name : str
    library : module
    device : object
        The library's device on which new arrays are made.
    device_kind : {"cpu", "gpu"}
    fused : tuple of str
        The functions of `nn` that have a kernel of their own.
    versions : dict of str to str
        The libraries underneath.
    __name__ : str
        ``"xpnet."`` and the name, as a module would have it.
    nn : namespace
        The functions of `xpnet.nn`, bound to this namespace.
    checked : bool
        Whether each call of these functions is checked; see `xpnet.backend`.
    group : xpnet.distributed.Group or None
        Whose processes `nn.all_reduce` sums over; None if this is one that sums over nothing.

    Raises
    ------
    ValueError
        If `fused` names a function that `xpnet.nn` does not have.
    """

    def __init__(
        self,
        name: str,
        library: Any,
        *,
        fused: Mapping[str, Callable[..., Any]] | None = None,
        device: Any = None,
        compile: Callable[[Any], Any] | None = None,
        tf32: Callable[[], Namespace] | None = None,
        versions: Mapping[str, str] | None = None,
        advice: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        fused = dict(fused or {})
        _check_kernels(fused)
        device = device if isinstance(device, Device) else Device(device)
        self.name = name
        self.__name__ = f"xpnet.{name}"
        self.library = library
        self.device = _default_device(library) if device.handle is None else device.handle
        self.device_kind = device.kind
        self.fused = tuple(sorted(fused))
        self.checked = False
        self.versions = dict(versions or _version(library))
        self.nn: Any = _bind(self, fused)
        self._device = device
        self._compile = compile
        self._tf32 = tf32
        self._advice = advice or list
        self._usable = False
        self.group: Any = None
        # What pickle calls to get this namespace in another process; `xpnet.backend` sets it.
        self._remade: tuple[Callable[..., Namespace], tuple[Any, ...]] | None = None
        self._array_types: set[type] = set()
        self._adopt(library)

    def _adopt(self, library: Any) -> None:
        """Copy the public names of a library, except those that this class and this object already have."""
        # Copied, because an attribute of the instance costs a tenth of a look-up through __getattr__.
        names = {k: v for k, v in vars(library).items() if not k.startswith("_")}
        for key in ("__array_namespace_info__", "__array_api_version__"):
            if hasattr(library, key):
                names[key] = getattr(library, key)
        if self._device.handle is not None:
            for key in _CREATION:
                create = names.get(key) or getattr(library, key)
                names[key] = functools.partial(create, device=self._device.handle)
        own = {*dir(type(self)), *vars(self)}
        vars(self).update((k, v) for k, v in names.items() if k not in own)

    def to_host(self, x: Array) -> numpy.ndarray:
        """Return `x` as a NumPy array, which may share memory with it and may be read-only."""
        return self._device.to_host(x)

    def synchronize(self) -> None:
        """Wait until the device has finished all its work; return at once on a CPU."""
        self._device.synchronize()

    def compile(self, step: Step) -> Step:
        """Return the same function, perhaps faster.

        A step takes a namespace first: ``step(xp, ...)``. So does what comes back. Its other arguments and
        its results are arrays, whole numbers, and dicts, tuples and lists of them. It may overwrite arrays
        that it is given, as the steps of an optimizer do: use those that it returns.

        What a step must do:

        - Call the functions of the `xp` that it is given: those of `xp.nn`, and those of the library.
        - Read no values from arrays, and make no shapes depend on them.
        - Change arrays in place by functions of `xp.nn` only.
        - Add to a whole number that it is given, pass it on as the number of an optimizer's step, call a
          schedule of `xpnet.schedules` with it, return it; do nothing else with it.
        - Pass what a schedule returns to a function of `nn`, or return it; do nothing else with it.
        - On NumPy and Numba, both numbers can also be computed with by arithmetic.
        - Leave the images of a data set as they are between calls.
        - Gather within range. Out of range, a step may raise an error and its program take another row.

        The shipped backends run the Python of a step in its first two calls with new shapes. From the third
        call on they replay the calls of `nn` that they recorded. On NumPy and Numba, these can be calls of
        the library's functions, operators and methods of arrays too; the Python of such a step runs once more
        in the second call, on arrays that record what is done with them.

        They watch what the step captures: its variables, globals and defaults, the attributes that its code
        names, the items of containers and the values of NumPy arrays among them.

        - A change of a captured value takes effect at the next call, item of a fold, or scan.
        - A captured value that cannot be watched is never replayed: a generator of random numbers, an
          iterator, an array above 64 KiB, a container of more than 1000 items.
        - A value that changes before every call, or that the step itself changes again and again, is never
          replayed.
        - Names that are looked up by text are never replayed: `eval`, `exec`, `globals`, `sys.modules`.
        - Files, the clock, the environment, loggers and the memory of C code are not watched.
        - What a step prints, logs or writes, it does only while its Python runs.
        - A step whose program gives other results is never replayed. The second call compares them.

        A step that is not replayed runs as it is written. The attribute `report` of what comes back says why,
        or why the last such call was not replayed, with the line of code that is the reason if there is one;
        it is empty if there was no such call. Some calls run as they are
        written while others are still replayed:

        - those that are given one array twice, or views of memory that the step changes, or an array that is
          not C-contiguous, or what is neither an array nor a whole number;
        - those with new shapes, once 8 sets of shapes took turns too often to record them again;
        - those of a thread that finds the step in use by another thread that records, tries, folds or scans
          it.

        Another compiler, such as `jax.jit`, keeps its own promises. `fit` watches what its step captures.
        """
        _check_step(step)
        if self._compile is None:
            return step
        made: Any = Compiled(self, step, self._compile(Bound(self, step)))
        return made

    def fold(self, step: Callable[..., Any], carry: tuple[Any, ...], items: Iterable[tuple[Any, ...]]) -> Any:
        """Return `carry` after ``for item in items: carry = step(xp, *carry, *item)``.

        With a step that `compile` returned, less Python runs between two steps. If an exception ends the
        loop, what was carried is lost, and the arrays given as `carry` may have been overwritten.

        Parameters
        ----------
        step : callable
            Takes a namespace first. Returns a tuple as long as `carry`.
        carry : tuple
            The step's next arguments.
        items : iterable of tuple
            Its other arguments, one tuple for each call.

        Raises
        ------
        TypeError
            If `step` is not callable, or if `carry`, an item or what the step returns is not such a tuple.
        """
        _check_step(step)
        check_tuple("`carry`", carry)
        if isinstance(step, Compiled) and step.is_of(self) and hasattr(step, "fold"):
            return step.fold(carry, items)
        return fold(functools.partial(step, self), carry, items)

    def scan(self, step: Callable[..., Any], carry: tuple[Any, ...], rows: Any, *constants: Any) -> Any:
        """Return `carry` after ``for row in rows: carry = step(xp, *carry, row, *constants)``.

        With a step that `compile` returned, a backend may run the whole loop without Python: Numba runs it in
        compiled code, and CuPy runs small steps as one kernel. The results are those of the loop. A step that
        changes an array in place is not replayed if the rows share memory with that array.

        If another thread or a schedule changes meanwhile what the step captures, that may take effect at the
        next scan. A schedule may be called for many steps before the first of them is taken. Ctrl-C ends a
        scan after the steps that are under way. If an exception ends the loop, what was carried is lost, and
        the arrays given as `carry` may have been overwritten.

        Parameters
        ----------
        step : callable
            Takes a namespace first. Returns a tuple as long as `carry`.
        carry : tuple
            The step's first arguments.
        rows : array or tuple of arrays, shape (n, ...)
            The step's next argument is ``rows[i, ...]``, shape (...), or the tuple of these. With ``n == 0``,
            `carry` comes back.
        *constants
            The step's last arguments, the same in each call.

        Raises
        ------
        TypeError
            If `step` is not callable, if `carry` or what the step returns is not such a tuple, or if `rows`
            holds anything but arrays.
        ValueError
            If an array of `rows` has no axis, if their lengths differ, or if there is none.

        Examples
        --------
        >>> import xpnet
        >>> xp = xpnet.backend("numpy")
        >>> def step(xp, total, count, row, weights):
        ...     return total + weights @ row, count + 1
        >>> rows = xp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> total, count = xp.scan(xp.compile(step), (xp.zeros(()), 0), rows, xp.asarray([1.0, 10.0]))
        >>> float(total), count
        (129.0, 3)
        """
        _check_step(step)
        check_tuple("`carry`", carry)
        check_rows(rows)
        if isinstance(step, Compiled) and step.is_of(self) and hasattr(step, "scan"):
            return step.scan(carry, rows, constants)
        return fold(functools.partial(step, self), carry, items_of(rows, constants))

    def with_functions(self, functions: Any) -> Namespace:
        """Return a copy of this namespace that has other functions as `nn`."""
        other: Namespace = object.__new__(type(self))
        vars(other).update(vars(self))
        other.nn = functions
        return other

    def with_group(self, group: Any) -> Namespace:
        """Return a copy of this namespace whose `nn.all_reduce` sums over a group of processes.

        So do the namespaces that its methods return. It cannot be pickled. All processes must call the
        function equally often: a compiled step does so once more in its second call with new shapes, in which
        its program is tried.

        Parameters
        ----------
        group : xpnet.distributed.Group
            With `xpnet.distributed.ALONE`, the sum is what this process has.
        """
        other = self.with_functions(None)
        other.nn = _Functions(other)
        own_sum = functools.partial(nn.all_reduce, other)
        sum_of_all = self._device.all_reduce(group) if group.is_split else own_sum
        vars(other.nn).update(vars(self.nn), all_reduce=sum_of_all)
        vars(other).pop("_checked", None)
        other.group = group
        other._device = dataclasses.replace(
            self._device, at=lambda _, text: self._device.at(self, text).with_group(group)
        )
        other._tf32 = None if self._tf32 is None else lambda: self.with_tf32().with_group(group)
        return other

    def device_name(self) -> str:
        """Return what a person calls the device: ``"cpu"``, or the model of a GPU."""
        return self._device.name(self)

    def on(self, device: str) -> Namespace:
        """Return this backend on another device: ``"1"`` for the second GPU.

        Raises
        ------
        BackendUnavailableError
            If there is no such device.
        """
        return self._derived(self._device.at(self, device), "on", device)

    def use(self) -> None:
        """Make this thread work on this backend's device, as `xpnet.backend` does."""
        self._device.use()

    def with_tf32(self) -> Namespace:
        """Return this backend with large matrix products in `nn` that may round float32 factors to TF32.

        TF32 has a mantissa of 10 bits and float32 one of 23; sums are float32.

        Raises
        ------
        BackendUnavailableError
            If it has no such products.
        """
        if self._tf32 is None:
            raise BackendUnavailableError(
                self.name, "has no products in TF32", "leave TF32 out, or choose 'cupy'"
            )
        return self._derived(self._tf32(), "with_tf32")

    def _derived(self, xp: Namespace, method: str, *args: str) -> Namespace:
        """Return `xp`, which a method of this namespace made, and record how to make it again."""
        # A backend may return itself, or something that only looks like a namespace.
        if xp is not self and getattr(xp, "_remade", self) is None:
            xp._remade = operator.methodcaller(method, *args), (self,)
        return xp

    def release(self) -> None:
        """Return memory that no array uses to the device."""
        self._device.release()

    def shortage(self, error: Exception) -> tuple[int, int] | None:
        """Return how many bytes were asked for and are free if `error` means too little memory, else None."""
        return self._device.shortage(error)

    def probe(self) -> None:
        """Try the backend on something small, unless that has worked before.

        Raises
        ------
        BackendUnavailableError
            If that fails; its text contains the error's own.
        """
        if self._usable:
            return
        try:
            self._device.probe(self)
        except BackendUnavailableError:
            raise
        except Exception as e:
            cause = f"cannot be used: {type(e).__name__}: {e}"
            raise BackendUnavailableError(self.name, cause, self._device.remedy) from e
        self._usable = True

    def distrust(self) -> None:
        """Make `probe` try the backend again, because its last result may no longer hold."""
        self._usable = False

    def advice(self) -> list[str]:
        """Return lines that say what decides the speed here and what would raise it; there may be none."""
        advice = self._advice()
        return [advice] if isinstance(advice, str) else list(advice)

    def check_array(self, name: str, x: Array) -> None:
        """Raise an error about the argument `name` unless `x` is an array of this library and device.

        Raises
        ------
        TypeError
            If it is not an array of this library.
        ValueError
            If it is on another device than this namespace's.
        """
        if type(x) in self._array_types:
            if self._device.handle is not None and x.device != self.device:
                raise ValueError(
                    f"`{name}` is on {x.device}, but the model is on {self.device}; "
                    f"pass `xp.asarray(xp.to_host({name}))`"
                )
            return
        if not array_api_compat.is_array_api_obj(x) or _library(x) is not _library(
            self.zeros((1,), dtype=self.float32)
        ):
            found = f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}"
            raise TypeError(
                f"`{name}` is a {found}, but the model is on {self.name!r}; pass `xp.asarray({name})`"
            )
        self._array_types.add(type(x))
        self.check_array(name, x)

    def __copy__(self) -> Namespace:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Namespace:
        return self

    def __reduce__(self) -> tuple[Callable[..., Namespace], tuple[Any, ...]]:
        if self.group is not None:
            raise TypeError(
                f"cannot pickle {self!r}, because other processes are not in its group; pickle the namespace "
                "that it was made of, and call `with_group` where it is loaded"
            )
        if self._remade is None:
            raise TypeError(
                f"cannot pickle {self!r}, because it did not come from `xpnet.backend`; register it in the "
                f"entry-point group 'xpnet.backends' and use `xpnet.backend({self.name!r})`"
            )
        return self._remade

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that the library creates on demand, such as numpy.fft.
        library = vars(self).get("library")
        if name.startswith("__") or not hasattr(library, name):
            raise AttributeError(f"neither xpnet.Namespace nor {library!r} has an attribute {name!r}")
        value = getattr(library, name)
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        group = self.group
        member = "" if group is None else f", rank {group.rank} of {group.size}"
        checked = ", checked" if self.checked else ""
        return f"<xpnet.Namespace {self.name!r} on {self.device}{member}{checked}>"


class _Functions(types.SimpleNamespace):
    """The functions of a namespace, copied and pickled as part of it."""

    __slots__ = ("_xp",)  # so that it is not among the names of the functions

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, xp: Namespace) -> None:
        self._xp = xp

    def __getattr__(self, name: str) -> Any:
        late = "; it was declared after this namespace was made" if name in nn.FUNCTIONS else ""
        raise AttributeError(f"`xp.nn` of {self._xp.name!r} has no function {name!r}{late}")

    def __repr__(self) -> str:
        return f"<functions of xpnet.nn on {self._xp.name!r}>"

    def __copy__(self) -> _Functions:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Functions:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return getattr, (self._xp, "nn")


def _bind(xp: Namespace, fused: Mapping[str, Callable[..., Any]]) -> _Functions:
    """Return the functions of `xpnet.nn` without their first parameter; kernels replace those they fuse."""
    bound = _Functions(xp)
    for name, declared in nn.FUNCTIONS.items():
        twin, function = declared.twin, fused.get(name)
        if function is None:
            function = functools.partial(twin, xp)
            function.__doc__ = twin.__doc__
        setattr(bound, name, function)
    return bound


def _library(x: Array) -> Any:
    # Without the compatibility layer: NumPy's takes 0.06 s, because it imports all of NumPy.
    return array_api_compat.array_namespace(x, use_compat=False)


def _check_step(step: object) -> None:
    if not callable(step):
        raise TypeError(f"`step` must be a function of a namespace and arrays, got {step!r}")


def _check_kernels(fused: Mapping[str, object]) -> None:
    unknown = sorted(fused.keys() - nn.FUNCTIONS.keys())
    if unknown:
        raise ValueError(
            f"`fused` names {', '.join(map(repr, unknown))}, which `xpnet.nn` does not have: "
            f"choose among {', '.join(nn.FUNCTIONS)}"
        )


def _default_device(library: Any) -> Any:
    info = getattr(library, "__array_namespace_info__", None)
    return "cpu" if info is None else info().default_device()


def _version(library: Any) -> dict[str, str]:
    name = getattr(library, "__name__", type(library).__name__).removeprefix("array_api_compat.")
    return {name: getattr(library, "__version__", "unknown")}


def check_namespace(xp: Any) -> None:
    """Raise unless `xp` is a namespace that can be used in this process."""
    if not isinstance(xp, Namespace):
        raise TypeError(f"`xp` must be a Namespace, got {xp!r}; pass `xpnet.backend()`, or a name to it")
    xp.probe()
