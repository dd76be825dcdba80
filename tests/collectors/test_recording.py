"""One symbol's ids, by which rows that cannot be are told: as they come, and while they are waited for."""

from collectors.clock import Clock
from collectors.continuity import Voucher
from collectors.exchange.clock import VirtualClock
from collectors.plausibility import Sifted
from collectors.recording import Recording
from collectors.sequencer import Sequencer
from collectors.timing import REAL
from collectors.watch import Watch
from storage.trades import TradeColumns
from tests.tapes import START_MS, run_of

SILENCE_MS = 600_000
NOW_MS = START_MS + SILENCE_MS


def recording(head: int | None = 1_000) -> Recording:
    clock: Clock = VirtualClock(NOW_MS, speed=0)
    sequencer = Sequencer() if head is None else Sequencer(head, START_MS)
    return Recording("X", sequencer, Watch(["X"], REAL, NOW_MS), clock)


def row(identity: int, ms: int = NOW_MS) -> TradeColumns:
    return run_of(identity, 1, start_ms=ms)


def brought(symbol: Recording, rows: TradeColumns) -> tuple[list[int], list[int]]:
    """The ids that go on at once, and those left out."""
    sifted = Sifted(rows) if symbol.is_near(rows) else symbol.sift(rows, 0, NOW_MS)
    out = [] if sifted.left_out is None else sifted.left_out.id.tolist()
    return (symbol.sequencer.accept(sifted.rows).id.tolist() if len(sifted.rows) else []), out


def test_a_jump_that_silence_allows_is_left_out_once_another_link_brings_the_next_id() -> None:
    symbol = recording()
    assert brought(symbol, row(1_000_000)) == ([], [])
    assert brought(symbol, row(1_001)) == ([1_001], [])
    assert symbol.give_up_held(NOW_MS).id.tolist() == [1_000_000]
    assert not symbol.sequencer.waiting
    assert symbol.sequencer.head == 1_001


def test_a_jump_that_nobody_contradicts_goes_on() -> None:
    symbol = recording()
    brought(symbol, row(1_000_000))
    for released in ([], [1_000_000]):
        assert len(symbol.give_up_held(NOW_MS)) == 0
        assert symbol.sequencer.settle().id.tolist() == released


def test_what_goes_on_from_the_newest_id_ends_a_contest() -> None:
    symbol = recording()
    assert brought(symbol, row(2**53 + 1)) == ([], [2**53 + 1])
    assert symbol.plausibility.is_contested
    assert brought(symbol, row(1_001)) == ([1_001], [])
    assert not symbol.plausibility.is_contested


def test_with_nothing_held_what_could_be_goes_on_at_once() -> None:
    assert brought(recording(None), row(2**53 + 1)) == ([], [2**53 + 1])
    assert brought(recording(None), row(7_000)) == ([7_000], [])


def test_what_a_link_vouched_for_stays_known_when_it_ends() -> None:
    symbol, voucher = recording(), Voucher(0)
    voucher.extend(START_MS + 100)
    symbol.joined_by(voucher)
    voucher.extend(START_MS + 200)
    symbol.part_from(voucher)
    voucher.extend(START_MS + 300)
    assert not symbol.is_synced
    assert symbol.live_until_ms == START_MS + 200


def test_while_rows_are_waited_for_nothing_newer_is_known_by_links_or_rest() -> None:
    symbol, voucher = recording(), Voucher(0)
    voucher.extend(START_MS + 100)
    symbol.joined_by(voucher)
    symbol.settle()
    brought(symbol, row(1_002))
    voucher.extend(START_MS + 200)
    symbol.shown(0, START_MS + 300)
    assert symbol.live_until_ms == START_MS + 100
    brought(symbol, row(1_001))
    assert symbol.live_until_ms == START_MS + 200
    symbol.shown(0, START_MS + 300)
    assert symbol.live_until_ms == START_MS + 300


def test_of_a_symbol_that_is_shut_out_of_the_ledger_rest_makes_nothing_known() -> None:
    symbol = recording()
    symbol.is_shut_out = True
    symbol.shown(0, NOW_MS)
    assert symbol.live_until_ms is None
    symbol.is_shut_out = False
    symbol.shown(0, NOW_MS)
    assert symbol.live_until_ms == NOW_MS
