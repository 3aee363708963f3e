"""Losses with weights, smoothing and soft targets in 100 compiled steps, against PyTorch."""

import numpy as np
import pytest

import xpnet
from xpnet import Dataset
from xpnet.losses import HuberError, SigmoidCrossEntropy, SoftmaxCrossEntropy

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; install it with `pip install 'xpnet[test-torch]'`"
)
F = torch.nn.functional

STEPS, BATCH, FEATURES = 100, 8, 6
TOLERANCE = 1e-9  # relative to the largest of an array
RANDOM = np.random.Generator(np.random.Philox(7))
INPUTS = RANDOM.standard_normal((STEPS * BATCH, FEATURES))
LABELS = RANDOM.integers(0, 3, STEPS * BATCH)
WEIGHTS = RANDOM.random(STEPS * BATCH)
SOFT = RANDOM.dirichlet(np.ones(3), STEPS * BATCH)
VALUES = RANDOM.standard_normal((STEPS * BATCH, 3))
SEVERAL = (VALUES > 0).astype("float64")
OF_CLASSES = torch.tensor([1.0, 3.0, 0.25], dtype=torch.float64)


def by_weight(losses, weights):
    losses = losses if losses.ndim == 1 else losses.mean(1)
    return (losses * weights).sum() / weights.sum()


def every(function, **options):
    return lambda z, t, w: by_weight(function(z, t, reduction="none", **options), w)


CASES = {
    "weights of classes": (
        LABELS,
        {"class_weight": {0: 1.0, 1: 3.0, 2: 0.25}},
        lambda z, t, w: F.cross_entropy(z, t, weight=OF_CLASSES),
    ),
    "weights of samples": (LABELS, {"sample_weight": WEIGHTS}, every(F.cross_entropy)),
    "label smoothing": (
        LABELS,
        {"loss": SoftmaxCrossEntropy(label_smoothing=0.1)},
        lambda z, t, w: F.cross_entropy(z, t, label_smoothing=0.1),
    ),
    "smoothing and weights": (
        LABELS,
        {"loss": SoftmaxCrossEntropy(label_smoothing=0.1), "sample_weight": WEIGHTS},
        every(F.cross_entropy, label_smoothing=0.1),
    ),
    "soft labels": (SOFT, {}, lambda z, t, w: F.cross_entropy(z, t)),
    "soft labels and weights": (SOFT, {"sample_weight": WEIGHTS}, every(F.cross_entropy)),
    "several labels": (
        SEVERAL,
        {"loss": "sigmoid_cross_entropy"},
        lambda z, t, w: F.binary_cross_entropy_with_logits(z, t),
    ),
    "several smooth labels": (
        SEVERAL,
        {"loss": SigmoidCrossEntropy(label_smoothing=0.2)},
        lambda z, t, w: F.binary_cross_entropy_with_logits(z, 0.8 * t + 0.1),
    ),
    "several labels and weights": (
        SEVERAL,
        {"loss": "sigmoid_cross_entropy", "sample_weight": WEIGHTS},
        every(F.binary_cross_entropy_with_logits),
    ),
    "squared error and weights": (
        VALUES,
        {"loss": "squared_error", "sample_weight": WEIGHTS},
        every(F.mse_loss),
    ),
    "absolute error": (VALUES, {"loss": "absolute_error"}, lambda z, t, w: F.l1_loss(z, t)),
    "absolute error and weights": (
        VALUES,
        {"loss": "absolute_error", "sample_weight": WEIGHTS},
        every(F.l1_loss),
    ),
    "Huber error": (VALUES, {"loss": HuberError(0.3)}, lambda z, t, w: F.huber_loss(z, t, delta=0.3)),
    "Huber error and weights": (
        VALUES,
        {"loss": HuberError(0.3), "sample_weight": WEIGHTS},
        every(F.huber_loss, delta=0.3),
    ),
}


def trained_by_torch(start, order, targets, loss):
    w1, b1, w2, b2 = params = [torch.tensor(x, requires_grad=True) for x in start]
    optimizer = torch.optim.SGD(params, lr=0.2)
    inputs, targets, weights = (torch.tensor(x[order]) for x in (INPUTS, targets, WEIGHTS))
    losses = []
    for begin in range(0, STEPS * BATCH, BATCH):
        rows = slice(begin, begin + BATCH)
        value = loss(torch.sigmoid(inputs[rows] @ w1 + b1) @ w2 + b2, targets[rows], weights[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return [p.detach().numpy() for p in params], losses


@pytest.mark.parametrize("case", CASES)
def test_100_steps_are_those_of_pytorch(backend, case):
    targets, options, loss = CASES[case]
    model = xpnet.mlp(FEATURES, 5, 3)
    start = [backend.to_host(p) for p in model.init(backend, 3, dtype="float64").values()]
    order = xpnet.Stream(3, "shuffle").permutation(len(INPUTS))
    expected, losses = trained_by_torch(start, order, targets, loss)
    run = xpnet.fit(
        backend,
        model,
        Dataset(INPUTS, targets),
        optimizer=xpnet.SGD(0.2),
        epochs=1,
        batch_size=BATCH,
        dtype="float64",
        seed=3,
        **options,
    )
    assert run.report == ""
    for found, other in zip(run.params.values(), expected, strict=True):
        found = backend.to_host(found)
        np.testing.assert_allclose(found, other, rtol=0, atol=TOLERANCE * np.abs(other).max())
    if "weight" not in case:
        assert run.history[0].train_loss == pytest.approx(np.mean(losses), rel=1e-9)
