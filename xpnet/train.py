"""Training: mini-batch gradient descent, written once for every backend."""

from __future__ import annotations

import math
import time
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from xpnet import checkpoint, checks
from xpnet.batches import Scaling
from xpnet.datasets import Dataset
from xpnet.errors import TrainingDivergedError
from xpnet.inputs import Inputs
from xpnet.layer import Params
from xpnet.losses import find_loss
from xpnet.measure import Measure
from xpnet.memory import watched
from xpnet.models import Sequential, check_params, copy_params
from xpnet.namespace import Namespace, check_namespace
from xpnet.optim import Optimizer
from xpnet.problem import Problem, check_classes, check_fit, images_for
from xpnet.progress import progress_bar
from xpnet.random import Stream
from xpnet.run import Epoch, Run, in_reach
from xpnet.trainer import Trainer

Array = Any

# What a call of a function with `yield` or `async` returns.
_NOT_RUN: Any = types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType


# NumPy warns of overflow when training diverges; the error that `fit` then raises says what to do. Numbers so
# small that they underflow may become 0.
@np.errstate(over="ignore", invalid="ignore", under="ignore")
def fit(
    xp: Namespace,
    model: Sequential,
    train: Dataset,
    *,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 128,
    test: Dataset | None = None,
    loss: str = "softmax_cross_entropy",
    seed: int = 0,
    dtype: Any = "float32",
    scale: float = 1 / 255,
    offset: float = 0.0,
    params: Params | None = None,
    callbacks: Iterable[Callable[[Run], object]] = (),
    progress: bool | None = None,
) -> Run:
    """Train a model and return it with its history.

    Every epoch uses all samples once, in a new random order; the last batch has the rest. One seed gives the
    same initial parameters, orders and dropout masks on every backend. Backends sum in different orders, so
    trained parameters agree up to rounding. On `numpy` and `numba`, the same arguments give the same bytes on
    one machine, whatever other threads do; on `numpy`, the number of BLAS threads must also be the same.

    Parameters
    ----------
    xp : Namespace
    model : Sequential
        A final `Softmax` (or `Sigmoid`) is trained as a part of its cross-entropy.
    train : Dataset
        Copied to the device as it is, once, when training begins; batches become floating-point numbers when
        they are gathered. uint8 and float images are equally fast, in any memory order.
    optimizer : Optimizer
    epochs, batch_size : int
    test : Dataset, optional
        Evaluated after each epoch. Stored and scaled like `train`: see `Inputs.check`.
    loss : str
        By its name in `xpnet.losses.LOSSES`. With one output, labels are 0 and 1.
    seed : int
    dtype : {"float32", "float64"}, or that dtype of `xp`
        Of the parameters and of all arithmetic.
    scale, offset : float
        uint8 pixels enter the model as ``pixel * scale + offset``; float images as they are.
    params : dict of arrays of `xp`, optional
        Initial parameters, of that dtype; they are copied. If omitted, new ones are drawn.
    callbacks : iterable of callable
        Each is called with the run after every epoch; training ends if one returns a true value. Later epochs
        do not change these arrays and entries, so ``best = dict(run.params)`` keeps the parameters.
    progress : bool, optional
        Whether to show a progress bar. If omitted, it is shown if standard output is a terminal.

    Returns
    -------
    run : Run

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid or does not fit the others.
    TrainingDivergedError
        If the mean loss of an epoch, or a parameter after it, is not finite.
    DeviceMemoryError
        If the device is out of memory. It says what was asked for, what is free, and which batch size fits.

    Notes
    -----
    An error or a KeyboardInterrupt that ends training has an attribute `run`: the run after the last complete
    epoch, ready to use or save.
    """
    criterion = find_loss(loss)
    check_namespace(xp)
    check_fit("train", train, model)
    if test is not None:
        check_fit("test", test, model)
    batch_size, epochs = checks.count("batch_size", batch_size), checks.count("epochs", epochs)
    seed, scaling = checks.seed(seed), Scaling(scale, offset)
    callbacks = _checked_callables(optimizer, callbacks)
    dtype = checks.float_name(xp, dtype)

    problem = Problem(model, criterion, scaling, dtype)
    inputs = Inputs.of(train, scaling)
    if test is not None:
        inputs.check("test", Inputs.of(test, scaling))
        check_classes("test", test.classes, train.classes)
    run = Run(xp, model, {}, criterion.name, scaling, initial_sha256="", inputs=inputs, classes=train.classes)
    image = images_for(model, train).shape[1:]
    with in_reach(run), watched(xp, model, dtype=dtype, batch_size=batch_size, image=image):
        run.params = (
            model.init(xp, seed, dtype=dtype) if params is None else _checked_copy(xp, model, params, dtype)
        )
        run.initial_sha256 = checkpoint.sha256(xp.to_host(p) for p in run.params.values())
        start = time.perf_counter()
        trainer = Trainer(
            xp,
            problem,
            copy_params(xp, run.params),
            train,
            optimizer=optimizer,
            batch_size=batch_size,
            seed=seed,
        )
        trainer.rehearse()
        run.warm_up_seconds = time.perf_counter() - start

        held_out = None if test is None else Measure(xp, problem, test, name="test", keep=True)
        order = Stream(seed, "shuffle")
        steps = epochs * -(-len(train) // batch_size)
        with progress_bar(steps, "training", show=progress) as advance:
            for number in range(1, epochs + 1):
                _train(run, number, trainer, held_out, order.permutation(len(train)), advance)
                answers = [callback(run) for callback in callbacks]
                if any(map(_is_true, answers)):
                    break
        trainer.close()
        if held_out is not None:
            held_out.close()
    return run


def _train(
    run: Run,
    number: int,
    trainer: Trainer,
    held_out: Measure | None,
    order: np.ndarray,
    advance: Callable[[int], object],
) -> None:
    """Train epoch `number` over the samples in this order, and record the result in `run`."""
    start = time.perf_counter()
    total = trainer.epoch(order, advance)
    run.xp.synchronize()
    seconds = time.perf_counter() - start
    epoch = _epoch(run.xp, trainer.params, number, total, len(order), held_out, seconds)
    run.params, run.history = trainer.snapshot(), [*run.history, epoch]
    run.report = _report(trainer, held_out)


def _report(trainer: Trainer, held_out: Measure | None) -> str:
    """Return why steps are not sped up; empty if they are."""
    tested = held_out.report if held_out is not None else ""
    return trainer.report or (tested and f"in tests, {tested}")


def _epoch(
    xp: Namespace,
    params: Params,
    number: int,
    total: Array,
    n: int,
    held_out: Measure | None,
    seconds: float,
) -> Epoch:
    """Return the epoch's entry of the history; all of its numbers reach the host in one copy."""
    finite = xp.all(xp.stack([xp.all(xp.isfinite(p)) for p in params.values()]))
    # The loss is nan if a parameter is not finite, which saves reading back another number.
    figures = [xp.where(finite, total, xp.asarray(math.nan, dtype=total.dtype))]
    if held_out is not None:
        test_total, predicted = held_out(params)
        hits = xp.sum(xp.astype(predicted == held_out.labels, held_out.batches.dtype))
        figures += [test_total, hits]
    sums = [float(value) for value in xp.to_host(xp.stack(figures))]
    train_loss = sums[0] / n
    tested = (None, None) if held_out is None else (value / len(held_out.batches) for value in sums[1:])
    test_loss, test_accuracy = tested
    if not math.isfinite(train_loss):
        train_loss = float(xp.to_host(total)) / n
        what = f"the mean training loss of epoch {number} is {train_loss}"
        if math.isfinite(train_loss):
            what = f"a parameter is not finite after epoch {number}"
        raise TrainingDivergedError(f"{what}; lower the learning rate")
    if test_loss is not None and not math.isfinite(test_loss):
        raise TrainingDivergedError(
            f"the mean test loss of epoch {number} is {test_loss}; lower the learning rate"
        )
    return Epoch(number, train_loss, test_loss, test_accuracy, seconds)


def _is_true(answer: Any) -> bool:
    """Return whether what a callback returned ends training."""
    if isinstance(answer, _NOT_RUN):  # It counts as true, but the callback's code never ran.
        raise TypeError(
            f"a callback returned a {type(answer).__name__}, whose code has not run; "
            "write it as a function without `yield` and `async`"
        )
    try:
        return bool(answer)
    except Exception as e:  # Each library raises its own for an array of several elements.
        raise TypeError(
            f"a callback returned a {type(answer).__name__} that is neither true nor false ({e}); "
            "return True to end the training, else None"
        ) from e


def _checked_copy(xp: Namespace, model: Sequential, params: Params, dtype: str) -> Params:
    found = check_params(xp, model, params)
    if found != dtype:
        raise ValueError(f"`params` are {found}, but `dtype` is {dtype!r}; pass `dtype={found!r}`")
    return copy_params(xp, params)


def _checked_callables(
    optimizer: Any, callbacks: Iterable[Callable[[Run], object]]
) -> list[Callable[[Run], object]]:
    if isinstance(optimizer, type) or not callable(optimizer) or not hasattr(optimizer, "init"):
        raise TypeError(
            f"`optimizer` must be an optimizer, got {optimizer!r}; pass for example `xpnet.SGD(0.5)`"
        )
    found: list[Any] = [callbacks] if callable(callbacks) else list(callbacks)
    if not all(map(callable, found)):
        raise TypeError(f"`callbacks` must be callables, got {found!r}; pass for example `[print]`")
    return found
