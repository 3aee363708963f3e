"""Arrays that compiled code cannot read directly: functions of `nn` treat them as the twins do."""

import functools

import numpy
import pytest
from checking import results_of

from xpnet import nn
from xpnet.drawing import drawn, passed

pytest.importorskip("numba")
from xpnet_numba import xp

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def misaligned(x):
    raw = numpy.zeros(x.nbytes + 1, numpy.uint8)
    raw[1:] = numpy.frombuffer(numpy.ascontiguousarray(x).tobytes(), numpy.uint8)
    return numpy.frombuffer(raw, x.dtype, offset=1).reshape(x.shape)


def of_a_record(x):
    """Return an array whose strides are not multiples of its item size."""
    records = numpy.zeros(x.shape, [("flag", numpy.uint8), ("value", x.dtype)])
    records["value"] = x
    return records["value"]


def frozen(x):
    x = numpy.array(x)
    x.flags.writeable = False
    return x


def strided(x):
    wide = numpy.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def is_float(x):
    return x.dtype.kind == "f"


FORMS = {
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "float16": lambda x: x.astype("float16") if is_float(x) else x,
    "long double": lambda x: x.astype("longdouble") if is_float(x) else x,
    "fortran": lambda x: numpy.asfortranarray(x),
    "strided": strided,
    "backwards": lambda x: numpy.ascontiguousarray(x[::-1])[::-1],
    "repeated": lambda x: numpy.broadcast_to(x[:1], x.shape),
    "of a record": of_a_record,
    "misaligned": misaligned,
    "read-only": frozen,
    "no rows": lambda x: x[:0],
    "no columns": lambda x: x[..., :0],
}
X, Y = (numpy.linspace(-2, k, 12).astype(numpy.float32).reshape(4, 3) for k in (2, 3))
LABELS, INDICES = numpy.array([0, 2, 1, 1], numpy.int32), numpy.array([3, 0, 0, 1], numpy.int32)
IMAGES = numpy.arange(12, dtype=numpy.uint8).reshape(4, 3)
GATHER = {"scale": 0.5, "offset": 1.0, "dtype": numpy.float32}

# Read-only or overlapping arrays cannot be changed, and NumPy says so in one line.
REFUSED = {"repeated", "read-only"}


def outcome(function, given):
    """Return the results, as one tuple, or the error."""
    args, kwargs = given
    try:
        return results_of(function(*args, **kwargs))
    except Exception as e:
        return type(e), str(e)


def assert_same_outcome(got, want):
    if any(isinstance(x, type | str) for x in want):
        assert got == want
        return
    assert not any(isinstance(x, type) for x in got), got
    for g, w in zip(got, want, strict=True):
        assert numpy.asarray(g).dtype == numpy.asarray(w).dtype
        numpy.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)


def of_form(arguments, form, names):
    """Return copies of arguments, those of these names in another form."""
    copies = {key: numpy.array(x) if isinstance(x, numpy.ndarray) else x for key, x in arguments.items()}
    return copies | {key: FORMS[form](copies[key]) for key in names if copies[key].ndim}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", nn.__all__)
def test_function_takes_arrays_of_any_form_like_its_twin(name, form):
    function = nn.FUNCTIONS[name]
    arguments = drawn(function, seed=0, sizes={"*": (4, 3)})
    for which in (*([key] for key in function.arrays), [*function.arrays]):
        mine, twins = (of_form(arguments, form, which) for _ in range(2))
        got = outcome(getattr(xp.nn, name), passed(function, mine))
        want = outcome(functools.partial(function.twin, numpy), passed(function, twins))
        assert_same_outcome(got, want)
        for key in function.arrays:
            numpy.testing.assert_allclose(mine[key], twins[key], rtol=1e-5, atol=1e-6)


STEPS = [name for name, function in nn.FUNCTIONS.items() if function.is_step]


def changed_in_place(name, form):
    """Return results and arguments of a step that is given arrays of another form."""
    function = nn.FUNCTIONS[name]
    arguments = of_form(drawn(function, seed=0, sizes={"*": (4, 3)}), form, [*function.arrays])
    args, kwargs = passed(function, arguments)
    return results_of(getattr(xp.nn, name)(*args, **kwargs)), [arguments[key] for key in function.changed]


