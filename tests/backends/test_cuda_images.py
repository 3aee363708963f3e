"""Convolution, pooling and normalisation of `cupy` on this processor: values and captured steps.

`test_cuda_functions` draws small arguments from the declarations; here are more channels, and cuBLAS.
"""

import itertools

import cuda_on_host
import numpy
import pytest
import steps
from checking import assert_returns_what_its_twin_does

import xpnet
from xpnet import nn
from xpnet.batches import Scaling

DTYPES = ("float32", "float64")
by_both = pytest.mark.parametrize("largest", [2**25, 0], ids=["by a kernel", "by cuBLAS"])

# Batch, height and width; kernel; channels; outputs; then groups and other options.
CONVOLUTIONS = [
    ((1, 1, 1), (1, 1), 1, 1, {}),
    ((1, 7, 6), (3, 3), 3, 6, {"padding": "same", "stride": 2}),
    ((2, 9, 5), (2, 3), 6, 17, {"padding": "valid", "dilation": (2, 1)}),
    ((3, 5, 8), (5, 5), 1, 6, {"padding": "same"}),
    ((2, 6, 6), (3, 2), 17, 9, {"padding": ((2, 0), (0, 3)), "stride": (3, 2)}),
    ((1, 8, 9), (3, 3), 33, 3, {"padding": 2, "stride": (1, 2), "dilation": 2}),
    ((2, 5, 7), (3, 3), 6, 6, {"padding": 1, "groups": 6}),
    ((2, 6, 5), (2, 2), 6, 27, {"padding": "same", "stride": 2, "groups": 3}),
    ((5, 12, 13), (2, 2), 2, 3, {"padding": 4, "stride": 3}),
]
convolutions = pytest.mark.parametrize("convolution", CONVOLUTIONS)

LAYERS = (
    xpnet.Unflatten(8, 8, 1),
    xpnet.Conv2d(1, 3, 3, padding="same"),
    xpnet.ReLU(),
    xpnet.MaxPool2d(2),
    xpnet.Conv2d(3, 4, 3, padding="valid"),
    xpnet.ReLU(),
    xpnet.MaxPool2d(2),
    xpnet.Flatten(),
    xpnet.Linear(4, 5),
    xpnet.ReLU(),
    xpnet.Linear(5, 3),
)


@pytest.fixture
def xp(package, kernels_on_host, monkeypatch):
    monkeypatch.setattr(package.blas, "multiply", cuda_on_host.multiply)
    return cuda_on_host.namespace(package)


@pytest.fixture
def limited(package, largest, monkeypatch):
    """Let kernels of ours compute convolutions and products up to a size."""
    monkeypatch.setattr(package.convolution_shapes, "LARGEST_CONVOLUTION", largest)
    monkeypatch.setattr(package.dense, "LARGEST_PRODUCT", largest)


def draw(*shapes, dtype="float64"):
    random = numpy.random.default_rng(0)
    arrays = [random.uniform(-1, 1, shape).astype(dtype) for shape in shapes]
    for x in arrays:
        x.flags.writeable = False
    return arrays


def arguments_of(convolution, dtype):
    """Return the arguments of a convolution and of its gradients."""
    (batch, *lengths), kernel, channels, n_out, options = convolution
    options = {"stride": 1, "padding": "same", "dilation": 1, "groups": 1} | options
    shapes = (batch, *lengths, channels), (*kernel, channels // options["groups"], n_out), (n_out,)
    x, weight, bias = draw(*shapes, dtype=dtype)
    (dy,) = draw(nn.conv2d(numpy, x, weight, bias, **options).shape, dtype=dtype)
    x_and_weight = {"x": x, "weight": weight}
    return x_and_weight | {"bias": bias} | options, x_and_weight | {"dy": dy} | options


@by_both
@convolutions
@pytest.mark.parametrize("dtype", DTYPES)
def test_convolutions_match_their_twins(convolution, dtype, xp, limited):
    forward, backward = arguments_of(convolution, dtype)
    assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["conv2d"], forward)
    backward["input_gradient"] = True
    assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["conv2d_backward"], backward)


