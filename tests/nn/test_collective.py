"""Arrays side by side in one flat array, and back."""

import numpy as np
import pytest

import xpnet
from xpnet.checked import checked

SHAPES = {"weight": (3, 4), "bias": (4,), "scale": (), "kernel": (2, 3, 1, 2)}


def layout(shapes):
    """Return the numbers before and after each array in a flat one, and its size."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    ends = np.cumsum(sizes).tolist()
    places = {
        name: {"before": end - n, "after": ends[-1] - end}
        for name, n, end in zip(shapes, sizes, ends, strict=True)
    }
    return places, ends[-1]


def test_arrays_lie_in_the_flat_one_in_order_and_come_back(xp):
    random = np.random.Generator(np.random.Philox(1))
    arrays = {name: random.standard_normal(shape).astype("float32") for name, shape in SHAPES.items()}
    places, size = layout(SHAPES)
    flat = xp.zeros((size,), dtype=xp.float32)
    for name in reversed(SHAPES):
        flat = xp.nn.pack(flat, xp.asarray(arrays[name]), **places[name])
    expected = np.concatenate([x.reshape(-1) for x in arrays.values()])
    np.testing.assert_array_equal(xp.to_host(flat), expected)
    for name, x in arrays.items():
        found = xp.nn.unpack(flat, xp.zeros(x.shape, dtype=xp.float32), **places[name])
        np.testing.assert_array_equal(xp.to_host(found), x)


def test_arrays_that_cannot_change_are_packed_into_a_new_one():
    class Fixed(np.ndarray):
        def __setitem__(self, key, value):
            raise TypeError("cannot be changed")

    flat = np.zeros(4).view(Fixed)
    found = xpnet.nn.pack(np, flat, np.asarray([[1.0, 2.0]]), before=1, after=1)
    np.testing.assert_array_equal(found, [0, 1, 2, 0])
    np.testing.assert_array_equal(flat, np.zeros(4))


@pytest.mark.parametrize("function", ["pack", "unpack"])
@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (0, 0, "size is 5, but must be 2"),
        (4, -1, "`after` must be a whole number, 0 or more, got -1"),
        (-1, 4, "`before` must be a whole number, 0 or more, got -1"),
        (1.5, 1.5, "`before` must be a whole number, 0 or more, got 1.5"),
    ],
)
def test_place_that_does_not_fit_is_refused(xp, function, before, after, text):
    flat, x = xp.zeros((5,), dtype=xp.float32), xp.zeros((2,), dtype=xp.float32)
    with pytest.raises(ValueError, match=rf"^nn\.{function}: {text}$"):
        getattr(checked(xp).nn, function)(flat, x, before=before, after=after)
