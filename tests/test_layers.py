import dataclasses

import array_api_strict
import numpy as np
import pytest
from checking import assert_close, assert_gradient, put

import xpnet
from xpnet import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    Standardize,
    Stream,
    Tanh,
    Unflatten,
    layers,
    nn,
)
from xpnet.layer import state_shapes

WITH_OPTIONS = {
    "Linear": Linear(4, 3),
    "Dropout": Dropout(0.4),
    "BatchNorm": BatchNorm(4),
    "LayerNorm": LayerNorm(4),
    "Standardize": Standardize(4),
    "Conv2d": Conv2d(2, 3, 3, stride=(2, 1)),
    "Unflatten": Unflatten(2, 2),
}
LAYERS = [WITH_OPTIONS.get(name) or kind() for name, kind in layers.LAYERS.items()]
ROWS_TO_ROWS = [layer for layer in LAYERS if not hasattr(layer, "output_shape")]
IMAGES = {
    "depthwise": Conv2d(2, 4, (2, 3), padding="valid", groups=2, dilation=(2, 1)),
    "overlapping": MaxPool2d(3, stride=1, padding="same"),
    "means": AvgPool2d((2, 1), padding=((1, 0), (0, 0))),
    "residual": Residual(Conv2d(2, 2, 3), ReLU(), Conv2d(2, 2, 1)),
    "network": Sequential(Conv2d(2, 3, 2), ReLU(), MaxPool2d(), Conv2d(3, 2, 1), GlobalAvgPool2d()),
    "normalised": Residual(BatchNorm(2), LayerNorm(2), Standardize(2)),
    "two ways": Sequential(Flatten(), Residual(Linear(40, 40), Tanh())),
}


def entering(layer, batch=2):
    """Return the shape of a batch that a layer takes."""
    takes_images = getattr(layer, "takes_images", False) or layer in IMAGES.values()
    return (batch, 5, 4, 2) if takes_images else (batch, 4)


def sample(shape, seed=0):
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def check_layer(xp, layer, x, seed=None):
    """Compare every gradient of a layer with finite differences; `seed` fixes the dropout masks."""

    def call(params, x):
        stream = None if seed is None else Stream(seed, "dropout")
        return layer(xp, params, x, stream=stream)

    params = layer.init(xp, 1, dtype="float64")
    y, pullback = call(params, put(xp, x))
    dy = sample(tuple(y.shape), seed=2)
    dx, grads = pullback(xp.asarray(dy))
    assert params.keys() == layer.shapes.keys() | state_shapes(layer).keys()
    assert grads.keys() == layer.shapes.keys()

    def loss(params, x):
        return xp.sum(call(params, x)[0] * xp.asarray(dy))

    assert_gradient(xp, lambda x: loss(params, x), x, xp.to_host(dx))
    for name, shape in layer.shapes.items():
        host = np.array(xp.to_host(params[name]))
        assert host.shape == shape
        assert_gradient(
            xp, lambda p, name=name: loss(params | {name: p}, xp.asarray(x)), host, xp.to_host(grads[name])
        )


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_gradients_agree_with_finite_differences(xp64, layer):
    check_layer(xp64, layer, sample(entering(layer, 6)), seed=3)


@pytest.mark.parametrize("layer", IMAGES.values(), ids=IMAGES)
def test_gradients_of_layers_of_images_agree_with_finite_differences(xp64, layer):
    for batch in (1, 3):
        check_layer(xp64, layer, sample(entering(layer, batch)), seed=3)


def test_every_activation_of_nn_is_a_layer_of_xpnet():
    assert {f.name for f in nn.FUNCTIONS.values() if f.is_activation} == set(layers.ACTIVATIONS)
    assert {name: getattr(xpnet, name) for name in layers.LAYERS} == layers.LAYERS


def test_class_of_ones_own_is_no_layer_of_xpnet():
    class Own(ReLU):
        pass

    assert Own not in layers.LAYERS.values()
    assert layers.ACTIVATIONS["relu"] is ReLU


def test_activation_passes_on_what_its_gradient_reads(monkeypatch):
    def softplus(xp, z):
        return xp.log(1 + xp.exp(z))

    def softplus_backward(xp, z, dy):
        return dy / (1 + xp.exp(-z))

    for twin, forms in ((softplus, "z: * -> y: *"), (softplus_backward, "z: *, dy: * -> dz: *")):
        declared = nn.declared(twin, forms, gradient="softplus_backward" if twin is softplus else None)
        monkeypatch.setitem(nn.FUNCTIONS, twin.__name__, declared)
        monkeypatch.setattr(nn, twin.__name__, twin, raising=False)
    monkeypatch.setattr(nn, "__all__", sorted(nn.FUNCTIONS))

    class Softplus(layers.Activation):
        function = "softplus"

    check_layer(xpnet.Namespace("plain", np), Softplus(), sample((6, 4)))


