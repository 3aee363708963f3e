"""Each layer in ONNX gives what it gives here, by onnx's reference evaluator and by onnxruntime."""

import math

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet
from xpnet.batches import Scaling
from xpnet.loss import VALUES
from xpnet.onnx.translations import TRANSLATIONS
from xpnet.registry import GROUPS, LIBRARY

XP = xpnet.backend("numpy")
# Sums of some hundred products of numbers of about 1, in another order.
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
OPSETS = 17, 18, 22
# onnxruntime has these in float32 only.
NOT_IN_FLOAT64 = {"Conv", "AveragePool"}

Linear, Conv, Sequential, Residual = xpnet.Linear, xpnet.Conv2d, xpnet.Sequential, xpnet.Residual
Flatten, Unflatten, ReLU = xpnet.Flatten, xpnet.Unflatten, xpnet.ReLU
ROWS = [
    Linear(6, 4),
    xpnet.Sigmoid(),
    ReLU(),
    xpnet.LeakyReLU(0.3),
    xpnet.Tanh(),
    xpnet.GELU(),
    xpnet.SiLU(),
    xpnet.Softmax(),
    xpnet.Dropout(0.5),
    xpnet.LayerNorm(6, eps=0.01),
    xpnet.BatchNorm(6, eps=0.01),
    xpnet.Standardize(6),
    Sequential(Linear(6, 3), Sequential(ReLU(), Linear(3, 2))),
    Residual(Linear(6, 3), xpnet.Tanh(), Linear(3, 6)),
    Residual(Residual(xpnet.LayerNorm(6)), ReLU()),
    Residual(xpnet.Dropout(0.1)),
    Unflatten(1, 2, 3),
]
IMAGES = [
    Conv(3, 4, 3),
    Conv(3, 6, (2, 3), stride=(2, 1), padding="valid", groups=3),
    Conv(3, 2, 3, stride=2, padding="same", dilation=(1, 2)),
    Conv(3, 2, 2, padding=((0, 2), (1, 0))),
    Conv(3, 2, 1, padding=1),
    xpnet.MaxPool2d(2),
    xpnet.MaxPool2d(3, stride=2, padding=1),
    xpnet.MaxPool2d((2, 3), stride=1, padding="same"),
    xpnet.MaxPool2d(3, stride=1, padding=((1, 2), (0, 1))),
    xpnet.AvgPool2d(2),
    xpnet.AvgPool2d(3, stride=(1, 2), padding=((1, 0), (2, 1))),
    xpnet.AvgPool2d(4, stride=2, padding="same"),
    xpnet.GlobalAvgPool2d(),
    xpnet.RandomShift(1),
    xpnet.RandomFlip(),
    xpnet.LayerNorm(3),
    xpnet.BatchNorm(3),
    xpnet.Standardize(3),
    xpnet.GELU(),
    Residual(Conv(3, 3, 3), xpnet.BatchNorm(3), ReLU()),
    Residual(Conv(3, 3, 3), xpnet.LayerNorm(3)),
    Residual(xpnet.LayerNorm(3), Conv(3, 3, 3)),
    Sequential(Conv(3, 4, 3), ReLU(), xpnet.GlobalAvgPool2d(), Linear(4, 2)),
    Sequential(Conv(3, 4, 3), Flatten(), ReLU(), xpnet.Dropout(0.1), Linear(120, 2)),
    Sequential(Conv(3, 4, (5, 6), padding="valid"), Flatten(), Linear(4, 2)),
    Sequential(Conv(3, 1, 3), Flatten(), Linear(30, 2)),
    Sequential(Conv(3, 4, 3), Flatten(), xpnet.LayerNorm(120)),
    Sequential(Conv(3, 4, 3), Flatten(), xpnet.BatchNorm(120), Linear(120, 2)),
    Sequential(Conv(3, 4, 3), Flatten(), xpnet.Standardize(120)),
    Sequential(Conv(3, 4, 3), Flatten(), xpnet.Softmax()),
    Sequential(Conv(3, 4, 3), Flatten(), Residual(Linear(120, 120))),
    Sequential(Conv(3, 4, 3), Flatten(), Unflatten(5, 6, 4), Conv(4, 2, 3)),
    Sequential(Conv(3, 4, 3), Flatten(), Unflatten(2, 10, 6), Conv(6, 2, 3)),
    Sequential(Conv(3, 4, 3), Flatten(), Unflatten(6, 5, 4), xpnet.MaxPool2d(2)),
]
CASES = [(layer, (6,)) for layer in ROWS] + [(layer, (5, 6, 3)) for layer in IMAGES]


def kinds(layer):
    """Yield the classes of a layer and of those in it."""
    yield type(layer)
    for inner in getattr(layer, "layers", ()):
        yield from kinds(inner)


def run_of(layer, shape, dtype):
    """Return a run with parameters that no training has made, of a layer that takes inputs of this shape."""
    features = math.prod(shape)
    # First, what says how many features enter; and some parameters, without which there is no dtype.
    before = (
        [Linear(features, features)] if len(shape) == 1 else [xpnet.Standardize(features), Unflatten(*shape)]
    )
    after = [Flatten()] if len(Sequential(*before, layer).output_shape((features,))) == 3 else []
    model = Sequential(*before, layer, *after)
    rng = np.random.default_rng(5)
    params = {
        name: (np.abs(values) + 0.5 if name.endswith(("variance", "deviation")) else values).astype(dtype)
        for name, length in (model.shapes | model.state_shapes).items()
        for values in [rng.normal(size=length)]
    }
    return xpnet.Run(XP, model, params, "squared_error", Scaling(), initial_sha256="", task=VALUES)


