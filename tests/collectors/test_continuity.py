"""Up to when a symbol is known, by what connections vouch for."""

import random

from hypothesis import given
from hypothesis import strategies as st

from collectors.continuity import Known, Voucher


def test_a_symbol_is_known_as_far_as_a_connection_that_brought_a_trade_of_it_has_come() -> None:
    known, voucher = Known(), Voucher(since_ms=0)
    known.join(voucher)
    voucher.extend(100)
    known.settle([voucher])
    assert known.until_ms == 100
    voucher.extend(90)
    known.settle([voucher])
    assert known.until_ms == 100


def test_a_connection_that_begins_before_the_end_of_what_is_known_goes_on_from_there() -> None:
    known, old, new = Known(until_ms=100), Voucher(0), Voucher(0)
    known.join(old)
    new.extend(101)
    known.settle([old, new])
    assert known.joined == {old}
    old.extend(102)
    known.settle([old, new])
    known.settle([old, new])
    assert known.joined == {old, new}


def test_after_a_break_only_a_trade_or_rest_joins_a_quiet_symbol_again() -> None:
    known, new = Known(until_ms=100), Voucher(since_ms=5_000)
    new.extend(5_001)
    known.settle([new])
    assert (known.until_ms, known.joined) == (100, set())
    known.shown([new], until_ms=4_999, event_ms=90)
    assert not known.joined
    known.shown([new], until_ms=5_000, event_ms=90)
    known.settle([new])
    assert known.until_ms == 5_001


def test_while_rows_wait_behind_a_jump_nothing_newer_is_known() -> None:
    known, voucher = Known(until_ms=100), Voucher(0)
    known.join(voucher)
    known.waiting = True
    voucher.extend(200)
    known.settle([voucher])
    assert known.until_ms == 100


def test_a_silence_that_rest_has_shown_is_known_without_any_connections_word() -> None:
    known = Known(until_ms=100)
    known.shown([], until_ms=5_000, event_ms=4_900)
    assert known.until_ms == 4_900
    known.waiting = True
    known.shown([], until_ms=6_000, event_ms=5_900)
    assert known.until_ms == 4_900


def test_connections_that_lacked_what_rest_showed_are_doubted_until_they_bring_a_trade() -> None:
    """Their other symbols' trades prove nothing, REST's silence neither."""
    known, one, other = Known(), Voucher(0), Voucher(0)
    known.join(one)
    known.join(other)
    one.extend(500)
    other.extend(500)
    known.settle([one, other])
    known.doubt([one, other], 300)
    one.extend(600)
    known.settle([one, other])
    known.shown([one, other], until_ms=400, event_ms=400)
    assert (known.until_ms, known.joined) == (400, set())
    known.join(one)
    known.settle([one, other])
    assert (known.until_ms, known.joined) == (600, {one})


@given(st.integers(0, 2**32))
def test_nothing_is_ever_known_beyond_an_event_that_nobody_saw(seed: int) -> None:
    """Two connections come and go at random over a market of events 0, 1, 2, ...; a quiet symbol, none of
    whose trades come, is never known beyond the first event that passed while no connection was up."""
    rng = random.Random(seed)
    up: list[Voucher | None] = [Voucher(0), None]
    known = Known()
    known.join(up[0])  # type: ignore[arg-type]
    first_unseen: int | None = None
    for event in range(200):
        for at in (0, 1):
            if rng.random() < 0.15:
                here = up[at]
                if here is not None:
                    known.settle([each for each in up if each])
                    known.leave(here)
                up[at] = None if here else Voucher(event)
        for voucher in up:
            if voucher is not None:
                voucher.extend(event)
        if not any(up) and first_unseen is None:
            first_unseen = event
        known.settle([each for each in up if each])
        if first_unseen is not None and known.until_ms is not None:
            assert known.until_ms < first_unseen
