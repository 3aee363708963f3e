"""Training: mini-batch gradient descent, written once for every backend."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from xpnet import checks
from xpnet.adapting import adapted_params
from xpnet.batches import Scaling
from xpnet.checkpoint_folder import Checkpoint
from xpnet.datasets import Dataset
from xpnet.distributed.agreement import check_batch, check_group, compare, results_of_first
from xpnet.distributed.group import Group
from xpnet.distributed.parts import own_samples
from xpnet.distributed.times import about_ranks
from xpnet.distributed.trainer import DistributedTrainer
from xpnet.epochs import train_epochs
from xpnet.inputs import Inputs
from xpnet.layer import Params
from xpnet.loss import Loss
from xpnet.losses import find_loss
from xpnet.measure import Measure
from xpnet.memory import watched
from xpnet.models import Sequential, check_params, copy_params
from xpnet.namespace import Namespace, check_namespace
from xpnet.optim import Optimizer
from xpnet.problem import Problem, aligned, check_fit, class_count, images_for
from xpnet.random import Stream
from xpnet.resuming import Resumable, find_checkpoints
from xpnet.run import Run, in_reach, new_run
from xpnet.sealed import sha256
from xpnet.trainer import Trainer
from xpnet.weights import divided, weighted

Array = Any


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
    validation: Dataset | float | None = None,
    loss: str | Loss | Callable[..., Any] = "softmax_cross_entropy",
    sample_weight: Any = None,
    class_weight: Any = None,
    seed: int = 0,
    dtype: Any = "float32",
    scale: float = 1 / 255,
    offset: float = 0.0,
    params: Params | None = None,
    callbacks: Iterable[Callable[[Run], object]] = (),
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | bool | None = None,
    progress: bool | None = None,
    distributed: Group | None = None,
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
    validation : Dataset or float, optional
        Evaluated after each epoch too, for decisions such as when to stop. A float is the share of `train`
        that is kept for it, drawn by `seed`; class indices keep their shares in both parts.
    loss : str, Loss or callable
        By its name in `xpnet.losses.LOSSES`; or one with options, such as
        ``xpnet.losses.HuberError(delta=2)``; or a function of your own, see `xpnet.losses.OwnLoss`. With one
        output, labels are 0 and 1.
    sample_weight : array, shape (n,), optional
        How much each sample of `train` counts in the loss, if `train` has no weights itself.
    class_weight : dict or "balanced", optional
        How much each class counts, by index or name; others count 1. "balanced" gives all classes that occur
        the same total weight. The loss of a batch is the mean by weight.
    seed : int
    dtype : {"float32", "float64"}, or that dtype of `xp`
        Of the parameters and of all arithmetic.
    scale, offset : float
        uint8 pixels enter the model as ``pixel * scale + offset``; float images as they are.
    params : dict of arrays of `xp`, optional
        Initial parameters, of that dtype; they are copied. If omitted, new ones are drawn, and a first layer
        such as `Standardize` is adapted to `train`.
    callbacks : iterable of callable
        Each is called with the run after every epoch; training ends if one returns a true value. Later epochs
        do not change these arrays and entries, so ``best = dict(run.params)`` keeps the parameters. What it
        sets as ``run.lr`` or ``run.optimizer`` counts from the next step on. Its methods ``begin(run)`` and
        ``end(run)``, if it has them, are called before and after the training, also after an exception.
    checkpoint : Checkpoint or path, optional
        Saves the training in a folder, from which `resume` continues it.
    resume : path or bool, optional
        A checkpoint, or a folder with some, of which the newest whole one counts; True for the folder of
        `checkpoint`. `epochs` counts from the first one on. The result is bit for bit that of a training
        that was not interrupted, if the backend is the same, and equal up to rounding if it is another one.
        All other arguments and the data must be the same, but `epochs` may grow, and callbacks may change.
        If the folder has no checkpoint, the training begins anew.
    progress : bool, optional
        Whether to show a progress bar. If omitted, it is shown if standard output is a terminal; otherwise,
        as in a notebook, a line is printed after each epoch, at most every half second after the first 10.
    distributed : Group, optional
        The processes that train together, for example ``xpnet.distributed.mpi()``. All of them call `fit`
        with the same arguments and data, and return the same parameters and losses. Each takes its rows of
        every batch, which has `batch_size` rows in all, so parameters equal those of one process up to
        rounding. Only rank 0 calls callbacks, writes checkpoints and shows progress.

    Returns
    -------
    run : Run

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid or does not fit the others.
    TrainingDivergedError
        If the mean loss of an epoch, or a parameter after it, is not finite.
    DistributedError
        If the ranks of a group have other versions, backends, arguments or data, or if another rank failed.
    DeviceMemoryError
        If the device is out of memory. It says what was asked for, what is free, and which batch size fits.

    Notes
    -----
    An error or a KeyboardInterrupt that ends training has an attribute `run`: the run after the last complete
    epoch, ready to use or save.
    """
    group = check_group(distributed)
    with group.guarded(), contextlib.ExitStack() as ends:
        with group.together():
            criterion = find_loss(loss)
            check_namespace(xp)
            check_fit("train", train, model, criterion)
            seed, scaling = checks.seed(seed), Scaling(scale, offset)
            task, image = criterion.task(train.targets), images_for(model, train).shape[1:]
            train = weighted(train, sample_weight, None, classes=0)
            train, validation = divided(train, validation, seed=seed)
            train = weighted(train, None, class_weight, classes=class_count(model, image))
            check_fit("train", train, model, criterion)
            held_out = {"validation": validation, "test": test}
            batch_size, epochs = checks.count("batch_size", batch_size), checks.count("epochs", epochs)
            check_batch(group, batch_size)
            callbacks, checkpoints = find_checkpoints(_as_list(callbacks), checkpoint)
            _check_callables(optimizer, callbacks)
            if group.rank:
                callbacks, checkpoints = [], []
            dtype = checks.float_name(xp, dtype)
            problem = Problem(model, criterion, scaling, dtype, task)
            run = new_run(xp, problem, train, optimizer)
            others = {
                name: _checked_other(name, other, problem, run, train)
                for name, other in held_out.items()
                if other is not None
            }
        settings = {
            "model": model,
            "optimizer": optimizer,
            "loss": criterion,
            "batch_size": batch_size,
            "seed": seed,
            "dtype": dtype,
            "scaling": scaling,
        }
        data = {"train": train, **{name: others.get(name) for name in held_out}}
        compare(group, xp, settings | {"epochs": epochs, "resume": bool(resume)}, data, params)
        order = Stream(seed, "shuffle")
        resumable = Resumable(
            run,
            callbacks=callbacks,
            checkpoints=checkpoints,
            settings=settings,
            data=data,
            order=order,
            group=group,
        )
        ends.enter_context(in_reach(run))
        ends.enter_context(results_of_first(group, run))
        ends.enter_context(watched(xp, model, dtype=dtype, batch_size=batch_size, image=image))
        ends.enter_context(resumable.begun(resume, epochs))
        if group.broadcast(resumable.done == epochs or resumable.is_over):
            return run
        with group.together():
            initial = _initial(xp, problem, train, params, seed)
            if not resumable.done:
                run.params = initial
                run.initial_sha256 = sha256(xp.to_host(p) for p in initial.values())
            copied = copy_params(xp, run.params)
        start = time.perf_counter()
        make = functools.partial(DistributedTrainer, group=group) if group.is_split else Trainer
        trainer = make(
            xp,
            problem,
            copied,
            train,
            optimizer=run.optimizer,
            batch_size=batch_size,
            seed=seed,
            initial=initial,
        )
        resumable.attach(trainer)
        trainer.rehearse()
        run.warm_up_seconds = time.perf_counter() - start
        with group.together():
            measures = {
                name: Measure(xp, problem, own_samples(other, group.rank, group.size), name=name, keep=True)
                for name, other in others.items()
            }
            for measure in measures.values():
                measure.rehearse(initial, resumable.done)
        train_epochs(
            run,
            trainer,
            measures,
            order=order,
            epochs=epochs,
            callbacks=callbacks,
            resumable=resumable,
            progress=progress,
            group=group,
        )
        if isinstance(trainer, DistributedTrainer):
            seconds = [epoch.seconds for epoch in run.history[-len(trainer.waited) :]]
            run.ranks = about_ranks(group, xp, seconds, trainer.waited)
        trainer.close()
        for measure in measures.values():
            measure.close()
    return run


