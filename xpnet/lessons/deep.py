"""Deep networks: two, three and four hidden layers, and why ReLU replaced the sigmoid.

On its way back through the network, the gradient is multiplied by ``f'(z)`` and by the weights of every
layer. The sigmoid's ``f'`` is at most 1/4, so with weights of variance ``1/n`` each layer shrinks the
gradient to about a quarter of its size, and the first layers of a deep network hardly learn: their
gradients vanish. ReLU's derivative is 1 wherever the unit is active:

    ReLU(z) = max(z, 0)         ReLU'(z) = 1 if z > 0 else 0

Half of the units are inactive, which halves the variance, so the weights start with twice the variance
(He et al., 2015):

    w ~ sqrt(2/n) * normal(0, 1)

The first table, measured before any training, shows the size of the gradient of each layer's weights for
both activations. Then all six networks are trained in the same way. Only the activation passed to `mlp`
changes, with the initial weights and the learning rate that suit it. The last third of the epochs uses a
tenth of the learning rate, so that the steps no longer jump around the minimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpnet import checks
from xpnet.checked import checked
from xpnet.datasets import Dataset, mnist
from xpnet.lessons.pace import fit_in_two_stages
from xpnet.models import Sequential, mlp
from xpnet.namespace import Namespace

WIDTH = 256
RATES = {"relu": 0.3, "sigmoid": 4.0}  # ReLU's gradients are larger and need smaller steps


def network(activation: str, depth: int) -> Sequential:
    """Return a 784-256-...-10 network, its weights of variance 2/n for ReLU and 1/n for the sigmoid."""
    return mlp(784, *[WIDTH] * depth, 10, activation=activation)


def run(
    xp: Namespace,
    *,
    epochs: int = 9,
    seed: int = 138,
    limit: int | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Return gradient sizes by layer, and the test accuracy of each network."""
    train, test = mnist()
    train = train[: checks.limit(limit)]

    gradients = {a: gradient_sizes(checked(xp), network(a, 4), train[:1000], seed) for a in RATES}
    say("size of the gradient (root mean square) before training, four hidden layers")
    say("layer  " + "  ".join(f"{activation:>8}" for activation in gradients))
    for layer, sizes in enumerate(zip(*gradients.values(), strict=True), start=1):
        say(f"{layer:5}  " + "  ".join(f"{size:8.1e}" for size in sizes))

    accuracies: dict[str, dict[str, float]] = {activation: {} for activation in RATES}
    for activation, lr in RATES.items():
        for depth in (2, 3, 4):
            accuracy = learn(xp, network(activation, depth), train, test, lr, epochs, seed)
            accuracies[activation][str(depth)] = accuracy
            say(f"{activation:8} {depth} hidden layers   test accuracy {accuracy:.2%}")
    return {"accuracy": accuracies["relu"]["4"], "accuracies": accuracies, "gradients": gradients}


def gradient_sizes(xp: Namespace, model: Sequential, dataset: Dataset, seed: int) -> list[float]:
    """Return the root mean square of dJ/dw for each layer, from the first, with initial weights."""
    params = model.init(xp, seed)
    rows = xp.arange(len(dataset), dtype=xp.int32)
    images = xp.asarray(dataset.images)
    x = xp.nn.gather_batch(images, rows, scale=1 / 255, offset=0.0, dtype=xp.float32)
    logits, pullback = model(xp, params, x)
    _, d_logits = xp.nn.softmax_cross_entropy(logits, xp.asarray(dataset.labels.astype("int32")))
    _, grads = pullback(d_logits, input_gradient=False)
    weights = [grads[name] for name in model.shapes if name.endswith("weight")]
    return [math.sqrt(float(xp.to_host(xp.mean(dw * dw)))) for dw in weights]


def learn(
    xp: Namespace, model: Sequential, train: Dataset, test: Dataset, lr: float, epochs: int, seed: int
) -> float:
    """Return the test accuracy after two thirds of the epochs at `lr` and the rest at a tenth of it."""
    trained = fit_in_two_stages(xp, model, train, test, lr, epochs, seed)
    return trained.history[-1].test_accuracy or 0.0


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the gradient by layer on a logarithmic axis, and the accuracy by depth."""
    left, right = figure.subplots(1, 2)
    styles = {"relu": ("o-", "#0072B2", "ReLU"), "sigmoid": ("s--", "#D55E00", "sigmoid")}
    for activation, (style, colour, name) in styles.items():
        sizes = figures["gradients"][activation]
        left.plot(range(1, len(sizes) + 1), sizes, style, color=colour, label=name)
        depths, accuracies = zip(*figures["accuracies"][activation].items(), strict=True)
        right.plot(list(map(int, depths)), [100 * a for a in accuracies], style, color=colour, label=name)
    left.set(title="Gradients before training", xlabel="layer, from the input")
    left.set(ylabel="root mean square of dJ/dw", yscale="log")
    right.set(title="After training", xlabel="hidden layers", ylabel="test accuracy, percent", ylim=(0, 103))
    right.set(xticks=[2, 3, 4])
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
