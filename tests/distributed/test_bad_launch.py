"""Processes that cannot become a group: one clear error, shown once."""

import os
import re
import subprocess
import sys

import pytest
from ranks import run_ranks

from xpnet.distributed import launch

MPI = "import xpnet; xpnet.distributed.mpi()"
NO_MPI4PY = f"import sys; sys.modules['mpi4py'] = None; {MPI}"
OTHER_VERSION = f"""
from mpi4py import MPI
class Other:
    def __getattr__(self, name): return getattr(MPI, name)
    def Get_library_version(self): return f"MPICH Version:   {{5 + MPI.COMM_WORLD.rank // 2}}.0\\nDate: today"
from xpnet.distributed import library
library.load = Other
{MPI}
"""


def _alone(code, **variables):
    names = {*launch.RANKS, *launch.SIZES, "SLURM_NTASKS"}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=kept | variables,
        check=False,
    )


def _error(done):
    """Return the text of the only error that was shown."""
    assert done.returncode != 0
    (text,) = re.findall(r"^xpnet\.distributed\.errors\.DistributedError: (.*)$", done.stderr, re.MULTILINE)
    return text


def test_no_launcher_is_an_error_that_gives_the_command():
    assert _error(_alone(MPI)) == (
        "no `mpiexec` started this process; start it with `mpiexec -n 2 python train.py`"
    )


def test_the_command_is_that_of_this_program():
    commands = {
        "python train.py 'a b'": ["train.py", "a b"],
        "xpnet train --distributed": ["/usr/bin/xpnet", "train", "--distributed"],
        "xpnet train": ["/lib/xpnet/__main__.py", "train"],
        "python train.py": ["-c"],
    }
    code = f"""
import sys, xpnet
for sys.argv in {list(commands.values())}:
    try:
        xpnet.distributed.mpi()
    except xpnet.distributed.DistributedError as e:
        print(e)
"""
    expected = [f"start it with `mpiexec -n 2 {command}`" for command in commands]
    assert [line.partition("; ")[2] for line in _alone(code).stdout.splitlines()] == expected


def test_a_communicator_needs_no_launcher():
    code = "from mpi4py import MPI; import xpnet; print(xpnet.distributed.mpi(MPI.COMM_SELF).gather(3))"
    done = _alone(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[3]\n", "")


def test_one_process_of_a_launcher_is_a_group():
    done = run_ranks(1, "-c", "import xpnet; print(xpnet.distributed.mpi().size)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_missing_mpi4py_is_an_error_that_gives_the_command():
    assert _error(_alone(NO_MPI4PY)) == (
        "mpi4py is not installed; install it with `pip install 'xpnet[mpi]'`"
    )


def test_errors_before_mpi_are_shown_once():
    assert "mpi4py is not installed" in _error(run_ranks(3, "-c", NO_MPI4PY))


def test_missing_library_is_an_error_of_one_line():
    text = _error(_alone(MPI, MPI4PY_LIBMPI="/nowhere/libmpi.so", MPI4PY_MPIABI=""))
    assert text.startswith("mpi4py finds no MPI library (")
    assert text.endswith("); install one, for example with `pip install mpich`")


@pytest.mark.parametrize(
    ("variables", "launcher"),
    [
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, "the `mpiexec` of Open MPI"),
        ({"PMI_RANK": "0", "PMI_SIZE": "4"}, "an `mpiexec` of the kind of MPICH"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}, "Slurm"),
    ],
)
def test_a_launcher_of_another_library_is_an_error(variables, launcher):
    text = _error(_alone(MPI, **variables))
    assert text.startswith(f"{launcher} started 4 processes, but each finds itself alone with ")
    assert text.endswith(", the library of mpi4py; use the `mpiexec` that belongs to it")


def test_a_launcher_of_another_library_is_an_error_of_the_first_rank_only():
    done = _alone(MPI, OMPI_COMM_WORLD_RANK="1", OMPI_COMM_WORLD_SIZE="4")
    assert (done.returncode, done.stderr) == (1, "")


def test_a_slurm_job_without_srun_is_an_error_that_gives_the_command():
    assert _error(_alone(MPI, SLURM_PROCID="0", SLURM_NTASKS="8")) == (
        "a Slurm job of 8 tasks runs this process once, not by `srun`; start it with `srun python train.py`"
    )


def test_different_libraries_on_ranks_are_an_error_shown_once():
    assert _error(run_ranks(3, "-c", OTHER_VERSION)) == (
        "rank 0 has the MPI library MPICH 5.0, and rank 2 has MPICH 6.0; use one library on all nodes"
    )