def test_sums_of_a_gradient_in_many_parts_match_the_twin(xp, package, monkeypatch):
    monkeypatch.setattr(package.launch, "parts", lambda n, tiles: (-(-n // 50), 50))
    _, backward = arguments_of(CONVOLUTIONS[-1], "float64")
    backward["input_gradient"] = True
    assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["conv2d_backward"], backward)
    x, scale, dy = draw((137, 11), (11,), (137, 11))
    given = {"x": x, "scale": scale, "dy": dy, "eps": 1e-5}
    for name in ("layer_norm_backward", "batch_norm_training_backward"):
        assert_returns_what_its_twin_does(xp, nn.FUNCTIONS[name], given)


@pytest.mark.parametrize(
    ("n", "tiles"), [(0, 1), (1, 1), (257, 1), (100_352, 1), (12_800, 10), (10**7, 4000)]
)
def test_parts_cover_all_rows_in_a_bounded_number_of_blocks(n, tiles, package):
    count, share = package.launch.parts(n, tiles)
    assert (count - 1) * share < max(n, 1) <= max(count, 1) * share
    assert count * tiles <= max(tiles, package.launch.MAX_BLOCKS)


@pytest.mark.parametrize("channels", [1, 3, 6, 17, 33])
@pytest.mark.parametrize(
    "options",
    [
        {"size": 2, "stride": 2, "padding": "valid"},
        {"size": (3, 2), "stride": (1, 2), "padding": "same"},
        {"size": 3, "stride": 2, "padding": ((1, 0), (2, 1))},
        {"size": 2, "stride": 3, "padding": 1},
    ],
)
def test_pooling_matches_its_twins_for_equal_elements_too(options, channels, xp):
    x = numpy.round(draw((2, 7, 6, channels))[0])  # Many are equal, so the first largest counts.
    for name in ("max_pool2d", "avg_pool2d"):
        assert_returns_what_its_twin_does(xp, nn.FUNCTIONS[name], {"x": x, **options})
        y = getattr(nn, name)(numpy, x, **options)
        (dy,) = draw(y.shape)
        given = {"x": x, "y": y, "dy": dy} if name == "max_pool2d" else {"x": x, "dy": dy}
        assert_returns_what_its_twin_does(xp, nn.FUNCTIONS[f"{name}_backward"], given | options)


def test_padding_is_the_first_largest_of_a_window_of_minus_infinities(xp):
    x = numpy.full((1, 3, 3, 1), -numpy.inf)
    options = {"size": 2, "stride": 1, "padding": 1}
    y = nn.max_pool2d(numpy, x, **options)
    given = {"x": x, "y": y, "dy": numpy.ones_like(y), **options}
    assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["max_pool2d_backward"], given)


def test_images_of_any_layout_are_read(xp):
    forward, backward = arguments_of(CONVOLUTIONS[1], "float64")
    for name, given in (("conv2d", forward), ("conv2d_backward", backward)):
        arrays = {key: numpy.asfortranarray(x) for key, x in given.items() if isinstance(x, numpy.ndarray)}
        expected = getattr(nn, name)(numpy, **given)
        found = getattr(xp.nn, name)(**{**given, **{key: cuda_on_host.own(x) for key, x in arrays.items()}})
        pairs = zip(found, expected, strict=True) if type(found) is tuple else [(found, expected)]
        for one, other in pairs:
            numpy.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


def make_trainer(xp, *, layers=LAYERS, optimizer=None, dtype="float64"):
    images = numpy.random.default_rng(0).integers(0, 256, (22, 64)).astype(numpy.uint8)
    data = xpnet.Dataset(images, numpy.arange(22) % 3)
    options = {"batch_size": 8, "scaling": Scaling(1 / 255, -0.5), "dtype": dtype}
    optimizer = optimizer or xpnet.Momentum(0.5, beta=0.8)
    return steps.make_trainer(xp, xpnet.Sequential(*layers), data, optimizer=optimizer, **options)[0]


def train(trainer):
    """Return the losses of four epochs of three steps, the last of which is ragged."""
    orders = [numpy.roll(numpy.arange(22, dtype=numpy.int32), 5 * epoch) for epoch in range(4)]
    return [float(trainer.epoch(order)) for order in orders]


@by_both
@pytest.mark.parametrize("optimizer", [xpnet.Momentum(0.5, beta=0.8), xpnet.Adam(1e-2, eps=1e-3)])
def test_captured_training_of_a_convolutional_network_equals_the_step_as_written(optimizer, xp, limited):
    mine, plain = (make_trainer(on, optimizer=optimizer) for on in (xp, steps.PLAIN))
    numpy.testing.assert_allclose(train(mine), train(plain), rtol=1e-9)
    assert mine.compiled.report == ""
    for name, p in plain.params.items():
        numpy.testing.assert_allclose(mine.params[name], p, rtol=1e-9, atol=1e-11)


def test_a_captured_step_fuses_activations_and_steps_with_convolutions(xp):
    trainer = make_trainer(xp)
    train(trainer)
    for program in trainer.compiled.programs:
        assert program.captures
        names = [task.name for task in program.tasks]
        assert names == [
            *("fetch", "conv2d relu", "max_pool2d", "conv2d relu", "max_pool2d"),
            *("flatten", "linear relu", "linear", "softmax_cross_entropy accumulate"),
            *("linear_backward relu", "linear_backward", "flatten_backward"),
            *("max_pool2d_backward", "relu_backward", "conv2d_backward"),
            *("max_pool2d_backward", "relu_backward"),
            *("conv2d_momentum_step", "conv2d_momentum_step", "linear_momentum_step", "linear_momentum_step"),
        ]


@pytest.mark.parametrize(
    "layers",
    [
        (xpnet.Unflatten(8, 8, 1), xpnet.Conv2d(1, 4, 3), xpnet.GELU(), xpnet.GlobalAvgPool2d()),
        (
            xpnet.Linear(64, 18),
            xpnet.LayerNorm(18),
            xpnet.Unflatten(3, 3, 2),
            xpnet.Residual(xpnet.Conv2d(2, 2, 3), xpnet.LeakyReLU()),
            xpnet.AvgPool2d(2, 1),
            xpnet.Flatten(),
        ),
    ],
    ids=["global average", "residual"],
)
def test_captured_training_of_other_layers_equals_the_step_as_written(layers, xp):
    layers = (*layers, xpnet.Linear(4 if len(layers) == 4 else 8, 3))
    mine, plain = (make_trainer(on, layers=layers) for on in (xp, steps.PLAIN))
    numpy.testing.assert_allclose(train(mine), train(plain), rtol=1e-9)
    assert mine.compiled.report == ""
    for name, p in plain.params.items():
        numpy.testing.assert_allclose(mine.params[name], p, rtol=1e-9, atol=1e-11)


def normalise(xp, x, scale, shift, running):
    y, mean, _ = xp.nn.batch_norm_training(x, scale, shift, eps=1e-5)
    dx, d_scale, d_shift = xp.nn.batch_norm_training_backward(x, scale, y, eps=1e-5)
    running = xp.nn.moving_average(running, mean, momentum=0.25)
    return xp.nn.sgd_step(scale, d_scale, 1e-3), xp.nn.sgd_step(shift, d_shift, 1e-3), running, dx


def test_a_captured_step_changes_running_means(xp):
    x, *state = draw((3, 4, 5, 6), (6,), (6,), (6,))
    found, expected = ([numpy.array(a) for a in state] for _ in range(2))
    found, compiled = [xp.asarray(a) for a in found], xp.compile(normalise)
    for _ in range(5):
        *found, dx = compiled(xp, xp.asarray(x), *found)
        *expected, expected_dx = normalise(steps.PLAIN, x, *expected)
        for one, other in zip((*found, dx), (*expected, expected_dx), strict=True):
            numpy.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)
    assert compiled.report == ""
    assert [program.captures for program in compiled.programs]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("most", [1, 4, 70_000])
