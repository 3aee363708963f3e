"""``xpnet bench``."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import click

import xpnet
from xpnet import plots
from xpnet.cli.options import COUNT, check_distinct, json_option, output_option, written_json
from xpnet_bench.networks import NETWORKS


@click.command()
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME",
    help="A backend, repeated for several; ratios are to the first. [default: $XPNET_BACKEND, else all]",
)
@click.option(
    "--peers",
    is_flag=True,
    help="Also race PyTorch, JAX, Keras, scikit-learn and the course's plain NumPy in float64, and time "
    "other steps and whole processes.",
)
@click.option(
    "--network",
    type=click.Choice(list(NETWORKS)),
    default="mlp",
    show_default=True,
    help="784-64-10 with sigmoids, or LeNet-5, which has convolutions.",
)
@click.option("--quick", is_flag=True, help="Use fewer images and rounds, for an answer within a minute.")
@click.option("--rounds", type=COUNT, help="Epochs of each competitor. [default: 5; with --quick 3]")
@click.option("--threads", type=COUNT, help="Threads of each library. [default: all processors]")
@click.option(
    "--tf32",
    is_flag=True,
    help="On a GPU, also time a large network, in float32 and in TF32 (as with `train --tf32`).",
)
@click.option("--sweep", is_flag=True, help="Also vary batch size, width and number of images.")
@json_option("the results")
@output_option("--plot", what="Draw the results (PNG, SVG or PDF).")
def bench(
    backends: tuple[str, ...],
    peers: bool,
    network: str,
    quick: bool,
    rounds: int | None,
    threads: int | None,
    tf32: bool,
    sweep: bool,
    json_path: pathlib.Path | None,
    plot: pathlib.Path | None,
) -> None:
    """Time an MNIST epoch on several backends, in turns.

    Each competitor runs in its own process and does the same work: one network, batch 128, float32.
    Compare the ratios of the medians, because single times drift with the machine.
    """
    # Imported here, because the command line loads this module at every start.
    from xpnet_bench.comparisons import LARGE_NAME, comparisons, shares
    from xpnet_bench.errors import UnusableError
    from xpnet_bench.ours import IN_TF32
    from xpnet_bench.peers import PEERS
    from xpnet_bench.results import document, listing
    from xpnet_bench.rounds import default_entries, default_threads, is_on_gpu, race
    from xpnet_bench.sweep import sweeps
    from xpnet_bench.workload import QUICK, WORKLOADS

    check_distinct(json=json_path, plot=plot)
    _check_network(network, tf32=tf32, sweep=sweep)
    if plot is not None:
        plots.check(plot)
    chosen = os.environ.get("XPNET_BACKEND")
    backends = backends or ((chosen,) if chosen else ())
    if len(set(backends)) < len(backends):
        raise click.UsageError(f"`--backend` names one twice: {', '.join(backends)}; name each once")
    for name in backends:
        xpnet.backend(name)
    usable = backends or _usable()
    on_gpu = [name for name in usable if is_on_gpu(name)]
    if tf32 and not on_gpu:
        raise click.UsageError(
            f"`--tf32` is for a GPU, but this would time {', '.join(usable)}; add `--backend cupy`"
        )
    if threads is not None and threads > default_threads():
        raise click.UsageError(
            f"`--threads` is {threads}, but there are {default_threads()} processors; ask for no more"
        )
    threads = threads or default_threads()
    rounds = rounds or (3 if quick else 5)
    workload = (QUICK if quick else WORKLOADS)[network]
    entries = list(default_entries(usable, list(PEERS) if peers else []))
    figures, skipped, blas = race(entries, workload, rounds=rounds, threads=threads)
    found = document(figures, skipped, workload, threads=threads, blas=blas)
    try:
        click.echo("\n" + listing(found))
        for reason in skipped:
            click.echo(f"skipped: {reason}")
        if peers and not quick and network == "mlp":
            ran = [r["name"] for r in figures if r["name"] == "JAX scan"]
            try:
                found["comparisons"] = comparisons(usable, ran, rounds=rounds, threads=threads)
            except UnusableError as e:
                click.echo(f"skipped: {e}")
        if on_gpu and network == "mlp" and (tf32 or (peers and not quick)):
            names = [*on_gpu, *(f"{name}{IN_TF32}" for name in on_gpu if tf32)]
            try:
                found["shares"] = {LARGE_NAME: shares(names, rounds=rounds, threads=threads)}
            except UnusableError as e:
                click.echo(f"skipped: {e}")
        if sweep:
            found["sweeps"] = sweeps(usable, rounds=rounds, threads=threads)
    finally:
        # The race took the longest, so an interruption of what comes after it does not cost its results.
        written_json(json_path, found).say()
    if plot is not None:
        _draw(plot, found)


def _check_network(network: str, **options: bool) -> None:
    """Raise unless the options given have a meaning for the network."""
    for name, given in options.items():
        if given and network != "mlp":
            raise click.UsageError(
                f"`--{name}` varies the sizes of linear layers, so it is for `--network mlp`; got {network!r}"
            )


def _draw(path: pathlib.Path, found: dict[str, Any]) -> None:
    from xpnet_bench import chart

    plots.save(plots.drawn(chart.bars, found), path)
    click.echo(f"drew {path}")
    if "sweeps" in found:
        second = path.with_name(f"{path.stem}-sweep{path.suffix}")
        plots.save(plots.drawn(chart.growth, found), second)
        click.echo(f"drew {second}")


def _usable() -> tuple[str, ...]:
    """Return the names of the usable backends, NumPy first, as the reference."""
    names = [info.name for info in xpnet.backends() if info.usable]
    return tuple(sorted(names, key=lambda name: (name != "numpy", name)))
