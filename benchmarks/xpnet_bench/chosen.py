"""The workload that the options of ``xpnet bench`` describe."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import click

import xpnet
from xpnet.cli.data import IMAGES
from xpnet.cli.networks import CNN, MLP, choose_network, network, output_count
from xpnet.cli.optimizers import make_optimizer
from xpnet.cli.options import find_kind
from xpnet.losses import LOSSES
from xpnet.problem import check_fit
from xpnet_bench.limit import epoch_products
from xpnet_bench.model_file import load_model
from xpnet_bench.source import Source
from xpnet_bench.workload import QUICK, Workload

# Multiplications and additions of an epoch with --quick: those of 6000 images through LeNet-5.
_QUICK_FLOPS = 1.4e10


def workload_of(options: dict[str, Any], *, quick: bool) -> Workload:
    """Return the workload that the options describe; without any, that of the default race.

    Raises
    ------
    click.UsageError
        If options contradict each other.
    ValueError
        If the data cannot be read, or do not fit the network.
    """
    source, (train, test) = _read(options)
    loss = options["loss"] or ("softmax_cross_entropy" if train.has_labels else "squared_error")
    model, config = model_of(options, train, test)
    config |= {name: options[name] for name in ("optimizer", "lr", "beta", "weight_decay")}
    optimizer = make_optimizer(config | {"schedule": "constant", "clip_norm": None})
    for name, part in (("train", train), ("test", test)):
        check_fit(name, part, model, LOSSES[loss])
    workload = Workload(
        model,
        optimizer,
        loss,
        batch_size=options["batch_size"] or Workload.batch_size,
        seed=options["seed"],
        source=source,
        file=None if options["model"] is None else _absolute(options["model"]),
    )
    limit = options["limit"]
    if limit is None and quick:
        limit = _quick_limit(workload, train)
    return dataclasses.replace(workload, limit=limit)


def _read(options: dict[str, Any]) -> tuple[Source, tuple[xpnet.Dataset, xpnet.Dataset]]:
    data: pathlib.Path | None = options["data"]
    kind = find_kind(options["dataset"], data, options["max_bytes"])
    if options["size"] is not None and kind != IMAGES:
        raise click.UsageError("`--size` is for folders of pictures; leave it out")
    columns = {name: options[name] for name in ("max_bytes", "size", "target", "one_hot", "task")}
    source = Source(kind, None if data is None else os.path.abspath(data), **columns)
    return source, source.read()


def model_of(
    options: dict[str, Any], train: xpnet.Dataset, test: xpnet.Dataset
) -> tuple[xpnet.Sequential, dict[str, Any]]:
    """Return the network, and what the usual learning rate depends on."""
    if options["model"] is not None:
        return load_model(options["model"]), {"activation": None}
    config = {"hidden": options["hidden"], "activation": options["activation"], "dropout": None}
    choose_network(CNN if options["network"] == CNN else MLP, None, config)
    outputs = output_count(train, test, options["data"])
    model, _ = network(train.inputs, outputs, config, standardize=train.encoding is not None)
    return model, config


def _quick_limit(workload: Workload, train: xpnet.Dataset) -> int:
    """Return how many examples make an epoch short; no fewer than two batches, if there are as many."""
    if workload.network in QUICK:
        return min(QUICK[workload.network].limit or 0, len(train))
    flops = sum(p.flops for p in epoch_products(workload, 1, train.inputs.shape[1:]))
    most = QUICK["mlp"].limit or 0
    wanted = min(most, int(_QUICK_FLOPS / max(flops, 1)))
    return min(len(train), max(wanted, 2 * workload.batch_size))


def _absolute(named: str) -> str:
    path, _, name = named.rpartition(":")
    return f"{os.path.abspath(path)}:{name}"
