import numpy as np
import pytest

import xpnet
from xpnet import Dataset
from xpnet.batches import Scaling
from xpnet.losses import find_loss
from xpnet.problem import Problem, check_fit, class_count


def make_data(labels=(0, 1, 0)):
    return Dataset(np.ones((3, 4), np.uint8), np.array(labels))


def test_model_with_one_output_tells_two_classes_apart():
    assert class_count(xpnet.mlp(4, 1)) == class_count(xpnet.mlp(4, 2)) == 2
    assert class_count(xpnet.mlp(4, 3)) == 3


def test_data_on_a_device_do_not_follow_later_changes(xp):
    images, labels = np.ones((3, 4), np.uint8), np.array([0, 1, 0])
    problem = Problem(xpnet.mlp(4, 2), find_loss("squared_error"), Scaling(0.5), "float32")
    batches, found = problem.on_device(xp, Dataset(images, labels), name="train", keep=True)
    images[...], labels[...] = 0, 1
    np.testing.assert_array_equal(xp.to_host(found.truth), [0, 1, 0])
    np.testing.assert_array_equal(xp.to_host(batches.gather(found.truth)), np.full((3, 4), 0.5))


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        (
            make_data((0, 1, 2)),
            xpnet.mlp(4, 2),
            "`test` has the label 2, but the model tells 2 classes apart",
        ),
        (make_data(), xpnet.mlp(5, 2), "`test` has 4 features an image, but the model takes 5"),
        (make_data(), xpnet.mlp(12, 2), r"if this is a single image, pass `images.reshape\(1, 12\)`"),
        (make_data(), xpnet.Sequential(xpnet.ReLU()), "the model has no linear layer"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(data, model, message):
    with pytest.raises(ValueError, match=message):
        check_fit("test", data, model, find_loss("softmax_cross_entropy"))
