"""The soak: faults of every kind by chance on links, REST, the process and its disk, for as long as asked.

At the end the ledger is compared with the exchange's. Exit status 1 when a trade is missing, doubled or other
than it was printed, or when a recorder that was running broke a rule of the exchange's.
Usage: python -m tests.soak.run [--minutes 10] [--seed 1]
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from collectors.exchange.faults import Hole, Invalid
from storage.ledger import TradeLedger
from storage.trades import IntArray
from tests.levers import Levers, head, held, missing, until, until_written
from tests.processes import exchange
from tests.soak.faults import (
    DiskRefuses,
    Due,
    Happening,
    Kill,
    Stop,
    happenings,
    is_alone,
    lasts_s,
    name_of,
    placed,
)
from tests.soak.recorder import Recorder, disk
from tests.storage.soundness import assert_sound

WHOLE = (0, 2**45)
# All six symbols: 250 to 440 trades a second by the hour of the day, 5,000 in a burst of BTCUSDT.
RATE = 10
COMPLETE_S = 180.0
# A gap is known of some seconds after what it lacks was printed.
CALM_S = 6.0
MOST_NAMED = 20
SHORTLY_MS = 10_000
# A process that stood still has so long to take what has queued meanwhile.
CATCHES_UP_MS = 1_000


@dataclass(frozen=True, slots=True)
class Span:
    """What a ledger must hold of a symbol: all ids from `since` to `head`, both inclusive, holes aside."""

    since: int
    head: int

    def lost_outside(self, ids: IntArray, holes: Iterable[int]) -> list[int]:
        """Those before the first one held or after the last one; all of them where none is held."""
        first, last = (int(ids[0]), int(ids[-1])) if len(ids) else (self.head + 1, self.head)
        return sorted({*range(self.since, first), *range(last + 1, self.head + 1)}.difference(holes))


@dataclass(slots=True)
class Found:
    """What a soak came to; the trades that are wrong as `BTCUSDT 4711`.

    `injected` is what was put in by kind, `faults` how often each touched something.
    """

    seed: int
    injected: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    trades: int = 0
    missing: list[str] = field(default_factory=list)
    doubled: int = 0
    extra: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    most_mb: float = 0.0
    lives: int = 0
    # What the exchange had to punish, and when; what happened when, and from when to when the process stood
    # still (UTC ms).
    broken: list[tuple[int, str]] = field(default_factory=list)
    happened: list[tuple[int, str]] = field(default_factory=list)
    stood_still: list[tuple[int, int]] = field(default_factory=list)
    # Ids that were printed, in a burst, before the exchange heard that they were to be a hole or invalid.
    changed_late: set[tuple[str, int]] = field(default_factory=set)
    is_on_small_disk: bool = False

    @property
    def is_sound(self) -> bool:
        is_wrong = self.missing or self.doubled or self.extra or self.other or self.self_inflicted
        return self.trades > 0 and not is_wrong

    @property
    def self_inflicted(self) -> list[tuple[int, str]]:
        """The rules broken while it ran; what stands still reads nothing."""
        return [
            (at_ms, breach)
            for at_ms, breach in self.broken
            if not any(since_ms <= at_ms <= until_ms for since_ms, until_ms in self.stood_still)
        ]


def soak(seconds: float, seed: int, directory: Path, *, count: int | None = None) -> Found:
    """For so long, or with so many happenings, whichever comes first."""
    with (
        disk(directory) as path,
        exchange(f"--rate={RATE}", f"--seed={seed}", "--control-port=0") as urls,
        Levers(urls) as levers,
    ):
        recorder, symbols = Recorder(urls, path), urls["symbols"]
        recorder.begin()
        found = Found(seed, is_on_small_disk=recorder.is_on_small_disk)
        since = begun(levers, recorder, symbols)
        befall(seconds, islice(happenings(seed, symbols), count), levers, recorder, found)
        levers.clear()
        report = levers.report()
        found.faults.update({name: n for name, n in report["faults_hit"].items() if n})
        heads = settle(levers, recorder, symbols)
        recorder.end()
        for symbol in symbols:
            compare(levers, symbol, Span(since[symbol], heads[symbol]), path / "ledger", found)
        assert_sound(path / "ledger")
        found.broken += [(each["at_ms"], each["breach"]) for each in levers.report()["self_inflicted"]]
    found.told, found.most_mb, found.lives = recorder.told, recorder.most_mb, recorder.lives
    return found


def begun(levers: Levers, recorder: Recorder, symbols: Sequence[str]) -> Mapping[str, int]:
    """The id of each symbol from which on everything must be held; one at most as new is on the disk."""
    until(lambda: all(held(recorder.url, symbol) for symbol in symbols))
    since = {symbol: levers.printed(symbol) for symbol in symbols}
    until_written(recorder.url)
    return since


def befall(seconds: float, coming: Iterable[Due], levers: Levers, recorder: Recorder, found: Found) -> None:
    """Let things happen for so long."""
    ends_s, quiet_at_s = time.monotonic() + seconds, 0.0
    for due in coming:
        wait_s = due.wait_s
        if is_alone(due.happening):
            wait_s = max(wait_s, quiet_at_s - time.monotonic())
        if time.monotonic() + wait_s > ends_s:
            return
        time.sleep(wait_s)
        recorder.look()
        found.happened.append((time.time_ns() // 1_000_000, name_of(due.happening)))
        happen(due, levers, recorder, found)
        found.injected[name_of(due.happening)] += 1
        quiet_at_s = max(quiet_at_s, time.monotonic() + lasts_s(due.happening))
        if is_alone(due.happening):
            time.sleep(lasts_s(due.happening))


def happen(due: Due, levers: Levers, recorder: Recorder, found: Found) -> None:
    happening: Happening = due.happening
    match happening:
        case Kill():
            recorder.kill()
            recorder.begin()
        case Stop(seconds=seconds):
            since_ms = time.time_ns() // 1_000_000
            recorder.stop_for(seconds)
            found.stood_still.append((since_ms, time.time_ns() // 1_000_000 + CATCHES_UP_MS))
        case DiskRefuses(seconds=seconds):
            recorder.refuse_disk_for(seconds)
        case _:
            links = [link["number"] for link in levers.report()["links"] if link["ending"] is None]
            fault = placed(happening, links, due.side, levers.printed)
            levers.inject(fault)
            if isinstance(fault, Hole | Invalid):
                found.changed_late |= _printed_of(fault, levers)
            return
    found.faults[name_of(happening)] += 1


def _printed_of(fault: Hole | Invalid, levers: Levers) -> set[tuple[str, int]]:
    """The ids of the fault that have been printed already."""
    first_id, last_id = fault.first_id or 0, fault.last_id or 0
    return {
        (symbol, i)
        for symbol in fault.symbols
        for i in range(first_id, min(last_id, levers.printed(symbol)) + 1)
    }


def settle(levers: Levers, recorder: Recorder, symbols: Sequence[str]) -> Mapping[str, int]:
    """Until what was printed by now is held, holes aside, and stays so; or for as long as that may take.

    The newest id of each symbol that was printed by now.
    """
    holes = {symbol: len(levers.holes(symbol)) for symbol in symbols}
    heads = {symbol: levers.printed(symbol) for symbol in symbols}
    ends_s = time.monotonic() + COMPLETE_S
    for symbol in symbols:
        levers.printed(symbol, heads[symbol] + 1)
    calm_from_s = time.monotonic()
    while time.monotonic() < min(calm_from_s + CALM_S, ends_s):
        recorder.look()
        if any(
            missing(recorder.url, symbol) > holes[symbol] or head(recorder.url, symbol) < heads[symbol]
            for symbol in symbols
        ):
            calm_from_s = time.monotonic()
        time.sleep(0.5)
    return heads


def compare(levers: Levers, symbol: str, span: Span, path: Path, found: Found) -> None:
    """What the closed ledger lacks of the span, or has too much or otherwise."""
    with TradeLedger.open(path, create=False) as ledger:
        rows = ledger.trades(symbol, *WHOLE).by_id()
    found.trades += len(rows)
    found.doubled += len(rows) - len(set(rows.id.tolist()))
    told = levers.difference(symbol, rows)
    # What was printed later may be in a gap that the next start closes.
    lost = [i for i in told["missing"] if i <= span.head]
    lost += span.lost_outside(rows.id, levers.holes(symbol))
    found.missing += [f"{symbol} {i}" for i in sorted(lost)]
    for kind, wrong in (("extra", found.extra), ("other", found.other)):
        wrong += [f"{symbol} {i}" for i in told[kind] if (symbol, i) not in found.changed_late]


def print_report(found: Found) -> None:
    kinds: list[tuple[str, Any]] = sorted(found.faults.items())
    disk = "a small tmpfs that was filled" if found.is_on_small_disk else "a limit of its files' size"
    print("faults:", ", ".join(f"{name} {count}" for name, count in kinds))
    print("the recorder said:", ", ".join(f"{words} {count}" for words, count in sorted(found.told.items())))
    paused = len(found.broken) - len(found.self_inflicted)
    print(
        "broken rules:", f"none ({paused} while the process was stopped)" if not found.self_inflicted else ""
    )
    for at_ms, breach in found.self_inflicted:
        before = [f"{name} {at_ms - ms} ms" for ms, name in found.happened if 0 <= at_ms - ms < SHORTLY_MS]
        print(f"  {breach}, after {', '.join(before)}")
    print(f"the disk refused by {disk}; {found.lives} lives, peak memory (RssAnon) {found.most_mb:.0f} MB")
    print(
        f"seed {found.seed}: {found.trades:,} trades, {len(found.missing)} missing, {found.doubled} doubled, "
        f"{len(found.extra)} too much, {len(found.other)} other than printed"
    )
    for kind, wrong in (("missing", found.missing), ("too much", found.extra), ("other", found.other)):
        if wrong:
            print(f"{kind}: {', '.join(wrong[:MOST_NAMED])}{' ...' if len(wrong) > MOST_NAMED else ''}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tapedeck-soak-") as directory:
        found = soak(given.minutes * 60, given.seed, Path(directory))
    print_report(found)
    return 0 if found.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
