"""The MPI library of this process, and whether it is that of the launcher."""

from __future__ import annotations

import os
import pathlib
import shlex
import sys
from typing import Any

from xpnet.distributed.errors import DistributedError, of_all
from xpnet.distributed.launch import launched_rank, launched_size, slurm_tasks
from xpnet.distributed.waiting import limited


def load() -> Any:
    """Return the module `mpi4py.MPI`, with MPI begun.

    Raises
    ------
    DistributedError
        If there is no mpi4py, or no MPI library.
    """
    try:
        import mpi4py
    except ImportError as e:
        raise _error("mpi4py is not installed; install it with `pip install 'xpnet[mpi]'`") from e
    if "mpi4py.MPI" not in sys.modules:
        # A library that does not fit its launcher may end the process as it begins, once for each rank.
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as e:
        found = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise _error(
            f"mpi4py finds no MPI library ({found}); install one, for example with `pip install mpich`"
        ) from e
    _check_family(MPI)
    if MPI.Is_finalized():
        raise _error("MPI has already ended in this process; call `xpnet.distributed.mpi` before that")
    if not MPI.Is_initialized():
        with limited():
            MPI.Init_thread(MPI.THREAD_MULTIPLE)
    return MPI


def _check_family(MPI: Any) -> None:
    """Raise if the variables of the launcher are not those that the library reads."""
    is_open = MPI.Get_library_version().startswith("Open MPI")
    by_open = "OMPI_COMM_WORLD_RANK" in os.environ
    # Slurm can start either library with either kind of variables.
    by_others = "PMI_RANK" in os.environ and not {"PMIX_RANK", "SLURM_STEP_ID"} & set(os.environ)
    does_fit = is_open if by_open else not (by_others and is_open)
    if not does_fit and (launched_size() or 1) > 1:
        raise _error(_mixture(MPI))


def check_launch(MPI: Any) -> None:
    """Raise unless all processes that were started see each other.

    Raises
    ------
    DistributedError
        If no launcher started this process, or one of another MPI library.
    """
    if MPI.COMM_WORLD.size > 1:
        return
    rank, size = launched_rank(), launched_size()
    if rank is None:
        raise _error(_not_launched())
    if size is None or size == 1:
        return
    raise _error(_mixture(MPI))


def _not_launched() -> str:
    tasks = slurm_tasks() or 1
    if tasks > 1:
        return (
            f"a Slurm job of {tasks} tasks runs this process once, not by `srun`; "
            f"start it with `srun {_command()}`"
        )
    return f"no `mpiexec` started this process; start it with `mpiexec -n 2 {_command()}`"


def _mixture(MPI: Any) -> str:
    return (
        f"{_launcher()} started {launched_size()} processes, but each finds itself alone with "
        f"{_short(MPI.Get_library_version())}, the library of mpi4py; use the `mpiexec` that belongs to it"
    )


def check_versions(MPI: Any, comm: Any) -> None:
    """Raise on all ranks unless they have the same MPI library."""
    versions = comm.allgather(MPI.Get_library_version())
    for rank, other in enumerate(versions):
        if other != versions[0]:
            error = DistributedError(
                f"rank 0 has the MPI library {_short(versions[0])}, and rank {rank} has {_short(other)}; "
                "use one library on all nodes"
            )
            raise of_all(error, comm.rank, comm.size)


def _short(version: str) -> str:
    """Return what stands before the details of a version: ``"MPICH 5.0.2"`` or ``"Open MPI v5.0.11"``."""
    first = version.partition("\n")[0].partition(",")[0]
    return " ".join(first.replace("Version:", "").split())


def _launcher() -> str:
    if "OMPI_COMM_WORLD_RANK" in os.environ:
        return "the `mpiexec` of Open MPI"
    if "PMI_RANK" in os.environ:
        return "an `mpiexec` of the kind of MPICH"
    return "a PMIx launcher" if "PMIX_RANK" in os.environ else "Slurm"


def _command() -> str:
    """Return how this program was started, so that it can be pasted after a launcher."""
    program, *arguments = sys.argv or [""]
    path = pathlib.Path(program)
    if path.name in ("xpnet", "__main__.py"):
        return shlex.join(["xpnet", *arguments])
    return shlex.join(["python", program, *arguments]) if path.suffix == ".py" else "python train.py"


def _error(text: str) -> DistributedError:
    return of_all(DistributedError(text), launched_rank() or 0, launched_size() or 1)
