"""Replacing a connection before it ends: when, and whether its successor may stand alone.

Invariant: the old connection is let go of only when nothing that it could still bring is missing. No I/O and
no clock.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Protocol


class Span(Protocol):
    """The ids that a connection brought of a symbol."""

    @property
    def first_id(self) -> int: ...
    @property
    def newest_id(self) -> int: ...


def planned_end(earliest_ms: int, latest_ms: int, others: Collection[int]) -> int:
    """The moment in between that is farthest from the other connections' ends; of equals the later one."""
    between = [(sooner + later) // 2 for sooner, later in pairwise(sorted(others))]
    candidates = [earliest_ms, latest_ms, *(at for at in between if earliest_ms < at < latest_ms)]
    return max(candidates, key=lambda at: (min((abs(at - end) for end in others), default=0), at))


def is_proven(
    old: Mapping[str, Span], successor: Mapping[str, Span], active: Collection[str], held: Collection[str]
) -> bool:
    """Whether the successor has delivered each symbol of which anybody delivered since it came up (`active`),
    without a hole before its first id: the id before that one is held (`held`), or the old one is past it."""
    return bool(active) and all(
        symbol in successor and (symbol in held or _is_past(old.get(symbol), successor[symbol].first_id))
        for symbol in active
    )


def _is_past(old: Span | None, first_id: int) -> bool:
    return old is not None and old.newest_id >= first_id


def shards(symbols: Sequence[str], names: Sequence[str], most: int, most_bytes: int) -> list[list[str]]:
    """The symbols in as few groups as possible, in order: at most `most` in one, and at most `most_bytes` of
    their stream names with a separator each."""
    groups: list[list[str]] = []
    size = most_bytes
    for symbol, name in zip(symbols, names, strict=True):
        length = len(name) + 1
        if not groups or len(groups[-1]) == most or size + length > most_bytes:
            groups.append([])
            size = 0
        groups[-1].append(symbol)
        size += length
    return groups
