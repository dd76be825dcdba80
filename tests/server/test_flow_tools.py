"""Candles, order flow, footprint and key levels through the official client: plain sums, shapes, errors."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytics.profile import volume_profile
from server.tools.answers import tokens_of
from server.tools.arguments import iso, time_of
from storage.histograms import PriceHistogram
from storage.ledger import TradeLedger
from tests.analytics import flow_oracle as oracle
from tests.analytics.flow_oracle import DAY_MS, MINUTE_MS, Row
from tests.analytics.tapes import columns
from tests.server.desks import BTCUSDT, END_MS, FLOW_TOOLS, HOUR_MS, Desk, FakeRecording, text_of

DAYS = 8
TRADES = 24_000
TICK = BTCUSDT.tick

NOW_MS = END_MS
SHIB = replace(BTCUSDT, symbol="SHIBUSDT", base="SHIB", tick=Decimal("0.00000001"), lot=Decimal("1"))


@cache
def tape() -> list[Row]:
    """Eight days around 60,000: a walk that trades in bursts of one side, up to the present."""
    rng = np.random.default_rng(3)
    burst = np.cumsum(rng.random(TRADES) < 0.4)
    times = np.sort(rng.integers(NOW_MS - DAYS * DAY_MS, NOW_MS, int(burst[-1]) + 1))
    sides = rng.random(int(burst[-1]) + 1) < 0.5
    price = 6_000_000 + np.cumsum(rng.integers(-600, 601, TRADES)) + rng.integers(0, 9, TRADES)
    quantity = rng.integers(1, 300_000, TRADES) * rng.choice([1, 1, 40], TRADES)
    return [
        Row(i + 1, t, Decimal(p).scaleb(-2), Decimal(q).scaleb(-5), s)
        for i, (t, p, q, s) in enumerate(
            zip(times[burst].tolist(), price.tolist(), quantity.tolist(), sides[burst].tolist(), strict=True)
        )
    ]


def within(start_ms: int, end_ms: int) -> list[Row]:
    return [row for row in tape() if start_ms <= row.time_ms < end_ms]


def filled(path: Path, *, sealed: bool, rows: list[Row]) -> TradeLedger:
    ledger = TradeLedger.open(path)
    ledger.claim("binance spot")
    ledger.keep_instrument(BTCUSDT, since_ms=0)
    ledger.append("BTCUSDT", columns(rows))
    ledger.flush()
    if sealed:
        while ledger.seal(NOW_MS):
            pass
    return ledger


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with filled(tmp_path_factory.mktemp("flow") / "ledger", sealed=True, rows=tape()) as ledger:
        yield Desk(ledger, FakeRecording())


def table(csv: str | None) -> list[dict[str, str]]:
    """The lines of a table by the names of its columns."""
    assert csv is not None
    header, *lines = (line.split(",") for line in csv.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def at(written: str) -> int:
    return time_of(written, "a time of the answer")


def number(value: Decimal | float) -> float:
    """As a statistic is written."""
    return float(f"{float(value):.4g}")


@pytest.mark.parametrize("interval", ["5m", "1h", "1d", "10s", None])
def test_candles_are_those_of_the_trades(desk: Desk, interval: str | None) -> None:
    chosen = {} if interval is None else {"interval": interval}
    answer = desk.answer("get_candles", symbol="btc", detail="full", **chosen)
    rows = within(NOW_MS - DAY_MS, NOW_MS)
    width_ms = {"5m": 5, "1h": 60, "1d": 1440, "10s": 1 / 6, None: 30}[interval] * MINUTE_MS
    expected = oracle.bars(rows, int(width_ms))[-len(table(answer["candles"])) :]

    assert answer["interval"] == (interval or "30m")
    for line, bar in zip(table(answer["candles"]), expected, strict=True):
        assert at(line["start"]) == bar.start_ms
        prices = [Decimal(line[name]) for name in ("open", "high", "low", "close")]
        assert prices == [bar.open, bar.high, bar.low, bar.close]
        assert (Decimal(line["volume"]), Decimal(line["buy"])) == (bar.buy + bar.sell, bar.buy)
        assert int(line["trades"]) == bar.trades
        inside = [row for row in rows if bar.start_ms <= row.time_ms < bar.start_ms + width_ms]
        assert Decimal(line["vwap"]) == oracle.vwap(inside, 2)
    window = answer["window"]
    assert Decimal(window["open"]) == rows[0].price
    assert Decimal(window["high"]) == max(row.price for row in rows)
    assert Decimal(window["volume"]) == oracle.total(row.quantity for row in rows)
    assert window["trades"] == len(rows) == answer["meta"]["coverage"]["trades"]
    returns = oracle.five_minute_returns(rows, NOW_MS - DAY_MS, NOW_MS)
    assert answer["volatility"]["sigma_24h_pct"] == number(oracle.sigma_pct(returns, 288) or 0)
    assert answer["volatility"]["returns"] == len(returns)


def test_the_last_hour_is_held_against_the_same_hour_of_other_days(desk: Desk) -> None:
    found = desk.answer("get_candles", symbol="BTCUSDT")["relative_volume"]
    volumes = [
        oracle.total(row.quantity for row in within(NOW_MS - HOUR_MS - back, NOW_MS - back))
        for back in (days * DAY_MS for days in range(8))
    ]
    assert (found["days"], Decimal(found["volume"])) == (7, volumes[0])
    assert Decimal(found["median_volume"]) == Decimal(str(float(oracle.median(volumes[1:]))))
    assert found["ratio"] == number(volumes[0] / Decimal(found["median_volume"]))


def test_candles_of_seconds_go_on_where_the_last_answer_began(desk: Desk) -> None:
    latest = desk.answer("get_candles", symbol="BTCUSDT", interval="10s", detail="full", duration_hours=2)
    end_time = latest["truncated"]["more"].split("=")[1].split()[0]
    assert at(end_time) == at(table(latest["candles"])[0]["start"])


def test_candles_that_are_left_out_are_found_by_the_end_time_that_is_told(desk: Desk) -> None:
    latest = desk.answer("get_candles", symbol="BTCUSDT", interval="5m")
    more = latest["truncated"]["more"]
    before = desk.answer(
        "get_candles", symbol="BTCUSDT", interval="5m", end_time=more.split("=")[1].split()[0]
    )
    assert latest["truncated"]["total"] == 288
    assert table(before["candles"])[-1]["start"] < table(latest["candles"])[0]["start"]
    assert not before["last_is_unfinished"]


def test_the_flow_is_that_of_the_trades(desk: Desk) -> None:
    answer = desk.answer("get_order_flow", symbol="BTCUSDT", detail="full")
    rows = within(NOW_MS - DAY_MS, NOW_MS)
    strokes = oracle.strokes(rows)
    running = oracle.cvd(rows)

    assert Decimal(answer["buy_volume"]) == oracle.bought(rows)
    assert Decimal(answer["sell_volume"]) == oracle.sold(rows)
    assert Decimal(answer["delta"]) == running[-1][1]
    assert Decimal(answer["cvd"]["high"]) == max(value for _, value in running)
    assert dict(running)[at(answer["cvd"]["low_at"])] == Decimal(answer["cvd"]["low"])
    assert set(answer["divergences"]) == oracle.divergences(rows, NOW_MS - DAY_MS, NOW_MS)
    path = table(answer["cvd"]["path"])
    assert [Decimal(line["delta"]) for line in path] == [
        bar.buy - bar.sell for bar in oracle.bars(rows, 30 * MINUTE_MS)
    ]
    assert Decimal(path[-1]["cvd"]) == Decimal(answer["delta"])
    threshold = oracle.nearest_rank((s.notional for s in strokes), Fraction(999, 1000))
    large = oracle.ranked(s for s in strokes if s.notional >= threshold)
    prints = answer["large_prints"]
    assert prints["min_quote"] == number(threshold)
    assert prints["buys"] + prints["sells"] == len(large)
    for line, stroke in zip(table(prints["largest"]), large, strict=False):
        assert (at(line["time"]), Decimal(line["from"])) == (stroke.rows[0].time_ms, stroke.rows[0].price)
        assert float(line["quote"]) == number(stroke.notional)
    swept = [s for s in strokes if s.prices >= 3]
    assert answer["sweeps"]["buys"] == sum(not s.sold for s in swept)
    assert answer["sweeps"]["sells"] == sum(s.sold for s in swept)
    sizes = table(answer["sizes"])
    assert sum(int(line["buys"]) + int(line["sells"]) for line in sizes) == len(strokes)


def test_toxicity_is_that_of_the_trades_with_its_place_in_the_history(desk: Desk) -> None:
    answer = desk.answer("get_order_flow", symbol="BTCUSDT", detail="full")["toxicity"]
    rows = within(NOW_MS - DAY_MS, NOW_MS)
    vpin = oracle.vpin(rows, NOW_MS - DAY_MS, NOW_MS, BTCUSDT.lot)
    kyle, amihud = oracle.kyle_lambda(rows), oracle.amihud(rows)

    assert vpin is not None
    assert kyle is not None
    assert amihud is not None
    assert answer["vpin"]["value"] == number(float(vpin[0]))
    assert answer["kyle_lambda_bps_per_million"]["value"] == number(kyle[0])
    assert answer["kyle_t_stat"] == number(kyle[1])
    assert answer["amihud_bps_per_million"]["value"] == number(amihud)
    # 168 h of history hold 121 windows of 24 h on full hours that end before this one.
    for measure in ("vpin", "kyle_lambda_bps_per_million", "amihud_bps_per_million"):
        assert answer[measure]["windows"] in (120, 121)
        assert 0 <= answer[measure]["percentile"] <= 100


def test_a_short_window_has_no_vpin_and_no_percentile_of_it(desk: Desk) -> None:
    answer = desk.answer("get_order_flow", symbol="BTCUSDT", duration_hours=6, detail="full")
    assert answer["toxicity"]["vpin"]["value"] is None
    assert answer["toxicity"]["vpin"]["percentile"] is None


@pytest.mark.parametrize("options", [{}, {"bar": "2h", "row_size": "20", "imbalance_ratio": 2}])
def test_the_footprint_is_that_of_the_trades(desk: Desk, options: dict[str, Any]) -> None:
    answer = desk.answer("get_footprint", symbol="BTCUSDT", detail="full", **options)
    flow = desk.answer("get_order_flow", symbol="BTCUSDT", detail="full", **options)
    rows = within(NOW_MS - DAY_MS, NOW_MS)
    size = Decimal(answer["meta"]["row_size"])
    width_ms = (120 if options else 30) * MINUTE_MS
    cells = oracle.footprint(rows, size, width_ms)
    found = oracle.imbalances(cells, Decimal(options.get("imbalance_ratio", 3)))
    stacks = oracle.stacks(found)
    limit, heavy, absorbed = oracle.absorptions(rows, size, width_ms, NOW_MS)

    lines = table(answer["cells"])
    assert answer["cells_truncated"]["total"] == len(cells)
    for line in lines:
        cell = at(line["bar"]) // width_ms, int(Decimal(line["price_low"]) / size)
        assert (Decimal(line["buy"]), Decimal(line["sell"])) == cells[cell]
        sides = {side for bar, row, side, _ in found if (bar, row) == cell}
        assert {mark.split("_")[0] for mark in line["marks"].split() if "imbalance" in mark} == sides
        assert ("absorbed" in line["marks"]) == any((*cell, side) in absorbed for side in ("buy", "sell"))
    for line in table(answer["bars"]):
        bar = at(line["bar"]) // width_ms
        inside = [cell for (b, _), cell in cells.items() if b == bar]
        assert Decimal(line["volume"]) == oracle.total(buy + sell for buy, sell in inside)
        assert Decimal(line["delta"]) == oracle.total(buy - sell for buy, sell in inside)
        assert int(line["buy_imbalances"]) == sum(b == bar and side == "buy" for b, _, side, _ in found)
    deltas = [abs(Decimal(line["delta"])) for line in table(answer["bars"])]
    assert deltas == sorted(deltas, reverse=True)
    assert flow["imbalances"]["buy"] == sum(side == "buy" for _, _, side, _ in found)
    assert flow["imbalances"]["vs_zero"] == len({(bar, row) for bar, row, _, zero in found if zero})
    assert flow["imbalances"]["stacks"] == len(stacks)
    assert (flow["absorption"]["heavy"], flow["absorption"]["absorbed"]) == (heavy, len(absorbed))
    assert Decimal(flow["absorption"]["min_volume"]) == limit


def test_stacks_are_told_with_whether_price_came_back(desk: Desk) -> None:
    options = {"bar": "1h", "row_size": "2", "imbalance_ratio": 1}
    answer = desk.answer("get_order_flow", symbol="BTCUSDT", duration_hours=72, detail="full", **options)
    rows = within(NOW_MS - 3 * DAY_MS, NOW_MS)
    lines = table(answer["imbalances"]["nearest_stacks"])
    for line in lines:
        since_ms = at(line["bar"]) + HOUR_MS
        outcome, back_ms = oracle.returned(rows, Decimal(line["low"]), Decimal(line["high"]), since_ms)
        told = line["returned"].split()
        assert told[0] == outcome
        assert [at(time) for time in told[1:]] == ([] if back_ms is None else [back_ms])


def expected_levels(now_ms: int) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """Every session level by name and session, from the trades alone."""
    midnight = (now_ms - 1) // DAY_MS * DAY_MS
    sessions = {"today": (midnight, now_ms), "yesterday": (midnight - DAY_MS, midnight)}
    found = {}
    for of, (begin, end) in sessions.items():
        inside = within(begin, end)
        profile = volume_profile(PriceHistogram.of(columns(inside)), tick=TICK)
        touched = any(profile.poc.low <= row.price <= profile.poc.high for row in within(end, now_ms))
        poc = "POC" if of == "today" or touched else "naked POC"
        found[poc, of] = (profile.poc.low, profile.poc.high)
        prices = {
            "VAH": profile.vah,
            "VAL": profile.val,
            "VWAP": oracle.vwap(inside, 2),
            "high": max(row.price for row in inside),
            "low": min(row.price for row in inside),
        }
        found |= {(name, of): (price, price) for name, price in prices.items()}
    found["open", "today"] = (within(midnight, now_ms)[0].price,) * 2
    return found


@pytest.mark.parametrize("hours_ago", [0, 20, 45])
def test_key_levels_are_those_of_the_sessions_trades(desk: Desk, hours_ago: int) -> None:
    now_ms = NOW_MS - hours_ago * HOUR_MS - 7 * MINUTE_MS
    answer = desk.answer("get_key_levels", symbol="BTCUSDT", end_time=iso(now_ms), detail="full")
    lines = table(answer["levels"])
    last = [row for row in tape() if row.time_ms < now_ms][-1].price

    told = {
        (line["name"], line["of"]): (Decimal(line["low"]), Decimal(line["high"] or line["low"]))
        for line in lines
    }
    assert told.items() >= expected_levels(now_ms).items()
    assert Decimal(answer["last"]) == last
    distances = [float(line["distance_pct"]) for line in lines]
    assert distances == sorted(distances)
    for line in lines:
        low, high = Decimal(line["low"]), Decimal(line["high"] or line["low"])
        assert float(line["distance_pct"]) == number(100 * max(low - last, last - high, Decimal(0)) / last)
        assert line["side"] == ("above" if low > last else "below" if high < last else "at")
    value = told["VAL", "today"][0], told["VAH", "today"][0]
    place = "inside" if value[0] <= last <= value[1] else "above" if last > value[1] else "below"
    assert answer["standing"]["value_today"] == place


def test_naked_levels_have_an_age_and_are_not_traded_since(desk: Desk) -> None:
    answer = desk.answer("get_key_levels", symbol="BTCUSDT", detail="full")
    naked = [
        line for line in table(answer["levels"]) if line["name"] == "naked POC" and line["of"][:2] == "20"
    ]
    assert naked
    for line in naked:
        since_ms = at(f"{line['of']}T00:00:00Z") + DAY_MS
        later = within(since_ms, NOW_MS)
        assert not any(Decimal(line["low"]) <= row.price <= Decimal(line["high"]) for row in later)
        assert float(line["age_h"]) == pytest.approx((NOW_MS - since_ms) / HOUR_MS, rel=0.01)


def test_no_level_is_called_naked_where_trades_since_may_be_missing(tmp_path: Path) -> None:
    lost = [row for row in tape() if not NOW_MS - 3 * HOUR_MS < row.time_ms < NOW_MS - 2 * HOUR_MS]
    with filled(tmp_path / "ledger", sealed=False, rows=lost) as ledger:
        answer = Desk(ledger, FakeRecording()).answer("get_key_levels", symbol="BTCUSDT", detail="full")
    assert answer["summary"].startswith("PARTIAL:")
    assert "naked" not in answer["levels"]


def test_key_levels_of_a_window_without_a_session_are_its_own(desk: Desk) -> None:
    answer = desk.answer(
        "get_key_levels", symbol="BTCUSDT", duration_hours=1, end_time=iso(NOW_MS - 3 * HOUR_MS)
    )
    assert {line["of"] for line in table(answer["levels"])} <= {"window", "24 h"}
    assert "value of window" in answer["summary"]
    assert answer["standing"]["value_today"] is None


def test_a_level_of_a_session_that_is_not_wholly_known_says_so(tmp_path: Path) -> None:
    midnight = (NOW_MS - 1) // DAY_MS * DAY_MS
    rows = [row for row in tape() if row.time_ms >= midnight - 30 * HOUR_MS]
    lost = [row for row in rows if not midnight - 3 * HOUR_MS < row.time_ms < midnight - 2 * HOUR_MS]
    with filled(tmp_path / "ledger", sealed=False, rows=lost) as ledger:
        answer = Desk(ledger, FakeRecording()).answer("get_key_levels", symbol="BTCUSDT")
    assert answer["summary"].startswith("PARTIAL:")
    assert any(caveat.startswith("Not all trades are known of: yesterday") for caveat in answer["caveats"])
    assert answer["standing"]["day_open"] is not None
    assert answer["standing"]["week_open"] is None or len(lost) == len(rows)


@pytest.mark.parametrize("tool", FLOW_TOOLS)
@pytest.mark.parametrize("detail", ["summary", "full"])
@pytest.mark.parametrize("hours", [None, "0.0167", 1, 168])
def test_answers_are_short_enough_for_a_model(desk: Desk, tool: str, detail: str, hours: Any) -> None:
    said = desk.call(tool, symbol="BTCUSDT", detail=detail, duration_hours=hours)
    if said.is_error:
        assert hours == "0.0167"
        assert text_of(said).startswith("NO_TRADES")
        return
    assert tokens_of(text_of(said)) <= {"summary": 1_000, "full": 4_000}[detail]


@pytest.mark.parametrize("tool", FLOW_TOOLS)
def test_the_same_trades_give_the_same_bytes_sealed_or_not_and_whatever_came_later(
    desk: Desk, tool: str, tmp_path: Path
) -> None:
    end_ms = NOW_MS - 26 * HOUR_MS - 123
    arguments: dict[str, Any] = {"symbol": "BTCUSDT", "end_time": iso(end_ms), "detail": "full"}
    until = next(i for i, row in enumerate(tape()) if row.time_ms >= end_ms)
    texts = {text_of(desk.call(tool, **arguments)) for _ in range(2)}
    with filled(tmp_path / "open", sealed=False, rows=tape()[: until + 1]) as ledger:
        texts.add(text_of(Desk(ledger, FakeRecording()).call(tool, **arguments)))
    assert len(texts) == 1


@pytest.mark.parametrize("tool", FLOW_TOOLS)
def test_an_incomplete_window_begins_with_partial(tool: str, tmp_path: Path) -> None:
    rows = [row for row in tape() if row.time_ms >= NOW_MS - 30 * HOUR_MS and row.id != 23_900]
    with filled(tmp_path / "ledger", sealed=False, rows=rows) as ledger:
        answer = Desk(ledger, FakeRecording()).answer(tool, symbol="BTCUSDT", duration_hours=168)
    assert answer["summary"].startswith("PARTIAL: BTCUSDT")
    assert "is covered" in answer["caveats"][0]
    assert len(answer["caveats"]) <= 3


@pytest.mark.parametrize("tool", FLOW_TOOLS)
@pytest.mark.parametrize("detail", ["summary", "full"])
def test_one_trade_is_enough_and_small_prices_stay_exact(tool: str, detail: str, tmp_path: Path) -> None:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.keep_instrument(SHIB, since_ms=0)
        ledger.append("SHIBUSDT", columns([Row(5, NOW_MS - 5, Decimal("0.00001234"), Decimal(77), True)]))
        said = Desk(ledger, FakeRecording()).call(tool, symbol="shib", detail=detail)
    assert not said.is_error, text_of(said)
    assert "0.00001234" in text_of(said)
    assert "NaN" not in text_of(said)
    assert "E-" not in text_of(said).upper().replace("BASE-", "")


@pytest.mark.parametrize("tool", FLOW_TOOLS)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"symbol": "NOPEUSDT"}, "SYMBOL_UNKNOWN"),
        ({"symbol": None}, "SYMBOL_UNKNOWN"),
        ({"duration_hours": -4}, "WINDOW_INVALID"),
        ({"duration_hours": 169}, "WINDOW_INVALID"),
        ({"session": "lunch"}, "WINDOW_INVALID"),
        ({"end_time": "2020-01-01T00:00:00Z"}, "NO_TRADES"),
        ({"detail": "everything"}, "OPTION_INVALID"),
    ],
)
def test_every_wrong_argument_gets_its_coded_error(
    desk: Desk, tool: str, arguments: dict[str, Any], code: str
) -> None:
    assert_refused(desk.refusal(tool, **{"symbol": "BTCUSDT"} | arguments), code)


@pytest.mark.parametrize("tool", ["get_order_flow", "get_footprint"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"row_size": "0.015"}, "ROW_SIZE_INVALID"),
        ({"row_size": -1}, "ROW_SIZE_INVALID"),
        ({"row_size": 0.01}, "ROW_TOO_FINE"),
        ({"bar": "7m"}, "OPTION_INVALID"),
        ({"bar": "10s"}, "OPTION_INVALID"),
        ({"bar": "1m"}, "OPTION_INVALID"),
        ({"bar": 5}, "OPTION_INVALID"),
        ({"imbalance_ratio": 0.5}, "OPTION_INVALID"),
        ({"imbalance_ratio": "many"}, "OPTION_INVALID"),
        ({"imbalance_ratio": "1.00001"}, "OPTION_INVALID"),
    ],
)
def test_every_wrong_footprint_gets_its_coded_error(
    desk: Desk, tool: str, arguments: dict[str, Any], code: str
) -> None:
    assert_refused(desk.refusal(tool, symbol="BTCUSDT", **arguments), code)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_order_flow", {"min_notional": 0}),
        ("get_order_flow", {"min_notional": "big"}),
        ("get_candles", {"interval": "7m"}),
        ("get_candles", {"interval": "2d"}),
        ("get_candles", {"interval": 15}),
    ],
)
def test_every_wrong_option_gets_its_coded_error(desk: Desk, tool: str, arguments: dict[str, Any]) -> None:
    assert_refused(desk.refusal(tool, symbol="BTCUSDT", **arguments), "OPTION_INVALID")


def assert_refused(said: str, code: str) -> None:
    assert said.startswith(f"{code}: ")
    assert said.count("; ") >= 2
    assert len(said) < 500


@pytest.mark.parametrize("tool", FLOW_TOOLS)
def test_null_means_the_default(desk: Desk, tool: str) -> None:
    options = desk.tools()[tool].input_schema["properties"].keys() - {"symbol"}
    said = desk.call(tool, symbol="BTCUSDT", **dict.fromkeys(options))
    assert text_of(said) == text_of(desk.call(tool, symbol="BTCUSDT"))


def test_a_session_or_a_start_is_a_window_for_every_tool(desk: Desk) -> None:
    begin_ms = NOW_MS - 3 * HOUR_MS
    for tool in FLOW_TOOLS:
        window = desk.answer(tool, symbol="BTCUSDT", start_time=iso(begin_ms))["meta"]["window"]
        assert at(window["start"]) == begin_ms
        london = desk.answer(tool, symbol="BTCUSDT", session="London")["meta"]["window"]
        assert (at(london["start"]) % DAY_MS) // HOUR_MS == 8


def test_all_tools_describe_a_window_in_the_same_words(desk: Desk) -> None:
    tools = desk.tools()
    window = ("symbol", "start_time", "end_time", "session")
    schemas = [
        {name: tools[tool].input_schema["properties"][name] for name in window}
        for tool in ("get_volume_profile", *FLOW_TOOLS)
    ]
    assert all(schema == schemas[0] for schema in schemas)


@pytest.mark.parametrize("tool", FLOW_TOOLS)
def test_of_a_random_walk_nothing_is_claimed_that_it_cannot_tell(desk: Desk, tool: str) -> None:
    answer = desk.answer(tool, symbol="BTCUSDT", detail="full")
    told = f"{answer} {desk.tools()[tool].description}".lower()
    for claim in (
        "bullish",
        "bearish",
        "reversal",
        " will ",
        "likely",
        "expect",
        "buy signal",
        "sell signal",
    ):
        assert claim not in told
    assert any(word in answer["caveats"][-1] for word in ("forecast", "random walks"))