@pytest.mark.parametrize("batch", [1, 7])
def test_gradients_of_a_deep_model_agree_with_finite_differences(xp64, batch):
    model = Sequential(
        Linear(5, 8, "he_normal"),
        ReLU(),
        Sequential(Linear(8, 6), Tanh(), Dropout(0.3)),
        Linear(6, 4, "glorot_uniform"),
        Sigmoid(),
        Linear(4, 3),
        Softmax(),
    )
    check_layer(xp64, model, sample((batch, 5)), seed=3)


def test_unwanted_input_gradient_is_left_out(xp):
    for layer in [*LAYERS, *IMAGES.values()]:
        x = put(xp, sample(entering(layer)).astype(np.float32))
        y, pullback = layer(xp, layer.init(xp, 0), x)
        dx, _ = pullback(xp.ones_like(y), input_gradient=False)
        assert dx is None, layer


def test_model_skips_only_the_input_gradient(xp):
    model = Sequential(Dropout(0.5), Linear(4, 3), Sigmoid(), Linear(3, 2))
    params = model.init(xp, 0)
    y, pullback = model(xp, params, put(xp, sample((2, 4)).astype(np.float32)))
    dx, expected = pullback(xp.ones_like(y))
    assert tuple(dx.shape) == (2, 4)
    dx, grads = pullback(xp.ones_like(y), input_gradient=False)
    assert dx is None
    assert set(grads) == set(params)
    for name, grad in grads.items():
        assert_close(xp, grad, xp.to_host(expected[name]))


def test_dropout_scales_what_it_keeps(xp):
    x = xp.ones((100, 50), dtype=xp.float32)
    y, _ = Dropout(0.2)(xp, {}, x, stream=Stream(0, "dropout"))
    y = xp.to_host(y)
    assert set(np.unique(y)) == {np.float32(0.0), np.float32(1.25)}
    assert (y != 0).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("step", [None, 5])
def test_dropout_has_the_same_masks_everywhere_and_a_new_one_in_each_layer(xp, step):
    def outputs(xp):
        stream = Stream(0, "dropout")
        stream = stream if step is None else stream.at(step)
        x = xp.ones((7, 5), dtype=xp.float32)
        return [xp.to_host(Dropout(0.5)(xp, {}, x, stream=stream)[0]) for _ in range(2)]

    (one, other), expected = outputs(xp), outputs(xpnet.Namespace("plain", np))
    np.testing.assert_array_equal([one, other], expected)
    assert (one != other).any()


def test_dropout_in_use_passes_its_input_on(xp):
    x = xp.ones((2, 3), dtype=xp.float32)
    y, pullback = Dropout(0.5)(xp, {}, x)
    assert y is x
    assert pullback(x)[0] is x


def test_one_seed_gives_the_same_parameters_everywhere(xp):
    params = xpnet.mlp(784, 64, 10).init(xp, 138)
    digest = xpnet.checkpoint.sha256(xp.to_host(p) for p in params.values())
    assert digest == "5735eb89c79fc954f90fe4ef3e7187e75393483a5fbebf4ad9a3d8a66edc69fb"


def test_bias_starts_at_zero_and_dtype_is_explicit(xp64):
    params = Linear(3, 2).init(xp64, 0, dtype="float64")
    assert params["weight"].dtype == params["bias"].dtype == xp64.float64
    assert_close(xp64, params["bias"], [0.0, 0.0])
    assert Linear(3, 2).init(xp64, 0)["weight"].dtype == xp64.float32


@pytest.mark.parametrize("shape", [(2, 783), (784,), (2, 28, 28)])
def test_wrong_shape_says_what_the_layer_takes(xp, shape):
    layer = Linear(784, 10)
    with pytest.raises(ValueError, match=r"`x` has shape \(.*\), but this layer takes \(batch, 784\)"):
        layer(xp, layer.init(xp, 0), xp.zeros(shape, dtype=xp.float32))