def test_captured_steps_change_images_as_the_twins_do_bit_for_bit(most, dtype, xp):
    images, key = draw((40, 5, 6, 3), dtype=dtype)[0], 2**64 - 3

    def change(xp, x, step):
        shifted, flipped = xp.nn.random_shift(x, key, step, most=most), xp.nn.random_flip(x, key, step)
        back = xp.nn.random_shift_backward(x, key, step, most=most)
        return shifted, back, flipped, xp.nn.random_flip_backward(x, key, step), step + 1

    compiled, step = xp.compile(change), 2**32 - 2
    for number in range(step, step + 4):
        *found, step = compiled(xp, xp.asarray(images), step)
        *expected, _ = change(steps.PLAIN, images, number)
        assert [x.tobytes() for x in found] == [x.tobytes() for x in expected]
    assert compiled.report == ""
    assert [program.captures for program in compiled.programs] == [True]


def test_captured_training_on_changed_images_equals_the_step_as_written(xp):
    layers = xpnet.Unflatten(8, 8, 1), xpnet.RandomShift(2), xpnet.RandomFlip(), *LAYERS[1:]
    mine, plain = (make_trainer(on, layers=layers) for on in (xp, steps.PLAIN))
    numpy.testing.assert_allclose(train(mine), train(plain), rtol=1e-9)
    assert mine.compiled.report == ""
    assert all(program.captures for program in mine.compiled.programs)


def test_two_captured_trainings_have_the_same_bits(xp):
    trained = [make_trainer(xp, dtype="float32") for _ in range(2)]
    assert train(trained[0]) == train(trained[1])
    for one, other in itertools.pairwise(trained):
        assert all(one.params[name].tobytes() == p.tobytes() for name, p in other.params.items())
