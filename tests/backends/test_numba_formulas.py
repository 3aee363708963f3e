"""A function of `nn` that has a formula has a kernel, an operation and a rule; wrong names are refused."""

import types

import numpy
import pytest

from xpnet import nn

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet.replay.trace import Value  # noqa: E402
from xpnet.replay.tracing import trace  # noqa: E402
from xpnet_numba import images, kept, lazy, lowering, machine_code, operations, program, xp  # noqa: E402
from xpnet_numba.kernels import compiled  # noqa: E402
from xpnet_numba.kernels.entries import operation  # noqa: E402
from xpnet_numba.kernels.formulas import by_place, each_row, elementwise  # noqa: E402
from xpnet_numba.kernels.losses import mean_of  # noqa: E402

FLOAT = numpy.dtype("float32")


@pytest.fixture
def declared(monkeypatch):
    """Return a function that declares one of `nn`, which is gone after the test with all made of it."""
    lazy.load("objects")  # All others are defined then.
    before = dict(compiled.ENTRIES), list(compiled.KERNELS)
    functions = types.SimpleNamespace(**vars(xp.nn))
    has_operation = lazy.has_operation
    monkeypatch.setattr(machine_code, "_addresses", {})
    monkeypatch.setattr(kept, "readable", list)
    monkeypatch.setattr(kept, "folder", lambda: None)

    def declare(declaration, twin, factory, formula, **options):
        function = nn.declared(twin, declaration, **options)
        monkeypatch.setitem(nn.FUNCTIONS, function.name, function)
        monkeypatch.setattr(nn, function.name, twin, raising=False)
        formula.__name__ = function.name
        kernel = factory(formula)
        setattr(functions, function.name, kernel)
        monkeypatch.setattr(lazy, "has_operation", lambda f: f is function or has_operation(f))
        return kernel, xp.with_functions(functions)

    yield declare
    compiled.ENTRIES.clear()
    compiled.ENTRIES.update(before[0])
    compiled.KERNELS[:] = before[1]


def replayed(xp, step, *args):
    """Return what the program of a step makes of arguments, and what it lets the host call."""
    _, traced = trace(xp, step, tuple(numpy.array(x) for x in args))
    made = program.NumbaProgram(traced, images.CompressedImages())
    leaves = [*traced.leaves]
    for leaf, x in zip(traced.given, args, strict=True):
        leaves[leaf] = numpy.array(x)
    made.run(leaves, [*traced.given])
    results = traced.result if isinstance(traced.result, tuple) else (traced.result,)
    return [made.getter(value)() for value in results], [host for _, host, _ in made._segments if host]


def array(*shape, seed=0):
    return numpy.random.default_rng(seed).normal(size=shape).astype(FLOAT)


def cube(xp, z):
    return z * z * z


def leap(xp, param, grad, mean, length, scale):
    mean *= scale
    mean += grad
    param -= length * mean
    return param, mean


def test_elementwise_function_needs_nothing_but_its_formula(declared):
    kernel, xp = declared("z: * -> y: *", cube, elementwise, lambda z: z * z * z)
    z = array(5, 7)
    numpy.testing.assert_allclose(kernel(z), z**3, rtol=1e-6)
    numpy.testing.assert_allclose(kernel(z=z), z**3, rtol=1e-6)
    for x in (z, z[0]):
        (y,), by_host = replayed(xp, lambda xp, x: xp.nn.cube(x), x)
        numpy.testing.assert_array_equal(y, kernel(x))
        assert by_host == []


def test_step_of_an_optimizer_needs_nothing_but_its_formula(declared):
    def formula(param, grad, mean, length, scale):
        new = scale * mean + grad
        return param - length * new, new

    kernel, xp = declared("param!: *, grad: *, mean!: * -> *, *", leap, elementwise, formula)
    arrays = [array(5, 7, seed=seed) for seed in range(3)]
    expected = leap(None, *map(numpy.array, arrays), 0.5, 0.25)
    for x, y in zip(kernel(*map(numpy.array, arrays), 0.5, scale=0.25), expected, strict=True):
        numpy.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    found, by_host = replayed(xp, lambda xp, *arrays: xp.nn.leap(*arrays, 0.5, 0.25), *arrays)
    for x, y in zip(found, expected, strict=True):
        numpy.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    assert by_host == []


