"""Declarations: what must be known of a function of `nn`, written once, beside its portable twin.

    @function("x: batch n_in, weight: n_in n_out, bias: n_out -> y: batch n_out", gradient="linear_backward")
    def linear(xp, x, weight, bias): ...

A declaration names the arrays with their axes, then the results. An axis has one length in all of a call;
`()` is an array without axes, `*` any shape, the same one throughout; ``batch ... channels`` has any further
axes, or none, in the place of `...`, and `...` stands for the same ones throughout. Arrays are float32 or
float64, all of one dtype, unless it says

- `int`: whole numbers; ``int[n]``: all in ``[0, n)``, or below the largest of several;
- `stored`: uint8 or floating-point numbers;
- ``float[a b]``: floating-point numbers from a to b;
- `count`: no array but a whole number above 0. It is the length of the axis of its name; if there is none, it
  may differ from call to call, as the number of a step does;
- `key`: no array but a whole number in ``[0, 2**64)``, the key of random numbers.

`!` marks what is changed in place and returned, in order, before any other result; those results have the
names of the arguments. `?` marks a result that may be None. The other parameters are numbers, flags or a
dtype, and have the types that the twin gives them; or options, such as a stride, which are constants of a
program and ``Annotated`` with some of their values. Axes whose length follows from other axes and options are
computed: see `function`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_origin

Twin = TypeVar("Twin", bound=Callable[..., Any])
Computed = Mapping[str, Callable[[Mapping[str, int], Mapping[str, Any]], int]]

KINDS = "float", "int", "stored", "count", "key"
NO_ARRAYS = "count", "key"
FURTHER = "..."
_AXIS = r"(?:[a-z]\w*|\.\.\.)"
_FORM = re.compile(rf"(?:(float|int|stored|count|key)(?:\[(.+)\])?)? ?(\*|\(\)|{_AXIS}(?: {_AXIS})*)?")


@dataclasses.dataclass(frozen=True)
class Form:
    """What one array, count or key must be like.

    Attributes
    ----------
    kind : {"float", "int", "stored", "count", "key"}
    axes : tuple of str or None
        None for any shape; ``"..."`` stands for any further axes.
    below : tuple of str
        Of whole numbers: axes, or numbers, the largest of which all values are below.
    interval : tuple of float
        Of floating-point numbers: the least and the largest.
    changed, optional : bool
    """

    kind: str
    axes: tuple[str, ...] | None
    below: tuple[str, ...] = ()
    interval: tuple[float, float] = (-math.inf, math.inf)
    changed: bool = False
    optional: bool = False

    def lengths(self, shape: tuple[int, ...]) -> list[tuple[str, Any]] | None:
        """Return each axis with its length; None if the shape has more or fewer axes.

        Any shape is the length of ``"*"``, and that of further axes the length of ``"..."``.
        """
        return lengths_of(("*",) if self.axes is None else self.axes, shape)

    def shape(self, lengths: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the shape of an array, given the lengths of its axes."""
        found: list[int] = []
        for axis in ("*",) if self.axes is None else self.axes:
            found += lengths[axis] if axis in ("*", FURTHER) else [lengths[axis]]
        return tuple(found)


