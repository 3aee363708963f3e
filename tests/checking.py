"""How values and gradients are compared, on any namespace, and the optimizers to try."""

import dataclasses
import itertools

import numpy as np
import pytest

from xpnet.checked import checked
from xpnet.drawing import passed, placed
from xpnet.optim import OPTIMIZERS

# Relative to the largest value compared.
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


def optimizers(lr, *, times, **options):
    """Return each optimizer with this learning rate, or so many times its default, and with `options`."""
    found = []
    for kind in OPTIMIZERS.values():
        fields = {field.name for field in dataclasses.fields(kind)}
        rate = times * kind.lr if hasattr(kind, "lr") else lr
        found.append(kind(rate, **{name: x for name, x in options.items() if name in fields}))
    return found


def put(xp, x):
    """Return `x` as an array of `xp`, read-only if the library supports that."""
    x = np.array(x)
    x.flags.writeable = False
    return xp.asarray(x)


def assert_close(xp, actual, expected, *, dtype="float64", factor=1.0):
    """Compare an array of `xp` with NumPy values, relative to their largest."""
    actual, expected = np.asarray(xp.to_host(actual)), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = max(1e-30, float(np.max(np.abs(expected), initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=factor * TOLERANCE[dtype] * max(scale, 1e-3))


def assert_gradient(xp, function, x, dx, *, seed=0, step=1e-6, tolerance=1e-7):
    """Compare `dx`, the gradient of the scalar `function` at `x`, with central differences in float64.

    `x` and `dx` are NumPy arrays; the derivative is taken along three random directions.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    for _ in range(3):
        direction = rng.standard_normal(x.shape)
        up = function(xp.asarray(x + step * direction))
        down = function(xp.asarray(x - step * direction))
        slope = (float(xp.to_host(up)) - float(xp.to_host(down))) / (2 * step)
        assert slope == pytest.approx(float(np.sum(dx * direction)), rel=tolerance, abs=tolerance)


def has(xp, dtype):
    """Return whether the device has this dtype and arithmetic with it, as some checkers have not."""
    return dtype in xp.__array_namespace_info__().dtypes(device=xp.device)


def results_of(made):
    """Return what a function of `nn` returned as a tuple."""
    return made if isinstance(made, tuple) else (made,)


def assert_returns_what_its_twin_does(xp, function, arguments):
    """Call a function with each value of its flags, and compare what comes back and what it changed."""
    flags = [name for name, kind in function.numbers.items() if kind is bool]
    for values in itertools.product([True, False], repeat=len(flags)):
        given = arguments | dict(zip(flags, values, strict=True))
        on_device = placed(xp, function, given)
        args, kwargs = passed(function, on_device)
        with np.errstate(invalid="ignore", over="ignore"):
            results = results_of(getattr(checked(xp).nn, function.name)(*args, **kwargs))
        _assert_close_to_twin(xp, function, given, results)
        after = dict(zip(function.changed, results, strict=False)) if _can_change(xp) else {}
        for name in function.arrays.keys() - set(function.changed) | after.keys():
            expected = xp.to_host(after[name]) if name in after else given[name]
            np.testing.assert_array_equal(xp.to_host(on_device[name]), expected, err_msg=name)


def assert_compiled_returns_what_its_twin_does(xp, function, arguments):
    """Call a function in a compiled step three times, and compare what its program returned."""

    # What the step reaches must be small enough to be watched.
    name, names = function.name, (*function.arrays,)
    others = {key: value for key, value in arguments.items() if key not in names}
    positional, _ = passed(function, {key: key for key in arguments})
    expected = _results_of_twin(function, arguments, np.dtype("float64"))
    is_doubled = [
        x is not None and x.dtype.kind == "f" and i >= len(function.changed) for i, x in enumerate(expected)
    ]

    def step(xp, *arrays):
        given = others | dict(zip(names, arrays, strict=True))
        args = [given.pop(key) for key in positional]
        made = getattr(xp.nn, name)(*args, **given)
        made = made if isinstance(made, tuple) else (made,)
        # What a step returns is made anew; a program writes into its own arrays what is used further.
        doubled = [xp.nn.add(x, x) if twice else x for x, twice in zip(made, is_doubled, strict=True)]
        return tuple(x for x in doubled if x is not None)

    compiled = xp.compile(step)
    for _ in range(3):
        on_device = placed(xp, function, arguments)
        results = iter(compiled(xp, *(on_device[name] for name in function.arrays)))
    assert getattr(compiled, "report", "") == "", compiled.report
    found = [None if x is None else xp.to_host(next(results)) for x in expected]
    halved = [x / 2 if twice else x for x, twice in zip(found, is_doubled, strict=True)]
    _assert_close_to_twin(xp, function, arguments, halved)


def _can_change(xp):
    x = y = xp.zeros((1,), dtype=xp.float32)
    y += 1
    return float(x[0]) == 1


def _assert_close_to_twin(xp, function, arguments, actual):
    """Compare results with those of the twin in float64, element by element.

    Allowed are 16 times the errors of the twin itself in the dtype of the results, when each number that
    it is given is rounded the other way; and where elements meet, a few roundings of the largest.
    """
    actual = [None if x is None else np.asarray(xp.to_host(x)) for x in actual]
    dtype = next((x.dtype for x in actual if x is not None and x.dtype.kind == "f"), np.dtype("float64"))
    expected = _results_of_twin(function, arguments, np.dtype("float64"))
    rounded = [_results_of_twin(function, _rounded(arguments, dtype, seed), dtype) for seed in range(6)]
    for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
        if other is None:
            assert one is None
            continue
        assert one.shape == other.shape
        with np.errstate(all="ignore"):
            errors = np.nan_to_num(np.max([abs(results[i] - other) for results in rounded], axis=0))
            size = np.where(np.isfinite(other), abs(other), 0)
            limit = 16 * errors + TOLERANCE[dtype.name] * size + np.finfo(dtype).tiny
            if not function.is_elementwise:
                limit += 4 * np.finfo(dtype).eps * np.max(size, initial=0)
            right = (abs(one - other) <= limit) | (one == other) | (np.isnan(one) & np.isnan(other))
        found = [values[~right][:3].tolist() for values in (one, other, limit)]
        assert right.all(), f"result {i} has {found[0]}, but its twin {found[1]}, give or take {found[2]}"


def _results_of_twin(function, arguments, dtype):
    with np.errstate(all="ignore"):
        given = {name: _as_dtype(value, dtype) for name, value in arguments.items()}
        return results_of(function.twin(np, **given))


def _as_dtype(value, dtype):
    if isinstance(value, np.dtype):
        return dtype
    if isinstance(value, np.ndarray):
        return value.astype(dtype if value.dtype.kind == "f" else value.dtype)  # a copy
    return value


def _rounded(arguments, dtype, seed):
    """Return arguments with each floating-point number of arrays moved by one rounding, up or down."""
    random = np.random.Generator(np.random.Philox(seed))
    return {
        name: value * (1 + np.finfo(dtype).eps * random.choice([-1.0, 1.0], value.shape))
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        else value
        for name, value in arguments.items()
    }
