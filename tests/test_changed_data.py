"""Data that change after `Dataset` was made: a training or an evaluation checks them again."""

import numpy as np
import pytest

import xpnet
from xpnet import Dataset

MODEL = xpnet.mlp(4, 2)


def make_data():
    images = np.random.Generator(np.random.Philox(3)).random((40, 4)).astype("float32")
    return images, (images[:, 0] > 0.5).astype("int64")


def spoil_labels(images, labels, value):
    labels[7] = value


def spoil_images(images, labels, value):
    images[7, 2] = value


SPOILT = [
    *(
        (spoil_labels, value, rf"`{{}}` has the label {value}, but the model tells 2")
        for value in (-5, 2, 2**32 + 1)
    ),
    *((spoil_images, value, r"`{}` must be finite, but row 7 holds") for value in (np.nan, np.inf)),
]


def fit(xp, data, **options):
    options = {"optimizer": xpnet.SGD(0.1), "epochs": 1, "batch_size": 20} | options
    return xpnet.fit(xp, MODEL, data, **options)


@pytest.mark.parametrize(("spoil", "value", "message"), SPOILT)
def test_data_that_changed_before_use_are_found(backend, spoil, value, message):
    images, labels = make_data()
    data, good = Dataset(images, labels), Dataset(*make_data())
    params = MODEL.init(backend, 0)
    spoil(images, labels, value)
    for name, use in (
        ("train", lambda: fit(backend, data)),
        ("test", lambda: fit(backend, good, test=data)),
        ("dataset", lambda: xpnet.evaluate(backend, MODEL, params, data)),
    ):
        with pytest.raises(ValueError, match=message.format(name)):
            use()


@pytest.mark.parametrize(("spoil", "value", "message"), SPOILT)
@pytest.mark.parametrize("name", ["train", "test"])
def test_data_that_change_while_a_training_begins_are_found(backend, name, spoil, value, message):
    images, labels = make_data()
    data, good = Dataset(images, labels), Dataset(*make_data())

    class Spoiling(xpnet.SGD):
        def init(self, xp, params):
            spoil(images, labels, value)
            return super().init(xp, params)

    sets = {"train": data} if name == "train" else {"train": good, "test": data}
    with pytest.raises(ValueError, match=message.format(name)):
        fit(backend, sets.pop("train"), optimizer=Spoiling(0.1), **sets)


@pytest.mark.parametrize(("spoil", "value", "message"), SPOILT)
def test_data_that_change_after_a_training_began_are_not_seen(backend, spoil, value, message):
    images, labels = make_data()
    expected = fit(backend, Dataset(*make_data()), epochs=2)
    data = Dataset(images, labels)
    run = fit(backend, data, epochs=2, callbacks=[lambda run: spoil(images, labels, value)])
    assert [e.train_loss for e in run.history] == [e.train_loss for e in expected.history]
