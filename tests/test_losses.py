import numpy as np
import pytest
from checking import assert_close, put

import xpnet
from xpnet import Linear, Sequential, Sigmoid, Softmax, Tanh, nn
from xpnet.losses import LOSSES, find_loss

LABELS = np.array([2, 0], dtype=np.int32)
BINARY = np.array([1, 0], dtype=np.int32)


@pytest.mark.parametrize("name", ["sigmoid_cross_entropy", "squared_error"])
def test_labels_become_one_hot_targets(xp, name):
    outputs = put(xp, np.array([[0.5, -1.0, 2.0], [0.0, 3.0, 1.0]], dtype=np.float32))
    loss, d = LOSSES[name].function(xp, outputs, put(xp, LABELS))
    targets = put(xp, np.eye(3, dtype=np.float32)[LABELS])
    expected, d_expected = getattr(xp.nn, name)(outputs, targets)
    assert_close(xp, loss, xp.to_host(expected))
    assert_close(xp, d, xp.to_host(d_expected))


@pytest.mark.parametrize("name", ["sigmoid_cross_entropy", "squared_error"])
def test_labels_of_one_output_are_its_targets(xp, name):
    outputs = put(xp, np.array([[0.5], [-1.0]], dtype=np.float32))
    loss, _ = LOSSES[name].function(xp, outputs, put(xp, BINARY))
    expected, _ = getattr(xp.nn, name)(outputs, put(xp, BINARY[:, None].astype(np.float32)))
    assert_close(xp, loss, xp.to_host(expected))


def test_prediction_is_the_largest_output(xp_int64):
    outputs = put(xp_int64, np.array([[0.5, -1.0, 2.0], [4.0, 3.0, 1.0]], dtype=np.float32))
    assert_close(xp_int64, LOSSES["softmax_cross_entropy"].predict(xp_int64, outputs), [2, 0])


@pytest.mark.parametrize(
    ("name", "outputs"), [("sigmoid_cross_entropy", [[0.1], [-0.1]]), ("squared_error", [[0.6], [0.4]])]
)
def test_one_output_is_class_1_when_more_probable_than_not(xp, name, outputs):
    predicted = LOSSES[name].predict(xp, put(xp, np.array(outputs, dtype=np.float32)))
    assert_close(xp, predicted, [1, 0])


def test_cross_entropy_absorbs_its_own_activation():
    linear = Linear(3, 2)
    assert LOSSES["softmax_cross_entropy"].trunk(Sequential(linear, Softmax())) == Sequential(linear)
    assert LOSSES["sigmoid_cross_entropy"].trunk(Sequential(linear, Sigmoid())) == Sequential(linear)


def test_every_loss_of_nn_is_a_loss_by_name():
    names = {f.name.removeprefix("weighted_") for f in nn.FUNCTIONS.values() if f.is_loss}
    assert names - {"soft_cross_entropy"} == set(LOSSES)


def test_activation_of_another_function_is_not_absorbed():
    class Own(Sigmoid):
        function = "tanh"

    model = Sequential(Linear(3, 2), Own())
    assert LOSSES["sigmoid_cross_entropy"].trunk(model) is model


@pytest.mark.parametrize("name", LOSSES)
def test_loss_leaves_other_models_alone(name):
    model = Sequential(Linear(3, 2))
    assert LOSSES[name].trunk(model) is model
    model = Sequential(Softmax())
    assert LOSSES[name].trunk(model) is model


def test_absorbed_activation_is_found_at_the_end_of_a_nested_model():
    linear = Linear(3, 2)
    nested = Sequential(Sequential(linear, Softmax()))
    assert LOSSES["softmax_cross_entropy"].trunk(nested) == Sequential(Sequential(linear))


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        (Sequential(Linear(3, 2), Sequential(Softmax())), Sequential(Linear(3, 2))),
        (Sequential(Linear(3, 2), Sequential(Sequential(Softmax()))), Sequential(Linear(3, 2))),
        (Sequential(Sequential(Linear(3, 2)), Softmax()), Sequential(Sequential(Linear(3, 2)))),
        (
            Sequential(Linear(3, 2), Sequential(Tanh(), Sequential(Softmax()))),
            Sequential(Linear(3, 2), Sequential(Tanh())),
        ),
        (Sequential(Linear(3, 2), Softmax(), Softmax()), Sequential(Linear(3, 2), Softmax())),
        (Sequential(Linear(3, 2), Sequential(Sigmoid())), Sequential(Linear(3, 2), Sequential(Sigmoid()))),
    ],
)
def test_absorbed_activation_is_found_at_any_nesting(model, kept):
    assert LOSSES["softmax_cross_entropy"].trunk(model) == kept


def test_users_class_is_absorbed_only_if_it_computes_the_same():
    class Named(Softmax):
        pass

    class Cold(Softmax):
        def __call__(self, xp, params, x, *, stream=None):
            return Softmax.__call__(self, xp, params, 2 * x, stream=stream)

    class Network(Sequential):
        def __init__(self):
            super().__init__(Linear(3, 2), Softmax())

    trunk = LOSSES["softmax_cross_entropy"].trunk
    assert trunk(Sequential(Linear(3, 2), Named())) == trunk(Network()) == Sequential(Linear(3, 2))
    model = Sequential(Linear(3, 2), Cold())
    assert trunk(model) is model


def test_nested_softmax_trains_as_one_that_is_not_nested(backend, dataset):
    flat, nested = (
        xpnet.fit(backend, model, dataset, optimizer=xpnet.SGD(0.5), epochs=2, batch_size=32)
        for model in (
            Sequential(Linear(12, 3), Softmax()),
            Sequential(Linear(12, 3), Sequential(Softmax())),
        )
    )
    for name, p in flat.params.items():
        np.testing.assert_array_equal(backend.to_host(nested.params[name]), backend.to_host(p))
    np.testing.assert_array_equal(nested.predict_proba(dataset), flat.predict_proba(dataset))


def test_unknown_loss_names_the_choices():
    with pytest.raises(ValueError, match="unknown loss 'hinge': choose one of softmax_cross_entropy"):
        find_loss("hinge")
