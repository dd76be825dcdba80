"""get_data_coverage over real ledgers: ranges, gaps, warm-up, symbols no longer recorded, digests."""

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from server.tools import coverage
from server.tools.answers import iso_seconds
from server.tools.arguments import iso
from storage import sealer as sealer_module
from storage.absences import Absence, Seen
from storage.blocks import Block
from storage.ledger import TradeLedger
from storage.trades import Instrument, TradeColumns
from tests.server.desks import BTCUSDT, END_MS, HOUR_MS, Desk, FakeRecording, FakeWarmup, text_of
from tests.tapes import columns, rows_of, run_of

LATER = END_MS + 100 * HOUR_MS
STEP_MS = 60_000
# A token of digits and hex digests is two characters or more.
LONGEST = 4_000 * 2


@dataclass
class Recording(FakeRecording):
    """A recorder's word of several symbols, each up to date as of END_MS unless `known` says otherwise."""

    known: dict[str, int | None] = field(default_factory=dict)
    warm_ups: dict[str, FakeWarmup] = field(default_factory=dict)

    def live_until_ms(self, symbol: str) -> int | None:
        return self.known.get(symbol, END_MS)

    def warmup(self, symbol: str) -> FakeWarmup | None:
        return self.warm_ups.get(symbol)


def tape(hours: int, *, first_id: int = 1, end_ms: int = END_MS) -> TradeColumns:
    """A trade a minute up to `end_ms`."""
    return run_of(first_id, hours * 60, start_ms=end_ms - hours * HOUR_MS, step_ms=STEP_MS)


def sealed(ledger: TradeLedger, symbol: str, trades: TradeColumns) -> None:
    """The trades in the ledger, finished hours sealed."""
    ledger.append(symbol, trades)
    ledger.seal(LATER)
    ledger.seal(LATER)


