"""Checked namespaces: a line for each function of `nn` says what it takes, and no more gets through."""

import copy
import inspect
import pickle

import array_api_strict
import numpy as np
import pytest

import xpnet
from xpnet import nn
from xpnet.checked import checked
from xpnet.drawing import drawn, placed

SIZES = {"*": (4, 3), "batch": 4, "n_in": 3, "n_out": 2}

NO_COUNTS = [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError), (None, TypeError)]

NO_KEYS = [(-1, ValueError), (2**64, ValueError), *NO_COUNTS[2:]]


def arguments_of(xp, name):
    """Return drawn arguments of a function by name; what changes can be written to."""
    function = nn.FUNCTIONS[name]
    return placed(xp, function, drawn(function, seed=0, sizes=SIZES))


def misuses(xp, function, good):
    """Yield a parameter, a value that it must not have beside good arguments, and the error."""
    lengths = {key: good[key] for key in function.arguments.keys() - function.arrays.keys()}
    known = set()  # axes that an argument before had
    for key, form in function.arguments.items():
        if form.kind == "count":
            yield from ((key, value, error) for value, error in NO_COUNTS)
            known.add(key)
            continue
        if form.kind == "key":
            yield from ((key, value, error) for value, error in NO_KEYS)
            continue
        yield from ((key, value, TypeError) for value in of_other_kinds(xp, good[key], form))
        if form.axes is not None or [f.axes for f in function.arrays.values()].count(None) > 1:
            yield from ((key, value, ValueError) for value in of_other_shapes(xp, good[key], form, known))
        if form.axes:
            lengths.update(form.lengths(good[key].shape))
            known.update(form.axes)
        if form.below:
            limit = max(int(axis) if axis.isdecimal() else lengths[axis] for axis in form.below)
            for value in (-1, limit, 2**31 - 1):
                yield key, xp.concat([good[key][1:], xp.asarray(np.array([value], "int32"))]), ValueError
    for key, kind in function.numbers.items():
        for value in ("fast", None, [1.0], 1j if kind is float else 0.5):
            yield key, value, TypeError


def of_other_kinds(xp, x, form):
    """Return what is no array, and arrays of other libraries and dtypes."""
    host = np.asarray(xp.to_host(x))
    other = array_api_strict if isinstance(x, np.ndarray) else np
    dtype = xp.float32 if form.kind == "int" else xp.int32
    return [None, 1.5, host.tolist(), other.asarray(host), xp.astype(x, dtype), xp.astype(x, xp.bool)]


def of_other_shapes(xp, x, form, known):
    """Return arrays that have more or fewer axes, or other lengths than those that are known."""
    if form.axes is None:
        return [x[:1, ...], x[..., 0]]
    if "..." in form.axes and "..." not in known:
        fewest = len(form.axes) - 1
        return [x[(*[0] * (x.ndim - fewest + 1), ...)]]
    places = [i for axis, i in form.lengths(tuple(range(x.ndim))) if axis in known and axis != "..."]
    longer = [xp.concat([x, x], axis=i) for i in places]
    return [xp.expand_dims(x, axis=0), *([x[0, ...]] if form.axes else []), *longer]


