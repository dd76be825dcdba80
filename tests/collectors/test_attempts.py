"""When a websocket may be opened."""

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
        now_ms = max(now_ms + step_ms, attempts.free_ms(int(now_ms) + step_ms, replacing=replacing))
        attempts.made(int(now_ms))
        made.append(now_ms)
        assert sum(at > now_ms - WINDOW_MS for at in made) <= (4 if replacing else 10)
