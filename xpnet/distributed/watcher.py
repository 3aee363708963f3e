"""The process that watches the ranks of a node: it says which of them died first, and ends the others.

`xpnet.distributed.watch` starts it as a program of its own, because a rank cannot speak for another one: it
may be inside MPI, and launchers kill the rest at once. It uses the standard library only, so that it starts
fast. It ends with the last rank, or if none connects. If it is killed itself, training goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from typing import Any

# Seconds after a death. One survivor is asked to end all ranks, also on other nodes; then every one; then
# they are ended from outside, because a rank in compiled code cannot answer.
ASK_ALL, TERMINATE, KILL, GIVE_UP = 1.0, 3.0, 5.0, 8.0
# Seconds within which all ranks of the node connect, and a process that has closed its files ends.
CONNECT, EXIT = 60.0, 0.3
# PF_EXITING of Linux: the process ends, and its status is known.
EXITING = 0x4


class Rank:
    """A rank of this node.

    Parameters
    ----------
    link : socket.socket
    """

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self.link = link
        self.unread = b""
        self.number = -1
        self.pid = 0
        self.name = "a rank"
        self.process: int | None = None  # a descriptor that becomes readable when the process ends
        self.stat: int | None = None  # what Linux knows of the process
        self.is_ending = False  # whether it has said that it ends as a program should

    def introduce(self, rank: int, size: int, pid: int, host: str) -> None:
        """Note who the rank is."""
        self.number, self.pid = rank, pid
        self.name = f"rank {rank} of {size} (process {pid} on {host})"
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self.process = os.pidfd_open(pid)
                self.stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY)

    def send(self, **message: Any) -> None:
        """Send a message, unless the rank is gone."""
        with contextlib.suppress(OSError):
            self.link.send(json.dumps(message).encode() + b"\n")

    def signal(self, number: int) -> None:
        """Send a signal to the process, and never to another one that has got its number since."""
        with contextlib.suppress(OSError):
            if self.process is not None and hasattr(signal, "pidfd_send_signal"):
                signal.pidfd_send_signal(self.process, number)
            elif self.pid:
                os.kill(self.pid, number)

    def status(self) -> int | None:
        """Return the wait status of a process that ends; None if it is not known."""
        limit = time.monotonic() + EXIT
        with contextlib.suppress(OSError):
            # Without a pause, because its launcher collects it at once, and then the status is gone.
            while self.stat is not None and time.monotonic() < limit:
                fields = os.pread(self.stat, 4096, 0).rpartition(b")")[2].split()
                if fields[0] == b"Z" or int(fields[6]) & EXITING:
                    return int(fields[49])
        return None


class Watcher:
    """Ranks by their sockets, and what has happened to them.

    Parameters
    ----------
    listener : socket.socket
        Where the ranks connect.
    count : int
        How many ranks this node has.
    starter : int
        The process number of the rank that started the watcher, and that connects first.
    """

    def __init__(self, listener: socket.socket, count: int, starter: int) -> None:
        self.listener = listener
        self.missing = count
        self.is_orphan = False  # whether the rank that started it is gone
        self.ranks: list[Rank] = []
        self.over: float | None = None  # when all ranks began to be ended
        self.stages: list[tuple[float, Any]] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self.accept)
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                process = os.pidfd_open(starter)
                self.selector.register(process, selectors.EVENT_READ, lambda: self.orphan(process))

    def run(self) -> None:
        """Watch until the last rank is gone, or until it is clear that none connects."""
        limit = time.monotonic() + CONNECT
        while self.ranks or self.missing:
            is_idle = not self.missing and self.over is None
            # In the order in which they became ready: the first death is the first in this list.
            for key, _ in self.selector.select(None if is_idle else 0.2):
                key.data()
            if self.over is not None and self.stages and time.monotonic() > self.over + self.stages[0][0]:
                self.stages.pop(0)[1]()
            is_deserted = self.is_orphan and not self.ranks and self.over is None
            if self.missing and (is_deserted or time.monotonic() > limit):
                self.stop_listening()

    def orphan(self, process: int) -> None:
        """Note that the rank that started the watcher is gone."""
        self.is_orphan = True
        self.selector.unregister(process)
        os.close(process)

    def accept(self) -> None:
        """Take the connection of a rank."""
        rank = Rank(self.listener.accept()[0])
        self.ranks.append(rank)
        self.selector.register(rank.link, selectors.EVENT_READ, lambda: self.read(rank))
        self.missing -= 1
        if not self.missing:
            self.stop_listening()

    def stop_listening(self) -> None:
        """Let no other rank connect."""
        self.missing = 0
        self.selector.unregister(self.listener)
        self.listener.close()

    def give_up(self) -> None:
        """Watch no rank any more."""
        self.ranks.clear()
        self.missing = 0

    def read(self, rank: Rank) -> None:
        """Read what a rank says, or see that it is gone."""
        if rank not in self.ranks:
            return
        try:
            data = rank.link.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.gone(rank)
            return
        *lines, rank.unread = (rank.unread + data).split(b"\n")
        for line in lines:
            self.answer(rank, **json.loads(line))

    def answer(self, sender: Rank, kind: str, **message: Any) -> None:
        """Act upon a message."""
        if kind == "hello":
            sender.introduce(**message)
            if sender.process is not None:
                # A child of the rank's may hold its end of the socket open.
                self.selector.register(sender.process, selectors.EVENT_READ, lambda: self.gone(sender))
        elif kind == "ending":
            sender.is_ending = True
            for other in self.ranks:
                if other is not sender:
                    other.send(kind="left", rank=sender.number, calls=message["calls"])
        elif kind == "failed":
            self.say(message["text"], asks=False)
            sender.send(kind="said")
        elif kind == "stuck":
            name = next(
                (r.name for r in self.ranks if r.number == message["rank"]), f"rank {message['rank']}"
            )
            self.say(f"xpnet: {name} ended while other ranks waited for it; all ranks are stopped\n")

    def gone(self, rank: Rank) -> None:
        """Note the end of a rank, and say so if it was not what it should have been."""
        if rank not in self.ranks:
            return
        self.ranks.remove(rank)
        self.selector.unregister(rank.link)
        rank.link.close()
        if rank.process is not None:
            self.selector.unregister(rank.process)
        status = rank.status() if self.over is None else None
        if not rank.is_ending or (status is not None and os.WIFSIGNALED(status)):
            self.say(f"xpnet: {rank.name} {_what_happened(status)}; all ranks are stopped\n")

    def say(self, text: str, *, asks: bool = True) -> None:
        """Print a line, unless one was printed before, and end all ranks, which a survivor is asked to do."""
        if self.over is not None:
            return
        self.over = time.monotonic()
        self.stages = [
            (0.0, lambda: self.ask(int(asks))),
            (ASK_ALL, lambda: self.ask(len(self.ranks))),
            (TERMINATE, lambda: self.send_signal(signal.SIGTERM)),
            (KILL, lambda: self.send_signal(signal.SIGKILL)),
            (GIVE_UP, self.give_up),
        ]
        data = text.encode()
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(2, data) :]

    def ask(self, count: int) -> None:
        """Ask ranks to end all others through MPI; those that wait for their own end cannot."""
        for rank in sorted(self.ranks, key=lambda r: (r.is_ending, r.number))[:count]:
            rank.send(kind="end")

    def send_signal(self, number: int) -> None:
        """Send a signal to all ranks that are left."""
        for rank in self.ranks:
            rank.signal(number)


def _what_happened(status: int | None) -> str:
    if status is None:
        return "died"
    if not os.WIFSIGNALED(status):
        return f"exited with status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    name = f" ({signal.Signals(number).name})" if number in list(signal.Signals) else ""
    return f"was killed by signal {number}{name}"


def main() -> None:
    """Watch ranks: ``watcher.py FOLDER DESCRIPTOR COUNT STARTER``, the first two of the socket."""
    if os.fork():
        os._exit(0)  # so that the rank that started it need not wait for it
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    folder = sys.argv[1]
    descriptor, count, starter = map(int, sys.argv[2:])
    try:
        Watcher(socket.socket(fileno=descriptor), count, starter).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
