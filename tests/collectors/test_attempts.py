"""When a websocket may be opened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.attempts import FIRST_DELAY_S, LONGEST_DELAY_S, WINDOW_MS, Attempts, Backoff


def test_pauses_grow_to_a_limit_until_they_are_reset() -> None:
    backoff = Backoff()
    pauses = [backoff.next() for _ in range(50)]
    assert all(0 <= pause <= LONGEST_DELAY_S for pause in pauses)
    assert pauses[0] <= FIRST_DELAY_S
    assert max(pauses) > FIRST_DELAY_S
    backoff.reset()
    assert backoff.next() <= FIRST_DELAY_S


@given(st.lists(st.tuples(st.integers(0, 3_000), st.booleans()), min_size=30, max_size=300))
def test_no_window_holds_more_attempts_than_allowed(steps: list[tuple[int, bool]]) -> None:
    """Whoever waits as told never makes more, whatever the haste; replacing makes fewer."""
    attempts, now_ms, made = Attempts(most=10, most_to_replace=4), 0.0, list[float]()
    for step_ms, replacing in steps:
        now_ms = max(now_ms + step_ms, attempts.free_ms("host", int(now_ms) + step_ms, replacing=replacing))
        attempts.made(int(now_ms))
        made.append(now_ms)
        assert sum(at > now_ms - WINDOW_MS for at in made) <= (4 if replacing else 10)


def test_a_host_that_asked_for_silence_gets_it_and_others_are_free() -> None:
    attempts = Attempts()
    attempts.bar("a", 7.5, 1_000)
    attempts.bar("a", 1, 2_000)
    assert attempts.free_ms("a", 3_000) == 8_500
    assert attempts.free_ms("b", 3_000) <= 3_000


@pytest.mark.parametrize("back_ms", [1_000, 86_400_000])
def test_a_clock_that_is_set_back_bars_nobody_for_longer_than_the_window(back_ms: int) -> None:
    attempts, now_ms = Attempts(most=2), 10**12
    for _ in range(2):
        attempts.made(now_ms)
    assert attempts.free_ms("a", now_ms - back_ms) == now_ms - back_ms + WINDOW_MS
