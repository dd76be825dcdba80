"""A status as one screen that a person reads at a glance.

Invariant: 80 columns hold it; colours only repeat what the words say.
"""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from server.status_parts import LinkStatus, Status, SymbolStatus

# A symbol that is later than this looks late, and later than that is not up to date.
LATE_S, OUTDATED_S = 5, 30
BAR = 20
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def screen(status: Status, url: str) -> Group:
    """All of it."""
    parts: list[RenderableType] = [_head(status, url), Text(), _symbols(status.symbols)]
    warming = [symbol for symbol in status.symbols if symbol.warm_up is not None and symbol.warm_up.missing]
    if warming:
        parts += [Text(), _warm_ups(warming)]
    return Group(*parts, Text(), _process(status), *_reasons(status))


def _head(status: Status, url: str) -> Text:
    ready = Text("ready", "bold green") if status.ready else Text("not ready", "bold red")
    market = f" {status.market}," if status.market else ""
    up = f"{market} up {duration(status.uptime_s)}, {url}"
    return Text.assemble((f"tapedeck {status.version}", "bold"), " ", ready, ",", up)


def _symbols(symbols: Sequence[SymbolStatus]) -> RenderableType:
    if not symbols:
        return Text("no symbol yet")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("symbol", no_wrap=True)
    for name in ("trades/s", "lag", "held", "since", "complete", "missing", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    for symbol in symbols:
        table.add_row(*_cells(symbol))
    return table


def _cells(symbol: SymbolStatus) -> tuple[Text, ...]:
    missing = f"{short(symbol.missing)} in {short(symbol.gaps)}" if symbol.missing else "0"
    return (
        Text(symbol.symbol),
        Text(f"{symbol.trades_per_s:,.3g}" if symbol.recording else "-"),
        _lag(symbol),
        Text(duration(symbol.held_s)),
        Text("" if symbol.first is None else symbol.first[5:16].replace("T", " ")),
        Text(f"{symbol.covered_pct:.4g} %", "" if symbol.complete else "yellow"),
        Text(missing, "yellow" if symbol.missing else ""),
        Text(decimal(symbol.bytes)),
    )


def _lag(symbol: SymbolStatus) -> Text:
    if symbol.lag_s is None:
        return Text("no link" if symbol.recording else "ended", "red" if symbol.recording else "dim")
    style = "red" if symbol.lag_s > OUTDATED_S else "yellow" if symbol.lag_s > LATE_S else "green"
    return Text(f"{symbol.lag_s:.1f} s" if symbol.lag_s < 60 else duration(int(symbol.lag_s)), style)


def _warm_ups(symbols: Sequence[SymbolStatus]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for symbol in symbols:
        warm_up = symbol.warm_up
        assert warm_up is not None
        whole = warm_up.fetched + warm_up.missing
        left = "" if warm_up.ready_in_s is None else f", {duration(warm_up.ready_in_s)} left"
        words = f"{short(warm_up.fetched)} of {short(whole)}, {short(int(warm_up.per_s))}/s{left}"
        bar = ProgressBar(total=whole, completed=warm_up.fetched, width=BAR)
        table.add_row(
            f"{symbol.symbol} history", bar, Text(f"{100 * warm_up.fetched // whole} %"), Text(words)
        )
    return table


def _process(status: Status) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    for name, words in _lines(status):
        table.add_row(name, words)
    return table


def _lines(status: Status) -> Iterator[tuple[str, RenderableType]]:
    up = len(status.links)
    style = "red" if not up else "yellow" if up < status.links_wanted else ""
    hosts = "; ".join(_hosts(status.links))
    yield "links", Text.assemble((f"{up} of {status.links_wanted} up", style), f": {hosts}" if hosts else "")
    sse, http = status.sessions.get("sse", 0), status.sessions.get("http", 0)
    calls = _calls(status.calls_under_way)
    yield "sessions", Text(f"{sse} over SSE, {http} over Streamable HTTP; {calls}")
    if status.memory.private is not None and status.memory.resident is not None:
        whole = decimal(status.memory.resident)
        yield "memory", Text(f"{decimal(status.memory.private)} private, {whole} with mapped files")
    share = status.cpu_s / max(status.uptime_s, 1)
    yield "processor", Text(f"{share:.1%} of one core since the start")
    disk = status.disk
    yield "disk", Text(f"{decimal(disk.ledger)} ledger, {decimal(disk.free)} of {decimal(disk.total)} free")
    if status.clock_offset_ms is not None:
        yield "clock", Text(_clock(status.clock_offset_ms))
    yield "ledger", Text(status.data_dir, overflow="fold")


def _hosts(links: Sequence[LinkStatus]) -> Iterator[str]:
    """Each host with its worst lag."""
    for host in dict.fromkeys(link.host for link in links):
        of_host = [link for link in links if link.host == host]
        lags = [link.lag_s for link in of_host if link.lag_s is not None]
        count = f"{len(of_host)} × " if len(of_host) > 1 else ""
        yield f"{count}{host}{f', {max(lags):.1f} s behind' if lags else ''}"


def _calls(count: int) -> str:
    return f"{count} {'call' if count == 1 else 'calls'} under way"


def _clock(offset_ms: int) -> str:
    side = "ahead of" if offset_ms < 0 else "behind"
    return f"{abs(offset_ms):,} ms {side} the exchange's" if offset_ms else "that of the exchange"


def _reasons(status: Status) -> Iterator[RenderableType]:
    found = [("", reason) for reason in status.reasons]
    found += [(f"{symbol.symbol} ", reason) for symbol in status.symbols for reason in symbol.reasons]
    if found:
        yield Text()
    for whose, reason in found:
        yield Text.assemble((f"{whose}{reason.code}", "bold red"), f": {reason.detail}")


def duration(seconds: int) -> str:
    """In its two largest units."""
    for size, unit in UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 100 * size else f"{seconds // size:,} {unit}"
    return f"{max(seconds, 0)} s"


def short(count: int) -> str:
    """To three digits from 100,000 on."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= max(size, 10**5):
            return f"{count / size:.3g}{unit}"
    return f"{count:,}"
