"""Programs that tests start on several ranks."""

import os
import pathlib
import shutil
import subprocess
import sys

# Ranks may be more than processors, which then must not all wait for each other by spinning.
THREADS = {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def mpiexec():
    """Return the path of the launcher that came with this Python's packages, or else the first one."""
    own = str(pathlib.Path(sys.executable).parent)
    found = shutil.which("mpiexec", path=os.pathsep.join([own, os.environ.get("PATH", "")]))
    assert found is not None, "there is no mpiexec; install the extra `test`"
    return found


def run_ranks(ranks, *command, timeout=120, env=None):
    """Return the completed process of ``mpiexec -n ranks python *command``."""
    return subprocess.run(
        [mpiexec(), "-n", str(ranks), sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **THREADS, **(env or {})},
        check=False,
    )