def lengths_of(axes: tuple[str, ...], shape: tuple[int, ...]) -> list[tuple[str, Any]] | None:
    """Return each of some axes with its length, see `Form.lengths`."""
    if axes == ("*",):
        return [("*", shape)]
    if FURTHER not in axes:
        return [*zip(axes, shape, strict=True)] if len(axes) == len(shape) else None
    before = axes.index(FURTHER)
    end = len(shape) - (len(axes) - before - 1)
    if end < before:
        return None
    outer = zip(axes[:before] + axes[before + 1 :], shape[:before] + shape[end:], strict=True)
    return [*outer, (FURTHER, shape[before:end])]


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of `nn` as it is declared.

    Attributes
    ----------
    name : str
    twin : callable
        The portable function, which defines what a kernel must return.
    arguments : dict of str to Form
        Arrays, counts and keys, in order.
    results : dict of str to Form
    gradient : str or None
        The name of the function that takes `dy` and returns the gradients at the arguments.
    declaration : str
        The text that all this was read from.
    computed : dict of str to callable
        What returns the lengths of some axes, given those of the others and the options; it raises ValueError
        if they do not fit together.
    drawable : dict of str to tuple of int
        Lengths that are drawn for some axes, if these cannot have any length.
    mixes_rows : bool
        Whether each row of a result may need all rows of the arguments.
    """

    name: str
    twin: Callable[..., Any]
    arguments: Mapping[str, Form]
    results: Mapping[str, Form]
    gradient: str | None = None
    declaration: str = ""
    computed: Computed = dataclasses.field(default_factory=dict)
    drawable: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    mixes_rows: bool = False

    @functools.cached_property
    def arrays(self) -> dict[str, Form]:
        """The arguments that are arrays."""
        return {name: form for name, form in self.arguments.items() if form.kind not in NO_ARRAYS}

    @functools.cached_property
    def changed(self) -> tuple[str, ...]:
        """The names of the arguments that are changed in place, which are the first results."""
        return tuple(name for name, form in self.arrays.items() if form.changed)

    @functools.cached_property
    def axes(self) -> tuple[str, ...]:
        """The names of all axes, in order, without `...`."""
        forms = [*self.arrays.values(), *self.results.values()]
        return tuple(dict.fromkeys(axis for form in forms for axis in form.axes or () if axis != FURTHER))

    @functools.cached_property
    def has_further_axes(self) -> bool:
        """Whether arrays have any further axes, `...`."""
        return any(FURTHER in (form.axes or ()) for form in self.arrays.values())

    @functools.cached_property
    def _others(self) -> dict[str, Any]:
        parameters = list(inspect.signature(self.twin, eval_str=True).parameters.values())[1:]
        return {p.name: p.annotation for p in parameters if p.name not in self.arguments}

    @functools.cached_property
    def numbers(self) -> dict[str, Any]:
        """The types of the other parameters that are numbers, flags or a dtype."""
        return {name: kind for name, kind in self._others.items() if get_origin(kind) is not Annotated}

    @functools.cached_property
    def options(self) -> dict[str, tuple[Any, ...]]:
        """Some values of each parameter that is an option."""
        return {name: kind.__metadata__ for name, kind in self._others.items() if name not in self.numbers}

    def completed(self, lengths: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the lengths of all axes.

        Parameters
        ----------
        lengths : mapping of str to int
            Of the axes of the arguments; those of computed axes are compared.
        given : mapping
            The options, by name, and perhaps more.

        Raises
        ------
        ValueError
            If they do not fit together.
        """
        found = dict(lengths)
        for axis in self.axes:
            if axis in self.computed:
                try:
                    length = self.computed[axis](lengths, given)
                except KeyError as e:
                    raise ValueError(
                        f"the length of {axis} needs that of {e}, which no argument has"
                    ) from None
                if found.setdefault(axis, length) != length:
                    raise ValueError(f"{axis} is {found[axis]}, but must be {length}")
        return found

    @functools.cached_property
    def varying(self) -> tuple[str, ...]:
        """The counts that may differ from call to call: those that are the length of no axis."""
        counts = (name for name, form in self.arguments.items() if form.kind == "count")
        return tuple(name for name in counts if name not in self.axes)

    @functools.cached_property
    def is_elementwise(self) -> bool:
        """Whether each element of the results comes from those in the same place."""
        return all(form.axes is None for form in (*self.arrays.values(), *self.results.values()))

    @functools.cached_property
    def is_step(self) -> bool:
        """Whether this is the step of an optimizer, which changes a parameter and its state by `grad`."""
        return bool(self.changed) and "grad" in self.arrays

    @functools.cached_property
    def is_activation(self) -> bool:
        """Whether this has one array, and nothing else, as argument, is elementwise, and has a gradient."""
        is_of_one = len(self.arguments) == 1 and not self.numbers
        return is_of_one and self.is_elementwise and self.gradient is not None

    @functools.cached_property
    def is_loss(self) -> bool:
        """Whether this returns a mean and its gradient at the first argument."""
        first, *others = self.results
        return self.results[first].axes == () and others == [f"d_{next(iter(self.arrays))}"]

    @property
    def keeps(self) -> str | None:
        """What an activation keeps for its gradient: its result (``"y"``) or its argument (``"z"``)."""
        if not self.is_activation:
            return None
        return next(name for name in FUNCTIONS[str(self.gradient)].arrays if name != "dy")

    def reads_own_rows(self, argument: str, result: str) -> bool:
        """Return whether a row of a result needs only the same row of an argument, and not all of it."""
        if self.mixes_rows:
            return False
        mine, made = self.arrays[argument].axes, self.results[result].axes
        return mine is made is None or bool(mine and made and mine[0] == made[0])


FUNCTIONS: dict[str, Function] = {}
"""All functions of `nn`, by name."""


def function(
    declaration: str,
    *,
    gradient: str | None = None,
    computed: Computed | None = None,
    drawable: Mapping[str, tuple[int, ...]] | None = None,
    mixes_rows: bool = False,
) -> Callable[[Twin], Twin]:
    """Declare a portable twin as a function of `nn`, and return it as it is.

    Parameters
    ----------
    declaration : str
        See this module.
    gradient : str, optional
        The function that takes the gradient `dy` at the first result, and some of the arguments and results.
    computed, drawable : mapping, optional
        See `Function`.
    mixes_rows : bool
        See `Function`.

    Raises
    ------
    ValueError
        If the declaration cannot be read, or names what is no parameter of the twin, or if there already is a
        function of this name.
    """

    def declare(twin: Twin) -> Twin:
        name = twin.__name__
        if name in FUNCTIONS:
            there = FUNCTIONS[name].twin.__module__
            raise ValueError(f"{name!r} is already declared in {there}; choose another name")
        options: dict[str, Any] = {"computed": computed, "drawable": drawable, "mixes_rows": mixes_rows}
        FUNCTIONS[name] = declared(twin, declaration, gradient=gradient, **options)
        return twin

    return declare


