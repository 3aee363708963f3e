"""``xpnet bench``."""

from __future__ import annotations

import functools
import os
import pathlib
from typing import Any, NamedTuple

import click

import xpnet
from xpnet import plots
from xpnet.cli.optimizers import rule_options
from xpnet.cli.options import (
    COUNT,
    check_distinct,
    data_options,
    image_size,
    json_option,
    output_option,
    written_json,
)
from xpnet.cli.tables import table_options
from xpnet_bench.race_options import check_network, network_options, training_options
from xpnet_bench.sections import Sectioned, section

_WITH_COMPARE = "compare", "fail_if_slower", "json_path"
_OF_THE_DEFAULT_RACE = "tf32", "sweep"
_OF_ONE_PROCESS = "peers", "tf32", "sweep"


@click.command(cls=Sectioned)
@section(
    "Competitors",
    click.option(
        "--backend",
        "backends",
        multiple=True,
        metavar="NAME",
        help="A backend, repeated for several; ratios are to the first. [default: $XPNET_BACKEND, else all]",
    ),
    click.option(
        "--peers",
        is_flag=True,
        help="Also race PyTorch, JAX, Keras, scikit-learn and the course's plain NumPy in float64; one that "
        "cannot do the same work is left out, with the reason. In the default race, also time other steps "
        "and whole processes.",
    ),
)
@section("Network", *network_options)
@section("Training", *rule_options(), *training_options)
@section(
    "Data",
    data_options,
    click.option("--size", type=image_size, metavar="H,W", help="Resize pictures to this height and width."),
    table_options,
)
@section(
    "Measuring",
    click.option(
        "--quick", is_flag=True, help="Use fewer samples and rounds, for an answer within a minute."
    ),
    click.option("--rounds", type=COUNT, help="Epochs of each competitor. [default: 5; with --quick 3]"),
    click.option(
        "--threads",
        type=COUNT,
        help="Threads of each library. [default: all processors; with --distributed, those of a rank]",
    ),
    click.option(
        "--tf32",
        is_flag=True,
        help="On a GPU, also time a large network, in float32 and in TF32 (as with `train --tf32`).",
    ),
    click.option("--sweep", is_flag=True, help="Also vary batch size, width and number of images."),
)
@section(
    "Ranks",
    click.option(
        "--distributed",
        is_flag=True,
        help="With mpiexec: time training on all ranks, and model how it would scale to 512. "
        "[default network: --hidden 1024,1024 --batch-size 1024]",
    ),
    click.option(
        "--link",
        metavar="NETWORK",
        help="With --distributed, the network that connects the ranks of the model: '100 Gbit/s, 2 us'. "
        "[default: as measured]",
    ),
)
@section(
    "Results",
    json_option("the results"),
    output_option("--plot", what="Draw the results (PNG, SVG or PDF)."),
    click.option(
        "--compare",
        nargs=2,
        metavar="BEFORE AFTER",
        type=click.Path(path_type=pathlib.Path),
        help="Race nothing: print what changed beyond the noise between two files that --json wrote.",
    ),
    click.option(
        "--fail-if-slower",
        is_flag=True,
        help="With --compare, exit with status 1 if a backend of xpnet is slower beyond the noise.",
    ),
)
@click.pass_context
def bench(
    context: click.Context,
    /,
    backends: tuple[str, ...],
    peers: bool,
    quick: bool,
    rounds: int | None,
    threads: int | None,
    tf32: bool,
    sweep: bool,
    distributed: bool,
    link: str | None,
    json_path: pathlib.Path | None,
    plot: pathlib.Path | None,
    compare: tuple[pathlib.Path, pathlib.Path] | None,
    fail_if_slower: bool,
    **options: Any,
) -> None:
    """Time a training epoch on several backends, in turns: of MNIST, or of a network and data of your own.

    Each competitor runs in its own process and does the same work: one network, the same initial weights,
    batches in the same order, float32. Compare the ratios of the medians, because single times drift with the
    machine.
    """
    check_distinct(options["data"], *(compare or ()), json=json_path, plot=plot)
    if compare is not None:
        _check_alone(context)
        _compare(compare, json_path, fail_if_slower=fail_if_slower)
        return
    if fail_if_slower:
        raise click.UsageError("`--fail-if-slower` needs `--compare BEFORE AFTER`")
    check_network(options)
    _check_default(context, options["network"], tf32=tf32, sweep=sweep)
    if plot is not None:
        plots.check(plot)
    rounds = rounds or (3 if quick else 5)
    if distributed:
        _check_ranks(context)
        from xpnet_bench.distributed.command import Asked, study

        chosen = functools.partial(_chosen_backends, backends, tf32=False)
        study(Asked(chosen, quick, rounds, threads, link, json_path, plot), options)
        return
    if link is not None:
        raise click.UsageError("`--link` needs `--distributed`")
    usable = _chosen_backends(backends, tf32=tf32)
    measuring = Measuring(usable, peers, quick, rounds, _threads(threads), tf32, sweep)
    found = _raced(measuring, options, json_path)
    if plot is not None:
        _draw(plot, found)


class Measuring(NamedTuple):
    """Who races, and how."""

    backends: tuple[str, ...]
    peers: bool
    quick: bool
    rounds: int
    threads: int
    tf32: bool
    sweep: bool