def test_function_along_rows_needs_nothing_but_its_formula(declared):
    def cumulated(xp, z):
        return xp.cumulative_sum(z, axis=1)

    def formula(z, y, i):
        total = z.dtype.type(0)
        for j in range(z.shape[1]):
            total += z[i, j]
            y[i, j] = total

    kernel, xp = declared("z: batch classes -> y: batch classes", cumulated, each_row, formula)
    z = array(5, 7)
    numpy.testing.assert_allclose(kernel(z), numpy.cumsum(z, axis=1), rtol=1e-4, atol=1e-5)
    (y,), by_host = replayed(xp, lambda xp, z: xp.nn.cumulated(z), z)
    numpy.testing.assert_array_equal(y, kernel(z))
    assert by_host == []


def test_mean_over_elements_needs_nothing_but_its_formula(declared):
    def quartic(xp, outputs, targets):
        difference = outputs - targets
        return xp.mean(difference**4), 4 * difference**3 / difference.size

    def formula(output, target, scale):
        difference = output - target
        square = difference * difference
        return square * square, (scale + scale + scale + scale) * square * difference

    declaration = "outputs: *, targets: * -> loss: (), d_outputs: *"
    kernel, xp = declared(declaration, quartic, mean_of, formula)
    outputs, targets = array(5, 7), array(5, 7, seed=1)
    expected = quartic(numpy, outputs, targets)
    found, by_host = replayed(xp, lambda xp, *arrays: xp.nn.quartic(*arrays), outputs, targets)
    for x, y, z in zip(kernel(outputs, targets), found, expected, strict=True):
        numpy.testing.assert_array_equal(x, y)
        numpy.testing.assert_allclose(x, z, rtol=1e-4, atol=1e-6)
    assert by_host == []


@pytest.mark.parametrize(
    ("factory", "formula", "names"),
    [
        (elementwise, lambda x: x, "x, y"),
        (elementwise, lambda z, lr: z, "z, lr, y"),
        (each_row, lambda z, i: None, "z"),
        (by_place, lambda z, place: None, "z"),
    ],
)
def test_formula_with_other_names_than_its_declaration_is_refused(declared, factory, formula, names):
    message = f"the operation 'cube' takes z, y, but its formula takes {names}"
    with pytest.raises(TypeError, match=f"^{message}$"):
        declared("z: * -> y: *", cube, factory, formula)


def test_kernel_with_other_names_than_its_operation_is_refused():
    def transpose(y, out, first, end):
        pass

    with pytest.raises(TypeError, match="'transpose' takes x, out, but its kernel takes y, out"):
        operation(transpose)


def test_operation_that_is_given_other_names_is_refused():
    added = []
    fake = types.SimpleNamespace(add=lambda operation, at: added.append(operation))
    rules = lowering.Rules(types.SimpleNamespace(values=[Value((3, 4), FLOAT)]))
    x, y = Value((3, 4), FLOAT), Value((4, 3), FLOAT)
    with pytest.raises(TypeError, match="'transpose' takes x, out, but it is given x, y"):
        rules._add(fake, None, "transpose", {}, x=x, y=y)
    with pytest.raises(TypeError, match="'transpose' takes x, out, but it is given x, out, lr"):
        rules._add(fake, None, "transpose", {"lr": 1.0}, x=x, out=y)
    with pytest.raises(TypeError, match="`out` of the operation 'transpose' is float32 with axes"):
        rules._add(fake, None, "transpose", {}, x=x, out=x)
    assert added == []
    rules._add(fake, None, "transpose", {}, x=x, out=y)
    assert [(o.access, o.length) for o in added] == [("Rw", 4)]


@pytest.mark.parametrize(
    ("name", "access", "rows"),
    [
        ("sigmoid", "rw", "*"),
        ("momentum_step", "uru", "*"),
        ("softmax_backward", "rrw", "batch"),
        ("gather_labels", "Rrw", "batch"),
        ("accumulate", "RRW", None),
        ("squared_error", "RRWW", None),
        ("multiply", "rRRw", "rows"),
        ("multiply_transposed", "RRRw", "rows"),
        ("differentiate_sparse", "RrRw", "pixels"),
    ],
)
def test_access_follows_from_the_axes(name, access, rows):
    found = operations.signature(name)
    assert (found.access, found.rows) == (access, rows)


def test_function_with_an_operation_has_its_kernel_or_a_rule():
    names = {name for name, function in nn.FUNCTIONS.items() if lazy.has_operation(function)}
    lazy.load("objects")
    without = {name for name in names - compiled.ENTRIES.keys() if not hasattr(lowering.Rules, f"_{name}")}
    assert without == set(), "make them operations, or give them rules"


def test_functions_with_kernels_are_those_that_modules_define():
    found = {name for name, function in nn.FUNCTIONS.items() if lazy.module_of(function)}
    assert found == set(xp.fused)
    for name in found:
        assert hasattr(lazy.load(lazy.module_of(nn.FUNCTIONS[name])), name)
