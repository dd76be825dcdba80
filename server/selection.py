"""Which trades a command means: a symbol and a window of time or a range of ids, as the user wrote them.

Invariant: a selection comes in id order, and knows which ids of it are missing.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from server.tools.arguments import iso, number_of, symbol_name, symbol_of, time_of
from server.tools.refusals import Refusal
from storage import keys
from storage.absences import span
from storage.export import absent, in_id_order
from storage.export_files import Exported
from storage.ledger import TradeLedger
from storage.trades import INT64_MAX, Coverage, TradeColumns
from storage.view import LedgerView

Missing = list[tuple[int, int]]


class Unusable(Exception):
    """What was asked for cannot be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wrote; None where nothing."""

    start: str | None = None
    end: str | None = None
    hours: str | None = None
    ids: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Some trades of a symbol: in id order, about how many, in words, and what is missing of them.

    `coverage` is None for a range of ids.
    """

    chunks: Iterator[TradeColumns]
    about: int
    words: str
    coverage: Coverage | None
    missing: Callable[[Exported], Missing]


def symbol_in(ledger: TradeLedger, written: str) -> str:
    """The symbol that is meant among those held; one without filters is known by its whole name alone."""
    held = ledger.symbols
    if symbol_name(written) in held:
        return symbol_name(written)
    return symbol_of(written, {name: known for name, known in ledger.instruments.items() if name in held})


def selection_of(view: LedgerView, asked: Asked) -> Selection:
    """The trades that are meant; all that are held where nothing was asked. Raises `Unusable`, `Refusal`."""
    if not view.id_spans():
        raise Unusable("all its trades have expired")
    if asked.ids is not None:
        if asked != Asked(ids=asked.ids):
            raise Unusable("--ids stands alone: leave --from, --to and --hours out")
        return _of_ids(view, *_ids(asked.ids))
    if asked.hours is not None and asked.start is not None:
        raise Unusable("--hours and --from both say where to begin: leave one out")
    return _of_window(view, *_window(view, asked))


def held_in_words(view: LedgerView) -> str:
    """Ids and times of all that is held."""
    oldest_ms, newest_ms = _extent(view)
    firsts, lasts = zip(*view.id_spans().values(), strict=True)
    return f"ids {min(firsts)}-{max(lasts)}, {iso(oldest_ms)} to {iso(newest_ms)}"


def _ids(written: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*([0-9]{1,19})\s*-\s*([0-9]{1,19})\s*", written)
    first_id, last_id = (int(match[1]), int(match[2])) if match else (1, 0)
    if first_id > last_id or last_id > INT64_MAX:
        raise Unusable(f"--ids {written!r} is no range of ids; write it as 3601227001-3601228000")
    return first_id, last_id


def _window(view: LedgerView, asked: Asked) -> tuple[int, int]:
    oldest_ms, newest_ms = _extent(view)
    end_ms = newest_ms + 1 if asked.end is None else _time(asked.end, "--to")
    start_ms = oldest_ms if asked.start is None else _time(asked.start, "--from")
    if asked.hours is not None:
        start_ms = max(0, end_ms - int(number_of(asked.hours, "--hours") * keys.HOUR_MS))
    if start_ms >= end_ms:
        raise Unusable(f"the window from {iso(start_ms)} to {iso(end_ms)} is empty")
    return start_ms, end_ms


def _time(written: str, flag: str) -> int:
    try:
        return time_of(written, flag)
    except Refusal as error:
        raise Unusable(
            f"{flag} {written!r} is no ISO-8601 time of 1970 to 2199; write it as 2026-11-22T12:00:00Z"
        ) from error


def _extent(view: LedgerView) -> tuple[int, int]:
    """Smallest and greatest T of all rows; T of the first and the last id need not be they."""
    hours = list(view.id_spans())
    oldest, newest = (next(view.chunks(hour_ms, hour_ms + keys.HOUR_MS)) for hour_ms in (hours[0], hours[-1]))
    return int(oldest.time_ms.min()), int(newest.time_ms.max())


def _of_window(view: LedgerView, start_ms: int, end_ms: int) -> Selection:
    coverage = view.coverage(start_ms, end_ms)
    gaps = [(gap.first_id, gap.last_id) for gap in coverage.gaps_in("open")]
    return Selection(
        in_id_order(view.chunks(start_ms, end_ms), view.id_spans()),
        about=coverage.rows,
        words=f"{iso(start_ms)} to {iso(end_ms)}",
        coverage=coverage,
        missing=lambda _: gaps,
    )


def _of_ids(view: LedgerView, first_id: int, last_id: int) -> Selection:
    inside = [run for run in view.runs if run.first_id <= last_id and run.last_id >= first_id]
    return Selection(
        in_id_order(view.chunks_of_ids(first_id, last_id), view.id_spans()),
        about=sum(min(run.last_id, last_id) - max(run.first_id, first_id) + 1 for run in inside),
        words=f"ids {first_id}-{last_id}",
        coverage=None,
        missing=lambda exported: absent([*exported.runs, *map(span, view.certified)], first_id, last_id),
    )
