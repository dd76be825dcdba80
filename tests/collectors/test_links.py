"""The ring between a link and the parser, and the pauses between connections."""

from collectors.links import FIRST_DELAY_S, LONGEST_DELAY_S, Backoff, Ring


def test_a_full_ring_gives_up_the_oldest_and_counts_them_once() -> None:
    ring = Ring(size=3)
    for text in "abcde":
        ring.put(text)
    assert ring.take_dropped() == 2
    assert ring.take_dropped() == 0
    assert ring.take(2) == ["c", "d"]
    assert ring.take(9) == ["e"]
    assert ring.take(9) == []


def test_pauses_grow_to_a_limit_and_data_alone_resets_them() -> None:
    backoff = Backoff()
    pauses = [backoff.next() for _ in range(20)]
    assert all(0 <= pause <= LONGEST_DELAY_S for pause in pauses)
    assert pauses[0] <= FIRST_DELAY_S
    assert max(pauses) > FIRST_DELAY_S
    backoff.reset()
    assert backoff.next() <= FIRST_DELAY_S