def declared(
    twin: Callable[..., Any],
    declaration: str,
    *,
    gradient: str | None = None,
    computed: Computed | None = None,
    drawable: Mapping[str, tuple[int, ...]] | None = None,
    mixes_rows: bool = False,
) -> Function:
    """Return a function as it is declared; see `function`."""
    taken, arrow, given = declaration.partition(" -> ")
    if not arrow:
        raise ValueError(f"a declaration has ' -> ' before its results, got {declaration!r}")
    pairs = [_named(text) for text in taken.split(", ")]
    names = [name.removesuffix("!") for name, _ in pairs]
    parameters = list(inspect.signature(twin).parameters)[1:]
    if names != parameters[: len(names)]:
        raise ValueError(
            f"the declaration of {twin.__name__!r} names {', '.join(names)}, but its first parameters are "
            f"{', '.join(parameters[: len(names)])}"
        )
    arguments = {name.removesuffix("!"): _form(text, changed=name.endswith("!")) for name, text in pairs}
    optional = [name for name, form in arguments.items() if form.optional]
    if optional:
        raise ValueError(f"`{optional[0]}` of {twin.__name__!r} has a '?', which is for results only")
    changed = [name for name, form in arguments.items() if form.changed]
    results = dict(_results(given, changed))
    options: dict[str, Any] = {"computed": computed or {}, "drawable": drawable or {}}
    made = Function(
        twin.__name__, twin, arguments, results, gradient, declaration, mixes_rows=mixes_rows, **options
    )
    _require_lengths(made)
    return made


def _require_lengths(function: Function) -> None:
    """Raise ValueError unless the arguments give each length that a result, a limit or the twin needs."""
    known = {axis for form in function.arrays.values() for axis in _axes(form)}
    known.update(name for name, form in function.arguments.items() if form.kind == "count")
    known.update(function.computed)
    for name, form in (*function.arguments.items(), *function.results.items()):
        for axis in (*_axes(form), *form.below):
            if axis not in known and not axis.isdecimal():
                raise ValueError(f"`{name}` of {function.name!r} has {axis!r}, which no argument has")
    for name, kind in function.numbers.items():
        if kind is int:
            raise ValueError(f"`{name}` of {function.name!r} is an int; declare it as `count` or `key`")


def _axes(form: Form) -> tuple[str, ...]:
    return ("*",) if form.axes is None else form.axes


def _results(given: str, changed: list[str]) -> list[tuple[str, Form]]:
    """Return the names and forms of the results; those of changed arguments have the names of these."""
    texts = given.split(", ")
    if len(texts) < len(changed):
        raise ValueError(f"{', '.join(changed)} are changed and so returned, but the results are {given!r}")
    names = [*changed, *(f"result{i}" for i in range(len(changed), len(texts)))]
    pairs = [_named(text) if ": " in text else (name, text) for name, text in zip(names, texts, strict=True)]
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"results must have different names, got {given!r}")
    if changed != [name for name, _ in pairs[: len(changed)]]:
        raise ValueError(
            f"{', '.join(changed)} are changed, so the first results must be these, got {given!r}"
        )
    return [(name, _form(text)) for name, text in pairs]


def _named(text: str) -> tuple[str, str]:
    name, colon, form = text.partition(": ")
    if not colon or not name.removesuffix("!").isidentifier():
        raise ValueError(f"an argument is declared as 'name: form', got {text!r}")
    return name, form


def _form(text: str, *, changed: bool = False) -> Form:
    found = _FORM.fullmatch(text.removeprefix("? "))
    kind, inside, axes = found.groups("") if found else ("", "", "")
    kind = kind or "float"
    if found is None or (not axes) != (kind in NO_ARRAYS):
        raise ValueError(f"the form of an array is '[kind] axes', '[kind] *' or '[kind] ()', got {text!r}")
    names = None if axes == "*" else () if axes == "()" else tuple(axes.split())
    if names and names.count(FURTHER) > 1:
        raise ValueError(f"an array has '...' only once, got {text!r}")
    form = Form(kind, names, changed=changed, optional=text.startswith("? "))
    if kind == "float" and inside:
        return dataclasses.replace(form, interval=_interval(inside))
    if kind != "int" and inside:
        raise ValueError(f"only 'int' and 'float' have limits, got {text!r}")
    return dataclasses.replace(form, below=tuple(inside.split()))


def _interval(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split())
    except ValueError:
        low = high = math.nan
    if not low < high:
        raise ValueError(f"limits of floats are 'float[low high]', got 'float[{text}]'")
    return low, high
