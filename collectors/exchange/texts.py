"""Columns to what the exchange sends of them: websocket texts and pages of REST.

Invariant: reading them back gives the same columns.
"""

from typing import Any

import numpy as np

from collectors.binance import decimal_strings
from storage.trades import IntArray, TradeColumns


def agg_trade_events(
    symbol: str, trades: TradeColumns, event_ms: int | IntArray, *, microseconds: bool = False
) -> list[str]:
    """One bare aggTrade payload a row, sent at `event_ms`, one for all or one each; times in µs where the
    link asked for them."""
    scale = 1000 if microseconds else 1
    sent = (np.broadcast_to(event_ms, len(trades)) * scale).tolist()
    rows = zip(sent, _row_texts(trades, scale), strict=True)
    return [f'{{"e":"aggTrade","E":{time},"s":"{symbol}",{row}' for time, row in rows]


def combined(stream: str, payload: str) -> str:
    return f'{{"stream":"{stream}","data":{payload}}}'


def agg_trades_page(trades: TradeColumns, *, microseconds: bool = False) -> bytes:
    """The body of a REST page of these rows."""
    return f"[{','.join('{' + row for row in _row_texts(trades, 1000 if microseconds else 1))}]".encode()


def columns_as_written(trades: TradeColumns, time_scale: int) -> tuple[list[Any], ...]:
    """The fields `a`, `p`, `q`, `f`, `l` and `T` of the rows, as JSON and dumps write them alike."""
    return (
        trades.id.tolist(),
        list(decimal_strings(trades.price_int, trades.price_exp)),
        list(decimal_strings(trades.quantity_int, trades.quantity_exp)),
        trades.first_id.tolist(),
        trades.last_id.tolist(),
        (trades.time_ms * time_scale).tolist(),
    )


def _row_texts(trades: TradeColumns, time_scale: int) -> list[str]:
    """The fields from `a` to `M` and the closing brace, without the opening one."""
    makers = np.where(trades.buyer_is_maker, "true", "false").tolist()
    rows = zip(*columns_as_written(trades, time_scale), makers, strict=True)
    return [
        f'"a":{a},"p":"{p}","q":"{q}","f":{f},"l":{last},"T":{time},"m":{m},"M":true}}'
        for a, p, q, f, last, time, m in rows
    ]
