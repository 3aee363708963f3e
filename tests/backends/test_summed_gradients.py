"""Which gradients a compiled step makes in the array that is summed over a group, and what it returns."""

import weakref

import numpy
import pytest
from groups import Pretended
from steps import PLAIN

import xpnet


def pack(xp, flat, *arrays):
    begins = numpy.cumsum([0, *(x.size for x in arrays)]).tolist()
    places = [
        {"before": b, "after": flat.shape[0] - b - x.size} for b, x in zip(begins, arrays, strict=False)
    ]
    for x, place in zip(arrays, places, strict=True):
        flat = xp.nn.pack(flat, x, **place)
    return flat, places


def summed(xp, flat, *arrays):
    """Return the flat array and what it holds, as a training step does."""
    flat, places = pack(xp, flat, *arrays)
    flat = xp.nn.all_reduce(flat)
    return flat, *(xp.nn.unpack(flat, x, **place) for x, place in zip(arrays, places, strict=True))


def plainly(xp, flat, x, y):
    flat, a, b = summed(xp, flat, xp.nn.add(x, x), xp.nn.sigmoid(y))
    return flat, xp.nn.add(a, a), xp.nn.add(b, b)


def returns_what_is_packed(xp, flat, x, y):
    x, y = xp.nn.add(x, x), xp.nn.sigmoid(y)
    flat, a, b = summed(xp, flat, x, y)
    return flat, xp.nn.add(a, x), xp.nn.add(b, b), x


def returns_what_is_unpacked(xp, flat, x, y):
    flat, a, _ = summed(xp, flat, xp.nn.add(x, x), xp.nn.sigmoid(y))
    return flat, xp.nn.add(a, a), a


def uses_what_is_packed_before_and_after(xp, flat, x, y):
    x, y = xp.nn.add(x, x), xp.nn.sigmoid(y)
    before = xp.nn.sum_of_squares(x)
    flat, a, b = summed(xp, flat, x, y)
    return flat, before, xp.nn.sum_of_squares(x), xp.nn.sum_of_squares(a), xp.nn.add(b, y)


def packs_one_array_twice(xp, flat, x, y):
    x = xp.nn.add(x, x)
    flat, a, b = summed(xp, flat, x, x)
    return flat, xp.nn.add(a, b)


def packs_over_what_is_packed(xp, flat, x, y):
    flat = xp.nn.pack(flat, xp.nn.add(x, x), before=0, after=flat.shape[0] - x.size)
    flat = xp.nn.pack(flat, xp.nn.sigmoid(y), before=2, after=flat.shape[0] - y.size - 2)
    flat = xp.nn.all_reduce(flat)
    a = xp.nn.unpack(flat, x, before=0, after=flat.shape[0] - x.size)
    return flat, xp.nn.add(a, a)


def packs_arguments(xp, flat, x, y):
    flat, a, b = summed(xp, flat, x, y)
    return flat, xp.nn.add(a, x), xp.nn.add(b, y)


def packs_again_after_the_sum(xp, flat, x, y):
    flat, a, b = summed(xp, flat, xp.nn.add(x, x), xp.nn.sigmoid(y))
    total = xp.nn.sum_of_squares(a)
    flat = xp.nn.pack(flat, xp.nn.tanh(x), before=0, after=flat.shape[0] - x.size)
    return flat, total, xp.nn.add(b, b)


def sums_twice(xp, flat, x, y):
    flat, a, b = summed(xp, flat, xp.nn.add(x, x), xp.nn.sigmoid(y))
    a, b = xp.nn.add(a, a), xp.nn.add(b, b)
    flat = xp.nn.all_reduce(flat)
    return flat, a, b


def unpacks_other_places(xp, flat, x, y):
    flat, _ = pack(xp, flat, xp.nn.add(x, x), xp.nn.sigmoid(y))
    flat = xp.nn.all_reduce(flat)
    a = xp.nn.unpack(flat, x, before=1, after=flat.shape[0] - x.size - 1)
    return flat, xp.nn.add(a, a)


def unpacks_other_shapes(xp, flat, x, y):
    x, y = xp.nn.add(x, x), xp.nn.sigmoid(y)
    flat, places = pack(xp, flat, x, y)
    flat = xp.nn.all_reduce(flat)
    a = xp.nn.unpack(flat, xp.nn.flatten(xp.nn.unflatten(x, shape=(1, 2, 3))), **places[0])
    return flat, xp.nn.add(a, a)


def unpacks_without_a_sum(xp, flat, x, y):
    x, y = xp.nn.add(x, x), xp.nn.sigmoid(y)
    flat, (place, _) = pack(xp, flat, x, y)
    a = xp.nn.unpack(flat, x, **place)
    return flat, xp.nn.add(a, a)


def packs_what_shares_memory(xp, flat, x, y):
    x = xp.nn.add(x, x)
    image = xp.nn.unflatten(x, shape=(1, 2, 3))
    flat, a, b = summed(xp, flat, image, xp.nn.sigmoid(y))
    return flat, xp.nn.flatten(a), xp.nn.add(x, x), xp.nn.add(b, b)