def session_of(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def check(layer, shape, dtype, opset, x=None):
    run = run_of(layer, shape, dtype)
    model = xpnet.onnx.to_model(run, opset=opset)
    assert model.opset_import[0].version == opset
    if x is None:
        x = np.random.default_rng(7).normal(size=(4, math.prod(shape))).astype(dtype)
    expected = run.predict_outputs(x)
    tolerance = TOLERANCE[dtype] * max(1.0, np.abs(expected).max())
    with np.errstate(over="ignore"):  # in its sigmoid of numbers from 100 on
        (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"inputs": x})
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    if dtype == "float64" and NOT_IN_FLOAT64 & {node.op_type for node in model.graph.node}:
        return model
    session = session_of(model)
    np.testing.assert_allclose(session.run(None, {"inputs": x})[0], expected, rtol=0, atol=tolerance)
    one = session.run(None, {"inputs": x[:1]})[0]
    np.testing.assert_allclose(one, expected[:1], rtol=0, atol=tolerance)
    assert session.run(None, {"inputs": x[:0]})[0].shape == (0, *expected.shape[1:])
    return model


def test_every_layer_of_xpnet_has_a_translation():
    kinds_of_layers = [*GROUPS.values(), *(k for k in LIBRARY.values() if hasattr(k, "init") and callable(k))]
    layers = {kind for kind in kinds_of_layers if "shapes" in dir(kind)}
    assert layers == set(TRANSLATIONS)


def test_every_layer_of_xpnet_is_compared_here():
    assert {kind for layer, _ in CASES for kind in kinds(layer)} == set(TRANSLATIONS)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("layer", "shape"), CASES, ids=repr)
def test_a_layer_gives_the_same_in_onnx(layer, shape, dtype, opset):
    check(layer, shape, dtype, opset)


PADDINGS = st.sampled_from(["same", "valid", 1, 2, ((0, 1), (2, 0)), ((1, 1), (0, 3))])
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))
POOLING = xpnet.MaxPool2d, xpnet.AvgPool2d
SIDES = st.tuples(st.integers(3, 9), st.integers(3, 9))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(SIDES, PAIRS, PAIRS, PADDINGS, PAIRS, st.sampled_from([(1, 2, 1), (2, 3, 1), (4, 6, 2), (3, 3, 3)]))
def test_a_convolution_with_any_options_gives_the_same(sides, size, stride, padding, dilation, channels):
    n_in, n_out, groups = channels
    layer = Conv(n_in, n_out, size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    if fits(layer, (*sides, n_in)):
        check(layer, (*sides, n_in), "float32", 17)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(POOLING), SIDES, PAIRS, PAIRS, PADDINGS, st.sampled_from(OPSETS))
def test_pooling_with_any_options_gives_the_same(kind, sides, size, stride, padding, opset):
    layer = kind(size, stride=stride, padding=padding)
    if fits(layer, (*sides, 2)):
        check(layer, (*sides, 2), "float32", opset)


def fits(layer, shape):
    try:
        layer.output_shape(shape)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("layer", [xpnet.LayerNorm(50), xpnet.Standardize(50)], ids=repr)
def test_values_far_from_zero_lose_no_digits(layer):
    rng = np.random.default_rng(3)
    x = (1000 + rng.normal(size=(20, 50))).astype(np.float32)
    model = Sequential(layer, Linear(50, 50))
    params = model.init(XP, 1)
    run = xpnet.Run(XP, model, params, "squared_error", Scaling(), initial_sha256="", task=VALUES)
    found = session_of(xpnet.onnx.to_model(run)).run(None, {"inputs": x})[0]
    np.testing.assert_allclose(found, run.predict_outputs(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("layer", [xpnet.GELU(), xpnet.SiLU(), xpnet.Sigmoid(), xpnet.Softmax()], ids=repr)
def test_large_values_stay_finite(layer):
    run = run_of(layer, (6,), "float64")
    x = np.random.default_rng(2).normal(size=(5, 6)) * 1e4
    found = session_of(xpnet.onnx.to_model(run)).run(None, {"inputs": x})[0]
    np.testing.assert_allclose(found, run.predict_outputs(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "transposes"),
    [
        (Sequential(Conv(3, 4, 3), ReLU(), xpnet.MaxPool2d(2), Conv(4, 5, 3), Flatten(), Linear(30, 2)), 1),
        (Sequential(xpnet.Standardize(3), Conv(3, 4, 3), xpnet.BatchNorm(4), xpnet.GlobalAvgPool2d()), 1),
        (
            Sequential(
                Conv(3, 3, 3), Residual(Conv(3, 3, 3), ReLU(), Conv(3, 3, 3)), xpnet.GlobalAvgPool2d()
            ),
            1,
        ),
        (Residual(Conv(3, 3, 3)), 2),
        (xpnet.GlobalAvgPool2d(), 0),
    ],
    ids=repr,
)
def test_images_are_transposed_no_more_often_than_they_must(layer, transposes):
    model = check(layer, (5, 6, 3), "float32", 17)
    assert [node.op_type for node in model.graph.node].count("Transpose") == transposes


def test_grey_images_are_never_transposed():
    layer = Sequential(Conv(1, 4, 3), ReLU(), xpnet.MaxPool2d(2), Flatten(), Linear(24, 2))
    model = check(layer, (5, 6, 1), "float32", 17)
    assert "Transpose" not in [node.op_type for node in model.graph.node]
