"""Networks of images on a GPU: LeNet-5 captured, and convolutions by kernels of ours and by cuBLAS."""

import numpy
import pytest
import steps
from checking import assert_returns_what_its_twin_does

import xpnet
from xpnet import networks, nn

STEPS = 20


@pytest.fixture
def xp():
    try:
        return xpnet.backend("cupy")
    except xpnet.BackendUnavailableError as e:
        pytest.skip(str(e))


def make_trainer(xp):
    data, _ = xpnet.datasets.mnist()
    options = {"batch_size": 128, "seed": 138, "dtype": "float32", "optimizer": xpnet.Momentum(lr=0.02)}
    return steps.make_trainer(xp, networks.lenet5(), data[: 128 * STEPS], **options)[0]


def train(trainer):
    order = numpy.random.default_rng(0).permutation(128 * STEPS).astype("int32")
    trainer.rehearse()
    return float(trainer.xp.to_host(trainer.epoch(order)))


@pytest.mark.gpu
def test_a_captured_step_of_lenet_on_a_gpu_stays_near_numpy(xp):
    trainers = [make_trainer(on) for on in (xp, xpnet.backend("numpy"))]
    losses = [train(trainer) for trainer in trainers]
    assert trainers[0].compiled.report == ""
    assert all(program.captures for program in trainers[0].compiled.programs)
    assert abs(losses[0] / losses[1] - 1) < 1e-3
    for name, p in trainers[1].params.items():
        numpy.testing.assert_allclose(xp.to_host(trainers[0].params[name]), p, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_two_captured_trainings_of_lenet_on_a_gpu_have_the_same_bits(xp):
    trainers = [make_trainer(xp) for _ in range(2)]
    assert train(trainers[0]) == train(trainers[1])
    for name, p in trainers[0].params.items():
        assert xp.to_host(p).tobytes() == xp.to_host(trainers[1].params[name]).tobytes()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lengths", [(8, 14, 16, 32), (32, 32, 32, 64)], ids=["by a kernel", "by cuBLAS"])
def test_convolutions_on_a_gpu_match_their_twins(lengths, dtype, xp):
    batch, side, channels, n_out = lengths
    random = numpy.random.default_rng(0)
    shapes = {
        "x": (batch, side, side, channels),
        "weight": (3, 3, channels, n_out),
        "bias": (n_out,),
        "dy": (batch, side, side, n_out),
    }
    arrays = {name: random.uniform(-1, 1, shape).astype(dtype) for name, shape in shapes.items()}
    options = {"stride": 1, "padding": "same", "dilation": 1, "groups": 1}
    forward = {name: arrays[name] for name in ("x", "weight", "bias")}
    assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["conv2d"], forward | options)
    backward = {name: arrays[name] for name in ("x", "weight", "dy")} | {"input_gradient": True}
    assert_returns_what_its_twin_does(xp, nn.FUNCTIONS["conv2d_backward"], backward | options)
