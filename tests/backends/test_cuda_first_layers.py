"""First layers of `cupy` on this processor: of stored images by indices, and of many inputs."""

import cuda_on_host
import numpy
import pytest
import steps
from checking import assert_returns_what_its_twin_does

import xpnet
from xpnet import nn

SCALING = {"scale": 1 / 255, "offset": -0.25}
DTYPES = ("float32", "float64")


@pytest.fixture
def xp(package, kernels_on_host, monkeypatch):
    monkeypatch.setattr(package.blas, "multiply", cuda_on_host.multiply)
    return cuda_on_host.namespace(package)


def draw(*shapes, dtype="float64", seed=0):
    random = numpy.random.default_rng(seed)
    return [random.uniform(-1, 1, shape).astype(dtype) for shape in shapes]


def pixels(*shape):
    return numpy.random.default_rng(1).integers(0, 256, shape).astype(numpy.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 513, 1), (20, 600, 17), (9, 1030, 8), (130, 530, 12)])
def test_layers_of_many_inputs_match_their_twins(sizes, dtype, xp):
    x, weight, bias = draw(sizes[:2], sizes[1:], sizes[2:], dtype=dtype)
    given = {"x": x, "weight": weight, "bias": bias}
    assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["linear"], given)
    for value in (numpy.nan, numpy.inf):
        weight = weight.copy()
        weight[-1, -1] = value
        x[0, -1] = 0  # times infinity is not 0
        assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["linear"], given | {"weight": weight})


def test_a_weight_that_does_not_begin_at_16_bytes_is_read(xp):
    x, flat, bias = draw((5, 520), (520 * 8 + 1,), (8,), dtype="float32")
    weight = cuda_on_host.own(flat)[1:].reshape(520, 8)
    assert weight.ctypes.data % 16
    numpy.testing.assert_allclose(xp.nn.linear(x, weight, bias), x @ weight + bias, rtol=1e-4, atol=1e-5)


def make_step(layer, **options):
    """Return a step of one layer of a batch, with the labels of the batch."""

    def step(xp, images, indices, labels, weight, bias, dy):
        x = xp.nn.gather_batch(images, indices, dtype=weight.dtype, **SCALING)
        if layer == "conv2d" and len(images.shape) == 2:
            x = xp.nn.unflatten(x, shape=(6, 5, 2))
        y = xp.nn.relu(getattr(xp.nn, layer)(x, weight, bias, **options))
        backward = getattr(xp.nn, f"{layer}_backward")
        _, d_weight, d_bias = backward(x, weight, dy, input_gradient=False, **options)
        weight, bias = xp.nn.sgd_step(weight, d_weight, 0.5), xp.nn.sgd_step(bias, d_bias, 0.5)
        return weight, bias, y, xp.nn.gather_labels(labels, indices)

    return step


def check(xp, step, images, shapes, *, dtype="float64", indices="int32"):
    """Call a compiled step with other batches, compare it with its twins, and return its program."""
    weight, bias, dy = draw(*shapes, dtype=dtype)
    labels, size = numpy.arange(len(images), dtype=indices), shapes[2][0]
    compiled, mine = xp.compile(step), [xp.asarray(p.copy()) for p in (weight, bias)]
    for call in range(5):
        batch = (numpy.arange(size) * 3 + call).astype(indices) % (2 * len(images)) - len(images)
        found = compiled(xp, *map(xp.asarray, (images, batch, labels)), *mine, xp.asarray(dy))
        expected = step(steps.PLAIN, images, batch, labels, weight, bias, dy)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            tolerance = {"float32": 2e-4, "float64": 1e-11}[dtype]
            numpy.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
        mine, (weight, bias) = found[:2], expected[:2]
    assert compiled.report == ""
    (program,) = compiled.programs
    assert program.captures
    return [task.name for task in program.tasks]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (19, 70, 9), (20, 600, 17)])
def test_a_first_layer_reads_stored_images(sizes, dtype, xp):
    batch, n_in, n_out = sizes
    shapes = (n_in, n_out), (n_out,), (batch, n_out)
    names = check(xp, make_step("linear"), pixels(23, n_in), shapes, dtype=dtype)
    assert names == ["fetch", "linear relu", "linear_sgd_step"]


