"""Every function of the backend `cupy` beside its twin, its kernels compiled by g++ for this processor."""

import cuda_on_host
import numpy
import pytest
from checking import assert_returns_what_its_twin_does

from xpnet import nn
from xpnet.drawing import drawn

functions = pytest.mark.parametrize("function", nn.FUNCTIONS.values(), ids=lambda f: f.name)


@pytest.fixture
def xp(package, kernels_on_host):
    return cuda_on_host.namespace(package)


# A last axis of one element, and of one more than the threads of a warp or of a block.
@functions
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [1, 33, 257])
def test_functions_match_their_twins(function, length, dtype, xp):
    sizes = {**dict.fromkeys(function.axes, 5), **dict.fromkeys(function.axes[-1:], length), "*": (3, length)}
    for integer, stored in (("int32", "uint8"), ("int64", "float32"), ("uint8", "float64")):
        options = {"dtype": dtype, "integer": integer, "stored": stored, "sizes": sizes}
        assert_returns_what_its_twin_does(xp, function, drawn(function, seed=0, **options))


@functions
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_match_their_twins_at_the_edges(function, dtype, xp):
    sizes = dict.fromkeys(function.axes, 9) | {"*": (2, 9)}
    for seed in range(3):
        arguments = drawn(function, seed=seed, dtype=dtype, sizes=sizes, extreme=True)
        assert_returns_what_its_twin_does(xp, function, arguments)
    for name in [name for name, form in function.arrays.items() if form.kind == "float"]:
        for value in (numpy.nan, numpy.inf, -numpy.inf):
            arguments = drawn(function, seed=0, dtype=dtype, sizes=sizes)
            arguments[name] = arguments[name].copy()
            arguments[name][(0,) * arguments[name].ndim] = value
            assert_returns_what_its_twin_does(xp, function, arguments)
