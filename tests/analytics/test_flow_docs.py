"""docs/analytics.md: its example on an exported file runs and prints what the page says."""

import contextlib
import io
import re
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analytics.flow import OrderFlow
from analytics.sweeps import TapeStrokes
from analytics.toxicity import KyleLambda, Standing
from analytics.volatility import RealisedVolatility, RelativeVolume
from collectors.exchange import GeneratedMarket
from storage.export import arrow_table

PAGE = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text()
EXAMPLE = PAGE.partition("### Flow in a notebook")[2]
START_MS, END_MS = 1_731_225_600_000, 1_731_232_800_000


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", EXAMPLE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_example_on_an_exported_file_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trades = GeneratedMarket(1, symbols=["BTCUSDT"]).trades("BTCUSDT", START_MS, END_MS)
    pq.write_table(arrow_table(trades), tmp_path / "btc.parquet")
    monkeypatch.chdir(tmp_path)

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "docs/analytics.md", "exec"), {})

    assert printed.getvalue() == block("text")


@pytest.mark.parametrize(
    "result", [OrderFlow, RealisedVolatility, RelativeVolume, TapeStrokes, KyleLambda, Standing]
)
def test_the_page_explains_every_number_of_the_flow(result: type) -> None:
    bounds = {"quantity_exp", "start_ms", "end_ms"}
    assert {name.name for name in fields(result) if f"`{name.name}`" not in PAGE} <= bounds