def _checked_other(name: str, dataset: Dataset, problem: Problem, run: Run, train: Dataset) -> Dataset:
    """Return a data set to measure with, with the class indices of `train`, or raise unless it fits."""
    check_fit(name, dataset, problem.model)
    if train.encoding is not None:
        train.encoding.check(name, dataset.encoding)
    dataset = aligned(name, dataset, train.classes)
    check_fit(name, dataset, problem.model, problem.loss)
    if problem.loss.task(dataset.targets) != problem.task:
        raise ValueError(
            f"`{name}` and `train` have targets of different kinds, of shapes {dataset.targets.shape} and "
            f"{train.targets.shape}; pass the same kind"
        )
    if run.inputs is not None:
        run.inputs.check(name, Inputs.of(dataset, problem.scaling))
    return dataset


def _initial(xp: Namespace, problem: Problem, train: Dataset, params: Params | None, seed: int) -> Params:
    """Return the parameters that training begins with: copies, or new ones, adapted to the training set."""
    if params is not None:
        return _checked_copy(xp, problem.model, params, problem.dtype)
    drawn = problem.model.init(xp, seed, dtype=problem.dtype)
    return adapted_params(xp, problem.model, drawn, images_for(problem.model, train), problem.scaling)


def _checked_copy(xp: Namespace, model: Sequential, params: Params, dtype: str) -> Params:
    found = check_params(xp, model, params)
    if found != dtype:
        raise ValueError(f"`params` are {found}, but `dtype` is {dtype!r}; pass `dtype={found!r}`")
    return copy_params(xp, params)


def _as_list(callbacks: Any) -> list[Any]:
    return [callbacks] if callable(callbacks) or isinstance(callbacks, Checkpoint) else list(callbacks)


def _check_callables(optimizer: Any, callbacks: list[Any]) -> None:
    if isinstance(optimizer, type) or not callable(optimizer) or not hasattr(optimizer, "init"):
        raise TypeError(
            f"`optimizer` must be an optimizer, got {optimizer!r}; pass for example `xpnet.SGD(0.5)`"
        )
    if not all(map(callable, callbacks)):
        raise TypeError(f"`callbacks` must be callables, got {callbacks!r}; pass for example `[print]`")
