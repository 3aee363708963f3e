"""A server on loopback: its port, its life, and what it needs."""

from __future__ import annotations

import contextlib
import errno
import importlib
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from xpnet.draw.answers import Answers

ADDRESS = "127.0.0.1"
PORT = 7840
_MOST_CONNECTIONS = 32  # a browser opens up to 6
_MOST_OF_HEADERS = 16384  # bytes


def check_installed() -> None:
    """Raise unless the packages that the page needs are installed.

    Raises
    ------
    ImportError
    """
    try:
        for name in ("starlette", "uvicorn", "PIL"):
            importlib.import_module(name)
    except ImportError as e:
        raise ImportError(
            f"drawing needs Starlette, Uvicorn and Pillow: {e}; install them with `pip install 'xpnet[draw]'`"
        ) from e


def listening(port: int | None = None) -> socket.socket:
    """Return a socket that listens on a port of 127.0.0.1.

    Parameters
    ----------
    port : int, optional
        0 is any that is free. If omitted, 7840 or, if that is taken, any that is free.

    Raises
    ------
    OSError
        If the port is taken or cannot be used.
    """
    try:
        return socket.create_server((ADDRESS, PORT if port is None else port))
    except OSError as e:
        if port is None:
            return listening(0)
        if e.errno == errno.EADDRINUSE:
            cause, advice = "is taken by another program", "name another one"
        else:
            cause, advice = f"cannot be used: {e.strerror}", "name one above 1023"
        raise OSError(
            f"port {port} {cause}; {advice} with `--port`, or leave that out to take a free one"
        ) from e


def serve(answers: Answers, listener: socket.socket) -> None:
    """Serve the page on a socket until a signal ends the process.

    A signal's handler that was installed before is called when the server has stopped.
    """
    import uvicorn

    from xpnet.draw.app import make_app

    with listener, ThreadPoolExecutor(1, "xpnet-draw") as executor:
        app = make_app(answers, listener.getsockname()[1], executor)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="critical",  # what a client does wrong is told to the client
            access_log=False,
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_MOST_OF_HEADERS,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        with _ended_by_hangup(server):
            server.run(sockets=[listener])


@contextlib.contextmanager
def _ended_by_hangup(server: Any) -> Iterator[None]:
    """Return a context in which SIGHUP ends the server as SIGINT and SIGTERM do, unless it is ignored."""
    number = getattr(signal, "SIGHUP", None)
    in_main = threading.current_thread() is threading.main_thread()
    if number is None or not in_main or signal.getsignal(number) is signal.SIG_IGN:
        yield
        return
    received = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        server.should_exit = True

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)
    if received:
        signal.raise_signal(number)
