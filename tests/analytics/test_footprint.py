"""The footprint, its imbalances, stacks and absorptions, beside a slow count."""

from decimal import Decimal

import numpy as np
import pytest

from analytics.bars import default_width_ms
from analytics.errors import NoTrades, OptionInvalid
from analytics.footprint import Footprint, footprint
from analytics.imbalances import absorptions, imbalances, stacks
from storage.candles import MinuteCandles
from storage.trades import TradeColumns
from tests.analytics import flow_oracle as oracle
from tests.analytics.flow_oracle import HOUR_MS, MINUTE_MS, Row
from tests.analytics.tapes import START_MS, FlowTape, flow_tape


def made(tape: FlowTape, width_ms: int | None = None) -> Footprint:
    return footprint(
        tape.chunks,
        tape.candles,
        tape.price_rows,
        width_ms=width_ms or default_width_ms(tape.end_ms - tape.start_ms),
        start_ms=tape.start_ms,
        end_ms=tape.end_ms,
    )


def test_cells_equal_a_slow_count(seed: int) -> None:
    tape = flow_tape(seed)
    found = made(tape)
    expected = oracle.footprint(tape.rows, found.rows.row_size, found.width_ms)

    bars, rows = np.nonzero(found.volume)
    cells = {
        (found.first_bar + bar, found.rows.first + row): (
            found.rows.quantity(int(found.buy[bar, row])),
            found.rows.quantity(int(found.sell[bar, row])),
        )
        for bar, row in zip(bars.tolist(), rows.tolist(), strict=True)
    }
    assert cells == expected


