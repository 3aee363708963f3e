"""What a rank does with the watcher of its node: start it, talk to it, and end all ranks."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from types import TracebackType
from typing import Any

from xpnet.distributed.errors import DistributedError, failure, is_on_purpose, of_all, rank_of_all
from xpnet.distributed.launch import launched_rank, launched_size

_PROGRAM = pathlib.Path(__file__).with_name("watcher.py")


class Calls:
    """How many collective calls of a group this rank has begun, and whether it is in one."""

    def __init__(self) -> None:
        self.begun = 0
        self.is_inside = False

    def __enter__(self) -> None:
        self.begun += 1
        self.is_inside = True

    def __exit__(self, *_: object) -> None:
        self.is_inside = False


CALLS: dict[str, Calls] = {}
"""The calls of all groups of this process, by a key that the group's ranks share."""


class Link:
    """The connection of a rank to the watcher.

    Parameters
    ----------
    path : str
        Of the watcher's socket.
    rank, size : int
        Of the process among all, and how many there are.
    """

    def __init__(self, path: str, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._pid = os.getpid()
        self._said = threading.Event()
        # Ranks that have ended, and the calls that they took part in.
        self._left: dict[int, dict[str, int]] = {}
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._send(kind="hello", rank=rank, size=size, pid=self._pid, host=socket.gethostname())
        try:
            threading.Thread(target=self._listen, name="xpnet-watch", daemon=True).start()
        except RuntimeError:
            self._ending()  # so that the watcher does not take it for dead
            self._socket.close()
            raise
        atexit.register(self._ending)

    def fail(self, text: str) -> bool:
        """Have the watcher print a text, unless another rank was first; False if there is no watcher left."""
        return self._send(kind="failed", text=text) and self._said.wait(2)

    def _send(self, **message: Any) -> bool:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def _ending(self) -> None:
        if os.getpid() == self._pid:  # not in a child that was forked
            self._send(kind="ending", calls={key: calls.begun for key, calls in CALLS.items()})

    def _listen(self) -> None:
        unread = b""
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                self._check_left()
                continue
            except OSError:
                return
            if not data:
                return
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                self._answer(**json.loads(line))

    def _answer(self, kind: str, **message: Any) -> None:
        if kind == "end":
            abort()
        elif kind == "said":
            self._said.set()
        elif kind == "left":
            self._left[message["rank"]] = message["calls"]
            self._socket.settimeout(0.2)

    def _check_left(self) -> None:
        """Say so if this rank waits for one that has ended: it would wait forever."""
        for rank, theirs in self._left.items():
            for key, calls in list(CALLS.items()):
                if key in theirs and calls.is_inside and calls.begun > theirs[key]:
                    self._send(kind="stuck", rank=rank)


_links: list[Link] = []


def watch(comm: Any) -> None:
    """Have the ranks of a communicator watched, all together, unless they already are.

    Raises
    ------
    DistributedError
        On all ranks, if a node cannot start a process or a socket for it.
    """
    from mpi4py import MPI

    is_alone = comm.size == 1 and launched_rank() is None
    if is_alone or not hasattr(socket, "AF_UNIX") or comm.allreduce(bool(_links), MPI.LAND):
        return
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    folder, error = _start(node.size) if node.rank == 0 else (None, None)
    link = None
    if folder is not None:
        # The first rank is watched before the others know of the watcher.
        link, error = _connected(folder)
    path = node.bcast(folder if link else None)
    if node.rank and path is not None:
        link, error = _connected(path)
    errors = [e for e in comm.allgather(error) if e is not None]
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    node.Free()
    if errors:
        error = f"the ranks cannot be watched: {errors[0]}"
        raise of_all(DistributedError(error), comm.rank, comm.size)
    if link is not None:
        _links.append(link)


def _connected(folder: str) -> tuple[Link | None, str | None]:
    """Return this rank's connection to the watcher, or None and what went wrong."""
    from mpi4py import MPI

    try:
        return Link(f"{folder}/socket", MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size), None
    except (OSError, RuntimeError) as e:
        return None, str(e)


def _start(count: int) -> tuple[str | None, str | None]:
    """Return the folder of a new watcher's socket, or None and what went wrong."""
    folder = None
    try:
        # In /tmp, because a socket's path must be short and on the node's own disk.
        folder = tempfile.mkdtemp(prefix="xpnet-", dir="/tmp")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/socket")
            listener.listen(count)
            descriptor = listener.fileno()
            numbers = map(str, (descriptor, count, os.getpid()))
            command = [sys.executable, "-I", "-S", str(_PROGRAM), folder, *numbers]
            # No other descriptor is passed on: launchers see by theirs that a rank has died.
            subprocess.run(
                command,
                check=True,
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
    except (OSError, subprocess.SubprocessError) as e:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return None, str(e)
    return folder, None


def abort(status: int = 1) -> None:
    """End all ranks at once, on all nodes."""
    from mpi4py import MPI

    MPI.COMM_WORLD.Abort(status)


def fail(error: BaseException) -> None:
    """Print what not all ranks have raised, unless another one was first, and end all ranks."""
    from mpi4py import MPI

    rank, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    text = f"xpnet: rank {rank} of {size} failed: {failure(error)}\n"
    is_stopped = not isinstance(error, Exception | SystemExit)
    if is_stopped:
        text = f"xpnet: rank {rank} of {size} was stopped: {str(error) or 'interrupted'}\n"
    elif not is_on_purpose(error):
        text = "".join(traceback.format_exception(error)) + text
    _flush()
    if not any(link.fail(text) for link in _links):
        with contextlib.suppress(Exception):
            sys.stderr.write(text)
            sys.stderr.flush()
    # As shells do: 128 + the number of the signal.
    abort(getattr(error, "status", 128 + signal.SIGINT) if is_stopped else 1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def catch_uncaught() -> None:
    """Make an exception that nobody catches end all ranks; one that all ranks have is shown by rank 0."""
    if getattr(sys.excepthook, "ends_ranks", False):
        return
    show, pid = sys.excepthook, os.getpid()

    def end_ranks(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        size = _links[0].size if _links else launched_size() or 1
        rank = rank_of_all(error, size)
        if os.getpid() != pid:  # in a child that was forked, which may not finalize MPI and would wait in it
            show(kind, error, trace)
            _flush()
            os._exit(1)
        elif rank is None and _links and size > 1:
            fail(error.with_traceback(trace))
        elif not rank:
            show(kind, error, trace)

    end_ranks.ends_ranks = True  # type: ignore[attr-defined]
    sys.excepthook = end_ranks
