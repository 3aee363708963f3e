"""Who may ask the server: its own page, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing but the files of this server, and no other page around them.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application that refuses requests of other origins and adds headers to all responses.

    Parameters
    ----------
    app : ASGI application
    port : int
        The server's own.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
        if port == 80:  # which browsers leave out
            self._hosts += ["127.0.0.1", "localhost"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or let the application respond; either with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if not refusal else PlainTextResponse(f"{refusal}\n", status_code=403)
        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> str:
        """Return why a request is refused; empty if it is not."""
        host, own = headers.get("host", ""), self._hosts[0]
        # A page of another name that is led to this address (DNS rebinding) has that name here.
        if host.lower() not in self._hosts or len(headers.getlist("host")) != 1:
            return f"this server is http://{own}, not {host!r}; open that address"
        origins = headers.getlist("origin")
        if len(origins) > 1:
            return f"a request has one `Origin`, got {len(origins)}; use the page http://{own}"
        origin = origins[0] if origins else None
        if origin is None and method not in ("GET", "HEAD"):
            return f"a {method} request needs the header `Origin: http://{host}`; use the page http://{own}"
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return f"only the page http://{host} may ask, not {origin!r}; open that address"
        # Links from elsewhere may lead to the page.
        is_visit = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and not is_visit:
            return f"only the page http://{host} may ask, not another site ({site!r}); open that address"
        return ""
