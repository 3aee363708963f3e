"""The matrix products of the backend `numba`, dense and of images that are mostly zero, against NumPy."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

numba = pytest.importorskip("numba", reason="numba is not installed")

from xpnet_numba.images import compress  # noqa: E402
from xpnet_numba.kernels.compiled import FLAGS  # noqa: E402
from xpnet_numba.kernels.operations import transpose  # noqa: E402
from xpnet_numba.kernels.products import (  # noqa: E402
    add_offset,
    add_partials,
    block_of,
    product,
    sparse_gradient,
    sparse_product,
    sum_rows,
)

# Of one element, relative to the largest sum of absolute values; a sum of n terms has up to n such errors,
# but as a rule their square root.
TOLERANCE = {"float32": 2e-6, "float64": 4e-15}
DTYPES = [numpy.float32, numpy.float64]
UNTOUCHED = 777.0

dtypes = st.sampled_from(DTYPES)
columns = st.one_of(st.sampled_from([1, 8, 10, 16, 63, 64, 65, 100, 128]), st.integers(1, 130))
few = settings(deadline=None, derandomize=True, max_examples=120)


# Not kept on disk: Numba would not see that the parts, in a module of their own, have changed.


@numba.njit(**FLAGS)
def fill_product(out, columns, first, end, a, row_step, inner_step, inner, b, bias):
    product(out, columns, first, end, a, row_step, inner_step, inner, b, bias)


@numba.njit(**FLAGS)
def fill_sum(out, columns, x, rows):
    sum_rows(out, columns, x, rows)


@numba.njit(**FLAGS)
def fill_partials(
    partials, columns, starts, entries, indices, first, end, weight, scale, lists, room, counts
):
    for b in range(first, end):
        sparse_product(
            partials[b],
            columns,
            starts,
            entries,
            indices,
            b,
            partials.shape[0],
            weight,
            scale,
            lists,
            room,
            counts,
        )


@numba.njit(**FLAGS)
def fill_gradient(out, columns, first, end, lists, room, counts, dy, batch, scale, offset):
    sparse_gradient(out, columns, first, end, lists, room, counts, dy, batch, scale, offset)


@numba.njit(**FLAGS)
def fill_with_bias(partials, bias, out, first, end):
    add_partials(partials, bias, out, first, end)


@numba.njit(**FLAGS)
def fill_folded(weight, bias, offset, out):
    add_offset(weight, bias, out, offset)


@numba.njit(**FLAGS)
def ranges(length, count):
    return [block_of(length, i, count) for i in range(count)]


def normal(random, shape, dtype):
    """Return numbers of sizes from 1e-3 to 1e3, and some that are 0."""
    x = random.normal(size=shape) * 10.0 ** random.integers(-3, 4, shape)
    return numpy.where(random.random(shape) < 0.1, 0.0, x).astype(dtype)


def guarded(size, dtype):
    """Return a flat array of this size, and the larger one that it lies in."""
    whole = numpy.full(size + 256, UNTOUCHED, dtype)
    return whole[128 : size + 128], whole


def assert_guarded(whole):
    assert (whole[:128] == UNTOUCHED).all()
    assert (whole[-128:] == UNTOUCHED).all()


def assert_sums(actual, terms, expected, *, inner):
    """Compare sums of `inner` terms with float64 ones; `terms` are the sums of their absolute values."""
    assert actual.shape == expected.shape
    scale = max(float(numpy.max(terms, initial=0.0)), 1e-30)
    tolerance = TOLERANCE[actual.dtype.name] * max(1.0, inner**0.5 / 4) * scale
    # What NumPy's own sum lacks in float64 is half of what is allowed.
    numpy.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@few
@given(
    dtypes,
    st.integers(1, 23),
    st.one_of(st.sampled_from([1, 127, 128, 129, 256, 257, 300]), st.integers(1, 300)),
    columns,
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_product_matches_numpy(dtype, rows, inner, columns, transposed, with_bias, data):
    first = data.draw(st.integers(0, rows))
    end = data.draw(st.integers(first, rows))
    random = numpy.random.default_rng(rows + 31 * inner)
    a, b = normal(random, (rows, inner), dtype), normal(random, (inner, columns), dtype)
    bias = normal(random, columns if with_bias else 0, dtype)
    out, whole = guarded(rows * columns, dtype)
    stored, steps = (a.T, (1, rows)) if transposed else (a, (inner, 1))
    fill_product(
        out, columns, first, end, numpy.ascontiguousarray(stored).ravel(), *steps, inner, b.ravel(), bias
    )
    assert_guarded(whole)
    out = out.reshape(rows, columns)
    assert (out[:first] == UNTOUCHED).all()
    assert (out[end:] == UNTOUCHED).all()
    wide = [x.astype(numpy.float64) for x in (a, b, bias)]
    expected, terms = wide[0] @ wide[1], abs(wide[0]) @ abs(wide[1])
    if with_bias:
        expected, terms = expected + wide[2], terms + abs(wide[2])
    assert_sums(out[first:end], terms[first:end], expected[first:end], inner=inner)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inner", [5, 128, 300])
def test_row_of_a_product_does_not_depend_on_the_others(dtype, inner):
    """Rows are made four at a time where there are four: bit for bit as alone."""
    random = numpy.random.default_rng(0)
    a, b = normal(random, (11, inner), dtype), normal(random, (inner, 37), dtype)
    bias = normal(random, 37, dtype)
    together, apart, uneven = (numpy.empty(11 * 37, dtype) for _ in range(3))
    fill_product(together, 37, 0, 11, a.ravel(), inner, 1, inner, b.ravel(), bias)
    for i in range(11):
        fill_product(apart, 37, i, i + 1, a.ravel(), inner, 1, inner, b.ravel(), bias)
    for first, end in ((0, 3), (3, 9), (9, 11)):
        fill_product(uneven, 37, first, end, a.ravel(), inner, 1, inner, b.ravel(), bias)
    numpy.testing.assert_array_equal(together, apart)
    numpy.testing.assert_array_equal(together, uneven)


@pytest.mark.parametrize("dtype", DTYPES)
def test_product_keeps_nan_and_infinities_in_their_rows(dtype):
    a, b = numpy.ones((5, 7), dtype), numpy.ones((7, 20), dtype)
    a[1, 3], a[4, 0], b[2, 17] = numpy.nan, numpy.inf, -numpy.inf
    out = numpy.empty(100, dtype)
    fill_product(out, 20, 0, 5, a.ravel(), 7, 1, 7, b.ravel(), numpy.empty(0, dtype))
    with numpy.errstate(invalid="ignore"):
        numpy.testing.assert_array_equal(out.reshape(5, 20), a @ b)


@few
@given(dtypes, st.integers(1, 300), columns)
def test_sum_of_rows_matches_numpy(dtype, rows, columns):
    x = normal(numpy.random.default_rng(rows), (rows, columns), dtype)
    out, whole = guarded(columns, dtype)
    fill_sum(out, columns, x.ravel(), rows)
    assert_guarded(whole)
    wide = x.astype(numpy.float64)
    assert_sums(out, abs(wide).sum(axis=0), wide.sum(axis=0), inner=rows)


IMAGES = {
    "blank": lambda random, shape: numpy.zeros(shape, numpy.uint8),
    "full": lambda random, shape: numpy.full(shape, 255, numpy.uint8),
    "sparse": lambda random, shape: random.integers(0, 256, shape) * (random.random(shape) < 0.2),
    "dense": lambda random, shape: random.integers(0, 256, shape),
    "edges": lambda random, shape: (
        numpy.where(numpy.arange(shape[1]) % (shape[1] - 1 or 1), 0, 200) * numpy.ones((shape[0], 1))
    ),
}


@st.composite
def batches(draw, *, n=12):
    """Return images, the indices of a batch, some of them twice, and into how many blocks to divide."""
    random = numpy.random.default_rng(draw(st.integers(0, 99)))
    pixels = draw(st.one_of(st.sampled_from([1, 2, 3, 4, 5, 64]), st.integers(1, 90)))
    images = IMAGES[draw(st.sampled_from(sorted(IMAGES)))](random, (n, pixels)).astype(numpy.uint8)
    indices = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=21))
    return images, numpy.array(indices, numpy.int32), draw(st.sampled_from([1, 3, 4, 7]))


@few
@given(batches())
def test_compressed_images_hold_each_pixel_that_is_not_0(batch):
    images, _, blocks = batch
    n, pixels = images.shape
    starts, entries = compress(images, blocks)
    assert starts[0] == 0
    assert starts[-1] == numpy.count_nonzero(images)
    assert (numpy.diff(starts) >= 0).all()
    for i in range(n):
        for b in range(blocks):
            own = entries[starts[i * blocks + b] : starts[i * blocks + b + 1]]
            begin, end = pixels * b // blocks, pixels * (b + 1) // blocks
            expected = begin + numpy.flatnonzero(images[i, begin:end])
            numpy.testing.assert_array_equal(own >> 8, expected)
            numpy.testing.assert_array_equal(own & 255, images[i, expected])


@pytest.mark.parametrize(("length", "count"), [(784, 4), (3, 4), (1, 4), (10, 3), (7, 7), (0, 4)])
def test_ranges_cover_all_of_a_length_once(length, count):
    found = ranges(length, count)
    assert [i for begin, end in found for i in range(begin, end)] == list(range(length))
    sizes = [end - begin for begin, end in found]
    assert max(sizes) - min(sizes) <= 1


@few
@given(
    dtypes,
    batches(),
    columns,
    st.sampled_from([1.0, 1 / 255, 2 / 255, -0.5]),
    st.sampled_from([0.0, -0.5, -1.0, 0.25]),
    st.booleans(),
)
def test_sparse_product_and_gradient_match_numpy(dtype, batch, columns, scale, offset, in_turn):
    images, indices, blocks = batch
    n, pixels = len(indices), images.shape[1]
    random = numpy.random.default_rng(pixels)
    weight, dy = normal(random, (pixels, columns), dtype), normal(random, (n, columns), dtype)
    bias = normal(random, columns, dtype)
    scale, offset = dtype(scale), dtype(offset)
    x = images[indices].astype(numpy.float64) * scale + offset

    starts, entries = compress(images, blocks)
    partials = numpy.full((blocks, n * columns), UNTOUCHED, dtype)
    room = n + 3
    lists = numpy.full(pixels * room + 9, 2**32 - 1, numpy.uint32)
    counts = numpy.full(pixels, -1, numpy.int64)
    spans = [(b, b + 1) for b in range(blocks)][::-1] if in_turn else [(0, blocks)]
    for first, end in spans:
        fill_partials(
            partials,
            columns,
            starts,
            entries,
            indices,
            first,
            end,
            weight.ravel(),
            scale,
            lists,
            room,
            counts,
        )

    folded = bias
    if offset:
        folded = numpy.full(columns, UNTOUCHED, dtype)
        fill_folded(weight, bias, offset, folded)
    out, whole = guarded(n * columns, dtype)
    middle = n // 3
    for first, end in ((middle, n), (0, middle)):
        fill_with_bias(partials.reshape(blocks, n, columns), folded, out.reshape(n, columns), first, end)
    assert_guarded(whole)
    wide_weight, wide_dy, wide_bias = (a.astype(numpy.float64) for a in (weight, dy, bias))
    # The share of the offset is added apart from that of the pixels, which may cancel it.
    largest = abs(x - offset) + abs(offset)
    terms = largest @ abs(wide_weight) + abs(wide_bias)
    assert_sums(out.reshape(n, columns), terms, x @ wide_weight + wide_bias, inner=2 * pixels)

    gradient, whole = guarded(pixels * columns, dtype)
    middle = pixels // 2
    fill_gradient(gradient, columns, 0, middle, lists, room, counts, dy.ravel(), n, scale, offset)
    assert (gradient[middle * columns :] == UNTOUCHED).all()
    fill_gradient(gradient, columns, middle, pixels, lists, room, counts, dy.ravel(), n, scale, offset)
    assert_guarded(whole)
    terms = largest.T @ abs(wide_dy)
    assert_sums(gradient.reshape(pixels, columns), terms, x.T @ wide_dy, inner=2 * n)

    # Lists go no further than the batch is large.
    assert (counts == (images[indices] != 0).sum(axis=0)).all()
    unused = numpy.arange(room) >= counts[:, None]
    assert (lists[: pixels * room].reshape(pixels, room)[unused] == 2**32 - 1).all()


@few
@given(batches(), columns)
def test_product_without_room_lists_nothing(batch, columns):
    images, indices, blocks = batch
    weight = normal(numpy.random.default_rng(0), (images.shape[1], columns), numpy.float32)
    starts, entries = compress(images, blocks)
    n, one = len(indices), numpy.float32(1)
    partials, listed = (numpy.empty((blocks, n * columns), numpy.float32) for _ in range(2))
    lists, counts = numpy.full(1, 7, numpy.uint32), numpy.full(images.shape[1], -1, numpy.int64)
    fill_partials(
        partials, columns, starts, entries, indices, 0, blocks, weight.ravel(), one, lists, 0, counts
    )
    assert lists[0] == 7
    assert (counts == -1).all()
    lists = numpy.empty(images.shape[1] * n, numpy.uint32)
    fill_partials(listed, columns, starts, entries, indices, 0, blocks, weight.ravel(), one, lists, n, counts)
    numpy.testing.assert_array_equal(partials, listed)


@pytest.mark.parametrize("shape", [(1, 1), (9, 30), (16, 8), (20, 3), (3, 20)])
def test_transposed_matrix_has_rows_and_columns_exchanged(shape):
    x = numpy.random.default_rng(0).normal(size=shape).astype(numpy.float32)
    out = numpy.zeros(shape[::-1], numpy.float32)
    for first, end in ((0, 1), (1, shape[1])):
        transpose(x, out, first, end)
    numpy.testing.assert_array_equal(out, x.T)
