"""A first network: handwritten digits recognised in a few lines, before anything is explained.

The following lessons explain every part of it: the layers, the loss, the descent. For now, just read along.
An image has 784 pixels from 0 to 255, scaled to numbers from -0.5 to 0.5. They pass through two layers of
64 units, the last layer gives one score per digit, and softmax turns the scores into probabilities:

    p_k = exp(z_k) / (exp(z_0) + ... + exp(z_9))

Training makes the probability p of the right digit large: the loss is -log(p), the categorical
cross-entropy.

The course downloads the images with a function that no longer exists. Here they are part of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet import checks
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
    model = Sequential(
        Linear(784, 64, "he_normal"),
        ReLU(),
        Linear(64, 64, "he_normal"),
        ReLU(),
        Linear(64, 10),
        Softmax(),
    )

    def tell(trained: Run) -> None:
        say(_line(trained.history[-1]))

    trained = fit(
        xp,
        model,
        train[: checks.limit(limit)],
        test=test,
        optimizer=Adam(),
        loss="softmax_cross_entropy",  # categorical cross-entropy, softmax included
        epochs=epochs,
        batch_size=32,
        offset=-0.5,  # x/255 - 0.5
        seed=seed,
        callbacks=[tell],
        progress=is_terminal(),
    )
    accuracy = trained.evaluate(test).accuracy
    first_five = trained.predict(test.images[:5]).tolist()
    say(f"test accuracy {accuracy:.2%}")
    say(f"the first five test digits are {test.labels[:5].tolist()}; the network reads {first_five}")
    return {"accuracy": accuracy, "first_five": first_five}


def _line(epoch: Any) -> str:
    return f"epoch {epoch.epoch}   loss {epoch.train_loss:.4f}   test accuracy {epoch.test_accuracy:.2%}"
