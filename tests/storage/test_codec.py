"""The second-batch: golden bytes, and back to the last digit."""

import ormsgpack
import pytest
from hypothesis import given

from storage.codec import by_second, decode_second_batches, encode_second_batch
from storage.errors import CorruptRecord, NewerFormat
from storage.trades import TradeColumns
from tests.tapes import START_MS, Row, columns, rows_of, run_of, tapes

# The worked example of docs/storage-format.md.
EXAMPLE: list[Row] = [
    (3601227001, START_MS + 12, 61837_63 * 10**6, 2_000 * 10**3, 3735683259, 3735683259, True),
    (3601227002, START_MS + 12, 61837_63 * 10**6, 4_827 * 10**3, 3735683260, 3735683263, True),
    (3601227003, START_MS + 700, 61838_00 * 10**6, 51 * 10**3, 3735683264, 3735683264, False),
]


def test_the_worked_example_has_these_bytes() -> None:
    encoded = encode_second_batch(columns(EXAMPLE))
    assert ormsgpack.unpackb(encoded) == [
        *(1, 2, 5, 3601227001, 3735683259, 6183763, START_MS),
        *(0, -2000, 12, 1),
        *(0, -4827, 12, 4),
        *(37, 51, 700, 1),
    ]
    assert encoded.hex() == (
        "dc0013" "01" "02" "05" "ced6a65cf9" "cedeaa00bb" "ce005e5b53" "cf0000018bcfe56800"
        "00" "d1f830" "0c" "01" "00" "d1ed25" "0c" "04" "25" "33" "cd02bc" "01"
    )  # fmt: skip


@given(tapes())
def test_what_is_decoded_equals_what_was_encoded(tape: TradeColumns) -> None:
    batches = [encode_second_batch(rows) for _, rows in by_second(tape)]
    assert rows_of(decode_second_batches(batches)) == rows_of(tape)


@given(tapes(gaps=False))
def test_consecutive_ids_and_steady_first_ids_take_the_short_form(tape: TradeColumns) -> None:
    valid = tape.take(tape.valid)
    for _, rows in by_second(valid):
        version = ormsgpack.unpackb(encode_second_batch(rows))[0]
        steady = (rows.id[1:] == rows.id[:-1] + 1).all() and (
            rows.first_id[1:] == rows.last_id[:-1] + 1
        ).all()
        assert version == (1 if steady else 2)


@given(tapes())
def test_a_second_holds_the_trades_of_its_own_time_alone(tape: TradeColumns) -> None:
    for second_ms, rows in by_second(tape):
        assert second_ms % 1000 == 0
        assert ((rows.time_ms >= second_ms) & (rows.time_ms < second_ms + 1000)).all()


def test_batches_of_different_exponents_come_back_at_the_finest() -> None:
    coarse = columns([(1, START_MS, 5 * 10**8, 10**8, 1, 1, False)])
    fine = columns([(2, START_MS + 1000, 1, 3, 2, 2, True)])
    decoded = decode_second_batches([encode_second_batch(coarse), encode_second_batch(fine)])
    assert (decoded.price_exp, decoded.quantity_exp) == (8, 8)
    assert decoded.price_int.tolist() == [5 * 10**8, 1]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        ormsgpack.packb({"v": 1}),
        ormsgpack.packb([1, 2, 5, 1, 1, 1, START_MS]),
        ormsgpack.packb([1, 2, 5, 1, 1, 1, START_MS, 0, 1, 2]),
        ormsgpack.packb([1, 2, 5, 1, 1, 1, START_MS, 0, "1", 2, 1]),
        ormsgpack.packb([1, 2, 5, 1, 1, 1, START_MS, 0, 2**64 - 1, 2, 1]),
        ormsgpack.packb(["1", 2, 5, 1, 1, 1, START_MS, 0, 1, 2, 1]),
    ],
)
def test_bytes_that_are_no_second_batch_are_refused(value: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode_second_batches([encode_second_batch(run_of(1, 3)), value])


def test_a_version_of_the_future_is_refused_by_its_number() -> None:
    with pytest.raises(NewerFormat, match="version 3"):
        decode_second_batches([ormsgpack.packb([3, 2, 5, 1, 1, 1, START_MS, 0, 1, 2, 1])])
