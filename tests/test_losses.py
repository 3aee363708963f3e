import numpy as np
import pytest
from checking import assert_close, put

from xpnet import Linear, Sequential, Sigmoid, Softmax
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


def test_unknown_loss_names_the_choices():
    with pytest.raises(ValueError, match="unknown loss 'hinge': choose one of softmax_cross_entropy"):
        find_loss("hinge")
