"""A rank that does something fatal: ``mortal.py FOLDER WHAT RANK``.

Ranks sum until then, for a minute at most; each leaves its process number in the folder.
"""

import os
import pathlib
import signal
import sys
import time

import numpy as np

from xpnet.distributed import mpi


def guarded(group):
    with group.guarded():
        try:
            raise ValueError("of one\nrank")
        finally:
            pathlib.Path(folder, "cleaned").touch()


def bug(group):
    raise KeyError("of one rank")


def fork(group):
    if os.fork() == 0:
        time.sleep(1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


ACTS = {
    "kill": lambda group: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda group: os.kill(os.getpid(), signal.SIGSEGV),
    "leave": lambda group: os._exit(3),
    "leave with 0": lambda group: os._exit(0),
    "exit": lambda group: sys.exit(3),
    "bug": bug,
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
        if group.rank == chosen and what in ACTS:
            ACTS[what](group)
    if step >= 150 and what == "nothing":
        break
    time.sleep(0.002)
if group.rank == 0:
    print("done")
