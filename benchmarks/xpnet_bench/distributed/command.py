"""``xpnet bench --distributed`` on the ranks that ``mpiexec`` started."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import click

import xpnet
from xpnet import plots
from xpnet.cli.options import written_json
from xpnet.cli.ranks import group_of
from xpnet.distributed.agreement import check_batch
from xpnet_bench.chosen import model_of, workload_of
from xpnet_bench.distributed import chart
from xpnet_bench.distributed.link import parsed
from xpnet_bench.distributed.listing import listing
from xpnet_bench.distributed.placing import placed
from xpnet_bench.distributed.steps import Groups
from xpnet_bench.distributed.study import Plan, Study

# Wide enough that more ranks may pay on one machine; at this rate, wide networks do not saturate, which would
# time denormal numbers.
_HIDDEN, _BATCH, _LR = (1024, 1024), 1024, 0.1
# Widths of the model, over those that are measured; the last one is not measured.
_SCALES = 0.25, 1, 4


class Asked(NamedTuple):
    """What the command line asks for besides the workload."""

    backends: Callable[[], tuple[str, ...]]
    quick: bool
    rounds: int
    threads: int | None
    link: str | None
    json_path: pathlib.Path | None
    plot: pathlib.Path | None


def study(asked: Asked, options: dict[str, Any]) -> None:
    """Measure on all ranks; rank 0 prints, writes and draws the results."""
    group: Any = group_of(distributed=True, shard=False)
    from mpi4py import MPI  # without which there is no group

    say: Callable[[str], object] = (lambda text: None) if group.rank else click.echo
    with group.guarded():
        with group.together():
            place = placed(group.comm, asked.threads)  # first, because libraries count processors
            namespaces = _namespaces(asked.backends())
            plan = _plan(asked, options)
            check_batch(group, plan.workload.batch_size)
        groups = Groups(group, xpnet.distributed.mpi(MPI.COMM_SELF))
        found = Study(plan, groups, say).document(namespaces, place)
    if group.rank:
        return
    click.echo("\n" + listing(found))
    written_json(asked.json_path, found).say()
    if asked.plot is not None:
        plots.save(plots.drawn(chart.curves, found), asked.plot)
        click.echo(f"drew {asked.plot}")


def _namespaces(names: tuple[str, ...]) -> dict[str, Any]:
    """Return the backends by name, or raise unless all exchange their sums in one way."""
    found = {name: xpnet.backend(name) for name in names}
    if len({xp.device_kind for xp in found.values()}) > 1:
        raise click.UsageError(
            f"processors and GPUs exchange gradients in different ways, and {', '.join(names)} have both; "
            "name those of one kind with `--backend`"
        )
    return found


def _plan(asked: Asked, options: dict[str, Any]) -> Plan:
    options = _filled(options)
    workload = workload_of(options, quick=False)
    given = None
    if asked.link is not None:
        alpha, beta = parsed(asked.link)
        given = {"text": asked.link, "alpha": alpha, "beta": beta}
    return Plan(workload, _family(options, workload), asked.rounds, asked.quick, given)


def _filled(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the network, the batch and the rate that are timed if none is named."""
    found = dict(options)
    if all(found[name] is None for name in ("network", "hidden", "model")):
        found["hidden"] = _HIDDEN
        if found["lr"] is None and found["optimizer"] == "momentum" and found["activation"] is None:
            found["lr"] = _LR
    return found | {"batch_size": found["batch_size"] or _BATCH}


def _family(options: dict[str, Any], workload: Any) -> list[xpnet.Sequential]:
    """Return a perceptron with narrower and with wider hidden layers; of other networks, the one there is."""
    if not options["hidden"]:
        return [workload.model]
    train, test = workload.data()
    widths = [[max(1, int(scale * width)) for width in options["hidden"]] for scale in _SCALES]
    return [model_of(options | {"hidden": tuple(hidden)}, train, test)[0] for hidden in widths]
