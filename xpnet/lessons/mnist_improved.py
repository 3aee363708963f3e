"""Three improvements: mini-batches, momentum, and weights of the right size.

Mini-batches. A full pass for one step is wasteful: 128 images give nearly the same direction, so an
epoch takes 469 steps instead of one. The images are shuffled again in each epoch. (The end of a slice is
exclusive, so the last batch ends at `N`; the course's program has `min(begin + batch, N - 1)`, so it never
uses the last image of an epoch.)

Momentum. Each step follows a moving average of the gradients, which smooths the zigzag of small batches:

    v = beta v + (1 - beta) dJ/dw           w = w - lr v

Variance 1/n. A sum of n terms has n times the variance of one term. With standard-normal weights, the 784
inputs of a hidden unit add up to a ``z`` far from 0, where the sigmoid is flat and nothing is learned. So the
variance is divided by n:

    w ~ sqrt(1/n) * normal(0, 1)

Each improvement is then switched off in turn. The plot counts passes over the data, not seconds: without
mini-batches, an epoch is one step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from xpnet import checks
from xpnet.datasets import mnist
from xpnet.models import mlp
from xpnet.namespace import Namespace
from xpnet.optim import SGD, Momentum
from xpnet.progress import is_terminal
from xpnet.run import Run
from xpnet.train import fit

MOMENTUM, PLAIN = Momentum(lr=4.0, beta=0.9), SGD(lr=4.0)


def run(
    xp: Namespace,
    *,
    epochs: int = 9,
    seed: int = 138,
    limit: int | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Return accuracy and confusion matrix of the improved network, and the test costs of all four."""
    train, test = mnist()
    train = train[: checks.limit(limit)]

    everything = len(train)
    variants: dict[str, dict[str, Any]] = {
        "all three": {"initializer": "lecun_normal", "optimizer": MOMENTUM, "batch_size": 128},
        "no mini-batches": {"initializer": "lecun_normal", "optimizer": MOMENTUM, "batch_size": everything},
        "no momentum": {"initializer": "lecun_normal", "optimizer": PLAIN, "batch_size": 128},
        "variance 1": {"initializer": "normal", "optimizer": MOMENTUM, "batch_size": 128},
    }

    figures: dict[str, Any] = {"train_cost": {}, "test_cost": {}, "test_accuracy": {}}
    for name, options in variants.items():
        say(f"\n{name}")
        model = mlp(784, 64, 10, activation="sigmoid", initializer=options.pop("initializer"))
        trained = fit(
            xp,
            model,
            train,
            test=test,
            epochs=epochs,
            seed=seed,
            callbacks=[functools.partial(tell, say)],
            progress=is_terminal(),
            **options,
        )
        figures["train_cost"][name] = [epoch.train_loss for epoch in trained.history]
        figures["test_cost"][name] = [epoch.test_loss for epoch in trained.history]
        figures["test_accuracy"][name] = trained.history[-1].test_accuracy
        if name == "all three":
            evaluation = trained.evaluate(test)
            say(evaluation.report())
            figures["accuracy"] = evaluation.accuracy
            figures["confusion"] = evaluation.confusion.tolist()  # rows true, columns predicted
    return figures


def tell(say: Callable[[str], object], trained: Run) -> None:
    """Print the last epoch of a training."""
    epoch = trained.history[-1]
    say(
        f"epoch {epoch.epoch}   training cost {epoch.train_loss:.4f}   test cost {epoch.test_loss:.4f}   "
        f"test accuracy {epoch.test_accuracy:.2%}"
    )


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw the test cost of each variant by epoch."""
    axes = figure.subplots()
    styles = zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7"), ("o-", "s--", "^-.", "D:"), strict=True)
    for (name, costs), (colour, style) in zip(figures["test_cost"].items(), styles, strict=True):
        label = f"{name}:\n{figures['test_accuracy'][name]:.2%} at the end"
        axes.plot(range(1, len(costs) + 1), costs, style, color=colour, label=label)
    axes.set(
        title="Each improvement switched off in turn", xlabel="epoch", ylabel="test cost, nats per image"
    )
    axes.set_yscale("log")
    axes.yaxis.get_minor_locator().set_params(subs=(2, 5))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right center", frameon=False)
