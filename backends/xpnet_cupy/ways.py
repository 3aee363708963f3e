"""Which way a sum over the GPUs of several processes takes; this needs neither CuPy nor a device.

NCCL is the only one that a CUDA graph can hold. All ranks choose by the same facts, so they choose alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xpnet.distributed import DistributedError


class Rank(NamedTuple):
    """What a process finds out about itself.

    Attributes
    ----------
    host : str
    process : int
    gpu : str
        Its PCI bus id, which no other GPU of the host has.
    nccl : int
        The version in NCCL's own form, 22707 for 2.27.7; 0 without NCCL.
    remedy : str
        How to install NCCL.
    mpi_reads_gpus : bool
        Whether its MPI library accepts pointers to GPU memory.
    """

    host: str
    process: int
    gpu: str
    nccl: int
    remedy: str
    mpi_reads_gpus: bool


class Way(NamedTuple):
    """How sums are made: by ``"nccl"``, ``"mpi"`` or on the ``"host"``; and if not by NCCL, why not."""

    name: str
    reason: str = ""


def choose(ranks: Sequence[Rank], fault: str = "") -> Way:
    """Return the fastest way that all ranks have.

    Parameters
    ----------
    ranks : sequence of Rank
        In order.
    fault : str
        Why NCCL cannot be used although all have it, if that is known.

    Raises
    ------
    DistributedError
        If two ranks have the same GPU.
    """
    _check_apart(ranks)
    fault = fault or _fault(ranks)
    if not fault:
        return Way("nccl")
    name = "mpi" if all(rank.mpi_reads_gpus for rank in ranks) else "host"
    by = {
        "mpi": "by a GPU-aware MPI library",
        "host": "on the host, since the MPI library does not read the memory of GPUs",
    }
    return Way(name, f"gradients are summed {by[name]}, which a CUDA graph cannot hold: {fault}")


def _check_apart(ranks: Sequence[Rank]) -> None:
    first: dict[tuple[str, str], int] = {}
    for number, rank in enumerate(ranks):
        other = first.setdefault((rank.host, rank.gpu), number)
        if other != number:
            raise DistributedError(
                f"ranks {other} and {number} of {len(ranks)} have the same GPU, {rank.gpu} of {rank.host!r}; "
                "start at most one rank for each GPU, and ask for 'cupy' without a number, so that each rank "
                "takes its own"
            )


def _fault(ranks: Sequence[Rank]) -> str:
    """Return why the ranks have no NCCL in common; empty if they have."""
    for number, rank in enumerate(ranks):
        if not rank.nccl:
            return f"rank {number} of {len(ranks)} has no NCCL; {rank.remedy}"
        if rank.nccl != ranks[0].nccl:
            return (
                f"rank {number} has NCCL {version(rank.nccl)} and rank 0 has {version(ranks[0].nccl)}; "
                "install the same version for all ranks"
            )
    return ""


def version(number: int) -> str:
    """Return a version of NCCL as people write it: ``"2.27.7"`` for 22707."""
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
