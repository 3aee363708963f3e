"""A first network: handwritten digits recognised in a few lines, before anything is explained.

The following lessons explain every part of it: the layers, the loss, the descent. For now, just read along.
An image has 784 pixels from 0 to 255, scaled to numbers from -0.5 to 0.5. They pass through two layers of
64 units, the last layer gives one score per digit, and softmax turns the scores into probabilities:

    p_k = exp(z_k) / (exp(z_0) + ... + exp(z_9))

Training makes the probability ``p`` of the right digit large: the loss is ``-log(p)``, the categorical
cross-entropy.

The course downloads the images with a function that no longer exists. Here they are part of the package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from xpnet import checks, pictures
from xpnet.datasets import mnist
from xpnet.layers import Linear, ReLU, Softmax
from xpnet.models import Sequential
from xpnet.namespace import Namespace
from xpnet.optim import Adam
from xpnet.progress import is_terminal
from xpnet.run import Run
from xpnet.train import fit


def run(
    xp: Namespace,
    *,
    epochs: int = 5,
    seed: int = 0,
    limit: int | None = None,
    say: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Return the accuracy on the test images and the digits predicted for the first five of them."""
    train, test = mnist()
    train = train[: checks.limit(limit)]

    model = Sequential(
        Linear(784, 64, "he_normal"),
        ReLU(),
        Linear(64, 64, "he_normal"),
        ReLU(),
        Linear(64, 10),
        Softmax(),
    )

    trained = fit(
        xp,
        model,
        train,
        test=test,
        optimizer=Adam(),
        loss="softmax_cross_entropy",  # categorical cross-entropy, softmax included
        epochs=epochs,
        batch_size=32,
        offset=-0.5,  # x/255 - 0.5
        seed=seed,
        callbacks=[functools.partial(tell, say)],
        progress=is_terminal(),
    )

    accuracy = trained.evaluate(test).accuracy
    first_five = trained.predict(test.images[:5]).tolist()
    say(f"test accuracy {accuracy:.2%}")
    say(f"the first five test digits are {test.labels[:5].tolist()}; the network reads {first_five}")
    return {
        "accuracy": accuracy,
        "first_five": first_five,
        "digits": test.images[:5].reshape(-1, 28, 28).tolist(),
        "probabilities": trained.predict_proba(test.images[:5]).tolist(),
    }


def tell(say: Callable[[str], object], trained: Run) -> None:
    """Print the last epoch of a training."""
    epoch = trained.history[-1]
    say(f"epoch {epoch.epoch}   loss {epoch.train_loss:.4f}   test accuracy {epoch.test_accuracy:.2%}")


def draw(figure: Any, figures: dict[str, Any]) -> None:
    """Draw five digits, and below each the probabilities that the network gives it."""
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.2, 1])
    names = [f"read as {digit}" for digit in figures["first_five"]]
    title = "The first five test digits, and the probability of each class"
    pictures.draw_images(top, figures["digits"], title, columns=5, captions=names)
    panels = bottom.subplots(1, 5, sharey=True)
    for axes, shares in zip(panels, figures["probabilities"], strict=True):
        axes.bar(range(10), shares, color="#0072B2")
        axes.set(xticks=range(10), ylim=(0, 1.05), xlabel="digit")
        axes.tick_params(labelsize=7)
    panels[0].set_ylabel("probability")
