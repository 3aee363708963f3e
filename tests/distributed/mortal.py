"""A rank that does something fatal: ``mortal.py FOLDER WHAT RANK``.

Ranks sum until then, for a minute at most; each leaves its process number in the folder.
"""

import os
import pathlib
import signal
import sys
import time

import numpy as np
from mpi4py import MPI

import xpnet
from xpnet.distributed import mpi


def guarded(group):
    with group.guarded():
        try:
            raise ValueError("of one\nrank")
        finally:
            pathlib.Path(folder, "cleaned").touch()


def bug(group):
    raise KeyError("of one rank")


def fit(samples, **options):
    xpnet.fit(
        xpnet.backend("numpy"),
        xpnet.mlp(4, 3, 2, activation="relu"),
        xpnet.Dataset(samples, np.zeros(len(samples), int)),
        batch_size=4,
        progress=False,
        **options,
    )


def diverge(**options):
    fit(np.full((8, 4), 1e30, np.float32), optimizer=xpnet.SGD(1e30), epochs=1, **options)


def fit_itself(group):
    """Fit with a bad argument in a group of this process only."""
    fit(np.ones((8, 4), np.float32), optimizer=xpnet.SGD(0.1), epochs=0, distributed=mpi(MPI.COMM_SELF))


def fork(group):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def bug_of_child(group):
    if os.fork() == 0:
        raise KeyError("of a child")
    os.wait()


ACTS = {
    "kill": lambda group: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda group: os.kill(os.getpid(), signal.SIGSEGV),
    "leave": lambda group: os._exit(3),
    "leave with 0": lambda group: os._exit(0),
    "exit": lambda group: sys.exit(3),
    "bug": bug,
    "bug of child": bug_of_child,
    "diverge": lambda group: diverge(),
    "fit itself": fit_itself,
    "guarded": guarded,
    "fork": fork,
}

folder, what, chosen = sys.argv[1], sys.argv[2], int(sys.argv[3])
group = mpi()
path = pathlib.Path(folder, f"{group.rank}.part")
path.write_text(str(os.getpid()))
path.rename(path.with_suffix(".pid"))
x = np.ones(1000)
end = time.monotonic() + 60
for step in range(10_000):
    group.sum(x)
    x /= group.size
    if step == 100:
        if what == "together":
            with group.together():
                if group.rank == chosen:
                    raise ValueError("of one rank")
        if what == "diverge together":
            diverge(distributed=group)
        if what.startswith("wait for"):
            if group.rank == chosen:
                sys.exit(3)
            group.wait(sleeps=what.endswith("asleep"))
        if group.rank == chosen and what in ACTS:
            ACTS[what](group)
    if step >= 150 and what in ("nothing", "bug of child"):
        break
    time.sleep(0.002)
if group.rank == 0:
    print("done")
