"""Up to when a symbol is known, by what connections vouch for."""

import random

from hypothesis import given
from hypothesis import strategies as st

from collectors.continuity import Known, Voucher


def test_a_symbol_is_known_as_far_as_a_connection_that_brought_a_trade_of_it_has_come() -> None:
    voucher = Voucher(since_ms=0)
    known = Known().joined_by(voucher)
    voucher.extend(100)
    known = known.settled([voucher])
    assert known.until_ms == 100
    voucher.extend(90)
    assert known.settled([voucher]).until_ms == 100


def test_a_connection_that_begins_before_the_end_of_what_is_known_goes_on_from_there() -> None:
    old, new = Voucher(0), Voucher(0)
    known = Known(until_ms=100).joined_by(old)
    new.extend(101)
    known = known.settled([old, new])
    assert known.joined == {old}
    old.extend(101)  # what else happened in that millisecond may have been before it came up
    known = known.settled([old, new]).settled([old, new])
    assert known.joined == {old}
    old.extend(102)
    known = known.settled([old, new]).settled([old, new])
    assert known.joined == {old, new}


def test_after_a_break_only_a_trade_or_rest_joins_a_quiet_symbol_again() -> None:
    new = Voucher(since_ms=5_000)
    new.extend(5_001)
    known = Known(until_ms=100).settled([new])
    assert known == Known(100)
    assert not known.shown([new], until_ms=4_999).joined
    known = known.shown([new], until_ms=5_000).settled([new])
    assert known.until_ms == 5_001


def test_while_rows_wait_behind_a_jump_nothing_newer_is_known() -> None:
    voucher = Voucher(0)
    known = Known(until_ms=100).joined_by(voucher)
    voucher.extend(200)
    assert known.settled([voucher], waiting=True).until_ms == 100


def test_what_rest_shows_is_known_without_any_connections_word() -> None:
    known = Known(until_ms=100).reached(4_900)
    assert known == Known(4_900)
    assert known.reached(4_800) == known


def test_asking_what_is_known_by_now_changes_nothing() -> None:
    voucher = Voucher(0)
    voucher.extend(50)
    known = Known(until_ms=100)
    voucher.extend(200)
    assert known.settled([voucher]) == Known(200, frozenset([voucher]))
    assert known == Known(100)


def doubted(one: Voucher, other: Voucher) -> Known:
    """Both vouched up to 500 when REST showed a trade of 300."""
    known = Known().joined_by(one).joined_by(other)
    one.extend(500)
    other.extend(500)
    return known.settled([one, other]).in_doubt(300)


def test_a_doubted_symbol_is_known_by_connections_that_bring_a_trade_of_it_alone() -> None:
    """Their other symbols' trades prove nothing, REST's silence joins nobody."""
    one, other = Voucher(0), Voucher(0)
    known = doubted(one, other)
    assert known == Known(300, doubted=True)
    one.extend(600)
    known = known.settled([one, other]).shown([one, other], until_ms=400).reached(550)
    known = known.settled([one, other])
    assert known == Known(550, doubted=True)
    known = known.joined_by(one).settled([one, other])
    assert known == Known(600, frozenset([one]), doubted=True)


def test_whoever_takes_over_a_doubted_symbol_is_doubted_too() -> None:
    """A replacement, or a connection that lost something: their streams may be as mute."""
    one, other, new = Voucher(0), Voucher(0), Voucher(250)
    known = doubted(one, other)
    new.extend(260)
    known = known.without(one).without(other).settled([new]).shown([new], until_ms=400).settled([new])
    assert known == Known(300, doubted=True)
    assert known.settled([]).doubted


def test_the_doubt_ends_once_every_connection_has_brought_a_trade() -> None:
    one, other, new = Voucher(0), Voucher(0), Voucher(0)
    new.extend(400)
    known = doubted(one, other).joined_by(one).settled([one, other])
    assert known.doubted
    known = known.joined_by(other).settled([one, other])
    assert not known.doubted
    assert known.settled([one, other, new]).joined == {one, other, new}


@given(st.integers(0, 2**32))
def test_nothing_is_ever_known_beyond_an_event_that_nobody_saw(seed: int) -> None:
    """Two connections come and go at random over a market of events 0, 1, 2, ...; a quiet symbol, none of
    whose trades come, is never known beyond the first event that passed while no connection was up."""
    rng = random.Random(seed)
    first = Voucher(0)
    up: list[Voucher | None] = [first, None]
    known = Known().joined_by(first)
    first_unseen: int | None = None
    for event in range(200):
        for at in (0, 1):
            if rng.random() < 0.15:
                here = up[at]
                if here is not None:
                    known = known.settled([each for each in up if each]).without(here)
                up[at] = None if here else Voucher(event)
        for voucher in up:
            if voucher is not None:
                voucher.extend(event)
        if not any(up) and first_unseen is None:
            first_unseen = event
        known = known.settled([each for each in up if each])
        if first_unseen is not None and known.until_ms is not None:
            assert known.until_ms < first_unseen


@given(st.integers(0, 2**32))
def test_a_symbol_that_is_mute_everywhere_is_known_no_further_than_rest_says_once_rest_has_shown_it(
    seed: int,
) -> None:
    """Connections come and go over events of other symbols; none ever brings a trade of this one, which REST
    shows now and then, or confirms its silence."""
    rng = random.Random(seed)
    up = [Voucher(0), Voucher(0)]
    known, by_rest = Known().joined_by(up[0]), -1
    for event in range(200):
        if rng.random() < 0.1:
            gone = up.pop(rng.randrange(len(up)))
            known = known.settled([*up, gone]).without(gone)
            up.append(Voucher(event))
        for voucher in up:
            voucher.extend(event)
        chance = rng.random()
        if chance < 0.05:
            by_rest = event
            known = known.in_doubt(event).reached(event)
        elif chance < 0.1 and by_rest >= 0:
            by_rest = event
            known = known.shown(up, event).reached(event)
        known = known.settled(up)
        if by_rest >= 0:
            assert known.until_ms == by_rest
