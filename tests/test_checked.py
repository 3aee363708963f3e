"""Checked namespaces: a line for each function of `nn` says what it takes, and no more gets through."""

import copy
import inspect
import pickle

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet
from xpnet import nn
from xpnet.checked import checked

LENGTHS = {"batch": 4, "n": 6, "features": 5, "n_in": 3, "n_out": 2, "classes": 3}


def drawn(xp, name, *, lengths=LENGTHS, seed=0):
    """Return arguments of a function by name, made from its line; what changes can be written to."""
    rng = np.random.default_rng(seed)
    arguments = {}
    for key, form in nn.FUNCTIONS[name].arguments.items():
        shape = (4, 3) if form.axes is None else tuple(lengths[axis] for axis in form.axes)
        if form.kind == "count":
            arguments[key] = lengths.get(key, 7)
            continue
        if form.kind == "int":
            limit = max(lengths.get(axis, 0) for axis in form.below) if form.below else 9
            values = rng.integers(0, limit, shape).astype("int32")
        else:
            values = rng.random(shape).astype("float32")
        arguments[key] = xp.asarray(values)
    for key, parameter in inspect.signature(getattr(nn, name)).parameters.items():
        if key == "dtype":
            arguments[key] = xp.float32
        elif key not in ("xp", *arguments):
            arguments[key] = True if parameter.annotation is bool else 0.5
    return arguments


@pytest.mark.parametrize("name", nn.__all__)
@settings(max_examples=5, deadline=None)
@given(st.fixed_dictionaries({axis: st.integers(1, 5) for axis in LENGTHS}), st.integers(0, 99))
def test_declarations_agree_with_the_twins(name, lengths, seed):
    xp = checked(xpnet.Namespace("strict", array_api_strict))
    getattr(xp.nn, name)(**drawn(xp, name, lengths=lengths, seed=seed))


@pytest.mark.parametrize("name", nn.__all__)
def test_checked_function_returns_what_the_function_returns(xp, name):
    expected = getattr(xp.nn, name)(**drawn(xp, name))
    found = getattr(checked(xp).nn, name)(**drawn(xp, name))
    assert type(found) is type(expected)
    for f, e in zip(*(x if isinstance(x, tuple) else (x,) for x in (found, expected)), strict=True):
        np.testing.assert_array_equal(xp.to_host(f), xp.to_host(e))


def misuses(xp, name):
    """Yield what is wrong, the parameter, the arguments and the error."""
    other = array_api_strict if isinstance(xp.zeros((1,)), np.ndarray) else np
    good = drawn(xp, name)
    forms = nn.FUNCTIONS[name].arguments
    seen = set()  # axes whose lengths are known
    for key, form in forms.items():
        if form.kind == "count":
            for value, error in (
                (0, ValueError),
                (-1, ValueError),
                (2.0, TypeError),
                (True, TypeError),
                (None, TypeError),
            ):
                yield key, good | {key: value}, error
            seen.add(key)
            continue
        x = good[key]
        dtypes = {"float": ["int32", "bool"], "stored": ["int32", "bool"], "int": ["float32", "bool"]}[
            form.kind
        ]
        for dtype in dtypes:
            yield key, good | {key: xp.astype(x, getattr(xp, dtype))}, TypeError
        yield key, good | {key: other.asarray(np.asarray(xp.to_host(x)))}, TypeError
        for value in (None, 1.5, np.asarray(xp.to_host(x)).tolist()):
            yield key, good | {key: value}, TypeError
        if form.axes is not None:
            yield key, good | {key: xp.expand_dims(x, axis=0)}, ValueError
            if form.axes:
                yield key, good | {key: x[0, ...]}, ValueError
        elif len([f for f in forms.values() if f.axes is None]) > 1:
            yield None, good | {key: x[:1, ...]}, ValueError
            yield None, good | {key: x[..., 0]}, ValueError
        for i, axis in enumerate(form.axes or ()):
            if axis in seen:
                longer = xp.concat([x, x], axis=i)
                yield key, good | {key: longer}, ValueError
        seen.update(form.axes or ())
        if form.below:
            for value in (-1, 2**31 - 1, 6 if "n" in form.below else 3):
                values = np.asarray(xp.to_host(x)).copy()
                values[-1] = value
                yield key, good | {key: xp.asarray(values)}, ValueError
    for key, parameter in inspect.signature(getattr(nn, name)).parameters.items():
        if key not in ("xp", *forms):
            for value in ("fast", None, [1.0], 1j if parameter.annotation is float else 0.5):
                yield key, good | {key: value}, TypeError


@pytest.mark.parametrize("name", nn.__all__)
def test_misuse_is_refused_by_the_names_of_function_and_argument(xp, name):
    function = getattr(checked(xp).nn, name)
    for key, arguments, error in misuses(xp, name):
        with pytest.raises(error, match=rf"^nn\.{name}: `{key or '.*'}` ") as caught:
            function(**arguments)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", nn.__all__)
def test_floats_of_two_dtypes_are_refused(xp64, name):
    forms = nn.FUNCTIONS[name].arguments
    floats = [key for key, form in forms.items() if form.kind == "float"]
    for key in floats if len(floats) > 1 else ():
        arguments = drawn(xp64, name)
        arguments[key] = xp64.astype(arguments[key], xp64.float64)
        with pytest.raises(TypeError, match=rf"^nn\.{name}: .* as the others do"):
            getattr(checked(xp64).nn, name)(**arguments)


@pytest.mark.parametrize("name", [name for name, f in nn.FUNCTIONS.items() if f.is_step])
def test_read_only_array_is_no_place_for_a_step(name):
    xp = xpnet.backend("numpy", checked=True)
    for key in nn.FUNCTIONS[name].changed:
        arguments = drawn(xp, name)
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
        getattr(xp.nn, name)(**drawn(xp, name))


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
