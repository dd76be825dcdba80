"""Who is mute, and when REST is asked."""

import random
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.continuity import Known, Voucher
from collectors.links import Delivered
from collectors.timing import Timing
from collectors.watch import LagOfLate, Mute, Watch

TIMING = Timing()
MUTE_MS = int(TIMING.mute_s * 1000)
NOW = 1_700_000_000_000


@dataclass
class Link:
    number: int
    opened_ms: int = NOW
    trade_lag_ms: int | None = 0
    delivered: dict[str, Delivered] = field(default_factory=dict)

    def brings(
        self, watch: Watch, symbol: str, agg_trade_id: int, now_ms: int, *, traded_ms: int = 0
    ) -> None:
        known = self.delivered.setdefault(symbol, Delivered(agg_trade_id, agg_trade_id))
        known.newest_id = max(known.newest_id, agg_trade_id)
        watch.note(symbol, agg_trade_id, traded_ms or now_ms, now_ms)


def judged(watch: Watch, links: list[Link], now_ms: int, symbols: tuple[str, ...] = ("X",)) -> list[Mute]:
    return watch.judge([(link, symbols) for link in links], now_ms)


def test_a_link_that_lacks_what_another_brings_is_mute_after_a_while_and_not_before() -> None:
    watch, a, b = Watch(["X"], TIMING, NOW), Link(1), Link(2)
    found: list[tuple[int, Mute]] = []
    for second in range(120):
        now = NOW + second * 1000
        if second <= 20:
            a.brings(watch, "X", second, now)
        b.brings(watch, "X", second, now)
        found += [(second, mute) for mute in judged(watch, [a, b], now)]
    first, mute = found[0]
    assert (mute.connection, mute.why, mute.symbol) == (1, "mute", "X")
    assert 20 + TIMING.mute_s <= first <= 23 + TIMING.mute_s
    assert {each.connection for _, each in found} == {1}


@given(st.integers(0, 40), st.integers(0, 2**32))
def test_a_link_that_is_late_and_delivers_in_full_is_not_mute(late_s: int, seed: int) -> None:
    """From some moment on everything comes so much later."""
    watch, a, b, rng = Watch(["X"], TIMING, NOW), Link(1), Link(2), random.Random(seed)
    trades = sorted(rng.sample(range(10, 600), 150))
    for second in range(640):
        now = NOW + second * 1000
        for number, traded in enumerate(trades):
            if traded == second:
                b.brings(watch, "X", number, now)
            if traded + (late_s if traded > 100 else 0) == second:
                a.brings(watch, "X", number, now, traded_ms=NOW + traded * 1000)
        assert judged(watch, [a, b], now) == []


def test_silence_of_all_is_nobodys_fault() -> None:
    watch, a, b = Watch(["X"], TIMING, NOW), Link(1), Link(2)
    for link in (a, b):
        link.brings(watch, "X", 7, NOW + 10_000)
    for second in range(0, 24 * 3600, 600):
        assert judged(watch, [a, b], NOW + 20_000 + second * 1000) == []


def test_what_was_traded_before_a_link_came_up_it_need_not_have() -> None:
    watch, old, new = Watch(["X"], TIMING, NOW), Link(1), Link(2, opened_ms=NOW + 60_000)
    old.brings(watch, "X", 7, NOW + 61_000, traded_ms=NOW + 59_000)
    assert judged(watch, [old, new], NOW + 62_000) == []
    assert judged(watch, [old, new], NOW + 62_000 + 2 * MUTE_MS) == []


def test_a_newest_trade_that_was_none_convicts_nobody_once_that_is_known() -> None:
    watch, a, b = Watch(["X"], TIMING, NOW), Link(1), Link(2)
    a.brings(watch, "X", 1_000_000, NOW + 10_000)
    watch.begin_anew("X")
    a.delivered.clear()
    for second in range(20, 200):
        now = NOW + second * 1000
        for link in (a, b):
            link.brings(watch, "X", second, now)
        assert judged(watch, [a, b], now) == []
        assert watch.to_look_at(now + 1_000) is None


