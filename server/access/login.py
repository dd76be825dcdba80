"""GET and POST /login: who asks, and the passphrase that lets it in.

Invariant: plain HTML without scripts, in no frame; what a client calls itself is text. Wrong attempts are
counted by address and in all, and a passphrase is looked at, one at a time, only within these counts.
"""

import asyncio
from html import escape
from urllib.parse import urlsplit

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from server.access.addresses import address_of
from server.access.authorization import EVERYBODY, AuthorizationServer, Login
from server.access.gate import too_often
from server.access.passphrase import Passphrase
from server.access.rates import RateLimit
from server.site import document

log = structlog.get_logger()

# Wrong attempts, at once and a minute: of one address, and of all together; of these so many that only a
# crowd keeps the owner out.
ONE_ADDRESS = (5, 1.0)
ALL_ADDRESSES = (300, 60.0)


class LoginEndpoint:
    """The page, and what was answered on it."""

    def __init__(self, server: AuthorizationServer, passphrase: Passphrase) -> None:
        self._server = server
        self._passphrase = passphrase
        self._of_one, self._of_all = RateLimit(*ONE_ADDRESS), RateLimit(*ALL_ADDRESSES)
        self._one_at_a_time = asyncio.Lock()

    async def handle(self, request: Request) -> Response:
        if request.method == "POST":
            form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
            return await self._answered(request, form)
        login = self._server.logins.get(request.query_params.get("request", ""))
        return _ended() if login is None else _asking(login, request.query_params["request"], 200)

    async def _answered(self, request: Request, form: dict[str, str]) -> Response:
        secret = form.get("request", "")
        login = self._server.logins.get(secret)
        if login is None:
            return _ended()
        if form.get("answer") == "deny":
            self._server.logins.take(secret)
            return _sent(self._server.deny(login))
        return await self._judged(login, secret, form.get("passphrase", ""), address_of(request.scope))

    async def _judged(self, login: Login, secret: str, offered: str, address: str) -> Response:
        async with self._one_at_a_time:
            if wait_s := max(self._of_one.wait_s(address), self._of_all.wait_s(EVERYBODY)):
                return too_often(wait_s)
            if not await run_in_threadpool(self._passphrase.matches, offered):
                self._of_one.asked(address)
                self._of_all.asked(EVERYBODY)
                log.warning("passphrase refused", address=address, client=login.client.client_id)
                return _asking(login, secret, 403, "That is not the passphrase.")
        if self._server.logins.take(secret) is None:
            return _ended()
        log.info("passphrase accepted", address=address, client=login.client.client_id)
        return _sent(self._server.allow(login))


def _sent(url: str) -> Response:
    return RedirectResponse(url, 303, {"cache-control": "no-store", "referrer-policy": "no-referrer"})


def _ended() -> Response:
    words = (
        "<p>This request has expired or was answered already. Connect again in the program that you use.</p>"
    )
    return _guarded(document("Nothing to allow here", words, 400), "")


def not_connected() -> Response:
    """For a browser that a program sent which is not registered, or not any more."""
    words = (
        "<p>The program that sent you here is not registered with this server any more. Remove the connector "
        "in the program, and add it again.</p>"
    )
    return _guarded(document("Not connected", words, 400), "")


def _asking(login: Login, secret: str, status: int, words: str = "") -> Response:
    parts = urlsplit(login.redirect)
    target = parts.hostname or f"the app for {parts.scheme}:"
    name, to = escape(login.client.client_name or login.client.client_id), escape(target)
    body = (
        f"<p><strong>{name}</strong> wants to read this server's market data. That is what it calls itself; "
        f"access goes to <strong>{to}</strong>. Allow it only if you have just connected it yourself.</p>"
        f'<p role="alert">{escape(words)}</p>'
        f'<form method="post"><input type="hidden" name="request" value="{escape(secret)}">'
        '<p><label>Passphrase<br><input type="password" name="passphrase" autofocus '
        'autocomplete="current-password" maxlength="1024" size="40"></label></p>'
        '<p><button name="answer" value="allow">Allow</button> '
        '<button name="answer" value="deny" formnovalidate>Deny</button></p></form>'
    )
    return _guarded(document("Allow access?", body, status), f"{parts.scheme}:")


def _guarded(page: Response, scheme: str) -> Response:
    # Browsers apply form-action to where an answer redirects, too, and to where that redirects.
    page.headers["content-security-policy"] = (
        f"default-src 'none'; style-src 'unsafe-inline'; form-action 'self' https: {scheme}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    page.headers["x-frame-options"] = "DENY"
    # With no-referrer browsers would send `Origin: null`, which is refused.
    page.headers["referrer-policy"] = "same-origin"
    return page
