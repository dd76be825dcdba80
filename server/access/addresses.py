"""Where a request comes from.

Invariant: a request is local only where the connection, or a proxy that is trusted, says so, and it was
addressed to this machine; a proxy between that nobody trusts makes it foreign. One that leaves no trace at
all, headers, version and name alike, is not to be told from a program of this machine.
"""

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

# Set by whoever passes a request on, never by the client of a local program.
FORWARDING = frozenset((
    b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"forwarded", b"x-real-ip", b"via",
    b"cf-connecting-ip",
))  # fmt: skip
LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")
USUAL_PORTS = {"https": ":443", "http": ":80"}
VOUCHED = "tapedeck.client_vouched"


def canonical(url: str) -> str:
    """The address as browsers name it: scheme and host in lower case, no usual port. Raises `ValueError`."""
    parts = urlsplit(url)
    usual = USUAL_PORTS.get(parts.scheme, "")
    return parts._replace(netloc=parts.netloc.lower().removesuffix(usual)).geturl()


def is_loopback(host: str) -> bool:
    """Whether the address is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def vouched(scope: Scope, trusted: bool) -> bool:
    """Whether the client's address can be believed: not forwarded, or a trusted proxy says for whom."""
    return not _forwarded(scope) or (trusted and b"x-forwarded-for" in _forwarded(scope))


def _forwarded(scope: Scope) -> frozenset[bytes]:
    return FORWARDING & {name for name, _ in scope["headers"]}


def address_of(scope: Scope) -> str:
    """The client's address as limits are counted by it: of IPv6 the network, which one customer has."""
    host = _host(scope)
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else f"{IPv6Address(int(address) >> 64 << 64)}/64"


def is_local(scope: Scope) -> bool:
    """Whether a program of this machine asks."""
    # Of a proxy that says nothing at all the public name may be the only trace.
    if not LOOPBACK_HOST.fullmatch(Headers(scope=scope).get("host", "")):
        return False
    # Programs have spoken 1.1 for long; nginx speaks 1.0 unless its configuration says otherwise.
    if scope.get("http_version") == "1.0":
        return False
    if not scope.get(VOUCHED, vouched(scope, trusted=False)):
        return False
    try:
        address = ip_address(_host(scope))
    except ValueError:
        # A Unix socket has no address; a name that a proxy forwards is no address of this machine.
        return not _forwarded(scope)
    mapped = address.ipv4_mapped if address.version == 6 else None
    return (mapped or address).is_loopback


def _host(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
