"""Functions of `nn` that are made of a formula: their kernels, and their operations in compiled steps."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy

from xpnet import nn
from xpnet_numba.kernels.accepted import falls_back
from xpnet_numba.kernels.compiled import generated, inlined, kernel
from xpnet_numba.kernels.entries import enter
from xpnet_numba.lazy import named_like_its_twin
from xpnet_numba.operations import signature

Array = Any


def elementwise(formula: Callable[..., Any]) -> Any:
    """Return the kernel of an elementwise function of `nn`, which is an operation of compiled steps too.

    Parameters
    ----------
    formula : function
        Has the function's name. It takes an element of each array, then the numbers of the operation, and
        returns an element of each result. Its constants have the type of the elements, as ``type(z)(1)``
        has: beside an integer literal Numba computes in float64.

    Raises
    ------
    TypeError
        If the formula takes other names than the operation.
    """
    function, operation = nn.FUNCTIONS[formula.__name__], signature(formula.__name__)
    new = [key for key in function.results if key not in function.changed]
    operation.check((*inspect.signature(formula).parameters, *new), "its formula takes")
    elements = ", ".join(
        (*(f"{x}={x}[i]" for x in reversed(function.arrays)), *(f"{n}={n}" for n in operation.numbers))
    )
    results = ", ".join(f"{key}[i]" for key in function.results)
    first = next(iter(function.arrays))
    loop = f"for i in range({first}.size): {results} = formula({elements})"
    return _function(formula, loop, (), lambda x: x.reshape(-1))


def by_place(formula: Callable[..., None]) -> Any:
    """Return the kernel of a function of `nn` whose elements depend on their places; it is an operation too.

    Parameters
    ----------
    formula : function
        Has the function's name. It takes arrays of consecutive elements, those of the results too, then the
        numbers of the operation and `place`, that of the first element, and fills the results.

    Raises
    ------
    TypeError
        If it takes other names than the operation.
    """
    *names, _ = inspect.signature(formula).parameters
    signature(formula.__name__).check(names, "its formula takes")
    # All arrays have one shape; elements of an array without rows are one row.
    loop = f"formula({', '.join(names)}, first * ({names[0]}.size // (end - first)))"
    return _function(formula, loop, ("first", "end"), lambda x: x.reshape(-1), lambda x: (0, 1))


def each_row(formula: Callable[..., None]) -> Any:
    """Return the kernel of a function of `nn` that goes along rows, which is an operation too.

    Parameters
    ----------
    formula : function
        Has the function's name. It takes the arrays, those of the results too, then the numbers of the
        operation and `i`, and fills row `i`, which is all that has this place on the first axis.

    Raises
    ------
    TypeError
        If it takes other names than the operation.
    """
    *names, i = inspect.signature(formula).parameters
    signature(formula.__name__).check(names, "its formula takes")
    loop = f"for {i} in range(first, end): formula({', '.join((*names, i))})"
    return _function(formula, loop, ("first", "end"), numpy.ascontiguousarray, lambda x: (0, x.shape[0]))


def _function(
    formula: Callable[..., Any],
    code: str,
    rows: tuple[str, ...],
    prepare: Callable[[Array], Array],
    all_rows: Callable[[Array], tuple[int, ...]] = lambda x: (),
) -> Any:
    """Return the kernel of a function, given the line that loops over elements or rows."""
    function, operation = nn.FUNCTIONS[formula.__name__], signature(formula.__name__)
    parameters = *operation.operands, *operation.numbers, *rows
    module = formula.__module__
    loop = kernel(
        generated(f"{function.name}_loop", parameters, code, formula=inlined(formula), __name__=module)
    )
    enter(function.name, loop, parameters)
    count = len(function.arrays)
    others = (key for key in function.arguments if key not in function.arrays)
    numbers = *others, *function.numbers, *function.options
    parameters_of_twin = inspect.signature(function.twin).parameters
    defaults = {key: p.default for key, p in parameters_of_twin.items() if p.default is not p.empty}
    new = sum(key not in function.changed for key in function.results)
    places = [[*operation.operands].index(key) for key in function.results]

    @falls_back
    @named_like_its_twin(function.name)
    def call(*args: Any, **named: Any) -> Any:
        # NumPy allocates, because it asks for huge pages and Numba does not: 5x at 4 MB, all page faults.
        first, values = args[0], args[count:]
        if len(values) < len(numbers):
            found = defaults | named
            values = *values, *(found[key] for key in numbers[len(values) :])
        arrays = [*args[:count], *[numpy.empty(first.shape, first.dtype) for _ in range(new)]]
        if operation.convert is not None:
            values = operation.values(**dict(zip(numbers, values, strict=True)))
        # In the dtype of the arrays, because beside a Python float Numba computes in float64.
        loop(*map(prepare, arrays), *map(first.dtype.type, values), *all_rows(first))
        if len(places) == 1:
            return arrays[places[0]]
        return tuple([arrays[place] for place in places])

    call.loop = loop
    return call
