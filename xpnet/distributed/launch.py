"""What a launcher such as ``mpiexec`` tells a process before MPI begins."""

from __future__ import annotations

import os

# Hydra (MPICH, Intel MPI) and most others; Open MPI; PMIx; Slurm's srun. Slurm comes last, because its
# variables are also set where mpiexec runs inside a job.
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
LOCAL_RANKS = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


def launched_rank() -> int | None:
    """Return the rank that a launcher gave this process, or None if no launcher started it."""
    return _first(RANKS)


def launched_local_rank() -> int | None:
    """Return the number of this process among those of its node, from 0, or None if no launcher said it."""
    return _first(LOCAL_RANKS)


def launched_size() -> int | None:
    """Return how many processes the launcher started with this one, or None if it did not say."""
    return _first(SIZES)


def slurm_tasks() -> int | None:
    """Return how many tasks a Slurm job has whose script started this process without srun; else None."""
    return None if _is_step() else _number("SLURM_NTASKS")


def _is_step() -> bool:
    """Return whether srun started this process; the script of a job has the other variables of Slurm too."""
    return _number("SLURM_STEP_NUM_TASKS") is not None


def _first(names: tuple[str, ...]) -> int | None:
    found = (_number(name) for name in names if _is_step() or not name.startswith("SLURM_"))
    return next((number for number in found if number is not None), None)


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None
