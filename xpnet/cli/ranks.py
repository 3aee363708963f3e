"""The processes of a command with ``--distributed``: one of them speaks, and all fail together."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from xpnet.distributed import ALONE, Group, mpi
from xpnet.distributed.launch import launched_rank, launched_size

_DISTRIBUTED, _SHARD = "--distributed", "--shard"
Command = TypeVar("Command", bound=Callable[..., Any])


def rank_options(command: Command) -> Command:
    """Add ``--distributed`` and ``--shard``."""
    command = click.option(
        _SHARD,
        is_flag=True,
        help="With --distributed, keep on each device only the rows that its process takes in the epoch.",
    )(command)
    return click.option(
        _DISTRIBUTED,
        is_flag=True,
        help="Train one model with all processes that mpiexec started, each on its rows of every batch. Only "
        "the first process prints and writes files.",
    )(command)


def is_silent() -> bool:
    """Return whether this process prints and writes nothing, because the first one of a group does."""
    return _has_group() and bool(launched_rank()) and launched_size() != 1


def _has_group() -> bool:
    """Return whether the processes of a launcher work together; options are not yet parsed by then."""
    return launched_rank() is not None and not {_DISTRIBUTED, _SHARD}.isdisjoint(sys.argv[1:])


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Return a context without standard output and standard error if this process is silent."""
    if not is_silent():
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The group of a command's processes; None if no launcher started them.

    Attributes
    ----------
    group : Group or None
    reading : contextlib.ExitStack
        Is closed when this process has read its options; until then, an error of one process ends all.
    """

    group: Group | None
    reading: contextlib.ExitStack


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Return a context in which a command has its processes, which read their options together."""
    group = mpi(shard=_SHARD in sys.argv[1:]) if _has_group() else None
    with contextlib.ExitStack() as reading:
        if group is not None:
            reading.enter_context(group.guarded())
            reading.enter_context(group.together())
        yield Ranks(group, reading)


def group_of(*, distributed: bool, shard: bool) -> Group:
    """Return the group of this command's processes, all of which have read the options by then."""
    if shard and not distributed:
        raise click.UsageError(
            f"`{_SHARD}` divides the training set among processes: pass `{_DISTRIBUTED}` too"
        )
    if not distributed:
        _warn_of_others()
        return ALONE
    ranks = click.get_current_context().find_object(Ranks)
    if ranks is None or ranks.group is None:
        return mpi(shard=shard)  # which says that there is no launcher
    ranks.reading.close()
    return ranks.group


def _warn_of_others() -> None:
    """Say so if a launcher started several processes, each of which is about to train a model of its own."""
    size = launched_size() or 1
    if size > 1 and launched_rank() == 0:
        click.echo(
            f"note: a launcher started {size} processes, and each trains a model of its own; to train one "
            f"model together, pass `{_DISTRIBUTED}`",
            err=True,
        )
