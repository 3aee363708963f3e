"""A convolutional network in compiled steps, 100 of them, against PyTorch from equal weights."""

import numpy as np
import pytest

import xpnet
from xpnet.batches import Scaling, spans
from xpnet.losses import find_loss
from xpnet.problem import Problem
from xpnet.trainer import Trainer

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; install it with `pip install 'xpnet[test-torch]'`"
)
F = torch.nn.functional

STEPS, BATCH, SEED = 100, 16, 138
# Relative to the largest of an array.
TOLERANCE = 1e-9
LENET = xpnet.lenet5()


@pytest.fixture(scope="module")
def noisy(mnist):
    """Return digits with noise, so that no two pixels of a window are equal but for rounding."""
    train = mnist[0][: STEPS * BATCH]
    noise = np.random.Generator(np.random.Philox(SEED)).integers(0, 128, train.images.shape, np.uint8)
    return xpnet.Dataset(train.images // 2 + noise, train.labels)


def as_torch(array):
    """Return a parameter as PyTorch's: the axes of a convolution's weight are in another order."""
    array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return torch.tensor(array, requires_grad=True)


def logits(params, images):
    first, first_bias, second, second_bias, *others = params
    x = F.max_pool2d(F.relu(F.conv2d(images, first, first_bias, padding=2)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, second, second_bias)), 2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    for weight, bias in zip(others[:-2:2], others[1:-2:2], strict=True):
        x = F.relu(x @ weight + bias)
    return x @ others[-2] + others[-1]


def trained_by_torch(start, train, lr, beta):
    """Return the parameters after one epoch in order; the velocity is an average, not PyTorch's sum."""
    params = [as_torch(array) for array in start]
    optimizer = torch.optim.SGD(params, lr=lr * (1 - beta), momentum=beta)
    images = torch.tensor(train.images / 255).reshape(-1, 1, 28, 28)
    labels = torch.tensor(train.labels, dtype=torch.int64)
    for begin, end in spans(len(train), BATCH):
        optimizer.zero_grad()
        F.cross_entropy(logits(params, images[begin:end]), labels[begin:end]).backward()
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.parametrize(
    ("optimizer", "lr", "beta"),
    [(xpnet.SGD(0.05), 0.05, 0.0), (xpnet.Momentum(0.3, 0.9), 0.3, 0.9)],
    ids=["SGD", "momentum"],
)
def test_compiled_steps_train_as_pytorch_does(backend, noisy, optimizer, lr, beta):
    problem = Problem(LENET, find_loss("softmax_cross_entropy"), Scaling(), "float64")
    start = LENET.init(backend, SEED, dtype="float64")
    expected = trained_by_torch([backend.to_host(p) for p in start.values()], noisy, lr, beta)
    trainer = Trainer(backend, problem, start, noisy, optimizer=optimizer, batch_size=BATCH, seed=SEED)
    trainer.epoch(np.arange(len(noisy), dtype=np.int32))
    assert trainer.report == ""
    for found, other in zip(trainer.params.values(), expected, strict=True):
        found = backend.to_host(found)
        other = other.transpose(2, 3, 1, 0) if other.ndim == 4 else other
        np.testing.assert_allclose(found, other, rtol=0, atol=TOLERANCE * np.abs(other).max())
