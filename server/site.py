"""GET /pages/...: the pages for a browser, where the links of search results lead.

Invariant: whatever stands in an answer or an address is text here, never markup; no page runs a script.
"""

from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from server.pages import Address, Page, Pages, UnknownPage, address_of
from server.tools.refusals import Refusal

PAGES_PATH = "/pages"
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
STYLE = "body{font:16px/1.5 system-ui;max-width:46em;margin:2em auto;padding:0 1em}pre{white-space:pre-wrap}"

Within = Callable[[Callable[[], Awaitable[Page]]], Awaitable[Page]]


class PagesEndpoint:
    """A page, or the list of them; `within` bounds what making one takes."""

    def __init__(self, pages: Pages, security: TransportSecuritySettings, within: Within) -> None:
        self._pages = pages
        self._guard = TransportSecurityMiddleware(security)
        self._within = within

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._guard.validate_request(request) or await self._response(request)
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        prefix = request.scope.get("root_path", "") + PAGES_PATH
        path = request.path_params.get("page", "")
        if not path:
            return document("tapedeck", self._index(prefix), 200)
        try:
            address = address_of(path)
            page = await self._within(lambda: self._pages.page(address))
        except UnknownPage as unknown:
            return document("No such page", f"<p>{escape(str(unknown))}</p>", 404)
        except Refusal as refusal:
            return document("Not now", f"<p>{escape(str(refusal))}</p>", 503)
        back = f'<p><a href="{escape(prefix)}">All pages</a></p>'
        return document(page.title, f"<pre>{escape(page.text)}</pre>{back}", 200)

    def _index(self, prefix: str) -> str:
        items = "".join(self._item(prefix, address) for address in self._pages.addresses())
        return f"<ul>{items}</ul>"

    def _item(self, prefix: str, address: Address) -> str:
        return (
            f'<li><a href="{escape(prefix)}/{escape(address.path)}">{escape(self._pages.title(address))}</a>'
        )


def pages_routes(endpoint: PagesEndpoint) -> list[BaseRoute]:
    """Of the list, and of each page."""
    return [Route(path, endpoint, methods=["GET"]) for path in (PAGES_PATH, f"{PAGES_PATH}/{{page:path}}")]


def document(title: str, body: str, status: int) -> Response:
    """A whole document; `body` is markup, `title` is text."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    style = f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    text = f"{head}{style}<h1>{escape(title)}</h1>{body}</html>"
    return HTMLResponse(text, status, HEADERS)


def page_url(base: str, address: Address) -> str:
    """The page's URL at a server's address."""
    return f"{base.rstrip('/')}{PAGES_PATH}/{address.path}"


def base_url(public_url: str | None, request: Any, fallback: str) -> str:
    """The server's address as the caller knows it: the public one, else the one that was asked."""
    if public_url:
        return public_url
    return str(request.base_url).rstrip("/") if isinstance(request, Request) else fallback
