"""Errors when a device's memory is short, and release of its memory."""

import numpy
import pytest

import xpnet
from xpnet.memory import bytes_per_image, watched

MODEL = xpnet.mlp(11, 9, 3, activation="relu")


class ShortageError(Exception):
    """A device's own error."""


def namespace(free):
    """Return a namespace whose device has this many bytes free, and a list of its releases."""
    released = []

    def shortage(error):
        return (2**20, free) if isinstance(error, ShortageError) else None

    release = lambda: released.append(True)  # noqa: E731
    return xpnet.Namespace("small", numpy, device=xpnet.Device(shortage=shortage, release=release)), released


def test_each_image_takes_what_layers_return_and_its_gradients():
    assert bytes_per_image(MODEL, "float32") == 4 * (11 + 2 * 9 + 2 * 9 + 2 * 3)


@pytest.mark.parametrize(
    ("free", "batch_size"), [(2360, 11), (10**9, 127), (0, 0)], ids=["some", "enough", "none"]
)
def test_error_says_what_was_asked_what_is_free_and_what_would_fit(free, batch_size):
    xp, released = namespace(free)
    with (
        pytest.raises(xpnet.DeviceMemoryError, match=r"'small' on cpu is out of memory: 1\.0 MiB") as caught,
        watched(xp, MODEL, dtype="float32", batch_size=128),
    ):
        raise ShortageError
    assert (caught.value.asked, caught.value.free, caught.value.batch_size) == (2**20, free, batch_size)
    remedy = f"at most {batch_size} would fit" if batch_size else "not even one more image would fit"
    assert remedy in str(caught.value)
    assert released


def test_other_errors_are_unchanged():
    xp, released = namespace(0)
    with pytest.raises(KeyError), watched(xp, MODEL, dtype="float32", batch_size=128):
        raise KeyError("x")
    assert released


def test_training_and_measuring_give_memory_back_and_explain_its_shortage():
    xp, released = namespace(10**6)
    data = xpnet.Dataset(numpy.zeros((8, 11), dtype=numpy.uint8), numpy.arange(8) % 3)
    run = xpnet.fit(xp, MODEL, data, test=data, optimizer=xpnet.SGD(0.1), epochs=1, progress=False)
    run.evaluate(data)
    assert len(released) == 2

    def failing(*args, **options):
        raise ShortageError

    xp.nn.gather_batch = failing
    with pytest.raises(xpnet.DeviceMemoryError):
        xpnet.fit(xp, MODEL, data, optimizer=xpnet.SGD(0.1), epochs=1, progress=False)
