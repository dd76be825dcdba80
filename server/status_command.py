"""`tapedeck status`: how the running server stands, or what a ledger holds where none runs.

Invariant: which of the two is shown is always said, and neither disturbs the recording.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError
from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.text import Text

from server.flags import add_settings, settings_from
from server.ledger_commands import in_one_line, opened, say, show
from server.settings import Settings
from server.status_parts import STATUS_PATH, Status
from server.status_screen import screen
from server.tools.arguments import iso
from storage.inventory import Inventory, inventories

EVERY_S = 2.0
ANSWER_S = 5.0
ANY_ADDRESS = ("0.0.0.0", "::")


class NoServer(Exception):
    """No tapedeck answers there; says why."""


def add_commands(commands: Any) -> None:
    status = commands.add_parser("status", help="how the server stands, or what a ledger holds")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument("--watch", action="store_true", help="again every 2 s until Ctrl-C")
    add_settings(status, ["data_dir", "host", "port"])
    status.set_defaults(run=in_one_line(lambda given: _status(given, settings_from(given))))


def _status(given: argparse.Namespace, settings: Settings) -> int:
    url = address(settings)
    try:
        if not settings.port:
            raise NoServer("no server is known of, with port 0")
        found = _of_this_ledger(asked(url), given, settings)
    except NoServer as reason:
        if given.watch:
            say(f"{reason}; there is nothing to watch")
            return 1
        return _of_ledger(settings.data_dir, str(reason), as_json=given.json)
    if given.watch:
        return watch(url, as_json=given.json)
    if given.json:
        print(json.dumps({"server": url} | found.model_dump(), indent=2))
    else:
        Console(highlight=False).print(screen(found, url))
    return 0


# A running server


def address(settings: Settings) -> str:
    """Where the server of these settings answers on this machine."""
    host = settings.host
    if host in ANY_ADDRESS:
        host = "::1" if ":" in host else "127.0.0.1"
    return settings.model_copy(update={"host": host}).local_url


def asked(url: str) -> Status:
    """What the server says; raises `NoServer`."""
    try:
        reply = httpx.get(f"{url}{STATUS_PATH}", timeout=ANSWER_S, trust_env=False)
    except httpx.ConnectError:
        raise NoServer(f"no server at {url}") from None
    except httpx.HTTPError as error:
        raise NoServer(f"the server at {url} does not answer ({type(error).__name__})") from error
    if reply.status_code != httpx.codes.OK:
        raise NoServer(f"{url}{STATUS_PATH} answered {reply.status_code}")
    try:
        return Status.model_validate_json(reply.content)
    except ValidationError:
        raise NoServer(f"what answers at {url} is no tapedeck of this version") from None


def _of_this_ledger(found: Status, given: argparse.Namespace, settings: Settings) -> Status:
    """The server's word, unless another directory was named on the command line."""
    if "data_dir" in given and settings.data_dir.resolve() != Path(found.data_dir):
        raise NoServer(f"the server at {address(settings)} records into {found.data_dir}")
    return found


def watch(url: str, *, as_json: bool, pause: Callable[[float], object] = time.sleep) -> int:
    """A frame every two seconds until Ctrl-C, also while the server is away."""
    console = Console(highlight=False)
    try:
        if as_json or not console.is_terminal:
            while True:
                _print_once(url, console, as_json=as_json)
                pause(EVERY_S)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_frame(url), refresh=True)
                pause(EVERY_S)
    except KeyboardInterrupt:
        return 0


def _print_once(url: str, console: Console, *, as_json: bool) -> None:
    """A frame in a pipe, or a line of JSON; what is no answer goes to the errors."""
    try:
        found = asked(url)
    except NoServer as reason:
        say(str(reason))
        return
    if as_json:
        print(json.dumps({"server": url} | found.model_dump()), flush=True)
    else:
        console.print(screen(found, url), Text())
        sys.stdout.flush()


def _frame(url: str) -> Any:
    try:
        return screen(asked(url), url)
    except NoServer as reason:
        return Text(f"{reason}; asking again every {EVERY_S:g} s", "bold red")


# A ledger by itself


def _of_ledger(data_dir: Path, why: str, *, as_json: bool) -> int:
    with opened(data_dir) as (ledger, in_use):
        held, venue, size = inventories(ledger), ledger.venue, ledger.bytes_on_disk
    if as_json:
        facts = {"server": None, "data_dir": str(data_dir), "venue": venue, "in_use": in_use, "bytes": size}
        print(json.dumps(facts | {"symbols": [_facts(symbol) for symbol in held]}, indent=2))
        return 0
    print(f"{why}; what the ledger holds:")
    print(f"{data_dir}\n{venue or 'no venue yet'}, {decimal(size)}, {_use(in_use)}")
    show(held)
    return 0


def _use(in_use: bool) -> str:
    return "open in another process; as of a checkpoint" if in_use else "not in use"


def _facts(held: Inventory) -> dict[str, Any]:
    coverage = held.coverage
    return {
        "symbol": held.symbol,
        "first": None if coverage.first_ms is None else iso(coverage.first_ms),
        "last": None if coverage.last_ms is None else iso(coverage.last_ms),
        "first_id": coverage.first_id,
        "last_id": coverage.last_id,
        "trades": coverage.trades,
        "invalid": coverage.invalid,
        "missing": held.missing,
        "gaps": len(coverage.gaps_in("open")),
        "certified": held.certified,
        "sealed_hours": held.sealed_hours,
        "unsealed_trades": held.unsealed,
        "bytes": held.stored_bytes,
        "bytes_a_trade": None if held.bytes_a_trade is None else round(held.bytes_a_trade, 3),
        "damage": held.damage,
    }
