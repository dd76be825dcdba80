"""`tapedeck token` and `tapedeck access`: new secrets, and whom the built-in server has let in.

Invariant: a secret is shown once, on standard output alone, and kept nowhere. A revocation is on disk when
the command ends, and a running server obeys it from the next request on.
"""

import argparse
import getpass
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.access.grant_store import GrantStore, StoreDamaged
from server.access.grants import Client, Grants, revoked
from server.access.passphrase import PassphraseUnusable, new_passphrase
from server.access.tokens import NAME, new_token
from server.flags import add_settings, settings_from


def add_commands(commands: Any) -> None:
    token = commands.add_parser("token", help="make a new bearer token")
    token.add_argument("name", nargs="?", help="whose it is: writes name=token, a line of the tokens' file")
    token.set_defaults(run=_token)
    access = commands.add_parser("access", help="whom the built-in authorization server has let in")
    add_settings(access, ["data_dir"])
    parts = access.add_subparsers(required=True, metavar="what")
    listing = parts.add_parser("list", help="clients and what was granted to them")
    listing.set_defaults(run=_saying(lambda given: _list(settings_from(given).data_dir)))
    revoking = parts.add_parser("revoke", help="end grants, or clients with theirs")
    revoking.add_argument("id", nargs="+", help="as the list names them; `all` for every one")
    revoking.set_defaults(run=_saying(lambda given: _revoke(settings_from(given).data_dir, given.id)))
    for part in (listing, revoking):
        add_settings(part, ["data_dir"])
    hashing = parts.add_parser("hash", help="a passphrase's hash, for TAPEDECK_OAUTH_PASSPHRASE")
    hashing.set_defaults(run=_saying(lambda _: _hash()))


def _token(given: argparse.Namespace) -> int:
    if given.name and not NAME.fullmatch(given.name):
        return _refused("a name has up to 32 letters, digits, '_', '.' and '-'")
    sys.stdout.write(f"{given.name}={new_token()}\n" if given.name else f"{new_token()}\n")
    return 0


def _saying(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command, with what can go wrong as one line."""

    def run(given: argparse.Namespace) -> int:
        try:
            return command(given)
        except (StoreDamaged, PassphraseUnusable, OSError) as error:
            return _refused(str(error))

    return run


def _hash() -> int:
    """From the terminal twice, unseen; else the first line of the input."""
    if sys.stdin.isatty():
        written = getpass.getpass("Passphrase: ")
        if getpass.getpass("Again: ") != written:
            return _refused("these are two different passphrases")
    else:
        written = sys.stdin.readline().rstrip("\r\n")
    sys.stdout.write(f"{new_passphrase(written)}\n")
    return 0


def _list(data_dir: Path) -> int:
    state = GrantStore(data_dir).current()
    for line in listed(state):
        sys.stdout.write(f"{line}\n")
    return 0


def listed(state: Grants) -> Iterator[str]:
    """A line for each client, and one for each of its grants."""
    if not state.clients:
        yield "no client is registered"
    for client in sorted(state.clients.values(), key=lambda each: each.registered_s):
        yield f"{client.id}  {client.name!r}, to {_targets(client)}, registered {_time(client.registered_s)}"
        for grant in state.grants.values():
            if grant.client_id == client.id:
                yield (
                    f"  {grant.id}  granted {_time(grant.granted_s)}, renewed {_time(grant.used_s)}, "
                    f"ends {_time(grant.refresh_until_s)}"
                )


def _targets(client: Client) -> str:
    parts = (urlsplit(url) for url in client.redirect_uris)
    return ", ".join(sorted({part.hostname or f"{part.scheme}:" for part in parts}))


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%MZ}"


def _revoke(data_dir: Path, ids: list[str]) -> int:
    """1 where an id is none, and then nothing is revoked."""
    store = GrantStore(data_dir)

    def step(state: Grants) -> tuple[Grants, list[str]]:
        known = {**state.clients, **state.grants}
        ended = list(known) if ids == ["all"] else ids
        unknown = [id_ for id_ in ended if id_ not in known]
        return (state if unknown else revoked(state, ended)), unknown

    if not store.exists:
        return _refused(f"nothing was ever allowed in {data_dir}")
    if unknown := store.change(step):
        return _refused(f"{', '.join(unknown)}: no client and no grant; nothing is revoked")
    sys.stdout.write("revoked\n")
    return 0


def _refused(words: str) -> int:
    sys.stderr.write(f"tapedeck: {words}\n")
    return 1