@pytest.mark.parametrize("form", sorted(FORMS.keys() - REFUSED))
@pytest.mark.parametrize("name", STEPS)
def test_steps_change_the_arrays_that_they_are_given(name, form):
    for result, given in zip(*changed_in_place(name, form), strict=True):
        numpy.testing.assert_array_equal(result, given)
        assert numpy.shares_memory(result, given) or not given.size


@pytest.mark.parametrize("form", sorted(REFUSED))
@pytest.mark.parametrize("name", STEPS)
def test_steps_refuse_arrays_that_cannot_change(name, form):
    with pytest.raises(ValueError, match="read-only"):
        changed_in_place(name, form)


@pytest.mark.parametrize("number", [[1.0], numpy.linspace(0, 1, 3, dtype=numpy.float32), numpy.asarray(0.5)])
def test_numbers_of_another_kind_go_to_the_twin(number):
    results = [
        function(numpy.array(X), Y, number)
        for function in (xp.nn.sgd_step, lambda *args: nn.sgd_step(numpy, *args))
    ]
    numpy.testing.assert_allclose(*results, rtol=1e-6)


def test_step_on_views_of_one_memory_goes_to_the_twin():
    mine, twins = numpy.arange(64, dtype=numpy.float32), numpy.arange(64, dtype=numpy.float32)
    xp.nn.sgd_step(mine[1:], mine[:-1], 1.0)
    nn.sgd_step(numpy, twins[1:], twins[:-1], 1.0)
    numpy.testing.assert_array_equal(mine, twins)


@pytest.mark.parametrize("index", [4, -5, 10**9, -(10**9)])
def test_gathering_does_not_read_past_its_arrays(index):
    indices = numpy.array([0, index], numpy.int32)
    images, labels = numpy.full_like(IMAGES, 7), numpy.full_like(LABELS, 7)
    numpy.testing.assert_array_equal(xp.nn.gather_batch(images, indices, **GATHER), 4.5)
    with pytest.raises(IndexError, match="out of bounds"):
        xp.nn.gather_labels(labels, indices)
    with pytest.raises(IndexError, match="from an empty"):
        xp.nn.gather_batch(images[:0], indices, **GATHER)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("index", [37, -38, 10**9, -(10**9)])
def test_program_does_not_read_past_gathered_arrays(sparse, index):
    def step(xp, images, labels, weight, bias, indices):
        x = xp.nn.gather_batch(images, indices, scale=1.0, offset=0.0, dtype=xp.float32)
        return xp.nn.linear(x, weight, bias), xp.nn.gather_labels(labels, indices)

    images = numpy.full((37, 29), 3, numpy.uint8)
    images[:, :20] *= not sparse
    labels, indices = numpy.full(37, 7, numpy.int32), numpy.arange(4, dtype=numpy.int32)
    weight, bias = numpy.ones((29, 2), numpy.float32), numpy.zeros(2, numpy.float32)
    compiled = xp.compile(step)
    for _ in range(4):
        compiled(xp, images, labels, weight, bias, indices)
    assert compiled.report == ""
    outputs, found = compiled(
        xp, images, labels, weight, bias, numpy.array([0, index, index, 1], numpy.int32)
    )
    numpy.testing.assert_array_equal(outputs, 27.0 if sparse else 87.0)
    numpy.testing.assert_array_equal(found, 7)


def test_program_takes_arrays_that_are_not_aligned():
    compiled = xp.compile(lambda xp, x, w, b: xp.nn.sigmoid(xp.nn.linear(x, w, b)))
    w, b = Y[:3], Y[0]
    for _ in range(3):
        compiled(xp, X, w, b)
    found = compiled(xp, misaligned(X), misaligned(w), misaligned(b))
    numpy.testing.assert_allclose(found, nn.sigmoid(numpy, nn.linear(numpy, X, w, b)), rtol=1e-6)
    assert compiled.report == ""