def test_empty_batch_is_refused(xp):
    layer = Linear(4, 2)
    with pytest.raises(ValueError, match=r"`x` has shape \(0, 4\): pass a batch of at least one row"):
        layer(xp, layer.init(xp, 0), xp.zeros((0, 4), dtype=xp.float32))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_array_of_another_library_is_refused(xp, layer):
    shape, other = entering(layer), foreign(xp)
    own = xp.ones(shape, dtype=xp.float32)
    params = layer.init(xp, 0)
    with pytest.raises(TypeError, match=r"`x` is a .*, but the model is on .*; pass `xp.asarray\(x\)`"):
        layer(xp, params, other.ones(shape, dtype=other.float32))
    y, pullback = layer(xp, params, own)
    with pytest.raises(TypeError, match=r"`dy` is a .*, but the model is on .*; pass `xp.asarray\(dy\)`"):
        pullback(other.ones(y.shape, dtype=other.float32))


def test_parameters_of_another_library_are_refused(xp):
    layer, other = Linear(4, 2), foreign(xp)
    params = {name: other.ones(shape, dtype=other.float32) for name, shape in layer.shapes.items()}
    with pytest.raises(TypeError, match=r"`weight` is a .*, but the model is on "):
        layer(xp, params, xp.ones((1, 4), dtype=xp.float32))


@pytest.mark.parametrize("layer", [*LAYERS, Sequential(Linear(4, 3), Sigmoid())], ids=repr)
@pytest.mark.parametrize("stream", [None, Stream(0, "dropout")], ids=["in use", "in training"])
def test_gradient_of_another_shape_than_the_output_is_refused(xp, layer, stream):
    x = put(xp, sample(entering(layer, 8)).astype(np.float32))
    y, pullback = layer(xp, layer.init(xp, 0), x, stream=stream)
    rows, *others, columns = y.shape
    shapes = [(1, *others, columns), (rows, *others, columns + 1), (2 * rows, *others, columns), (columns,)]
    for shape in [*shapes, (rows, *others, 1), ()]:
        if shape == y.shape:
            continue
        with pytest.raises(ValueError, match=r"`dy` has shape \(.*\), but the output has \(8, .*\); pass"):
            pullback(xp.ones(shape, dtype=xp.float32))


@pytest.mark.parametrize("layer", [*LAYERS, Sequential(Linear(4, 3), Sigmoid())], ids=repr)
def test_gradient_of_another_dtype_than_the_output_is_refused(xp, layer):
    x = put(xp, sample(entering(layer, 8)).astype(np.float32))
    y, pullback = layer(xp, layer.init(xp, 0), x)
    with pytest.raises(TypeError, match=r"`dy` is .*int32, but the output is .*float32; pass `xp.astype"):
        pullback(xp.ones(y.shape, dtype=xp.int32))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_input_that_is_not_a_float_is_refused(xp, layer, dtype):
    x = xp.ones(entering(layer), dtype=getattr(xp, dtype))
    with pytest.raises(TypeError, match=r"`x` must be float32 or float64, got .*; pass `xp.astype\(x, "):
        layer(xp, layer.init(xp, 0), x)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (2, 0)])
def test_softmax_takes_rows(xp, shape):
    with pytest.raises(ValueError, match=r"but this layer takes \(batch, features\)"):
        Softmax()(xp, {}, xp.ones(shape, dtype=xp.float32))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Conv2d(1, 8, 3), (2, 28, 28), r"takes images \(batch, height, width, 1\)"),
        (Conv2d(3, 8, 3), (2, 28, 28, 1), r"takes images \(batch, height, width, 3\)"),
        (Conv2d(1, 8, 3), (0, 28, 28, 1), r"takes images \(batch, height, width, 1\)"),
        (MaxPool2d(), (2, 784), r"takes images \(batch, height, width, channels\)"),
        (Flatten(), (2, 784), r"takes images \(batch, height, width, channels\)"),
        (Unflatten(28, 28), (2, 28, 28, 1), r"takes \(batch, 784\)"),
        (LayerNorm(4), (2, 5), r"takes \(batch, 4\)"),
        (Standardize(4), (2, 5), r"takes \(batch, 4\)"),
        (
            Conv2d(1, 8, 5, padding="valid"),
            (2, 4, 6, 1),
            r"a window of \(5, 5\) is larger than an image of \(4, 6\)",
        ),
        (MaxPool2d(3), (2, 2, 2, 1), r"a window of \(3, 3\) is larger than an image of \(2, 2\)"),
        (
            Residual(Conv2d(1, 1, 2, padding="valid")),
            (2, 5, 5, 1),
            r"layers of this Residual give \(2, 4, 4, 1\)",
        ),
    ],
)
def test_images_that_a_layer_does_not_take_are_refused(numpy_xp, layer, shape, message):
    params = layer.init(numpy_xp, 0)
    with pytest.raises(ValueError, match=message):
        layer(numpy_xp, params, np.zeros(shape, dtype=np.float32))