def test_what_rest_shows_convicts_every_link_that_lacks_it() -> None:
    watch, a = Watch(["X"], TIMING, NOW), Link(1)
    a.brings(watch, "X", 7, NOW + 10_000)
    watch.note("X", 9, NOW + 20_000, NOW + 30_000)
    assert judged(watch, [a], NOW + 31_000) == []
    (mute,) = judged(watch, [a], NOW + 31_000 + MUTE_MS)
    assert (mute.connection, mute.lacking) == (1, 2)


def test_a_link_that_falls_behind_for_good_is_not_to_be_relied_on_whatever_the_clock_says() -> None:
    """Our clock is an hour ahead: every lag is an hour at least."""
    watch, a, b = Watch(["X"], TIMING, NOW), Link(1), Link(2)
    hour = 3_600_000
    watch.note_lag(hour, NOW)
    a.trade_lag_ms, b.trade_lag_ms = hour + 119_000, hour + 100
    assert judged(watch, [a, b], NOW) == []
    a.trade_lag_ms = hour + 121_000
    assert [(mute.connection, mute.why) for mute in judged(watch, [a, b], NOW)] == [(1, "behind")]


def looks(watch: Watch, hours: float, trade_every_s: int) -> list[int]:
    """The seconds at which REST is asked of X while it trades so often, looked at once in ten."""
    asked = []
    for second in range(0, round(hours * 3600), 10):
        now = NOW + second * 1000
        if second % trade_every_s == 0:
            watch.note("X", second // trade_every_s, now, now)
        if watch.to_look_at(now) == "X":
            asked.append(second)
            watch.looked("X", now, now)
    return asked


def test_a_symbol_that_trades_all_the_time_is_never_asked_about() -> None:
    assert looks(Watch(["X"], TIMING, NOW), 1, 10) == []


def test_a_symbol_that_trades_once_an_hour_costs_a_few_looks() -> None:
    assert len(looks(Watch(["X"], TIMING, NOW), 24, 3600)) <= 4 * 24


def test_a_symbol_that_falls_silent_is_asked_about_soon_by_its_own_measure_then_rarely() -> None:
    watch = Watch(["X"], TIMING, NOW)
    now = NOW
    for number in range(2_000):
        now = NOW + number * 100
        watch.note("X", number, now, now)
    asked = []
    for second in range(24 * 3600):
        at = now + second * 1000
        if watch.to_look_at(at):
            asked.append(second)
            watch.looked("X", at, at)
    assert asked[0] <= 6
    assert all(later - sooner >= 5 for sooner, later in pairwise(asked))
    assert len(asked) < 24 + 12


def test_of_several_silent_symbols_the_busiest_is_asked_about_first() -> None:
    watch = Watch(["X", "Y"], TIMING, NOW)
    for number in range(500):
        watch.note("X", number, NOW + number * 100, NOW + number * 100)
        watch.note("Y", number // 10, NOW + number * 100, NOW + number * 100)
    assert watch.to_look_at(NOW + 50_000 + 3_000) is None
    assert watch.to_look_at(NOW + 50_000 + 60_000) == "X"
    watch.looked("X", NOW + 110_000, NOW + 110_000)
    assert watch.to_look_at(NOW + 110_000) == "Y"
    watch.drop("Y")
    assert watch.to_look_at(NOW + 110_000) is None


def test_rows_that_rest_shows_do_not_make_a_symbol_that_is_mute_seem_to_trade_seldom() -> None:
    """REST is asked as soon after the tenth mute stretch as after the first."""
    watch, now = Watch(["X"], TIMING, NOW), NOW
    for number in range(2_000):
        now = NOW + number * 100
        watch.note("X", number, now, now)
    waited_s = []
    for number in range(2_000, 2_010):
        shown_ms = now
        while watch.to_look_at(now) is None:
            now += 1_000
        waited_s.append((now - shown_ms) // 1_000)
        now += 300_000  # until REST answers
        watch.note("X", number, now, now, shown_by_rest=True)
    assert waited_s == [5] * 10


def test_symbols_that_cannot_be_asked_about_hold_up_no_others() -> None:
    symbols = [f"S{number}" for number in range(20)]
    watch = Watch([*symbols, "X"], TIMING, NOW)
    for symbol in symbols:
        watch.note(symbol, 1, NOW, NOW)
    watch.note("X", 1, NOW + 1_000, NOW + 1_000)
    at = NOW + 2_000_000
    assert watch.to_look_at(at) in symbols
    assert watch.to_look_at(at, lambda symbol: symbol == "X") == "X"
    assert watch.to_look_at(at, lambda _: False) is None


def test_a_trade_counts_for_connections_that_came_up_well_before_it_by_our_clock() -> None:
    """The exchange's clock is an hour behind."""
    watch, hour = Watch(["X"], TIMING, NOW), 3_600_000
    watch.note_lag(hour, NOW)
    assert watch.counts_for(NOW, NOW - hour + 5_000)
    assert not watch.counts_for(NOW, NOW - hour + 4_999)


def test_a_silence_is_worth_nothing_once_a_look_is_overdue() -> None:
    """Usual is a trade in 10 s, so that REST is asked after 200 s."""
    watch = Watch(["X"], TIMING, NOW)
    for number in range(300):
        watch.note("X", number, NOW + number * 10_000, NOW + number * 10_000)
    last, within_ms = NOW + 2_990_000, int(TIMING.look_within_s * 1000)
    assert watch.silent_ms("X", last + 150_000) == 150_000
    assert watch.to_look_at(last + 199_000) is None
    assert watch.to_look_at(last + 201_000) == "X"
    watch.look_failed("X", last + 201_000)
    assert watch.to_look_at(last + 202_000) is None
    assert watch.to_look_at(last + 206_000) == "X"
    assert not watch.is_overdue("X", last + 199_000 + within_ms)
    assert watch.is_overdue("X", last + 201_000 + within_ms)
    assert watch.silent_ms("X", last + 201_000 + within_ms) == 0


def test_a_look_at_silence_in_time_makes_it_good_until_the_next_one() -> None:
    watch = Watch(["X"], TIMING, NOW)
    watch.note("X", 1, NOW, NOW)
    at = NOW
    for _ in range(40):
        at += 1_000
        while watch.to_look_at(at) is None:
            assert not watch.is_overdue("X", at)
            at += 1_000
        watch.looked("X", at, at - 35_000)
        assert watch.silent_ms("X", at) == min(at - NOW, 35_000)


@given(st.integers(30, 7_200), st.integers(0, 2**32))
@settings(max_examples=10)
def test_a_lone_symbol_that_trades_seldom_is_never_late_beyond_its_silence(every_s: int, seed: int) -> None:
    """It trades at random; REST is asked when it is due, lags by 35 s and shows everything then."""
    watch, known, voucher, rng = Watch(["X"], TIMING, NOW), Known(), Voucher(NOW), random.Random(seed)
    number = 0
    for second in range(6 * 3600):
        now = NOW + second * 1000
        if rng.random() < 1 / every_s or not second:
            number += 1
            watch.note("X", number, now, now)
            known = known.joined_by(voucher)
            voucher.extend(now)
        if watch.to_look_at(now):
            watch.looked("X", now, now - 35_000)
            known = known.shown([voucher], now - 35_000).reached(now - 35_000)
        known = known.settled([voucher])
        assert known.until_ms is not None
        assert now - known.until_ms - watch.silent_ms("X", now) <= 0


def test_of_symbols_that_are_not_recorded_nothing_is_said() -> None:
    watch = Watch([], TIMING, NOW)
    watch.looked("X", NOW, NOW)
    watch.look_failed("X", NOW)
    assert not watch.is_overdue("X", NOW)
    assert watch.silent_ms("X", NOW) == 0


def test_the_greatest_lag_is_told_for_a_window_and_the_next_one() -> None:
    lag = LagOfLate(max, 60_000)
    assert lag.ms_at(0) is None
    lag.note(40_000, 30_000)
    lag.note(500, 31_000)
    lag.note(700, 61_000)
    assert [lag.ms_at(at) for at in (61_000, 119_000, 121_000, 179_000, 180_000)] == [
        40_000, 40_000, 700, 700, None
    ]  # fmt: skip