def instrument(symbol: str) -> Instrument:
    return Instrument(symbol, "binance spot", symbol[:-4], "USDT", Decimal("0.01"), Decimal("0.00001"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.claim("binance spot")
        ledger.keep_instrument(BTCUSDT, since_ms=0)
        yield Desk(ledger, Recording())


def ask(desk: Desk, **arguments: Any) -> dict[str, Any]:
    return desk.answer("get_data_coverage", **arguments)


def test_a_symbol_is_answered_with_all_that_is_kept_of_it(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(30))
    answer = ask(desk, symbol="btc/usdt")
    [symbol] = answer["symbols"]
    assert symbol == {
        "symbol": "BTCUSDT",
        "market": "binance spot",
        "recording": True,
        "recorded_until": None,
        "status": "TRADING",
        "status_since": "1970-01-01T00:00:00Z",
        "kept": {
            "first": iso(END_MS - 30 * HOUR_MS),
            "last": iso(END_MS - STEP_MS),
            "first_id": 1,
            "last_id": 1800,
        },
        "window": {"start": iso(END_MS - 30 * HOUR_MS), "end": iso(END_MS)},
        "trades": 1800,
        "missing": 0,
        "certified": 0,
        "first_id": 1,
        "last_id": 1800,
        "covered_pct": 100.0,
        "complete": True,
        "gaps": [],
        "gaps_listed": {"shown": 0, "total": 0, "more": None},
        "lag_s": 0.0,
        "warm_up": None,
    }
    assert answer["summary"].startswith("BTCUSDT spot, 30 h to ")
    assert answer["summary"].endswith(": 1800 trades, ids 1 to 1800, none missing. Recorded, 0 s behind.")
    assert answer["as_of"] == iso(END_MS)
    assert (answer["retention_hours"], answer["hours"], answer["caveats"]) == (None, None, [])


def test_a_window_has_its_own_trades_and_the_range_kept_stays_the_whole(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(30))
    window = {"start_time": iso(END_MS - 40 * HOUR_MS), "end_time": iso(END_MS - 20 * HOUR_MS)}
    [symbol] = ask(desk, symbol="BTCUSDT", **window)["symbols"]
    assert symbol["window"] == {"start": window["start_time"], "end": window["end_time"]}
    assert (symbol["trades"], symbol["first_id"], symbol["last_id"]) == (600, 1, 600)
    assert (symbol["missing"], symbol["covered_pct"], symbol["complete"]) == (0, 50.0, False)
    assert symbol["kept"]["last_id"] == 1800


@pytest.mark.parametrize(
    "window", [{"duration_hours": "1.5"}, {"session": "yesterday"}, {"start_time": iso(END_MS - HOUR_MS)}]
)
def test_a_windows_coverage_is_that_of_the_other_tools(desk: Desk, window: dict[str, Any]) -> None:
    rows = tape(30)
    sealed(desk.ledger, "BTCUSDT", rows.take(rows.id % 97 != 5))
    meta = desk.answer("get_volume_profile", symbol="BTCUSDT", **window)["meta"]
    [symbol] = ask(desk, symbol="BTCUSDT", **window)["symbols"]
    assert symbol["window"] == meta["window"]
    same = symbol.keys() & meta["coverage"].keys() - {"gaps"}
    assert len(same) == 7
    assert {name: symbol[name] for name in same} == {name: meta["coverage"][name] for name in same}


def test_gaps_are_counted_and_the_five_largest_named(desk: Desk) -> None:
    rows = tape(30)
    lost = {at: at // 100 for at in range(100, 900, 100)}
    keep = [i for i in range(len(rows)) if not any(at <= i < at + size for at, size in lost.items())]
    sealed(desk.ledger, "BTCUSDT", columns([rows_of(rows)[i] for i in keep]))
    answer = ask(desk, symbol="BTCUSDT")
    [symbol] = answer["symbols"]
    assert answer["summary"].startswith("PARTIAL: BTCUSDT spot, ")
    assert f"{sum(lost.values())} missing" in answer["summary"]
    assert (symbol["complete"], symbol["missing"]) == (False, sum(lost.values()))
    assert [gap["missing"] for gap in symbol["gaps"]] == [4, 5, 6, 7, 8]
    assert symbol["gaps_listed"] == {"shown": 5, "total": 8, "more": "ask for a shorter window"}
    assert symbol["gaps"][0]["first_id"] == 401
    [symbol] = ask(desk)["symbols"]
    assert [gap["missing"] for gap in symbol["gaps"]] == [8]
    assert symbol["gaps_listed"] == {"shown": 1, "total": 8, "more": "name the symbol"}


def test_history_on_its_way_is_told_with_its_end(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(1, end_ms=END_MS - 20 * HOUR_MS))
    desk.ledger.append("BTCUSDT", run_of(561, 10, start_ms=END_MS - 10_000, step_ms=1_000))
    desk.recording = Recording(warm_ups={"BTCUSDT": FakeWarmup()})
    answer = ask(desk, symbol="BTCUSDT")
    assert answer["symbols"][0]["warm_up"] == {
        "missing": 500,
        "per_s": 100.0,
        "ready_at": iso(END_MS + 5_000),
    }
    assert answer["symbols"][0]["missing"] == 500
    assert "history is being fetched, complete about" in answer["summary"]
    desk.recording = Recording(warm_ups={"BTCUSDT": FakeWarmup(missing=0, per_s=0.0)})
    answer = ask(desk, symbol="BTCUSDT")
    assert answer["symbols"][0]["warm_up"]["ready_at"] is None
    assert "history is being fetched." in answer["summary"]


def test_a_symbol_that_is_no_longer_recorded_is_complete_up_to_its_last_trade(desk: Desk) -> None:
    desk.ledger.keep_instrument(instrument("ETHUSDT"), since_ms=0)
    sealed(desk.ledger, "ETHUSDT", tape(3, end_ms=END_MS - 50 * HOUR_MS + 30_000))
    [symbol] = ask(desk, symbol="eth")["symbols"]
    assert (symbol["recording"], symbol["lag_s"], symbol["warm_up"]) == (False, None, None)
    assert (symbol["complete"], symbol["covered_pct"], symbol["trades"]) == (True, 100.0, 180)
    assert symbol["window"]["end"] == iso(END_MS - 50 * HOUR_MS - 30_000 + 1)
    today = ask(desk, symbol="eth", duration_hours=24)
    assert today["summary"].startswith("PARTIAL: ")
    assert today["symbols"][0]["trades"] == 0
    assert "no longer recorded: ETHUSDT" in today["caveats"][0]


def test_the_lag_is_that_of_the_live_links(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(2))
    desk.recording = Recording(known={"BTCUSDT": END_MS - 4_000})
    [symbol] = ask(desk, symbol="BTCUSDT")["symbols"]
    assert (symbol["lag_s"], symbol["complete"]) == (4.0, True)
    desk.recording = Recording(known={"BTCUSDT": END_MS - 6_000})
    answer = ask(desk, symbol="BTCUSDT")
    assert (answer["symbols"][0]["lag_s"], answer["symbols"][0]["complete"]) == (6.0, False)
    assert "No live link" in answer["caveats"][0]
    desk.recording = Recording(known={"BTCUSDT": END_MS + 3_000})
    assert ask(desk, symbol="BTCUSDT")["symbols"][0]["lag_s"] == 0.0


def test_a_clock_far_behind_the_trades_makes_no_negative_window(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(2, end_ms=END_MS + 50 * HOUR_MS))
    [symbol] = ask(desk, symbol="BTCUSDT")["symbols"]
    assert (symbol["trades"], symbol["complete"]) == (120, True)


def test_the_overview_has_every_symbol_recorded_or_kept(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(2))
    sealed(desk.ledger, "ETHUSDT", tape(2, end_ms=END_MS - 9 * HOUR_MS))
    desk.recording = Recording(symbols=("BTCUSDT", "SOLUSDT"))
    answer = ask(desk)
    assert [(part["symbol"], part["recording"], part["complete"]) for part in answer["symbols"]] == [
        ("SOLUSDT", True, False),
        ("BTCUSDT", True, True),
        ("ETHUSDT", False, True),
    ]
    nothing = answer["symbols"][0]
    assert (nothing["kept"], nothing["trades"], nothing["covered_pct"]) == (None, 0, 0.0)
    assert answer["summary"].startswith("PARTIAL: 3 spot symbols, 2 recorded, 1 incomplete.")
    assert answer["listed"] == {"shown": 3, "total": 3, "more": None}
    assert ask(desk, symbol="SOLUSDT")["symbols"] == [nothing]


def test_a_symbol_that_is_halted_or_gone_or_not_configured_is_named_with_since_when(desk: Desk) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "LUNAUSDT"):
        sealed(desk.ledger, symbol, tape(2))
    for status, hours in (("TRADING", 9), ("HALT", 5), ("HALT", 3)):
        tick = Decimal("0.01") if hours > 3 else Decimal("0.10")
        desk.ledger.keep_instrument(
            replace(instrument("ETHUSDT"), status=status, tick=tick), since_ms=END_MS - hours * HOUR_MS
        )
    desk.ledger.keep_instrument(instrument("LUNAUSDT"), since_ms=0)
    desk.ledger.keep_instrument(replace(instrument("LUNAUSDT"), status="DELISTED"), since_ms=END_MS)
    desk.recording = Recording(symbols=("BTCUSDT", "ETHUSDT"))
    answer = ask(desk)
    found = {part["symbol"]: part for part in answer["symbols"]}
    halted, gone = found["ETHUSDT"], found["LUNAUSDT"]
    assert (halted["status"], halted["status_since"]) == ("HALT", iso_seconds(END_MS - 5 * HOUR_MS))
    assert (halted["recording"], halted["recorded_until"], halted["complete"]) == (True, None, True)
    assert (gone["status"], gone["recording"], gone["trades"]) == ("DELISTED", False, 120)
    assert gone["recorded_until"] == iso(END_MS - STEP_MS)
    assert answer["caveats"] == [
        f"Not trading at the exchange: ETHUSDT (HALT since {iso_seconds(END_MS - 5 * HOUR_MS)}), "
        f"LUNAUSDT (DELISTED since {iso_seconds(END_MS)}).",
        f"Kept, and no longer recorded: LUNAUSDT (since {iso_seconds(END_MS - STEP_MS)}).",
    ]
    assert desk.answer("get_volume_profile", symbol="LUNAUSDT")["total_volume"]


def test_ids_that_the_exchange_lacks_are_named_and_leave_an_answer_complete(desk: Desk) -> None:
    rows = tape(30)
    sealed(desk.ledger, "BTCUSDT", rows.take((rows.id < 401) | (rows.id > 410)))
    below, above = (Seen(i, END_MS) for i in (400, 411))
    desk.ledger.keep_absence("BTCUSDT", Absence(401, 410, below, above, 0, 1, 10, "certified"))
    answer = ask(desk, symbol="BTCUSDT")
    [symbol] = answer["symbols"]
    assert (symbol["trades"], symbol["missing"], symbol["certified"]) == (1790, 0, 10)
    assert (symbol["complete"], symbol["covered_pct"]) == (True, 100.0)
    assert [(gap["first_id"], gap["state"]) for gap in symbol["gaps"]] == [(401, "certified")]
    assert "none missing. The exchange has none for 10 ids." in answer["summary"]


def test_an_empty_ledger_says_so(desk: Desk) -> None:
    desk.recording = Recording(symbols=())
    answer = ask(desk)
    assert answer["summary"] == "PARTIAL: Nothing is recorded or kept yet."
    assert answer["symbols"] == []


def test_of_very_many_symbols_the_incomplete_come_first_and_the_rest_are_lines(desk: Desk) -> None:
    names = [f"SYMBOL{i:03d}USDT" for i in range(300)]
    for at, name in enumerate(names):
        rows = tape(1, first_id=3_600_000_000)
        desk.ledger.append(name, rows if at != 200 else rows.take(rows.id % 20 != 7))
    desk.recording = Recording(symbols=tuple(names))
    answer = ask(desk, detail="full")
    assert [part["symbol"] for part in answer["symbols"]] == [names[200], *names[:4]]
    lines = answer["others"].splitlines()
    assert lines[0] == "symbol,recording,complete,trades,missing,covered_pct,lag_s"
    assert lines[1] == "SYMBOL004USDT,true,true,60,0,100,0"
    assert answer["listed"] == {
        "shown": coverage.MOST_SYMBOLS + coverage.MOST_LINES,
        "total": 300,
        "more": "name the symbol",
    }
    assert len(lines) - 1 == coverage.MOST_LINES
    assert len(json.dumps(answer, separators=(",", ":"))) < LONGEST


def digest(trades: TradeColumns) -> str:
    """By docs/storage-format.md, with nothing of storage/."""
    rows = b"".join(
        struct.pack("<qqqqqqB", identity, time_ms, price, quantity, first, last, maker)
        for identity, time_ms, price, quantity, first, last, maker in rows_of(trades)
    )
    return hashlib.sha256(rows).hexdigest()


def table(answer: dict[str, Any]) -> list[list[str]]:
    head, *lines = answer["hours"].splitlines()
    assert head == "hour,trades,first_id,last_id,sha256"
    return [line.split(",") for line in lines]


def test_the_digests_are_those_of_each_hours_trades(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(5))
    desk.ledger.append("BTCUSDT", run_of(301, 5, start_ms=END_MS))
    answer = ask(desk, symbol="BTCUSDT", detail="full")
    lines = table(answer)
    hours = [END_MS - (i + 1) * HOUR_MS for i in range(5)]
    assert [line[0] for line in lines] == [f"{iso(hour)[:16]}Z" for hour in hours]
    for hour_ms, line in zip(hours, lines, strict=True):
        trades = desk.ledger.trades("BTCUSDT", hour_ms, hour_ms + HOUR_MS)
        assert line[1:] == [
            str(len(trades)),
            str(int(trades.id[0])),
            str(int(trades.id[-1])),
            digest(trades),
        ]
    assert answer["hours_listed"] == {"shown": 5, "total": 5, "more": None}
    assert "docs/storage-format.md" in answer["digest_of"]


def test_an_hour_in_parts_has_a_line_for_each(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer_module, "MOST_IN_BLOCK", 25)
    rows = tape(1)
    for start in (0, 30):
        sealed(desk.ledger, "BTCUSDT", rows.take(slice(start, start + 30)))
    lines = table(ask(desk, symbol="BTCUSDT", detail="full"))
    parts = [rows.take(slice(30, 60)), rows.take(slice(0, 30))]
    assert [line[1:] for line in lines] == [
        [str(len(part)), str(int(part.id[0])), str(int(part.id[-1])), digest(part)] for part in parts
    ]


def test_more_hours_than_an_answer_holds_are_had_by_the_end_it_names(desk: Desk) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(60))
    seen: list[str] = []
    arguments: dict[str, Any] = {"start_time": iso(END_MS - 60 * HOUR_MS)}
    while True:
        answer = ask(desk, symbol="BTCUSDT", detail="full", **arguments)
        seen += [line[0] for line in table(answer)]
        more = answer["hours_listed"]["more"]
        if more is None:
            break
        name, _, value = more.partition("=")
        arguments[name] = value
    assert len(seen) == len(set(seen)) == 60
    assert seen == sorted(seen, reverse=True)


def test_a_full_answer_is_short_enough_for_a_model(desk: Desk) -> None:
    rows = tape(168, first_id=3_600_000_000)
    sealed(desk.ledger, "BTCUSDT", rows.take(rows.id % 500 != 7))
    desk.recording = Recording(warm_ups={"BTCUSDT": FakeWarmup()})
    result = desk.call("get_data_coverage", symbol="BTCUSDT", detail="full")
    structure = json.dumps(result.structured_content, separators=(",", ":"))
    assert result.structured_content is not None
    assert result.structured_content["hours_listed"]["shown"] == coverage.MOST_HOURS
    assert len(structure) < len(text_of(result)) < LONGEST
    assert len(json.dumps(ask(desk), separators=(",", ":"))) < 2_000


def test_the_whole_range_is_answered_without_decoding_a_block(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(desk.ledger, "BTCUSDT", tape(30, end_ms=END_MS - 1_800_000 + 7))
    monkeypatch.setattr(Block, "trades", None)
    assert ask(desk, symbol="BTCUSDT", detail="full")["symbols"][0]["trades"] == 1800
    assert ask(desk)["symbols"][0]["trades"] == 1800


def test_the_retention_is_told_where_there_is_one(desk: Desk) -> None:
    desk.retention_hours = 168
    assert ask(desk)["retention_hours"] == 168


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"symbol": "NOPEUSDT"}, "SYMBOL_UNKNOWN"),
        ({"symbol": {"a": 1}}, "SYMBOL_UNKNOWN"),
        ({"duration_hours": -4}, "WINDOW_INVALID"),
        ({"duration_hours": "soon"}, "WINDOW_INVALID"),
        ({"start_time": "2023-11-15T10:00:00Z", "end_time": "2023-11-15T10:00:00Z"}, "WINDOW_INVALID"),
        ({"session": "lunch"}, "WINDOW_INVALID"),
        ({"symbol": None, "session": "lunch"}, "WINDOW_INVALID"),
        ({"detail": "everything"}, "OPTION_INVALID"),
    ],
)
def test_every_wrong_argument_gets_its_coded_error(desk: Desk, arguments: dict[str, Any], code: str) -> None:
    said = desk.refusal("get_data_coverage", **{"symbol": "BTCUSDT"} | arguments)
    assert said.startswith(f"{code}: ")
    assert said.count("; ") >= 2
    assert len(said) < 500
