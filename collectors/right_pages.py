"""Whether a page of REST is the answer to what was asked: rows name neither their symbol nor the question.

Invariant: what a page changes for good it changes only once REST has said the same of most rows in answer to
another question, one that no repeated page can answer; else it contradicts itself. Of most, since an id may
have been given twice, or be told anew between two answers.
"""

from collectors.rest import BinanceRest, RestContradicts
from storage.difference import difference
from storage.trades import TradeColumns

# Times of trades ascend, as far as anybody has seen.
SLACK_MS = 1_000


async def first_id_since(rest: BinanceRest, symbol: str, start_ms: int) -> int | None:
    """The id of the first trade at or after a time, proven by the one before it, which is older, or by there
    being none; None where nothing was traded since. Raises as `BinanceRest` does."""
    rows = (await rest.trades_from_time(symbol, start_ms)).by_id()
    if not len(rows):
        return None
    first_id = int(rows.id[0])
    around = (await rest.trades_from_id(symbol, max(0, first_id - 1))).by_id()
    _check_same(rest, rows, around)
    before = around.take(around.id < first_id)
    if (before.time_ms >= start_ms + SLACK_MS).any():
        raise RestContradicts(f"{rest.base_url}: id {first_id} is not the first one since {start_ms}")
    if not len(before):
        await check_right(rest, symbol, rows)
    return first_id


async def check_right(rest: BinanceRest, symbol: str, rows: TradeColumns) -> None:
    """Raises `RestContradicts` where REST has other rows than these, which are in id order, from the second
    one on; one row alone proves nothing, and passes."""
    if len(rows) > 1:
        again = await rest.trades_from_id(symbol, int(rows.id[0]) + 1)
        if not len(again):  # by a server that lags behind the one before: the two may take turns
            again = await rest.trades_from_id(symbol, int(rows.id[0]) + 1)
        _check_same(rest, rows, again.by_id())


def _check_same(rest: BinanceRest, rows: TradeColumns, others: TradeColumns) -> None:
    compared = difference(rows, others)
    if compared.same <= len(compared.left):
        raise RestContradicts(
            f"{rest.base_url}: a page from id {int(rows.id[0])} on that is not what was asked for"
        )
