"""Functions that have operations but no kernel, called outside a compiled step."""

import numpy
import pytest

from xpnet import nn
from xpnet.drawing import drawn, passed

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba import direct, xp  # noqa: E402

names = pytest.mark.parametrize("name", sorted(direct.functions()))


@names
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_direct_call_returns_the_bits_of_a_compiled_step(name, dtype):
    args, kwargs = passed(nn.FUNCTIONS[name], drawn(nn.FUNCTIONS[name], seed=0, dtype=dtype))
    compiled = xp.compile(lambda xp, *args: getattr(xp.nn, name)(*args, **kwargs))
    expected = [compiled(xp, *args) for _ in range(3)][-1]
    assert compiled.report == ""
    found = getattr(xp.nn, name)(*args, **kwargs)
    for one, other in zip(listed(found), listed(expected), strict=True):
        numpy.testing.assert_array_equal(one, other)


def listed(made):
    return [x for x in (made if isinstance(made, tuple) else (made,)) if x is not None]


@names
def test_direct_call_with_other_dtypes_is_the_twin(name):
    args, kwargs = passed(nn.FUNCTIONS[name], drawn(nn.FUNCTIONS[name], seed=0, dtype="float32"))
    half = [x.astype("float16") if isinstance(x, numpy.ndarray) else x for x in args]
    expected = getattr(nn, name)(numpy, *half, **kwargs)
    for one, other in zip(listed(getattr(xp.nn, name)(*half, **kwargs)), listed(expected), strict=True):
        numpy.testing.assert_array_equal(one, other)


def test_direct_convolution_of_arrays_that_are_not_row_by_row_reads_their_elements():
    x = numpy.arange(2 * 5 * 6 * 3, dtype=numpy.float32).reshape(3, 6, 5, 2).T  # (2, 5, 6, 3)
    weight, bias = numpy.ones((3, 3, 3, 4), numpy.float32)[:, ::-1], numpy.zeros(4, numpy.float32)
    numpy.testing.assert_array_equal(xp.nn.conv2d(x, weight, bias), nn.conv2d(numpy, x, weight, bias))
    assert x.strides == (4, 8, 40, 240)


def test_direct_convolution_of_arrays_that_do_not_fit_raises_the_error_of_the_twin():
    x, weight = numpy.ones((2, 3, 3, 1), numpy.float32), numpy.ones((5, 5, 1, 4), numpy.float32)
    with pytest.raises(ValueError, match="larger than an image"):
        xp.nn.conv2d(x, weight, numpy.ones(4, numpy.float32), padding="valid")
