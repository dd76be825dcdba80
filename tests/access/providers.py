"""An identity provider on loopback: its metadata, its keys, and the tokens that it would issue."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.access.listening import listening

RESOURCE = "http://127.0.0.1:8000"


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    """A key of the algorithm's kind; another for another number."""
    if algorithm.startswith("ES"):
        curves: dict[str, type[ec.EllipticCurve]] = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1}
        return ec.generate_private_key(curves[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Provider:
    """What it publishes, and how often it was asked for its keys."""

    issuer: str = ""
    kids: dict[str, Any] = field(default_factory=dict)
    asked: int = 0
    away: bool = False

    def publish(self, kid: str, algorithm: str = "RS256", number: int = 0, **more: Any) -> None:
        public = private_key(algorithm, number).public_key()
        key = get_default_algorithms()[algorithm].to_jwk(public, as_dict=True)
        self.kids[kid] = {**key, "kid": kid, "use": "sig"} | more

    def token(self, kid: str = "k1", algorithm: str = "RS256", number: int = 0, **claims: Any) -> str:
        now = int(time.time())
        issued: dict[str, Any] = {
            "iss": self.issuer,
            "aud": RESOURCE,
            "sub": "u1",
            "azp": "c1",
            "scope": "tape:read",
        }
        issued |= {"iat": now, "exp": now + 300}
        chosen = {name: value for name, value in (issued | claims).items() if value is not None}
        return jwt.encode(chosen, private_key(algorithm, number), algorithm, headers={"kid": kid})

    async def metadata(self, _: Request) -> Response:
        return JSONResponse({"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"})

    async def keys(self, _: Request) -> Response:
        self.asked += 1
        return JSONResponse({"keys": list(self.kids.values())}, 503 if self.away else 200)


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    it = Provider()
    it.publish("k1")
    app = Starlette(routes=[Route("/.well-known/openid-configuration", it.metadata), Route("/keys", it.keys)])
    async with listening(app) as url:
        it.issuer = url
        yield it
