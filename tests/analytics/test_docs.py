"""docs/analytics.md: its example runs and prints what the page says."""

import contextlib
import io
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from analytics.errors import NoTrades, OptionInvalid, Refused, RowSizeInvalid, RowTooFine
from analytics.nodes import Node
from analytics.profile import PointOfControl, VolumeProfile
from analytics.vacuums import LiquidityVacuums, Vacuum
from storage.export_files import export, file_of_rows
from storage.trades import TradeColumns
from tests.analytics.tapes import HOUR_MS, START_MS

PAGE = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def two_hours() -> TradeColumns:
    """An hour around 61900 and an hour around 62100, with little traded on the way."""
    random = np.random.default_rng(7)
    n = 40_000
    area = np.where(np.arange(n) < n // 2, 6_190_000, 6_210_000)
    area[random.random(n) < 0.002] = 6_200_000
    return TradeColumns(
        id=np.arange(n),
        time_ms=START_MS + np.arange(n) * (2 * HOUR_MS) // n,
        price_int=area + np.clip(random.normal(0, 2_500, n), -6_000, 6_000).astype(np.int64),
        quantity_int=random.integers(1, 50_000, n),
        first_id=np.arange(n),
        last_id=np.arange(n),
        buyer_is_maker=random.random(n) < 0.5,
        price_exp=2,
        quantity_exp=5,
    )


def test_the_notebook_example_prints_what_the_page_says_of_an_exported_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with file_of_rows(Path("btcusdt.parquet"), "parquet") as out:
        export([two_hours()], out, lambda made: {})
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "docs/analytics.md", "exec"), {})

    assert printed.getvalue() == block("text")


@pytest.mark.parametrize("result", [PointOfControl, VolumeProfile, Node, Vacuum])
def test_the_page_explains_every_number_of_an_answer(result: type) -> None:
    named = {field.name for field in fields(result) if re.search(rf"`(poc\.)?{field.name}`", PAGE)}
    indices = {"rows", "row", "val_row", "vah_row"}

    assert {field.name for field in fields(result)} - named <= indices


@pytest.mark.parametrize("refusal", [Refused, NoTrades, OptionInvalid, RowSizeInvalid, RowTooFine])
def test_the_page_names_every_refusal(refusal: type[Exception]) -> None:
    assert f"`{refusal.__name__}`" in PAGE


def test_the_page_explains_what_a_list_of_vacuums_says() -> None:
    for name in ("vacuums", "total", "stop_long", "stop_short", "sigma15m", "low_sample"):
        assert name in {field.name for field in fields(LiquidityVacuums)}
        assert f"`{name}`" in PAGE
