"""How long the recorder waits for what, in seconds of its clock.

Invariant: a test that lets time run faster changes these, and nothing else.
"""

from dataclasses import dataclass

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The defaults are for the real market.

    `mute_s`: a stream that lacks for so long what others have, without bringing anything, is mute; Binance
    has been seen to deliver everything half a minute late. `least_silence_s`, `most_silence_s`: a symbol's
    silence, twenty times what is usual for it, after which REST is asked; `longest_look_s`: the longest wait
    between two such looks; `look_within_s`: what is silent counts as known for so long without the look that
    is due.
    """

    flush_s: float = 1.0
    # While little comes, texts are gathered for so long, so that numpy has something to do.
    gather_s: float = 0.1
    watch_s: float = 1.0
    mute_s: float = 45.0
    behind_s: float = 120.0
    least_silence_s: float = 5.0
    most_silence_s: float = 900.0
    longest_look_s: float = HOUR_S
    look_within_s: float = 30.0
    # A planned end lies between these ages; the exchange ends connections at 24 h.
    least_life_s: float = 14 * HOUR_S
    most_life_s: float = 22 * HOUR_S
    # So long both run at least: a symbol that trades meanwhile has to come on the successor.
    overlap_s: float = 60.0
    # A connection that ended sooner is followed by a longer pause, whatever it brought.
    lasting_s: float = 10.0
    # Between one attempt to replace a connection and the next.
    replace_delay_s: float = 30.0
    longest_replace_delay_s: float = 900.0


REAL = Timing()
