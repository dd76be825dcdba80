"""No request's body is larger than the bound, whatever the endpoint, whether its length was declared or not.

Invariant: what is behind sees the whole body at once, or nothing of the request.
"""

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.bounds import BodyRefused, Bounds, body_of, replayed


class BodyLimit:
    """413 for a body that is too large, 408 for one that is too late."""

    def __init__(self, app: ASGIApp, bounds: Bounds) -> None:
        self._app = app
        self._bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            self._check_declared(request.headers.get("content-length", ""))
            body = await body_of(request, self._bounds)
        except ClientDisconnect:
            return
        except BodyRefused as refused:
            await refused.response(scope, receive, send)
            return
        await self._app(scope, replayed(body, receive), send)

    def _check_declared(self, length: str) -> None:
        most = self._bounds.body_bytes
        if length.isascii() and length.isdigit() and int(length) > most:
            raise BodyRefused(f"the body is larger than {most} bytes", 413)
