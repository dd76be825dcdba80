"""The symbols that are recorded, and the connections that bring them.

Invariant: from `add` to `remove` a connection is with every recorded symbol that it is to bring; a symbol
that is dropped is nowhere any more. Threads may ask, and change nothing.
"""

from collections.abc import Iterable, Iterator

from collectors.clock import Clock
from collectors.continuity import Voucher
from collectors.figures import SymbolFigures
from collectors.links import Connection
from collectors.recording import Recording
from collectors.sequencer import Sequencer
from collectors.watch import Watch
from storage.held_ids import latest
from storage.ledger import TradeLedger


class Recordings:
    """Of `symbols`, each of which goes on from the newest id that the ledger holds."""

    def __init__(self, symbols: Iterable[str], ledger: TradeLedger, watch: Watch, clock: Clock) -> None:
        self._watch = watch
        self._clock = clock
        self._recordings: dict[str, Recording] = {}
        for symbol in symbols:
            newest = latest(ledger.runs(symbol))
            sequencer = Sequencer() if newest is None else Sequencer(newest.last_id, newest.last_ms)
            self._recordings[symbol] = Recording(symbol, sequencer, watch, clock)
        self.connections: list[Connection] = []

    @property
    def symbols(self) -> list[str]:
        return list(self._recordings)

    def __iter__(self) -> Iterator[Recording]:
        return iter(list(self._recordings.values()))

    def get(self, symbol: str) -> Recording | None:
        """The symbol's recording; None where it is not recorded."""
        return self._recordings.get(symbol)

    def of(self, symbol: str) -> Recording:
        """The symbol's recording; one without any connection where it is not recorded."""
        recording = self._recordings.get(symbol)
        return Recording(symbol, Sequencer(), self._watch, self._clock) if recording is None else recording

    def figures(self) -> tuple[SymbolFigures, ...]:
        return tuple(recording.figures() for recording in self)

    def drop(self, symbol: str) -> None:
        """The symbol is recorded no more."""
        self._recordings.pop(symbol, None)
        self._watch.drop(symbol)

    # Connections

    def add(self, connection: Connection) -> None:
        """It is up."""
        self.connections.append(connection)
        for recording in self._brought_by(connection):
            recording.connections.append(connection)

    def remove(self, connection: Connection) -> None:
        """It is over, and all that it brought is taken in."""
        self.connections.remove(connection)
        for recording in self._brought_by(connection):
            recording.part_from(connection.voucher)
            recording.connections.remove(connection)

    def tear(self, connection: Connection) -> None:
        """Something that it brought is lost: it vouches for what comes from now on."""
        torn, connection.voucher = connection.voucher, Voucher(self._clock.steady_ms())
        for recording in self._brought_by(connection):
            recording.part_from(torn)

    def _brought_by(self, connection: Connection) -> list[Recording]:
        found = map(self._recordings.get, connection.symbols)
        return [recording for recording in found if recording is not None]
