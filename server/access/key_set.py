"""The public keys of an identity provider, fetched when they are needed and kept for a while.

Invariant: however many tokens with unknown keys are offered, the provider is asked once in `PAUSE_S` at most,
and only over the addresses that the operator or the provider's own metadata named.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog

log = structlog.get_logger()

# Keys are looked at anew after the first, and no longer believed after the second.
FRESH_S = 3600.0
BELIEVED_S = 24 * 3600.0
PAUSE_S = 30.0
FETCH_S = 5.0
MOST_BYTES = 1 << 18

Key = dict[str, Any]


class KeysUnavailable(Exception):
    """The provider's keys are not to be had; what is signed with them cannot be judged."""


class KeySet:
    """The keys by their `kid`."""

    def __init__(
        self,
        issuer: str,
        url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._clock = clock
        self._transport = transport
        self._keys: dict[str | None, Key] = {}
        self._fetched_s: float | None = None
        self._tried_s: float | None = None
        self._fetching = asyncio.Lock()

    async def key(self, kid: str | None) -> Key | None:
        """The key, or None where the provider has none of that name. Raises `KeysUnavailable`."""
        if kid not in self._keys or self._age_s() > FRESH_S:
            async with self._fetching:
                # Another request may have fetched them while this one waited.
                if (kid not in self._keys or self._age_s() > FRESH_S) and self._may_try():
                    await self._fetch()
        if self._age_s() > BELIEVED_S:
            raise KeysUnavailable(f"no keys of {self._issuer}")
        return self._keys.get(kid)

    def _age_s(self) -> float:
        return float("inf") if self._fetched_s is None else self._clock() - self._fetched_s

    def _may_try(self) -> bool:
        return self._tried_s is None or self._clock() - self._tried_s >= PAUSE_S

    async def _fetch(self) -> None:
        self._tried_s = self._clock()
        try:
            async with httpx.AsyncClient(timeout=FETCH_S, transport=self._transport) as http:
                found = await _document(http, self._url or await self._discovered(http))
            self._keys = keys_of(found)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning("keys not fetched", issuer=self._issuer, error=str(error), kept=len(self._keys))
            return
        self._fetched_s = self._clock()
        log.info("keys fetched", issuer=self._issuer, keys=len(self._keys))

    async def _discovered(self, http: httpx.AsyncClient) -> str:
        """Where the issuer's own metadata says that its keys are. Raises `ValueError`."""
        for url in metadata_urls(self._issuer):
            try:
                found = await _document(http, url)
            except (httpx.HTTPStatusError, ValueError):
                continue
            if found.get("issuer") == self._issuer and isinstance(found.get("jwks_uri"), str):
                return str(found["jwks_uri"])
        raise ValueError("its metadata names no keys, or another issuer")


def metadata_urls(issuer: str) -> list[str]:
    """Where an issuer's metadata may stand: OpenID Connect Discovery 1.0, then RFC 8414 section 3."""
    parts, base = urlsplit(issuer), issuer.rstrip("/")
    inserted = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server"
    return [f"{base}/.well-known/openid-configuration", inserted + parts.path.rstrip("/")]


def keys_of(found: dict[str, Any]) -> dict[str | None, Key]:
    """The keys for signatures that anybody may verify; a lone one counts without its name too.

    Raises `ValueError` where it is no key set.
    """
    listed = found.get("keys")
    if not isinstance(listed, list):
        raise ValueError("the document is no key set")
    keys = [
        key
        for key in listed
        if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"
    ]
    named: dict[str | None, Key] = {key["kid"]: key for key in keys if isinstance(key.get("kid"), str)}
    return named | ({None: keys[0]} if len(keys) == 1 else {})


async def _document(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """The JSON object at the address. Raises `httpx.HTTPError` or `ValueError`."""
    body = b""
    async with http.stream("GET", url, headers={"Accept": "application/json"}) as response:
        response.raise_for_status()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise ValueError(f"{url} is larger than {MOST_BYTES} bytes")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(f"{url} is no JSON object")
    return found
