"""Every function in a compiled step beside its twin, on arguments drawn from its declaration."""

import numpy as np
import pytest
from checking import assert_compiled_returns_what_its_twin_does

from xpnet import nn
from xpnet.drawing import drawn

functions = pytest.mark.parametrize("function", nn.FUNCTIONS.values(), ids=lambda f: f.name)


@functions
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_function_returns_what_its_twin_does(backend, function, dtype):
    for seed in range(4 if function.options else 1):
        arguments = drawn(function, seed=seed, dtype=dtype)
        assert_compiled_returns_what_its_twin_does(backend, function, arguments)


CONVOLUTIONS = [
    # image, channels, kernel, n_out, options
    ((28, 28), 1, (5, 5), 6, {}),
    ((14, 14), 6, (5, 5), 16, {"padding": "valid"}),
    ((9, 13), 17, (3, 3), 33, {}),
    ((7, 5), 3, (1, 1), 1, {}),
    ((8, 29), 4, (3, 5), 8, {"stride": (1, 2)}),
    ((11, 12), 5, (2, 3), 20, {"stride": (3, 2), "padding": ((2, 0), (1, 3))}),
    ((12, 9), 6, (3, 3), 6, {"groups": 6}),
    ((12, 9), 20, (3, 2), 20, {"groups": 20, "stride": 2, "dilation": (1, 2)}),
    ((9, 10), 6, (3, 3), 12, {"groups": 3, "dilation": 2}),
    ((10, 9), 2, (3, 2), 4, {"dilation": (2, 1), "stride": 2}),
    ((10, 9), 5, (2, 3), 20, {"dilation": 2, "stride": 2}),
    ((4, 4), 2, (2, 2), 3, {"padding": 3}),
    ((6, 6), 1, (1, 1), 2, {"padding": 2, "stride": 3}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 19])
@pytest.mark.parametrize(("image", "channels", "kernel", "n_out", "options"), CONVOLUTIONS)
def test_compiled_convolution_of_any_shape_returns_what_its_twin_does(
    backend, image, channels, kernel, n_out, options, batch, dtype
):
    options = {"stride": 1, "padding": "same", "dilation": 1, "groups": 1} | options
    random = np.random.Generator(np.random.Philox(3))
    shapes = {
        "x": (batch, *image, channels),
        "weight": (*kernel, channels // options["groups"], n_out),
        "bias": (n_out,),
    }
    arrays = {name: random.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    assert_compiled_returns_what_its_twin_does(backend, nn.FUNCTIONS["conv2d"], arrays | options)
    arrays["dy"] = random.standard_normal(nn.conv2d(np, **arrays, **options).shape).astype(dtype)
    del arrays["bias"]
    for wanted in (True, False):
        given = arrays | options | {"input_gradient": wanted}
        assert_compiled_returns_what_its_twin_does(backend, nn.FUNCTIONS["conv2d_backward"], given)


@pytest.mark.parametrize("options", [{"size": 2, "stride": 2}, {"size": (3, 2), "stride": (1, 2)}], ids=str)
def test_compiled_gradient_of_a_maximum_goes_to_the_first_of_several(backend, options):
    random = np.random.Generator(np.random.Philox(4))
    x, options = random.integers(0, 2, (3, 6, 8, 5)).astype("float32"), options | {"padding": "valid"}
    y = nn.max_pool2d(np, x, **options)
    arrays = {"x": x, "y": y, "dy": random.standard_normal(y.shape).astype("float32")}
    assert_compiled_returns_what_its_twin_does(backend, nn.FUNCTIONS["max_pool2d_backward"], arrays | options)
