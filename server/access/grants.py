"""What the built-in authorization server has allowed: clients, grants, and how tokens follow each other.

Invariant: of every secret only the SHA-256 digest is kept. A grant has one access token and one refresh token
at a time; the refresh token before it ends the grant, since one of two that have it has stolen it.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec.structs import replace

from server.access.tokens import digest_of

HOUR_S = 3600
DAY_S = 24 * HOUR_S
ACCESS_S = HOUR_S
# A client that is not used for so long has to ask its owner again.
REFRESH_S = 30 * DAY_S
# Clients to whom nothing was ever granted, and those whose last grant has ended.
UNAUTHORIZED_S = DAY_S
UNUSED_S = 90 * DAY_S
MOST_CLIENTS = 500
MOST_GRANTS = 20

Kind = Literal["tda", "tdr"]
ACCESS: Kind = "tda"
REFRESH: Kind = "tdr"


class NoRoom(Exception):
    """As many clients as there may be, and all of them in use."""


class Client(msgspec.Struct, frozen=True):
    """A program that registered itself; anybody can, and it may say any name."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    registered_s: int
    secret_digest: bytes | None = None
    used_s: int | None = None


class Grant(msgspec.Struct, frozen=True):
    """What its owner allowed a client, until when, and by which tokens."""

    id: str
    client_id: str
    granted_s: int
    used_s: int
    access_digest: bytes
    access_until_s: int
    refresh_digest: bytes
    refresh_until_s: int
    # Of the refresh token before it.
    former_digest: bytes | None = None


class Grants(msgspec.Struct, frozen=True):
    """All clients and grants, by id."""

    clients: dict[str, Client] = {}
    grants: dict[str, Grant] = {}
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class Issued:
    """New tokens of a grant, the only time that they are seen."""

    grant_id: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)


def registered(state: Grants, client: Client, now_s: int) -> Grants:
    """With the client. Raises `NoRoom`."""
    state = swept(state, now_s)
    if len(state.clients) >= MOST_CLIENTS:
        state = revoked(state, [_least_wanted(state)])
    return replace(state, clients=state.clients | {client.id: client})


def granted(state: Grants, client_id: str, now_s: int) -> tuple[Grants, Issued | None]:
    """With a new grant of a client; None where the client is gone meanwhile."""
    client = state.clients.get(client_id)
    if client is None:
        return state, None
    grant, issued = _tokens(secrets.token_hex(8), client_id, now_s, now_s)
    own = sorted((each for each in state.grants.values() if each.client_id == client_id), key=_age)
    ended = {each.id for each in own[: max(0, len(own) + 1 - MOST_GRANTS)]}
    kept = {id_: each for id_, each in state.grants.items() if id_ not in ended}
    return _with(state, kept | {grant.id: grant}, client, now_s), issued


def refreshed(state: Grants, offered: str, now_s: int) -> tuple[Grants, Issued | None]:
    """With the grant's next tokens; without the grant, and None, where its former token is offered."""
    grant = valid(state, offered, REFRESH, now_s)
    if grant is None:
        used_before = used_before_of(state, offered)
        return (revoked(state, [used_before.id]) if used_before else state), None
    fresh, issued = _tokens(grant.id, grant.client_id, grant.granted_s, now_s)
    fresh = replace(fresh, former_digest=grant.refresh_digest)
    return _with(state, state.grants | {grant.id: fresh}, state.clients[grant.client_id], now_s), issued


def valid(state: Grants, offered: str, kind: Kind, now_s: int) -> Grant | None:
    """The grant that the token is of, if it is its present one and has not expired."""
    grant = grant_of(state, offered, kind)
    if grant is None:
        return None
    digest, until_s = (
        (grant.access_digest, grant.access_until_s)
        if kind == ACCESS
        else (grant.refresh_digest, grant.refresh_until_s)
    )
    return grant if _is(offered, digest) and now_s < until_s else None


def used_before_of(state: Grants, offered: str) -> Grant | None:
    """The grant whose former refresh token this is; what only looks like one is nobody's."""
    grant = grant_of(state, offered, REFRESH)
    return grant if grant and grant.former_digest and _is(offered, grant.former_digest) else None


def grant_of(state: Grants, offered: str, kind: Kind) -> Grant | None:
    """The grant that a token names, whether or not it is one of its tokens."""
    parts = offered.split(".")
    grant = state.grants.get(parts[1]) if len(parts) == 3 and parts[0] == kind else None
    return grant if grant is not None and grant.client_id in state.clients else None


def revoked(state: Grants, ids: list[str]) -> Grants:
    """Without these grants and clients, and the grants of those clients."""
    gone = set(ids)
    grants = {g.id: g for g in state.grants.values() if g.id not in gone and g.client_id not in gone}
    return replace(
        state, clients={c.id: c for c in state.clients.values() if c.id not in gone}, grants=grants
    )


def swept(state: Grants, now_s: int) -> Grants:
    """Without what has expired: grants, and clients that have none any more or never had one."""
    grants = {g.id: g for g in state.grants.values() if now_s < g.refresh_until_s}
    held = {grant.client_id for grant in grants.values()}
    clients = {c.id: c for c in state.clients.values() if c.id in held or now_s < _kept_until_s(c)}
    return replace(state, clients=clients, grants=grants)


def _with(state: Grants, grants: dict[str, Grant], client: Client, now_s: int) -> Grants:
    """With these grants and the client used just now."""
    clients = state.clients | {client.id: replace(client, used_s=now_s)}
    return swept(replace(state, clients=clients, grants=grants), now_s)


def _kept_until_s(client: Client) -> int:
    return client.registered_s + UNAUTHORIZED_S if client.used_s is None else client.used_s + UNUSED_S


def _least_wanted(state: Grants) -> str:
    """The client that makes room: the oldest to whom nothing was ever granted. Raises `NoRoom`."""
    waiting = [client for client in state.clients.values() if client.used_s is None]
    if not waiting:
        raise NoRoom(f"{len(state.clients)} clients are registered, which is the most")
    return min(waiting, key=lambda client: client.registered_s).id


def _tokens(grant_id: str, client_id: str, granted_s: int, now_s: int) -> tuple[Grant, Issued]:
    access, refresh = (f"{kind}.{grant_id}.{secrets.token_urlsafe(32)}" for kind in (ACCESS, REFRESH))
    grant = Grant(
        grant_id,
        client_id,
        granted_s,
        now_s,
        digest_of(access),
        now_s + ACCESS_S,
        digest_of(refresh),
        now_s + REFRESH_S,
    )
    return grant, Issued(grant_id, access, refresh)


def _is(offered: str, digest: bytes) -> bool:
    return hmac.compare_digest(digest_of(offered), digest)


def _age(grant: Grant) -> int:
    return grant.used_s
