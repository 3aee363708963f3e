"""The page's server as an application: its files, the model's description, and answers to drawings."""

from __future__ import annotations

import asyncio
import importlib.resources
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from xpnet.draw.answers import SIDE, Answers
from xpnet.draw.guard import Guard
from xpnet.errors import shortened

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_FILES = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "board.js": "text/javascript",
    "pictures.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_BYTES = SIDE * SIDE
_TYPE = "application/octet-stream"
_SECONDS = 10  # for a drawing to arrive
_MOST_WAITING = 8  # drawings; a page sends one after another


def make_app(answers: Answers, port: int, executor: Executor) -> ASGIApp:
    """Return the application, which is for one port; drawings are answered one at a time by `executor`."""
    routes = [Route(f"/{name if name != 'page.html' else ''}", _file(name)) for name in _FILES]

    async def model(request: Request) -> Response:
        return JSONResponse(answers.about)

    routes += [
        Route("/model", model),
        Route("/drawing", _drawing(answers, executor), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes, exception_handlers={HTTPException: _as_line}), port)


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = importlib.resources.files("xpnet.draw").joinpath("page", name).read_bytes()

    async def respond(request: Request) -> Response:
        return Response(content, media_type=_FILES[name])

    return respond


def _drawing(answers: Answers, executor: Executor) -> Callable[[Request], Awaitable[Response]]:
    waiting = 0

    async def respond(request: Request) -> Response:
        nonlocal waiting
        drawing = await _read(request)
        if waiting >= _MOST_WAITING:
            raise HTTPException(503, f"{waiting} drawings are waiting for an answer; try again later")
        waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return JSONResponse(await loop.run_in_executor(executor, answers.answer, drawing))
        except Exception as e:  # A layer of one's own may raise anything.
            text = f"the model cannot be used on this drawing: {type(e).__name__}: {e}"
            raise HTTPException(500, shortened(text)) from e
        finally:
            waiting -= 1

    return respond


async def _read(request: Request) -> np.ndarray:
    """Return the drawing in the body of a request, or raise an error for the client."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != _TYPE:
        raise HTTPException(415, f"a drawing has the type {_TYPE}, got {shortened(repr(found), 100)}")
    body = b""
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > _BYTES:  # whatever the header says, or does not say
                    text = f"a drawing has {_BYTES} bytes, but more were sent"
                    raise HTTPException(413, text, {"Connection": "close"})
    except TimeoutError as e:
        raise HTTPException(408, f"the drawing did not arrive within {_SECONDS} seconds") from e
    except ClientDisconnect as e:
        raise HTTPException(400, "the connection was closed before the drawing arrived") from e
    if len(body) != _BYTES:
        raise HTTPException(
            400, f"a drawing has {_BYTES} bytes, one for each of {SIDE} x {SIDE} pixels, got {len(body)}"
        )
    return np.frombuffer(body, np.uint8).reshape(SIDE, SIDE)


async def _as_line(request: Request, error: Exception) -> Response:
    """Return an error as one line of plain text."""
    if not isinstance(error, HTTPException):
        raise error
    text = error.detail
    if error.status_code == 404:
        text = f"there is no {shortened(request.url.path, 100)!r}; the page is /"
    if error.status_code == 405:
        text = f"{request.url.path} does not take {shortened(request.method, 20)}"
    return PlainTextResponse(f"{text}\n", status_code=error.status_code, headers=error.headers)