@pytest.mark.parametrize("shape", [(23, 60), (23, 6, 5, 2)], ids=["features", "images"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_first_convolution_reads_stored_images(dtype, shape, xp):
    options = {"stride": 1, "padding": "same", "dilation": 1, "groups": 1}
    shapes = (3, 3, 2, 9), (9,), (7, 6, 5, 9)
    names = check(xp, make_step("conv2d", **options), pixels(*shape), shapes, dtype=dtype)
    assert names == ["fetch", "conv2d relu", "conv2d_sgd_step"]


GATHERED = ["fetch", "gather", "linear relu", "linear_sgd_step"]
SHAPES = (11, 9), (9,), (7, 9)


def test_floats_and_indices_of_64_bits_are_gathered(xp):
    assert check(xp, make_step("linear"), draw((23, 11))[0], SHAPES) == GATHERED
    assert check(xp, make_step("linear"), pixels(23, 11), SHAPES, indices="int64") == GATHERED


def test_a_batch_for_products_of_cublas_is_gathered(xp, package, monkeypatch):
    monkeypatch.setattr(package.dense, "LARGEST_PRODUCT", 0)
    assert check(xp, make_step("linear"), pixels(23, 11), SHAPES) == GATHERED


def returned(xp, x, weight, bias, dy):
    _, d_weight, d_bias = xp.nn.linear_backward(x, weight, dy, input_gradient=False)
    return xp.nn.sgd_step(weight, d_weight, 0.5), xp.nn.sgd_step(bias, d_bias, 0.5), x


def differentiated(xp, x, weight, bias, dy):
    dx, d_weight, d_bias = xp.nn.linear_backward(x, weight, dy)
    return xp.nn.sgd_step(weight, d_weight, 0.5), xp.nn.sgd_step(bias, d_bias, 0.5), dx


def dropped(xp, x, weight, bias, dy):
    y = xp.nn.linear(xp.nn.dropout(x, 3, 1, 0.5), weight, bias)
    return xp.nn.sgd_step(weight, weight, 0.5), xp.nn.sgd_step(bias, bias, 0.5), y


@pytest.mark.parametrize("layer", [returned, differentiated, dropped])
def test_a_batch_with_other_users_is_gathered(layer, xp):
    def step(xp, images, indices, labels, weight, bias, dy):
        x = xp.nn.gather_batch(images, indices, dtype=weight.dtype, **SCALING)
        return layer(xp, x, weight, bias, dy)

    assert "gather_batch" in check(xp, step, pixels(23, 11), SHAPES)


def test_gradients_of_stored_images_are_formed_for_other_uses(xp):
    def step(xp, images, indices, labels, weight, bias, dy):
        x = xp.nn.gather_batch(images, indices, dtype=weight.dtype, **SCALING)
        y = xp.nn.linear(x, weight, bias)
        _, d_weight, d_bias = xp.nn.linear_backward(x, weight, dy, input_gradient=False)
        squares = xp.nn.sum_of_squares(d_weight)
        d_weight = xp.nn.clip_by_norm(d_weight, squares, 0.5)
        return xp.nn.sgd_step(weight, d_weight, 0.5), xp.nn.sgd_step(bias, d_bias, 0.5), y

    names = check(xp, step, pixels(23, 11), SHAPES)
    assert names[:3] == ["fetch", "linear", "linear_gradient"]


def test_an_index_out_of_range_does_not_read_past_stored_images(package, kernels_on_host):
    images, indices = numpy.full((4, 3), 7, numpy.uint8), numpy.asarray([0, 4, -5, 2**31 - 1], numpy.int32)
    how = {"shape": (4, 3), "scale": 1.0, "offset": 0.0, "dtype": "float64"}
    x, dense = package.stored.Stored(images, indices, **how), package.dense.Dense(tf32=False)
    y, _ = dense.activated(None, x, numpy.ones((3, 2)), numpy.zeros(2))
    assert (y == 21).all()
    with pytest.raises(IndexError, match="4 rows are to be gathered, but there are none"):
        package.stored.Stored(images[:0], indices, **how)


def test_labels_of_another_array_than_an_argument_are_gathered_by_themselves(xp):
    def step(xp, images, indices, labels, weight, bias, dy):
        x = xp.nn.gather_batch(images, indices, dtype=weight.dtype, **SCALING)
        y = xp.nn.linear(x, weight, bias)
        labels = xp.nn.gather_labels(labels, xp.nn.gather_labels(labels, indices))
        return xp.nn.sgd_step(weight, weight, 0.5), xp.nn.sgd_step(bias, bias, 0.5), y, labels

    assert check(xp, step, pixels(23, 11), SHAPES)[:3] == ["fetch", "linear", "gather_labels"]


def test_two_trainings_on_stored_images_have_the_same_bits(xp):
    data = xpnet.Dataset(pixels(22, 70), numpy.arange(22) % 3)
    options = {"optimizer": xpnet.Momentum(0.5), "batch_size": 8, "dtype": "float32"}
    found = []
    for _ in range(2):
        trainer = steps.make_trainer(xp, xpnet.mlp(70, 9, 3), data, **options)[0]
        for _ in range(3):
            trainer.epoch(numpy.arange(22, dtype=numpy.int32))
        found.append(b"".join(p.tobytes() for p in trainer.params.values()))
    assert found[0] == found[1]
