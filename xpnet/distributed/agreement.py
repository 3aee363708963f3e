"""What the processes of a group compare before they train, because a difference would make sums wrong."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.datasets import Dataset
from xpnet.distributed.errors import DistributedError
from xpnet.distributed.group import ALONE, Group
from xpnet.errors import fitted
from xpnet.layer import Params
from xpnet.models import check_params
from xpnet.namespace import Namespace
from xpnet.settings import described, differences, fingerprint

if TYPE_CHECKING:
    from xpnet.run import Run


def check_group(group: Any) -> Group:
    """Return the group that `fit` is given, or `ALONE` if there is none; raise unless it is one."""
    if group is None:
        return ALONE
    if isinstance(group, type) or not all(hasattr(group, name) for name in ("rank", "size", "together")):
        raise TypeError(
            f"`distributed` must be a group of processes, got {group!r}; pass `xpnet.distributed.mpi()`"
        )
    found: Group = group
    return found


def check_batch(group: Group, batch_size: int) -> None:
    """Raise unless each rank has at least one row of a batch."""
    if batch_size < group.size:
        raise ValueError(
            f"`batch_size` is {batch_size}, which leaves some of {group.size} ranks without a row; "
            f"choose at least {group.size}, or start fewer ranks"
        )


def compare(
    group: Group,
    xp: Namespace,
    settings: dict[str, Any],
    data: dict[str, Dataset | None],
    params: Params | None,
) -> None:
    """Raise the same error on all ranks unless all have the same versions, backend, settings and data.

    Raises
    ------
    DistributedError
        It names the first rank that differs from rank 0, and how.
    """
    if not group.is_split:
        return
    from importlib import metadata  # late, because `import xpnet` would pay for it

    with group.together():
        if params is not None:
            check_params(xp, settings["model"], params)
        own = {
            "backend": xp.name,
            "versions": {
                "xpnet": metadata.version("xpnet"),
                "python": platform.python_version(),
                **xp.versions,
            },
            "settings": {name: _comparable(value) for name, value in settings.items()},
            "data": {name: fingerprint(dataset) for name, dataset in data.items()},
            "params": described({k: np.asarray(xp.to_host(p)) for k, p in (params or {}).items()}),
        }
    check_alike(group, own)


def check_alike(group: Group, own: Any) -> None:
    """Raise on all ranks unless they have the same description of what they are about to do, as JSON."""
    first, *others = group.gather(own)
    with group.together():
        for rank, found in enumerate(others, start=1):
            for difference in differences(found, first, ""):
                template = (
                    "rank {rank} (there) differs from rank 0 (here): {difference}; start all ranks with the "
                    "same versions, backend, arguments and data"
                )
                raise DistributedError(fitted(template, difference=difference, rank=rank))


def _comparable(value: Any) -> Any:
    """Return a setting as JSON, or as text if it has a part that cannot be saved."""
    try:
        return described(value)
    except (TypeError, ValueError):
        return repr(value)


@contextlib.contextmanager
def results_of_first(group: Group, run: Run) -> Iterator[None]:
    """Return a context at whose end all ranks have the parameters of rank 0, where callbacks may set them."""
    yield
    if not group.is_split:
        return
    found = group.broadcast({name: np.asarray(run.xp.to_host(p)) for name, p in run.params.items()})
    if group.rank:
        run.params = {name: run.xp.asarray(p) for name, p in found.items()}