@pytest.mark.parametrize("ratio", ["3", "1.5"])
def test_imbalances_and_stacks_equal_a_slow_search(seed: int, ratio: str) -> None:
    tape = flow_tape(seed)
    found = made(tape)
    cells = oracle.footprint(tape.rows, found.rows.row_size, found.width_ms)
    expected = oracle.imbalances(cells, Decimal(ratio))

    marked = imbalances(found, ratio=Decimal(ratio))

    at = {
        (found.first_bar + bar, found.rows.first + row, side, zero)
        for side, mask in (("buy", marked.buy), ("sell", marked.sell))
        for bar, row in np.argwhere(mask).tolist()
        for zero in [opposite_is_empty(found, bar, row, side)]
    }
    assert at == expected
    assert marked.vs_zero.sum() == len({(bar, row) for bar, row, _, zero in expected if zero})
    listed = stacks(found, marked, tape.candles)
    assert {
        (
            stack.bar_ms // found.width_ms,
            stack.side,
            found.rows.first + stack.first,
            found.rows.first + stack.last,
        )
        for stack in listed
    } == oracle.stacks(expected)
    for stack in listed:
        assert (stack.low, stack.high) == (found.rows.low(stack.first), found.rows.high(stack.last))
        since_ms = stack.bar_ms + found.width_ms
        assert (stack.returned, stack.returned_ms) == oracle.returned(
            tape.rows, stack.low, stack.high, since_ms
        )
        inside = [
            cells.get((stack.bar_ms // found.width_ms, found.rows.first + row))
            for row in range(stack.first, stack.last + 1)
        ]
        assert stack.volume == oracle.total(cell[stack.side == "sell"] for cell in inside if cell)


def opposite_is_empty(found: Footprint, bar: int, row: int, side: str) -> bool:
    cells = found.sell[bar, row - 1] if side == "buy" else found.buy[bar, row + 1]
    return int(cells) == 0


def test_absorptions_equal_a_slow_search(seed: int) -> None:
    tape = flow_tape(seed)
    found = made(tape)
    limit, heavy, expected = oracle.absorptions(tape.rows, found.rows.row_size, found.width_ms, tape.end_ms)
    cells = oracle.footprint(tape.rows, found.rows.row_size, found.width_ms)

    judged = absorptions(found)

    assert (judged.limit, judged.heavy) == (limit, heavy)
    assert {
        (one.bar_ms // found.width_ms, int(one.low / found.rows.row_size), one.side)
        for one in judged.absorbed
    } == expected
    for one in judged.absorbed:
        buy, sell = cells[one.bar_ms // found.width_ms, int(one.low / found.rows.row_size)]
        assert (one.volume, one.delta) == (sell if one.side == "sell" else buy, buy - sell)
    volumes = [one.volume for one in judged.absorbed]
    assert volumes == sorted(volumes, reverse=True)


def stacked_tape(*later: str) -> FlowTape:
    """A minute that buys three rows up against nothing, then a print a minute."""
    bar = [Row(i, START_MS + i, Decimal(100 + i), Decimal(5 if i else 1), i == 0) for i in range(4)]
    after = [
        Row(10 + i, START_MS + (1 + i) * MINUTE_MS, Decimal(price), Decimal(1), False)
        for i, price in enumerate(later)
    ]
    rows = [*bar, *after]
    return FlowTape(rows, START_MS, START_MS + (1 + len(later)) * MINUTE_MS, tick=Decimal(1), lot=Decimal(1))


@pytest.mark.parametrize(
    ("later", "outcome"),
    [
        (("105", "102", "99"), ("came_back", START_MS + 2 * MINUTE_MS)),
        (("105", "99"), ("went_away", None)),
        (("102", "101"), ("still_there", None)),
        (("102", "105", "103"), ("came_back", START_MS + 3 * MINUTE_MS)),
    ],
)
def test_a_stack_says_whether_price_came_back(
    later: tuple[str, ...], outcome: tuple[str, int | None]
) -> None:
    tape = stacked_tape(*later)
    found = made(tape, MINUTE_MS)
    (stack,) = stacks(found, imbalances(found), tape.candles)
    assert (stack.side, stack.low, stack.high) == ("buy", Decimal(101), Decimal(103))
    assert (stack.returned, stack.returned_ms) == outcome


def test_too_many_bars_are_refused_with_a_width_that_fits() -> None:
    tape = FlowTape(flow_tape(0).rows, START_MS, START_MS + 100 * 3_600_000)
    with pytest.raises(OptionInvalid) as refused:
        made(tape, MINUTE_MS)
    assert refused.value.default == "15m"
    with pytest.raises(OptionInvalid):
        made(tape, 1_000)


def test_no_trade_makes_no_footprint() -> None:
    tape = flow_tape(0)
    nothing = MinuteCandles.of(TradeColumns.empty())
    with pytest.raises(NoTrades):
        footprint([], nothing, tape.price_rows, width_ms=MINUTE_MS, start_ms=0, end_ms=MINUTE_MS)


def test_volumes_near_64_bits_keep_their_ratio() -> None:
    rows = [
        Row(1, START_MS, Decimal(100), Decimal(3 * 10**18), True),
        Row(2, START_MS + 1, Decimal(101), Decimal(5 * 10**18), False),
    ]
    trades = TradeColumns(
        id=np.array([1, 2]),
        time_ms=np.array([START_MS, START_MS + 1]),
        price_int=np.array([100, 101]),
        quantity_int=np.array([int(row.quantity) for row in rows]),
        first_id=np.array([1, 2]),
        last_id=np.array([1, 2]),
        buyer_is_maker=np.array([True, False]),
        price_exp=0,
        quantity_exp=0,
    )
    small = FlowTape(
        [Row(r.id, r.time_ms, r.price, Decimal(1), r.sold) for r in rows],
        START_MS,
        START_MS + 60_000,
        Decimal(1),
        Decimal(1),
    )
    found = footprint(
        [trades],
        MinuteCandles.of(trades),
        small.price_rows,
        width_ms=MINUTE_MS,
        start_ms=small.start_ms,
        end_ms=small.end_ms,
    )
    assert imbalances(found, ratio=Decimal("1.5")).buy.sum() == 1
    assert imbalances(found, ratio=Decimal(3)).buy.sum() == 0


def test_parts_of_a_lot_count_although_together_they_are_whole_ones() -> None:
    """Of a time when the lot was finer: at one price, in two bars."""
    rows = [Row(i, START_MS + i * HOUR_MS, Decimal(100), Decimal("0.0005"), i > 0) for i in range(2)]
    found = made(FlowTape(rows, START_MS, START_MS + 2 * HOUR_MS))
    assert found.rows.quantity(int(found.buy.sum())) == found.rows.quantity(int(found.sell.sum()))
    assert found.rows.quantity(int(found.volume.sum())) == Decimal("0.001")