def test_convolution_starts_with_the_variance_of_its_windows():
    weight = Conv2d(32, 64, (3, 5), groups=2).init(xpnet.backend("numpy"), 0)["weight"]
    assert weight.shape == (3, 5, 16, 64)
    assert weight.std() == pytest.approx(np.sqrt(2 / (3 * 5 * 16)), rel=0.03)


def test_parameters_of_another_dtype_than_the_input_are_refused(xp64):
    layer = Linear(4, 2)
    params = layer.init(xp64, 0)
    with pytest.raises(TypeError, match=r"`x` is .*float64, but `weight` is .*float32; pass `xp.astype"):
        layer(xp64, params, xp64.ones((1, 4), dtype=xp64.float64))
    mixed = params | {"bias": xp64.zeros((2,), dtype=xp64.float64)}
    with pytest.raises(TypeError, match=r"`x` is .*float32, but `bias` is .*float64"):
        layer(xp64, mixed, xp64.ones((1, 4), dtype=xp64.float32))


@pytest.mark.parametrize(
    ("name", "shape"), [("weight", (4, 3)), ("weight", (4,)), ("bias", (1,)), ("bias", (1, 2))]
)
def test_parameter_of_another_shape_is_refused(xp, name, shape):
    layer = Linear(4, 2)
    params = layer.init(xp, 0) | {name: xp.zeros(shape, dtype=xp.float32)}
    with pytest.raises(ValueError, match=rf"`{name}` has shape \(.*\), but this layer has \("):
        layer(xp, params, xp.ones((1, 4), dtype=xp.float32))


def test_missing_parameter_is_named(xp):
    x = xp.ones((1, 4), dtype=xp.float32)
    model = Sequential(Linear(4, 2))
    for layer, name in ((model.layers[0], "bias"), (model, "0.bias")):
        params = layer.init(xp, 0)
        del params[name]
        with pytest.raises(ValueError, match=rf"`params` has no '{name}'; pass what `init` returned"):
            layer(xp, params, x)
        with pytest.raises(TypeError, match="`params` must be a dict of arrays, got NoneType"):
            layer(xp, None, x)


def foreign(xp):
    """Return an array library other than that of `xp`."""
    return array_api_strict if isinstance(xp.zeros((1,)), np.ndarray) else np


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(0, 3), "`n_in` must be a whole number above 0, got 0"),
        (lambda: Linear(3, 2.5), "`n_out` must be a whole number above 0, got 2.5"),
        (lambda: Linear(3, 2, "random"), "unknown initializer 'random': choose one of normal, lecun_normal"),
        (lambda: Conv2d(4, 8, 3, groups=3), "`groups` must divide `n_in` and `n_out`, got 3 for 4 and 8"),
        (
            lambda: Conv2d(4, 8, 0),
            "`kernel_size` must be a whole number from 1 on, or one for height and one",
        ),
        (lambda: Conv2d(4, 8, 3, padding="full"), "`padding` must be 'same', 'valid', a whole number or"),
        (lambda: MaxPool2d(2, stride=0), "`stride` must be a whole number from 1 on"),
        (lambda: Unflatten(28, 28, 0), "`channels` must be a whole number above 0, got 0"),
        (lambda: layers.LeakyReLU(1.0), r"`slope` must be in \[0, 1\), got 1.0"),
        (lambda: Dropout(1.0), r"`rate` must be in \[0, 1\), got 1.0"),
        (lambda: Linear(3, 2).init(xpnet.backend("numpy"), 0, dtype="half"), "`dtype` must be 'float32' or"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_are_plain_data_that_can_be_replaced():
    assert dataclasses.replace(Linear(3, 2), n_in=np.uint8(200)).shapes["weight"] == (200, 2)
    assert dataclasses.replace(Dropout(0.5), rate=np.float32(0.25)) == Dropout(0.25)
    assert repr(Linear(np.uint8(3), np.int64(2), np.str_("normal"))) == repr(Linear(3, 2, "normal"))
    assert len({Linear(3, 2), Linear(np.uint8(3), np.int64(2)), Dropout(0.5), Dropout(np.float32(0.5))}) == 2