@pytest.mark.parametrize("name", nn.__all__)
def test_misuse_is_refused_by_the_names_of_function_and_argument(xp, name):
    function, good = nn.FUNCTIONS[name], arguments_of(xp, name)
    for key, value, error in misuses(xp, function, good):
        # Of arrays that must have one shape, the first that is not like the others may be named.
        may_be_another = error is ValueError and key in function.arrays and function.arrays[key].axes is None
        blamed = "|".join(function.arrays) if may_be_another else key
        with pytest.raises(error, match=rf"^nn\.{name}: `({blamed})` ") as caught:
            getattr(checked(xp).nn, name)(**good | {key: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", nn.__all__)
def test_floats_of_two_dtypes_are_refused(xp64, name):
    forms = nn.FUNCTIONS[name].arguments
    floats = [key for key, form in forms.items() if form.kind == "float"]
    for key in floats if len(floats) > 1 else ():
        arguments = arguments_of(xp64, name)
        arguments[key] = xp64.astype(arguments[key], xp64.float64)
        with pytest.raises(TypeError, match=rf"^nn\.{name}: .* as the others do"):
            getattr(checked(xp64).nn, name)(**arguments)


@pytest.mark.parametrize("name", [name for name, f in nn.FUNCTIONS.items() if f.changed])
def test_read_only_array_is_refused_where_it_would_change(name):
    xp = xpnet.backend("numpy", checked=True)
    for key in nn.FUNCTIONS[name].changed:
        arguments = arguments_of(xp, name)
        arguments[key].flags.writeable = False
        with pytest.raises(ValueError, match=rf"^nn\.{name}: `{key}` is read-only"):
            getattr(xp.nn, name)(**arguments)


def test_missing_and_unknown_arguments_are_refused(xp):
    with pytest.raises(TypeError, match=r"^nn\.relu_backward: missing a required argument: 'dy'"):
        checked(xp).nn.relu_backward(xp.ones((2,)))
    with pytest.raises(TypeError, match=r"^nn\.relu: got an unexpected keyword argument 'slope'"):
        checked(xp).nn.relu(xp.ones((2,)), slope=1)


@pytest.mark.parametrize(
    ("name", "kernel", "error", "message"),
    [
        ("relu", lambda z: z[:1], ValueError, r"the result has shape \(1, 3\), but must have \(4, 3\)"),
        (
            "relu",
            lambda z: z.astype("float64"),
            TypeError,
            "the result has dtype float64, but must have float32",
        ),
        ("relu", lambda z: None, TypeError, "`the result` is a builtins.NoneType"),
        ("relu", lambda z: (z, z), ValueError, "returned 2 results, but must return 1"),
        ("linear", lambda x, weight, bias: x, ValueError, r"with batch = 4, n_out = 2"),
        ("gather_labels", lambda labels, indices: indices.astype("int64"), TypeError, "has dtype int64"),
        (
            "linear_backward",
            lambda x, weight, dy, *, input_gradient=True: (None, weight, dy[0]),
            TypeError,
            "result 0",
        ),
        (
            "squared_error",
            lambda outputs, targets: (outputs, outputs),
            ValueError,
            r"result 0 has shape \(4, 3\)",
        ),
    ],
)
def test_kernel_of_a_backend_that_returns_something_else_is_named(name, kernel, error, message):
    xp = checked(xpnet.Namespace("mine", np, fused={name: kernel}))
    with pytest.raises(error, match=rf"^nn\.{name}: .*{message}"):
        getattr(xp.nn, name)(**arguments_of(xp, name))


def test_checked_namespace_is_one_and_can_be_copied_and_pickled(backend):
    xp = xpnet.backend(backend.name, checked=True)
    assert xp.checked
    assert not backend.checked
    assert xp is xpnet.backend(backend.name, checked=True) is checked(xp) is not backend
    assert pickle.loads(pickle.dumps(xp)) is copy.deepcopy(xp) is xp
    assert "checked" in repr(xp)
    assert xpnet.backend(backend.name) is backend


def test_variable_asks_for_checks(monkeypatch):
    for value, wanted in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("XPNET_CHECKED", value)
        assert xpnet.backend("numpy").checked is wanted
    monkeypatch.setenv("XPNET_CHECKED", "1")
    assert not xpnet.backend("numpy", checked=False).checked
    monkeypatch.setenv("XPNET_CHECKED", "yes")
    with pytest.raises(ValueError, match="XPNET_CHECKED must be 0 or 1, got 'yes'"):
        xpnet.backend("numpy")
    with pytest.raises(TypeError, match="`checked` must be True or False, got 1"):
        xpnet.backend("numpy", checked=1)


def test_signatures_are_those_of_the_functions(xp):
    for name in nn.__all__:
        function = getattr(checked(xp).nn, name)
        # Kernels of a backend may annotate their arguments otherwise.
        names, expected = (inspect.signature(f).parameters.keys() for f in (function, getattr(xp.nn, name)))
        assert list(names) == list(expected)
        assert function.__doc__ == getattr(nn, name).__doc__


def test_compiled_step_of_a_checked_namespace_is_checked_at_each_call(backend):
    xp = checked(backend)
    step = xp.compile(lambda xp, labels, indices: xp.nn.gather_labels(labels, indices))
    labels = xp.asarray(np.arange(3, dtype="int32"))
    for _ in range(5):
        step(xp, labels, labels)
    with pytest.raises(ValueError, match=r"`indices` holds 3, but must be in \[0, 3\)"):
        step(xp, labels, labels + 1)
    assert step.report == "every call of `xp.nn` is checked, so the step runs as it is"