def shares_memory_with_what_is_packed(xp, flat, x, y):
    x = xp.nn.add(x, x)
    image = xp.nn.unflatten(x, shape=(1, 2, 3))
    flat, a, b = summed(xp, flat, x, xp.nn.sigmoid(y))
    return flat, xp.nn.add(a, a), xp.nn.add(image, image), xp.nn.add(b, b)


def leaves_numbers_as_they_are(xp, flat, x, y):
    flat = xp.nn.pack(flat, xp.nn.add(x, x), before=3, after=flat.shape[0] - x.size - 3)
    flat = xp.nn.all_reduce(flat)
    a = xp.nn.unpack(flat, x, before=3, after=flat.shape[0] - x.size - 3)
    return flat, xp.nn.add(a, a)


def sums_another_array(xp, flat, x, y):
    x = xp.nn.all_reduce(xp.nn.add(x, x))
    flat, a, b = summed(xp, flat, xp.nn.add(x, x), xp.nn.sigmoid(y))
    return flat, xp.nn.add(a, x), xp.nn.add(b, b)


def sums_a_number(xp, flat, x, y):
    squares = xp.nn.all_reduce(xp.nn.sum_of_squares(x))
    flat, a, b = summed(xp, flat, xp.nn.scaled(x, squares), xp.nn.sigmoid(y))
    return flat, xp.nn.clip_by_norm(a, squares, 1.0), xp.nn.add(b, b)


def scales(xp, flat, x, y):
    factor = xp.nn.sum_of_squares(y)
    flat, a, b = summed(xp, flat, xp.nn.scaled(xp.nn.add(x, x), factor), xp.nn.scaled(y, factor))
    return flat, xp.nn.scaled(xp.nn.add(a, a), factor), xp.nn.add(b, b)


@pytest.mark.parametrize(
    ("step", "copied"),
    [
        (plainly, []),
        (packs_arguments, ["pack", "pack"]),
        (packs_over_what_is_packed, ["pack", "pack"]),
        (returns_what_is_packed, ["pack"]),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_gradients_are_made_in_the_flat_array(replaying, step, copied):
    xp, x, flat = replaying.with_group(Pretended(2)), numpy.ones((2, 6)), numpy.zeros(24)
    calls = []

    def pack(*args, **kwargs):
        calls.append("pack")
        return xpnet.nn.pack(numpy, *args, **kwargs)

    xp.nn.pack = pack
    compiled = xp.compile(step)
    for _ in range(4):
        calls.clear()
        flat, *_ = compiled(xp, flat, x, x - 1)
    assert compiled.report == ""
    assert calls == copied


STEPS = [
    plainly,
    returns_what_is_packed,
    returns_what_is_unpacked,
    uses_what_is_packed_before_and_after,
    packs_one_array_twice,
    packs_over_what_is_packed,
    packs_arguments,
    packs_again_after_the_sum,
    sums_twice,
    unpacks_other_places,
    unpacks_other_shapes,
    unpacks_without_a_sum,
    packs_what_shares_memory,
    shares_memory_with_what_is_packed,
    leaves_numbers_as_they_are,
    sums_another_array,
    sums_a_number,
    scales,
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_compiled_step_does_what_is_written(replaying, step, dtype):
    random = numpy.random.default_rng(0)
    group, written = Pretended(3), Pretended(3)
    xp, plain = replaying.with_group(group), PLAIN.with_group(written)
    compiled = xp.compile(step)
    flat, other = (numpy.full(30, 0.5, dtype) for _ in range(2))
    kept = []
    for i in range(6):
        x, y = (random.standard_normal(shape).astype(dtype) for shape in ((2, 6), (3, 6)))
        before = len(group.sums)
        flat, *found = compiled(xp, flat, x.copy(), y.copy())
        other, *expected = step(plain, other, x, y)
        for one, two in zip((flat, *found), (other, *expected), strict=True):
            numpy.testing.assert_allclose(one, two, rtol=1e-5)
        if i > 2:  # In the first calls, the step itself may return views of the flat array.
            kept += zip(found, [x.copy() for x in expected], strict=True)
        flat /= 81
        other /= 81
    assert compiled.report == ""
    assert group.sums[before:] == written.sums[before - len(group.sums) :]
    for one, two in kept:  # later calls leave them alone
        numpy.testing.assert_allclose(one, two, rtol=1e-5)


def test_flat_array_may_be_another_one_at_each_call(replaying):
    xp, x = replaying.with_group(Pretended(2)), numpy.ones((2, 6))
    compiled = xp.compile(plainly)
    kept = []
    for i in range(6):
        flat, *_ = compiled(xp, numpy.zeros(24), i * x, x - 1)
        kept.append(flat)
    for i, flat in enumerate(kept):
        numpy.testing.assert_array_equal(flat, [4.0 * i] * 12 + [1.0] * 12)


def test_flat_array_is_freed_with_the_last_reference(replaying):
    xp, x = replaying.with_group(Pretended(2)), numpy.ones((2, 6))
    compiled = xp.compile(plainly)
    for _ in range(4):
        flat, *_ = compiled(xp, numpy.zeros(24), x, x - 1)
    found = weakref.ref(flat)
    compiled.made._replays[0].forget()
    del flat
    assert found() is None
