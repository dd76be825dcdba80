"""docs/analytics.md: its example runs and prints what the page says."""

import contextlib
import io
import re
from dataclasses import fields
from pathlib import Path

import pytest

from analytics.errors import NoTrades, OptionInvalid, Refused, RowSizeInvalid, RowTooFine
from analytics.profile import PointOfControl, VolumeProfile
from analytics.vacuums import LiquidityVacuums, Vacuum

PAGE = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_notebook_example_prints_what_the_page_says() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "docs/analytics.md", "exec"), {})

    assert printed.getvalue() == block("text")


@pytest.mark.parametrize("result", [PointOfControl, VolumeProfile, Vacuum])
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
