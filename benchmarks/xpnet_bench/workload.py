"""The work of every competitor: one network, one data order, one update rule, one precision."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import xpnet
from xpnet import checks
from xpnet.adapting import adapted_params
from xpnet.batches import Scaling
from xpnet.descriptions import build, describe
from xpnet.loss import VALUES
from xpnet.losses import LOSSES, find_loss
from xpnet.nn import one_hot
from xpnet.problem import Problem, check_fit, images_for
from xpnet.registry import LIBRARY
from xpnet.targets import true_answers
from xpnet_bench import networks
from xpnet_bench.model_file import load_model
from xpnet_bench.source import BUNDLED, Source
from xpnet_bench.updates import Update, update_of

# Peers compute outputs of so many examples at a time, as `xpnet.evaluate` does: the memory of training is
# reported, and convolutions of all test images would need more.
TEST_BATCH = 1000

_HOST = xpnet.Namespace("host", np)
_MLP, _MOMENTUM = xpnet.mlp(784, 64, 10), xpnet.Momentum(4.0, 0.9)


class Part(NamedTuple):
    """A part of the data set.

    Attributes
    ----------
    inputs : NumPy array, uint8 or float32
        As they enter the model: rows of features, or images with channels. uint8 pixels are divided by 255.
    targets : NumPy array, shape (n,), int32, or (n, n_out), float32
        Class indices for softmax with cross-entropy; otherwise what each output should be.
    """

    inputs: np.ndarray
    targets: np.ndarray


class Start(NamedTuple):
    """What a peer begins with.

    Attributes
    ----------
    train, test : Part
    trunk : Sequential
        The network without a final softmax that its loss includes.
    params : dict of str to NumPy array
        Parameters and state by xpnet's names: a weight is (n_in, n_out), or (kernel_height, kernel_width,
        n_in, n_out) for a convolution.
    update : Update
    """

    train: Part
    test: Part
    trunk: xpnet.Sequential
    params: dict[str, np.ndarray]
    update: Update

    @property
    def trained(self) -> list[str]:
        """The names of the parameters that have gradients."""
        return list(self.trunk.shapes)


@dataclasses.dataclass(frozen=True)
class Workload:
    """An epoch of mini-batch training.

    Attributes
    ----------
    model : Sequential
    optimizer : Optimizer
    loss : str
        By its name in `xpnet.losses.LOSSES`.
    batch_size : int
        The last batch of an epoch holds the remainder and is used.
    seed : int
        Seed of the initial weights and of the order of the examples.
    limit : int or None
        Number of training examples to use, from the first.
    source : Source
    file : str or None
        ``"file.py:model"``, if a file defines the model.
    """

    model: xpnet.Sequential = _MLP
    optimizer: Any = _MOMENTUM
    loss: str = "softmax_cross_entropy"
    batch_size: int = 128
    seed: int = 138
    limit: int | None = None
    source: Source = BUNDLED
    file: str | None = None

    def __post_init__(self) -> None:
        checks.set_fields(
            self,
            loss=checks.choice(LOSSES),
            batch_size=checks.count,
            seed=lambda name, value: checks.seed(value),
            limit=lambda name, value: checks.limit(value),
        )

    def data(self) -> tuple[xpnet.Dataset, xpnet.Dataset]:
        """Return the training and the test set."""
        train, test = self.source.read()
        train = train[: self.limit]
        for name, part in (("train", train), ("test", test)):
            check_fit(name, part, self.model, find_loss(self.loss))
        return train, test

    def problem(self, train: xpnet.Dataset) -> Problem:
        """Return the model with its loss, as `xpnet.fit` trains it."""
        loss = find_loss(self.loss)
        return Problem(self.model, loss, Scaling(), "float32", loss.task(train.targets))

    def initial(self, xp: Any, train: xpnet.Dataset) -> dict[str, Any]:
        """Return the initial parameters and state as arrays of `xp`, as `xpnet.fit` makes them."""
        drawn = self.model.init(xp, self.seed)
        return adapted_params(xp, self.model, drawn, images_for(self.model, train), Scaling())

    def start(self) -> Start:
        """Return what a peer begins with."""
        train, test = self.data()
        params = self.initial(_HOST, train)
        trunk = find_loss(self.loss).trunk(self.model)
        return Start(self._part(train), self._part(test), trunk, params, update_of(self.optimizer))

    def _part(self, dataset: xpnet.Dataset) -> Part:
        inputs = images_for(self.model, dataset)
        if inputs.dtype != np.uint8:
            inputs = np.ascontiguousarray(inputs, np.float32)
        targets = dataset.targets
        if targets.ndim == 2:
            return Part(inputs, targets.astype(np.float32))
        if self.loss == "softmax_cross_entropy":
            return Part(inputs, targets.astype(np.int32))
        n_out = (self.model.output_shape(inputs.shape[1:]) or (1,))[0] or 1
        return Part(inputs, one_hot(_HOST, targets, n_out, dtype=np.float32))

    def score(self, outputs: np.ndarray, dataset: xpnet.Dataset) -> tuple[float, float | None]:
        """Return the mean loss of outputs and their accuracy, None if they are values.

        Parameters
        ----------
        outputs : NumPy array, shape (n, n_out)
            Of the trunk.
        dataset : Dataset
        """
        loss, task = find_loss(self.loss), self.problem(dataset).task
        targets = dataset.targets if dataset.has_labels else dataset.targets.astype(outputs.dtype)
        value, _ = loss.value(_HOST, outputs, targets, None)
        if task == VALUES:
            return float(value), None
        predicted = loss.predict(_HOST, outputs, task)
        return float(value), float(np.mean(predicted == true_answers(dataset.targets, task)))

    def orders(self, n: int) -> Iterator[np.ndarray]:
        """Yield the order of `n` examples for one epoch after another, int32."""
        stream = xpnet.Stream(self.seed, "shuffle")
        while True:
            yield stream.permutation(n)

    @property
    def title(self) -> str:
        """The network, its batch size and, if it is not that of a default race, the optimizer."""
        network = networks.title(self.model, os.path.basename(self.file or "a network"))
        rule = f", {self.optimizer!r}" if self.network == "own" else ""
        return f"{network}, batch {self.batch_size}{rule}"

    @property
    def network(self) -> str:
        """The name of the default race that this is, of whatever number of examples; else ``"own"``."""
        whole = dataclasses.replace(self, limit=None, file=None)
        return next((name for name, workload in WORKLOADS.items() if workload == whole), "own")

    def listed(self) -> dict[str, Any]:
        """Return it as JSON for a results file, without the places of files."""
        found = self.about() | {"model": describe(self.model)}
        del found["source"], found["file"]
        return {"network": self.network, "title": self.title, "data": self.source.name, **found}

    def about(self) -> dict[str, Any]:
        """Return it as JSON for other processes."""
        return {
            # Without a description, the file is run again.
            "model": describe(self.model) if _is_plain(self.model) else None,
            "optimizer": describe(self.optimizer),
            "loss": self.loss,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "limit": self.limit,
            "source": dataclasses.asdict(self.source),
            "file": self.file,
        }


def described(about: dict[str, Any]) -> Workload:
    """Return the workload that `Workload.about` described, perhaps in another process."""
    options = dict(about)
    source: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in options.pop("source").items()
    }
    named = options.pop("file")
    description = options.pop("model")
    model = load_model(named) if description is None else build(description)
    optimizer = build(options.pop("optimizer"))
    return Workload(model=model, optimizer=optimizer, source=Source(**source), file=named, **options)


def scaled(inputs: np.ndarray, dtype: type[np.floating] = np.float32) -> np.ndarray:
    """Return inputs as numbers, as they enter the first layer."""
    found = inputs.astype(dtype, copy=False)
    return found / dtype(255) if inputs.dtype == np.uint8 else found


def _is_plain(model: Any) -> bool:
    """Return whether all layers of a model are from xpnet, so that it can be described without its file."""
    return LIBRARY.get(type(model).__name__) is type(model) and all(
        map(_is_plain, getattr(model, "layers", ()))
    )


# The default race of each network.
WORKLOADS = {
    "mlp": Workload(),
    # The learning rate of the sigmoid network is too large for it: half of its units would never be active.
    "cnn": Workload(xpnet.lenet5(), xpnet.Momentum(0.5, 0.9)),
}
# With so few images that an answer takes a minute.
QUICK = {
    name: dataclasses.replace(WORKLOADS[name], limit=limit) for name, limit in (("mlp", 12000), ("cnn", 6000))
}
