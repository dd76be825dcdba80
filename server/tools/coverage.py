"""get_data_coverage: what is kept, what is missing from it, and how to compare it with another recording."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from server.tools.answers import (
    Answer,
    Detail,
    GapShape,
    Shape,
    Truncated,
    WindowShape,
    coverage_shape,
    first_caveats,
    iso_seconds,
    significant,
    window_words,
)
from server.tools.arguments import HOUR_MS, choice_of, iso
from server.tools.holdings import AskedWindow, Holding, holdings
from server.tools.tape import GRACE_MS, Tape
from storage.rollups import Rollup
from storage.trades import Coverage

# An overview holds this many symbols with all that is known of them, and this many more as lines of a table:
# 4,000 tokens at most.
MOST_SYMBOLS = 5
MOST_LINES = 70
MOST_HOURS = 24
MOST_GAPS_OF_ONE = 5
MOST_GAPS_OF_EACH = 1
IN_SUMMARY = 3
DIGEST_OF = (
    "SHA-256 over the rows kept of the hour in id order, 49 bytes each: id, T, price, quantity, first id, "
    "last id as little-endian int64, price and quantity in 1e-8, then one byte, 1 where the buyer was the "
    "maker (docs/storage-format.md, Digest)"
)


class Kept(Shape):
    """First and last trade of all that is kept, whatever the window."""

    first: str
    last: str
    first_id: int
    last_id: int


class WarmUp(Shape):
    """History that is being fetched."""

    missing: int = Field(description="trades to go")
    per_s: float
    ready_at: str | None = Field(description="when it will be here at this rate")


class SymbolCoverage(Shape):
    """One symbol: what is kept, and which trades of the window are there."""

    symbol: str
    market: str | None
    recording: bool
    recorded_until: str | None = Field(description="last trade of a symbol that is no longer recorded")
    status: str | None = Field(description="the exchange's word: TRADING, HALT, BREAK ..; DELISTED: gone")
    status_since: str | None = Field(description="since when it was seen so")
    kept: Kept | None
    window: WindowShape = Field(description="what the fields below are about")
    trades: int
    missing: int = Field(description="ids between first_id and last_id that are not here")
    certified: int = Field(description="ids there that the exchange has no valid trade for")
    first_id: int | None
    last_id: int | None
    covered_pct: float = Field(description="share of the window's time in which no trade is unknown")
    complete: bool
    gaps: list[GapShape] = Field(description="the largest, in id order")
    gaps_listed: Truncated
    lag_s: float | None = Field(description="seconds since the last event that a live link vouches for")
    warm_up: WarmUp | None


class CoverageAnswer(Answer):
    """What is kept and what is missing from it, by exchange ids."""

    as_of: str = Field(
        description="the instant of which all this is true; a symbol's last trade is kept.last"
    )
    retention_hours: float | None = Field(description="older trades are deleted; null keeps everything")
    symbols: list[SymbolCoverage] = Field(description="of many symbols the first few, incomplete ones before")
    others: str | None = Field(
        description="CSV symbol,recording,complete,trades,missing,covered_pct,lag_s: a line for each other"
    )
    listed: Truncated
    hours: str | None = Field(
        description="CSV hour,trades,first_id,last_id,sha256, newest first: each sealed hour that touches "
        "the window, whole; a line for each of its parts; with detail=full and a symbol"
    )
    hours_listed: Truncated | None
    digest_of: str | None
    caveats: list[str]


def coverage_answer(
    tape: Tape,
    *,
    symbol: Any,
    duration_hours: Any,
    start_time: Any,
    end_time: Any,
    session: Any,
    detail: Any,
) -> CoverageAnswer:
    """The answer to the question; raises `Refusal` for what cannot be answered."""
    full = choice_of(detail, "detail", Detail) == "full"
    found = holdings(tape, symbol, AskedWindow(duration_hours, start_time, end_time, session))
    found = sorted(found, key=lambda holding: holding.complete)
    market = tape.ledger.venue
    shown, others = found[:MOST_SYMBOLS], found[MOST_SYMBOLS:][:MOST_LINES]
    most_gaps = MOST_GAPS_OF_EACH if symbol is None else MOST_GAPS_OF_ONE
    digests = found[0].sealed if full and symbol is not None else None
    return CoverageAnswer(
        summary=_summary(found, market, one=symbol is not None),
        as_of=iso(max((holding.as_of_ms for holding in found), default=tape.now_ms())),
        retention_hours=tape.retention_hours,
        symbols=[_shape(holding, market, most_gaps) for holding in shown],
        others=_lines(others) if others else None,
        listed=_listed(len(shown) + len(others), len(found), "name the symbol"),
        hours=None if digests is None else _hours(digests[:MOST_HOURS]),
        hours_listed=None if digests is None else _hours_listed(digests),
        digest_of=None if digests is None else DIGEST_OF,
        caveats=first_caveats(
            [
                _silent(found),
                _not_trading(found),
                _no_longer(found),
                "Digests are listed for one symbol: name it." if full and symbol is None else None,
                "An hour is sealed, and has its digest, a minute after its end."
                if digests is not None
                else None,
            ]
        ),
    )


def _shape(holding: Holding, market: str | None, most_gaps: int) -> SymbolCoverage:
    of_window = coverage_shape(holding.coverage, most_gaps)
    more = "name the symbol" if most_gaps == MOST_GAPS_OF_EACH else "ask for a shorter window"
    return SymbolCoverage(
        symbol=holding.symbol,
        market=market,
        recording=holding.recording,
        recorded_until=None if holding.recording or holding.last is None else iso(holding.last.last_ms),
        status=None if holding.status is None else holding.status[0],
        status_since=None if holding.status is None else iso_seconds(holding.status[1]),
        kept=_kept(holding),
        window=WindowShape(start=iso(holding.window.start_ms), end=iso(holding.window.end_ms)),
        trades=of_window.trades,
        missing=of_window.missing,
        certified=of_window.certified,
        first_id=of_window.first_id,
        last_id=of_window.last_id,
        covered_pct=of_window.covered_pct,
        complete=of_window.complete,
        gaps=of_window.gaps,
        gaps_listed=_listed(len(of_window.gaps), len(holding.coverage.gaps), more),
        lag_s=_lag_s(holding),
        warm_up=_warm_up(holding),
    )


def _kept(holding: Holding) -> Kept | None:
    first, last = holding.first, holding.last
    if first is None or last is None:
        return None
    return Kept(
        first=iso(first.first_ms), last=iso(last.last_ms), first_id=first.first_id, last_id=last.last_id
    )


def _lag_s(holding: Holding) -> float | None:
    return None if holding.lag_ms is None else significant(holding.lag_ms / 1000)


def _warm_up(holding: Holding) -> WarmUp | None:
    if holding.warmup is None:
        return None
    return WarmUp(
        missing=holding.warmup.missing,
        per_s=significant(holding.warmup.per_s),
        ready_at=None if holding.ready_ms is None else iso(holding.ready_ms),
    )


def _lines(found: Sequence[Holding]) -> str:
    """A line for each symbol."""
    lines = [
        f"{holding.symbol},{_lower(holding.recording)},{_lower(holding.complete)},{holding.coverage.trades},"
        f"{holding.coverage.missing},{holding.coverage.covered_pct:g},{_or_empty(_lag_s(holding))}"
        for holding in found
    ]
    return "\n".join(["symbol,recording,complete,trades,missing,covered_pct,lag_s", *lines])


def _hours(sealed: Sequence[tuple[int, Rollup]]) -> str:
    lines = [
        f"{iso(hour_ms)[:16]}Z,{part.valid},{part.first_id},{part.last_id},{part.digest.hex()}"
        for hour_ms, part in sealed
    ]
    return "\n".join(["hour,trades,first_id,last_id,sha256", *lines])


def _hours_listed(sealed: Sequence[tuple[int, Rollup]]) -> Truncated:
    if len(sealed) <= MOST_HOURS:
        return _listed(len(sealed), len(sealed), "")
    older_ms, _ = sealed[MOST_HOURS]
    return _listed(MOST_HOURS, len(sealed), f"end_time={iso_seconds(older_ms + HOUR_MS)}")


def _listed(shown: int, total: int, more: str) -> Truncated:
    return Truncated(shown=shown, total=total, more=more if shown < total else None)


def _lower(value: bool) -> str:
    return str(value).lower()


def _or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


# Words


def _summary(found: Sequence[Holding], market: str | None, *, one: bool) -> str:
    start = "" if found and all(holding.complete for holding in found) else "PARTIAL: "
    kind = f" {market.rsplit(' ', 1)[-1]}" if market else ""
    if one:
        return f"{start}{found[0].symbol}{kind}, {_sentence(found[0])}{_behind(found[0])}"
    if not found:
        return f"{start}Nothing is recorded or kept yet."
    recorded = sum(holding.recording for holding in found)
    incomplete = [holding for holding in found if not holding.complete]
    symbols = "symbol" if len(found) == 1 else "symbols"
    parts = [f"{len(found)}{kind} {symbols}, {recorded} recorded, {len(incomplete)} incomplete."]
    parts += [f"{holding.symbol}: {_sentence(holding)}" for holding in found[:IN_SUMMARY]]
    return start + " ".join(parts)


def _sentence(holding: Holding) -> str:
    coverage = holding.coverage
    parts = [f"{window_words(holding.window)}:"]
    if coverage.first_id is None:
        parts.append("no trade is here,")
    else:
        parts.append(f"{coverage.trades} trades, ids {coverage.first_id} to {coverage.last_id},")
    parts.append(_lacking(coverage))
    if holding.warmup is not None:
        parts.append(_warming(holding))
    return " ".join(parts)


def _behind(holding: Holding) -> str:
    lag_s = _lag_s(holding)
    return "" if lag_s is None else f" Recorded, {lag_s:g} s behind."


def _lacking(coverage: Coverage) -> str:
    if coverage.complete:
        return "none missing." + _certified(coverage)
    return f"{coverage.missing} missing, {coverage.covered_pct:.2f} % of the time covered."


def _certified(coverage: Coverage) -> str:
    lacking = coverage.certified - coverage.invalid
    return f" The exchange has none for {lacking} ids." if lacking else ""


def _warming(holding: Holding) -> str:
    if holding.ready_ms is None:
        return "Its history is being fetched."
    return f"Its history is being fetched, complete about {iso_seconds(holding.ready_ms)}."


def _silent(found: Sequence[Holding]) -> str | None:
    """Recorded symbols that are not known up to now."""
    late = [holding.symbol for holding in found if holding.recording and not _on_time(holding)]
    return f"No live link vouches for the last seconds of {_some(late)}." if late else None


def _on_time(holding: Holding) -> bool:
    return holding.lag_ms is not None and holding.lag_ms <= GRACE_MS


def _not_trading(found: Sequence[Holding]) -> str | None:
    named = [
        f"{holding.symbol} ({holding.status[0]} since {iso_seconds(holding.status[1])})"
        for holding in found
        if holding.status is not None and not holding.trades
    ]
    return f"Not trading at the exchange: {_some(named)}." if named else None


def _no_longer(found: Sequence[Holding]) -> str | None:
    ended = [
        holding.symbol + (f" (since {iso_seconds(holding.last.last_ms)})" if holding.last is not None else "")
        for holding in found
        if not holding.recording
    ]
    return f"Kept, and no longer recorded: {_some(ended)}." if ended else None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - IN_SUMMARY} more" if len(names) > IN_SUMMARY else ""
    return ", ".join(names[:IN_SUMMARY]) + more
