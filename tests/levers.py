"""An exchange's control port, and what a serving process says of itself, from outside."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec

from collectors.exchange.faults import AnyFault
from collectors.exchange.texts import agg_trades_page
from collectors.rest_bodies import parse_agg_trades
from storage.trades import TradeColumns
from tests.processes import Process

PATIENCE_S = 90
UNKEPT = httpx.Limits(max_keepalive_connections=0)
# Rows compared at once: some 5 MB of JSON.
ROWS = 50_000


def until(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    ends_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_s, "it did not come about"
        time.sleep(0.1)


class Levers:
    """The exchange's control port, by a connection for each question: none is closed as it is asked."""

    def __init__(self, urls: Mapping[str, Any]) -> None:
        self._client = httpx.Client(
            base_url=urls["control_url"], timeout=PATIENCE_S, trust_env=False, limits=UNKEPT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def printed(self, symbol: str, trade_id: int | None = None) -> int:
        """The newest id; with an id, once that one has been printed."""
        query = {"symbol": symbol} | ({} if trade_id is None else {"id": str(trade_id)})
        patience_s = PATIENCE_S if trade_id is None else None
        reply = self._client.get("/control/printed", params=query, timeout=patience_s)
        return int(reply.raise_for_status().json()["id"])

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get("/control/report").json()
        return found

    def inject(self, fault: AnyFault) -> None:
        self._client.post("/control/faults", content=msgspec.json.encode(fault)).raise_for_status()

    def advance(self, seconds: float) -> None:
        """Move its clock on at once."""
        self._client.post("/control/clock", json={"advance_s": seconds}).raise_for_status()

    def clear(self) -> None:
        self._client.delete("/control/faults").raise_for_status()

    def holes(self, symbol: str) -> list[int]:
        """The ids that no record can have."""
        ids: list[int] = self._client.get("/control/holes", params={"symbol": symbol}).json()["ids"]
        return ids

    def rows(self, symbol: str, first_id: int, count: int) -> TradeColumns:
        """What a complete record holds of so many ids."""
        query = {"symbol": symbol, "fromId": str(first_id), "limit": str(count)}
        return parse_agg_trades(self._client.get("/control/ledger", params=query).content).trades

    def difference(self, symbol: str, rows: TradeColumns) -> dict[str, list[int]]:
        """The ids that rows, in id order, lack of the exchange's ledger between their first and last one, and
        those that they have too much, or otherwise."""
        found: dict[str, set[int]] = {"missing": set(), "extra": set(), "other": set()}
        for at in range(0, len(rows), ROWS):
            body = agg_trades_page(rows.take(slice(at, at + ROWS + 1)))  # with the first of the next ones
            reply = self._client.post("/control/difference", params={"symbol": symbol}, content=body)
            told = reply.raise_for_status().json()
            for kind, ids in found.items():
                ids.update(told[kind])
        return {kind: sorted(ids) for kind, ids in found.items()}


def metrics(url: str) -> dict[str, float]:
    """`name{labels}` -> value."""
    reply = httpx.get(f"{url}/metrics", trust_env=False, timeout=PATIENCE_S)
    return samples(reply.raise_for_status().text)


def samples(text: str) -> dict[str, float]:
    """The same of Prometheus's text format."""
    pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def held(url: str, symbol: str) -> int:
    """How many trades are held."""
    return int(metrics(url).get(f'tapedeck_trades_held{{symbol="{symbol}"}}', 0))


def until_more(url: str, symbol: str) -> None:
    """Until more trades are held than by now."""
    now = held(url, symbol)
    until(lambda: held(url, symbol) > now)


def missing(url: str, symbol: str) -> int:
    """How many ids are in open gaps."""
    return int(metrics(url).get(f'tapedeck_trades_missing{{symbol="{symbol}"}}', 0))


def head(url: str, symbol: str) -> int:
    """The newest id that links brought in order; -1 before any."""
    return int(metrics(url).get(f'tapedeck_head_id{{symbol="{symbol}"}}', -1))


def until_written(url: str) -> None:
    """Until all that is held by now is on the disk."""

    def all_held() -> float:
        return sum(value for name, value in metrics(url).items() if name.startswith("tapedeck_trades_held{"))

    wanted = all_held()
    # What is held is read first: more of it may be on the disk than is said here, never less.
    until(lambda: all_held() - metrics(url)["tapedeck_ledger_unwritten_trades"] >= wanted)


def until_history(process: Process, url: str, symbol: str) -> None:
    """Until the history of a first start is held; what is missing is known once it has begun."""
    until(lambda: any("warm-up begins" in line and symbol in line for line in process.lines))
    until(lambda: metrics(url)[f'tapedeck_history_missing{{symbol="{symbol}"}}'] == 0)


def private_mb(process: Process) -> float:
    """RssAnon."""
    status = Path(f"/proc/{process.child.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024
