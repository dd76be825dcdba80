"""The ring between a socket and the parser, and the address of a connection."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from collectors.links import Ring, stream_path

TEXTS = [b"a", b"b", b"c", b"d", b"e"]


def filled(ring: Ring) -> Ring:
    for at, text in enumerate(TEXTS):
        ring.put(text, at)
    return ring


def test_a_full_ring_gives_up_the_oldest_and_counts_them_once() -> None:
    ring = filled(Ring(asyncio.Event(), 3, 100))
    assert ring.take_dropped() == 2
    assert ring.take_dropped() == 0
    assert ring.take(2) == ([b"c", b"d"], 3)
    assert ring.take(9) == ([b"e"], 4)
    assert ring.take(9) == ([], None)


@given(st.lists(st.integers(0, 40)), st.integers(40, 100))
def test_a_ring_never_holds_more_bytes_than_it_may(sizes: list[int], most: int) -> None:
    ring = Ring(asyncio.Event(), 1_000, most)
    for at, size in enumerate(sizes):
        ring.put(b"x" * size, at)
        assert ring.bytes <= most
    dropped, (texts, _) = ring.take_dropped(), ring.take(len(sizes))
    assert dropped + len(texts) == len(sizes)
    assert [len(text) for text in texts] == sizes[dropped:]
    assert ring.bytes == 0


def test_a_ring_tells_that_there_is_something_to_take() -> None:
    event = asyncio.Event()
    filled(Ring(event, 9, 9))
    assert event.is_set()


def test_symbols_are_subscribed_in_lowercase_and_quoted_where_they_are_not_ascii() -> None:
    assert stream_path(["BTCUSDT", "ETHUSDT"]) == "/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade"
    assert stream_path(["币安人生USDT"]).isascii()