def _raced(how: Measuring, options: dict[str, Any], json_path: pathlib.Path | None) -> dict[str, Any]:
    """Race, print and write the results, and return them."""
    # Imported here, because the command line loads this module at every start.
    from xpnet_bench.chosen import workload_of
    from xpnet_bench.peers import PEERS
    from xpnet_bench.results import document, listing
    from xpnet_bench.rounds import default_entries, race
    from xpnet_bench.sweep import sweeps

    workload = workload_of(options, quick=how.quick)
    entries = list(default_entries(how.backends, list(PEERS) if how.peers else []))
    counts: dict[str, Any] = {"rounds": how.rounds, "threads": how.threads}
    found = document(race(entries, workload, **counts), workload, threads=how.threads)
    try:
        click.echo("\n" + listing(found))
        for reason in found["skipped"]:
            click.echo(f"skipped: {reason}")
        if workload.network == "mlp":
            _time_more(found, how, counts)
        if how.sweep:
            found["sweeps"] = sweeps(how.backends, **counts)
    finally:
        # The race took the longest, so an interruption of what comes after it does not cost its results.
        written_json(json_path, found).say()
    return found


def _time_more(found: dict[str, Any], how: Measuring, counts: dict[str, Any]) -> None:
    """Add other steps, whole processes and, on a GPU, a large network to the results of the default race."""
    from xpnet_bench.comparisons import LARGE_NAME, comparisons, shares
    from xpnet_bench.errors import UnusableError
    from xpnet_bench.ours import IN_TF32
    from xpnet_bench.rounds import is_on_gpu

    whole = how.peers and not how.quick
    if whole:
        ran = [r["name"] for r in found["results"] if r["name"] == "JAX scan"]
        try:
            found["comparisons"] = comparisons(how.backends, ran, **counts)
        except UnusableError as e:
            click.echo(f"skipped: {e}")
    on_gpu = [name for name in how.backends if is_on_gpu(name)]
    if on_gpu and (how.tf32 or whole):
        names = [*on_gpu, *(f"{name}{IN_TF32}" for name in on_gpu if how.tf32)]
        try:
            found["shares"] = {LARGE_NAME: shares(names, **counts)}
        except UnusableError as e:
            click.echo(f"skipped: {e}")


def _compare(
    paths: tuple[pathlib.Path, pathlib.Path], json_path: pathlib.Path | None, *, fail_if_slower: bool
) -> None:
    from xpnet_bench.compare import SLOWER, compared, listing
    from xpnet_bench.results import read

    found = compared(read(paths[0]), read(paths[1]), [str(path) for path in paths])
    outputs = written_json(json_path, found)
    click.echo(listing(found))
    outputs.say()
    slower = [c["name"] for c in found["competitors"] if c["kind"] == "xpnet" and c["verdict"] == SLOWER]
    if fail_if_slower and slower:
        raise click.ClickException(f"slower beyond the noise: {', '.join(slower)}")


def _given(context: click.Context) -> list[click.Parameter]:
    """Return the options that are on the command line."""
    source = click.core.ParameterSource.COMMANDLINE
    return [p for p in context.command.params if p.name and context.get_parameter_source(p.name) is source]


def _check_alone(context: click.Context) -> None:
    """Raise if there are options of a race besides ``--compare``."""
    others = [p.opts[0] for p in _given(context) if p.name not in _WITH_COMPARE]
    if others:
        raise click.UsageError(f"`--compare` races nothing, so it takes no `{others[0]}`; leave it out")


def _check_ranks(context: click.Context) -> None:
    """Raise if there are options that say nothing of ranks besides ``--distributed``."""
    others = [p.opts[0] for p in _given(context) if p.name in _OF_ONE_PROCESS]
    if others:
        raise click.UsageError(f"`--distributed` times ranks, so it takes no `{others[0]}`; leave it out")


def _check_default(context: click.Context, network: str | None, **options: bool) -> None:
    """Raise unless the options given, which are for the default race, have a meaning."""
    for name in _OF_THE_DEFAULT_RACE:
        if options[name] and network not in (None, "mlp"):
            raise click.UsageError(
                f"`--{name}` varies the sizes of linear layers, so it is for `--network mlp`; got {network!r}"
            )
        sections = "Training", "Data", "Network"
        own = [p.opts[0] for p in _given(context) if getattr(p, "section", "") in sections]
        own = [option for option in own if option not in ("--network", "--limit")]
        if options[name] and own:
            raise click.UsageError(
                f"`--{name}` is for the default race, but `{own[0]}` changes it; leave one of them out"
            )


def _chosen_backends(backends: tuple[str, ...], *, tf32: bool) -> tuple[str, ...]:
    """Return the backends to race, or raise if one is unknown or cannot be used."""
    from xpnet_bench.rounds import is_on_gpu

    chosen = os.environ.get("XPNET_BACKEND")
    backends = backends or ((chosen,) if chosen else ())
    if len(set(backends)) < len(backends):
        raise click.UsageError(f"`--backend` names one twice: {', '.join(backends)}; name each once")
    for name in backends:
        xpnet.backend(name)
    usable = backends or _usable()
    if tf32 and not any(map(is_on_gpu, usable)):
        raise click.UsageError(
            f"`--tf32` is for a GPU, but this would time {', '.join(usable)}; add `--backend cupy`"
        )
    return usable


def _threads(threads: int | None) -> int:
    from xpnet_bench.rounds import default_threads

    if threads is not None and threads > default_threads():
        raise click.UsageError(
            f"`--threads` is {threads}, but there are {default_threads()} processors; ask for no more"
        )
    return threads or default_threads()


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
