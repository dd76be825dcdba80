"""What a proxy in front says of the client: believed where the operator trusts the proxy.

Invariant: a header that anybody can send changes nothing unless it comes from a trusted address.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from server.access.addresses import VOUCHED, vouched

Headers = list[tuple[bytes, bytes]]


class TrustedProxies(ProxyHeadersMiddleware):
    """X-Forwarded-For, -Proto, -Host and -Prefix of trusted proxies, and the path of the public address."""

    def __init__(self, app: ASGIApp, trusted: Sequence[str], public_url: str | None) -> None:
        super().__init__(app, list(trusted))  # type: ignore[arg-type]  # uvicorn's own name for the same type
        self._prefix = urlsplit(public_url or "").path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        if scope["type"] == "http":
            client = scope.get("client")
            trusted = client is not None and client[0] in self.trusted_hosts
            scope = {**scope, VOUCHED: vouched(scope, trusted)}
            told = forwarded(scope["headers"]) if trusted else {}
            scope = under_prefix(with_host(scope, told.get("host")), told.get("prefix", self._prefix))
        await super().__call__(scope, receive, send)  # type: ignore[arg-type]


def forwarded(headers: Headers) -> dict[str, str]:
    """Host and prefix as the last proxy had them."""
    names = {b"x-forwarded-host": "host", b"x-forwarded-prefix": "prefix"}
    found = {names[name]: value.decode("latin-1") for name, value in headers if name in names}
    told = {name: value.split(",")[-1].strip() for name, value in found.items()}
    if "prefix" in told:
        told["prefix"] = "/" + told["prefix"].strip("/") if told["prefix"].strip("/") else ""
    return told


def with_host(scope: Scope, host: str | None) -> Scope:
    """The scope with the Host that the proxy was asked for."""
    if not host:
        return scope
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {**scope, "headers": [(b"host", host.encode("latin-1")), *others]}


def under_prefix(scope: Scope, prefix: str) -> Scope:
    """The scope at a path prefix, whether the proxy has taken it off or left it on."""
    if not prefix or scope.get("root_path"):
        return scope
    path = scope["path"]
    whole = path if path == prefix or path.startswith(f"{prefix}/") else prefix + path
    return {**scope, "root_path": prefix, "path": whole}
