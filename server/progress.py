"""How far a command has come, as a bar on standard error where that is a terminal."""

from datetime import date
from typing import Self

from collectors.history import Progress as Listener
from server.ledger_commands import bar_on_terminal


class Bars(Listener):
    """Progress on a terminal, on standard error; nothing elsewhere."""

    def __init__(self, symbol: str) -> None:
        self._bar = bar_on_terminal()
        self._symbol = symbol
        self._task = self._bar.add_task(symbol, total=None)
        self._day: date | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, day: date) -> None:
        self._day = day
        self._bar.reset(self._task, description=f"{self._symbol} {day}", total=None)

    def received(self, done: int, total: int | None) -> None:
        self._show("downloading", done, total)

    def fetched(self, done: int, total: int) -> None:
        self._show("fetching over REST", done, total)

    def put(self, done: int, total: int) -> None:
        self._show("storing", done, total)

    def _show(self, what: str, done: int, total: int | None) -> None:
        self._bar.update(
            self._task, description=f"{self._symbol} {self._day} {what}", completed=done, total=total
        )
