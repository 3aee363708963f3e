"""Every function of every backend beside its twin, on arguments drawn from its declaration."""

import numpy as np
import pytest
from checking import assert_returns_what_its_twin_does, has, results_of

import xpnet
from xpnet import nn
from xpnet.drawing import drawn

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = ["float32", "float64"]

functions = pytest.mark.parametrize("function", nn.FUNCTIONS.values(), ids=lambda f: f.name)


@pytest.fixture(params=FLOATS)
def dtype(request, xp):
    if not has(xp, request.param):
        pytest.skip(f"{xp.device} has no {request.param}")
    return request.param


@functions
def test_function_returns_what_its_twin_does(xp, function, dtype):
    for seed in range(6):
        assert_returns_what_its_twin_does(xp, function, drawn(function, seed=seed, dtype=dtype))


@functions
def test_function_takes_axes_of_length_one(xp, function, dtype):
    for ones in ({"batch"}, {*function.axes}, {*function.axes} - {"batch"}):
        sizes = dict.fromkeys(ones, 1) | {"*": (1,) * len(ones)}
        assert_returns_what_its_twin_does(xp, function, drawn(function, seed=0, dtype=dtype, sizes=sizes))


@functions
def test_function_takes_long_axes(xp, function, dtype):
    sizes = dict.fromkeys(function.axes, 257) | {"batch": 129, "*": (37, 100)}
    assert_returns_what_its_twin_does(xp, function, drawn(function, seed=0, dtype=dtype, sizes=sizes))


@functions
def test_function_bears_extreme_values(xp, function, dtype):
    for seed in range(6):
        arguments = drawn(function, seed=seed, dtype=dtype, extreme=True)
        assert_returns_what_its_twin_does(xp, function, arguments)


@functions
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_function_propagates_what_is_no_finite_number(xp, function, value, dtype):
    for name in [name for name, form in function.arrays.items() if form.kind == "float"]:
        arguments = drawn(function, seed=1, dtype=dtype)
        arguments[name] = arguments[name].copy()
        arguments[name][(0,) * arguments[name].ndim] = value
        assert_returns_what_its_twin_does(xp, function, arguments)


@functions
def test_function_takes_whole_numbers_of_any_dtype(xp, function):
    for integer in INTEGERS if any(form.kind == "int" for form in function.arrays.values()) else ():
        if has(xp, integer):
            assert_returns_what_its_twin_does(xp, function, drawn(function, seed=2, integer=integer))


@functions
def test_function_takes_stored_numbers_of_any_dtype(xp, function, dtype):
    for stored in FLOATS if any(form.kind == "stored" for form in function.arrays.values()) else ():
        if has(xp, stored):
            arguments = drawn(function, seed=3, dtype=dtype, stored=stored)
            assert_returns_what_its_twin_does(xp, function, arguments)


def off(x):
    """Return a copy whose last element that is not 0 is off by 1 in 5000, or by 1."""
    x = np.array(x)
    last = tuple(places[-1] for places in np.nonzero(x)) if x.any() and x.ndim else (-1,) * x.ndim
    x[last] += 2e-4 * abs(x[last]) + 1e-6 if x.dtype.kind == "f" else 1
    return x


def assert_is_found(function, kernel):
    xp = xpnet.Namespace("wrong", np, fused={function.name: kernel})
    with pytest.raises((AssertionError, TypeError, ValueError)):
        assert_returns_what_its_twin_does(xp, function, drawn(function, seed=0))


@functions
@pytest.mark.parametrize("fault", [off, lambda x: x.astype("float16"), lambda x: x[None]])
def test_kernel_with_a_fault_in_one_result_is_found(function, fault):
    for i in range(len(function.results)):

        def kernel(*args, i=i, **kwargs):
            made = [*results_of(function.twin(np, *args, **kwargs))]
            made[i] = fault(made[i])
            return tuple(made) if len(made) > 1 else made[0]

        assert_is_found(function, kernel)


# The sum over a group of one is what the process has.
CHANGING = [f for f in nn.FUNCTIONS.values() if f.changed and f.name != "all_reduce"]


@pytest.mark.parametrize("function", CHANGING, ids=lambda f: f.name)
def test_kernel_that_does_not_change_its_arguments_is_found(function):
    def kernel(*args, **numbers):
        return function.twin(np, *(x.copy() if isinstance(x, np.ndarray) else x for x in args), **numbers)

    assert_is_found(function, kernel)
