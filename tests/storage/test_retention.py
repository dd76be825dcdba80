"""What is too old or too much goes, whole hours of it, and nothing else changes by it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import keys
from storage import ledger as ledger_module
from storage.held_ids import Run, gaps_between, runs_of, uncovered_ms
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.storage.soundness import assert_sound
from tests.tapes import START_MS, Row, columns, rows_of, tapes

HOUR_MS = keys.HOUR_MS
FIRST_HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS
LATER = FIRST_HOUR + 1_000 * HOUR_MS
WHOLE = (0, 2 * START_MS)
HOURS = 5

on_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


class Kept:
    """The plain oracle: every row that was ever taken in, and up to where its hours have expired."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.gone: set[int] = set()
        self.floor_ms = 0

    def append(self, rows: list[Row]) -> None:
        for row in rows:
            self.rows.setdefault(row[0], row)

    def expire(self, before_ms: int) -> None:
        self.gone |= {i for i, row in self.rows.items() if keys.hour_of(row[1]) + HOUR_MS <= before_ms}
        self.floor_ms = max(self.floor_ms, keys.hour_of(before_ms))

    @property
    def kept(self) -> list[Row]:
        return [row for i, row in sorted(self.rows.items()) if i not in self.gone]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Of all ids that are held or were."""
        return tuple(runs_of(columns([row for _, row in sorted(self.rows.items())])))


def assert_kept(ledger: TradeLedger, oracle: Kept, start_ms: int, end_ms: int) -> None:
    """Rows, gaps and the coverage of a window are those of the oracle."""
    assert rows_of(ledger.trades("X", *WHOLE)) == oracle.kept
    missing = {i for gap in ledger.gaps("X") for i in range(gap.first_id, gap.last_id + 1)}
    assert not missing & oracle.rows.keys()
    if oracle.kept:
        first_id, last_id = oracle.kept[0][0], oracle.kept[-1][0]
        assert missing >= set(range(first_id, last_id)) - oracle.rows.keys()
    inside = [row for row in oracle.kept if start_ms <= row[1] < end_ms]
    with ledger.view("X") as view:
        coverage = view.coverage(start_ms, end_ms)
        assert rows_of(view.trades(start_ms, end_ms)) == inside
        assert view.histogram(start_ms, end_ms, exact=False).trades.sum() == coverage.trades
        assert view.candles(start_ms, end_ms).trades.sum() == coverage.trades
    assert coverage.trades == sum(row[3] > 0 for row in inside)
    assert coverage.certified == sum(row[3] == 0 for row in inside)
    ids = [row[0] for row in inside]
    assert (coverage.first_id, coverage.last_id) == (min(ids, default=None), max(ids, default=None))
    assert coverage.missing == len(set(range(min(ids), max(ids))) & missing if ids else ())
    assert coverage.uncovered_ms == uncovered_ms(oracle.runs, start_ms, end_ms)
    plain = [
        gap
        for gap in gaps_between(oracle.runs)
        if (gap.after_ms < end_ms and gap.before_ms >= start_ms)
        or (ids and min(ids) < gap.first_id < max(ids))
    ]
    assert [(g.first_id, g.last_id) for g in coverage.gaps] == [(g.first_id, g.last_id) for g in plain]


@st.composite
def ordered_tapes(draw: st.DrawFn) -> TradeColumns:
    """Ids whose times mostly ascend over some hours, but repeat and step back, across borders too."""
    tape = draw(tapes(seconds=HOURS * 3600, max_size=16))
    order = sorted(range(len(tape)), key=lambda i: int(tape.time_ms[i]))
    for at in draw(st.lists(st.integers(0, max(0, len(order) - 2)), max_size=6)) if len(order) > 1 else []:
        order[at], order[at + 1] = order[at + 1], order[at]
    rows = rows_of(tape)
    return columns([(row[0], rows[at][1], *row[2:]) for row, at in zip(rows, order, strict=True)])  # type: ignore[misc]


@on_disk
@given(tape=st.one_of(ordered_tapes(), tapes(seconds=HOURS * 3600, max_size=16)), data=st.data())
def test_what_is_kept_is_what_has_not_expired_in_any_order_of_events(
    tmp_path_factory: pytest.TempPathFactory, tape: TradeColumns, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("any") / "ledger"
    rows, oracle = rows_of(tape), Kept()
    waiting = list(range(len(rows)))
    ledger = TradeLedger.open(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger_module, "MOST_IN_BLOCK", data.draw(st.sampled_from([3, 1_000_000])))
        for _ in range(data.draw(st.integers(1, 8))):
            event = data.draw(
                st.sampled_from(["append", "append", "again", "flush", "seal", "expire", "open"])
            )
            if event == "append":
                left_out = data.draw(st.sets(st.sampled_from(waiting), max_size=5)) if waiting else set()
                picked = [at for at in waiting if at not in left_out]
                ledger.append("X", columns([rows[at] for at in picked]))
                # What is below all that is kept, and came too late to be held, is not wanted any more.
                held = {i for run in ledger.runs("X") for i in range(run.first_id, run.last_id + 1)}
                oracle.append([rows[at] for at in picked if rows[at][0] in held])
                waiting = [at for at in waiting if at not in picked]
            elif event == "again":
                assert ledger.append("X", columns(list(oracle.rows.values())).by_id()).new == 0
            elif event == "flush":
                ledger.flush()
            elif event == "seal":
                ledger.seal(START_MS + data.draw(st.integers(0, HOURS + 2)) * HOUR_MS)
            elif event == "expire":
                before_ms = START_MS + data.draw(st.integers(0, HOURS)) * HOUR_MS
                went = ledger.expire(before_ms)
                held_before = len(oracle.kept)
                oracle.expire(before_ms)
                assert sum(what.rows for what in went) == held_before - len(oracle.kept)
            else:
                ledger.close()
                assert_sound(path)
                ledger = TradeLedger.open(path)
            start_ms = max(oracle.floor_ms, START_MS) + data.draw(st.integers(0, HOURS)) * HOUR_MS // 2
            assert_kept(ledger, oracle, start_ms, start_ms + data.draw(st.integers(1, 3 * HOUR_MS)))
    ledger.close()
    assert_sound(path)
