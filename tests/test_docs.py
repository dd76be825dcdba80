"""README and docs name every setting, tool, command, endpoint, key and file, and their examples hold."""

import argparse
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import anyio
import jsonschema
import ormsgpack
import pytest
from mcp_types import Tool
from starlette.routing import Route

from server.app import create_app
from server.cli import _parser
from server.config_command import written
from server.face import TapeServer
from server.settings import PREFIX, Settings
from server.tools.refusals import CODES
from server.tools.tape import Tape, WarmupProgress
from storage import keys
from storage.absences import Absence, Seen
from storage.blocks import encode_block
from storage.candle_records import encode_candles
from storage.candles import MinuteCandles
from storage.codec import encode_second_batch
from storage.ledger import TradeLedger
from storage.leveldb import OPTIONS
from storage.records import pack_absence, unpack_absence
from storage.rollups import encode_rollup, rollup_of
from tests.tapes import START_MS, columns

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FORMAT = (ROOT / "docs" / "storage-format.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
TOOLS_PAGE = (ROOT / "docs" / "tools.md").read_text()
EXAMPLE = (ROOT / "infra" / "tapedeck.env.example").read_text()

HOUR = keys.hour_of(START_MS)

# The trades of the two worked examples.
FIRST = (3601227001, START_MS + 12, 61837_63 * 10**6, 2_000 * 10**3, 3735683259, 3735683259, True)
SECOND = (3601227002, START_MS + 12, 61837_63 * 10**6, 4_827 * 10**3, 3735683260, 3735683263, True)
THIRD = (3601227003, START_MS + 700, 61838_00 * 10**6, 51 * 10**3, 3735683264, 3735683264, False)
INVALID = (3601227004, START_MS + 700, 0, 0, -1, -1, False)


@pytest.fixture(autouse=True)
def defaults_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine that the tests run on."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[list[Tool]]:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        yield anyio.run(TapeServer(Tape(ledger, NothingRecorded(), lambda: START_MS)).list_tools)


class NothingRecorded:
    """A recorder before its start."""

    symbols: ClassVar[list[str]] = []

    def live_until_ms(self, symbol: str) -> int | None:
        return None

    def warmup(self, symbol: str) -> WarmupProgress | None:
        return None


def rows_of_table(page: str) -> dict[str, list[str]]:
    """The cells behind the first one of each table row, by the first one without backticks."""
    rows = re.findall(r"^\| `([^|]*)` \|(.*)\|$", page, re.MULTILINE)
    return {first: [cell.strip().strip("`") for cell in rest.split("|")] for first, rest in rows}


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "data_dir"])
def test_the_readme_has_every_setting_with_its_default(name: str) -> None:
    assert rows_of_table(README)[PREFIX + name.upper()][0] == written(getattr(Settings(), name))


def test_the_readme_has_the_directory_of_the_ledger() -> None:
    assert "user data directory" in rows_of_table(README)["TAPEDECK_DATA_DIR"][0]
    assert Settings().data_dir.parts[-2:] == ("tapedeck", "ledger")


def test_the_readme_has_no_setting_that_does_not_exist() -> None:
    named = set(re.findall(rf"\b{PREFIX}([A-Z_]+)", README))
    assert named == {name.upper() for name in Settings.model_fields}


def test_the_readme_names_every_tool_and_parameter_with_its_default(tools: list[Tool]) -> None:
    table = rows_of_table(README)
    for tool in tools:
        assert tool.name in table
        for name, schema in tool.input_schema["properties"].items():
            assert name in table
            default = schema.get("default")
            if default is not None:
                assert written(default) == table[name][0]


def test_the_page_of_tools_has_each_with_its_parameters_and_an_answer_of_its_schema(
    tools: list[Tool],
) -> None:
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", TOOLS_PAGE, re.MULTILINE | re.DOTALL))
    assert list(sections) == [tool.name for tool in tools]
    for tool in tools:
        named = re.findall(r"^\| `(\w+)` \|", sections[tool.name], re.MULTILINE)
        assert named == list(tool.input_schema["properties"])
        answer = re.search(r"^```json\n(.*?)^```", sections[tool.name], re.DOTALL | re.MULTILINE)
        assert answer is not None
        jsonschema.validate(json.loads(answer[1]), tool.output_schema or {})


@pytest.mark.parametrize("name", ["get_volume_profile", "search"])
def test_the_docs_of_clients_name_both_transports_and_tools(name: str) -> None:
    page = (ROOT / "docs" / "clients.md").read_text()
    assert all(
        words in page for words in ("/sse", "/mcp", "/pages", f"`{name}`" if name == "search" else name)
    )


def test_the_readme_names_no_tool_that_does_not_exist(tools: list[Tool]) -> None:
    names = {tool.name for tool in tools}
    assert set(re.findall(r"\bget_[a-z_]+", README)) == {name for name in names if name.startswith("get_")}


def test_the_readme_names_every_command_and_flag() -> None:
    table = rows_of_table(README)
    subparsers = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    for command, parser in subparsers.choices.items():
        cells = table[f"tapedeck {command}"]
        flags = {flag for action in parser._actions for flag in action.option_strings} - {"-h", "--help"}
        if command in ("serve", "check-config"):
            flags -= {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
            assert flags == ({"--env-file"} if command == "check-config" else set())
        else:
            assert set(re.findall(r"--[a-z-]+", cells[0])) == flags


def test_the_readme_names_every_endpoint(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path / "ledger"))
    paths = {route.path.partition("/{")[0] for route in app.routes if isinstance(route, Route)}
    table = README.partition("| endpoint |")[2].partition("###")[0]
    assert set(re.findall(r"(/[a-z]+)`", table)) == paths


def test_the_readme_names_every_error_code() -> None:
    assert all(f"`{code}`" in README for code in CODES)


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=str)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [t for t in targets if "://" not in t and not (page.parent / t).exists()] == []


def test_the_example_environment_has_every_setting_with_its_default() -> None:
    given = dict(re.findall(rf"^# {PREFIX}([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert given.keys() == {name.upper() for name in Settings.model_fields}
    defaults = {name.upper(): written(getattr(Settings(), name)) for name in Settings.model_fields}
    del given["DATA_DIR"], defaults["DATA_DIR"]
    assert given == defaults


def test_the_example_environment_parses_when_it_is_uncommented(tmp_path: Path) -> None:
    defaults = Settings()
    (tmp_path / ".env").write_text(re.sub(rf"^# {PREFIX}", PREFIX, EXAMPLE, flags=re.MULTILINE))
    uncommented = Settings()
    assert uncommented.data_dir == Path("/var/lib/tapedeck/ledger")
    assert uncommented == defaults.model_copy(update={"data_dir": uncommented.data_dir})


def test_the_example_environment_sets_nothing_as_it_is() -> None:
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []


@pytest.mark.parametrize(
    ("key", "form"),
    [
        (keys.SCHEMA, "meta:schema"),
        (keys.SOURCE, "meta:source"),
        (keys.instrument("SYM"), "meta:{SYM}"),
        (keys.state("SYM"), "state:{SYM}"),
        (keys.absence("SYM", 3601227001), "gaps:{SYM}:{first_id}"),
        (keys.block("SYM", HOUR), "blocks:{SYM}:{hour}"),
        (keys.rollup("SYM", HOUR), "rollup:{SYM}:{hour}"),
        (keys.candles("SYM", HOUR), "candles:{SYM}:{hour}"),
        (keys.trades("SYM", START_MS), "trades:{SYM}:{ms}"),
        (keys.lost(keys.trades("SYM", START_MS)), "lost:{key}"),
        (keys.END, r"\xff"),
    ],
)
def test_the_storage_format_has_every_key(key: bytes, form: str) -> None:
    filled = form.format(
        SYM="SYM", hour=HOUR, ms=START_MS, key=f"trades:SYM:{START_MS}", first_id="0000000003601227001"
    )
    assert key == filled.encode().decode("unicode_escape").encode("latin-1")
    assert form in rows_of_table(FORMAT)


@pytest.mark.parametrize(
    "form", ["blocks:{SYM}:{hour}:{part}", "rollup:{SYM}:{hour}:{part}", "candles:{SYM}:{hour}:{part}"]
)
def test_the_storage_format_has_the_key_of_a_further_part(form: str) -> None:
    make = {"blocks": keys.block, "rollup": keys.rollup, "candles": keys.candles}[form.partition(":")[0]]
    key = make("SYM", HOUR, 2)
    assert key == form.format(SYM="SYM", hour=HOUR, part=2).encode()
    assert keys.parsed(key) == (form.partition(":")[0], "SYM", HOUR, 2, None)
    assert f"`{form}`" in FORMAT


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("## The block", encode_block(columns([FIRST, THIRD]))),
        ("## The rollup", encode_rollup(rollup_of(columns([FIRST, THIRD])))),
        ("## The candles", encode_candles(MinuteCandles.of(columns([FIRST, THIRD])), HOUR)),
    ],
)
def test_the_storage_format_has_every_field_of_a_sealed_hour(section: str, value: bytes) -> None:
    table = FORMAT.partition(f"\n{section}\n")[2].partition("\n#")[0]
    named = re.findall(r"^\| ((?:`[a-z0-9]+`(?:, )?)+) \|", table, re.MULTILINE)
    fields = [field for cell in named for field in re.findall(r"`([a-z0-9]+)`", cell)]
    assert sorted(fields) == sorted(ormsgpack.unpackb(value))


def test_the_storage_format_has_no_key_but_those_of_the_code() -> None:
    named = [value for value in vars(keys).values() if isinstance(value, bytes) or is_key(value)]
    families = FORMAT.partition("## Keys")[2].partition("\n`ms` and")[0]
    assert len(re.findall(r"^\| `", families, re.MULTILINE)) == len(named)


def is_key(value: object) -> bool:
    """Whether it makes keys."""
    return inspect.isfunction(value) and inspect.get_annotations(value).get("return") is bytes


@pytest.mark.parametrize(
    ("example", "encoded"),
    [
        ("version 1", encode_second_batch(columns([FIRST, SECOND, THIRD]))),
        ("version 2", encode_second_batch(columns([FIRST, THIRD]))),
        ("a rollup", encode_rollup(rollup_of(columns([INVALID])))),
    ],
)
def test_the_worked_examples_are_what_the_code_writes(example: str, encoded: bytes) -> None:
    section = FORMAT.partition(f"### Worked example, {example}")[2]
    block = re.search(r"^```hex\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert block is not None
    assert "".join(line.split()[0] for line in block[1].splitlines()) == encoded.hex()
    assert f"{len(encoded)} bytes" in section.partition("```hex")[0]


def test_the_record_of_a_certified_gap_is_what_the_code_writes() -> None:
    section = FORMAT.partition("`gaps:{SYM}:{first_id}`\n\n")[2]
    shown, golden = (
        re.search(r"```json\n(.*?)```", section, re.DOTALL),
        re.search(r"```hex\n(.*?)```", section, re.DOTALL),
    )
    assert shown is not None
    assert golden is not None
    below, above = Seen(FIRST[0], FIRST[1]), Seen(THIRD[0], THIRD[1])
    asked = START_MS + 2_000, START_MS + 1_802_000
    absence = Absence(SECOND[0], SECOND[0], below, above, *asked, 13, "certified")
    encoded = pack_absence(absence)
    assert ormsgpack.unpackb(encoded) == json.loads(shown[1])
    assert "".join(golden[1].split()) == encoded.hex()
    assert unpack_absence(encoded) == absence


def test_the_storage_format_has_every_option_of_the_database() -> None:
    table = FORMAT.partition("## Options")[2]
    assert all(f"| {option} |" in table for option in OPTIONS)


def test_the_map_has_every_file_and_no_other() -> None:
    packages = ("storage", "collectors", "analytics", "server")
    files = {
        path.relative_to(ROOT).as_posix() for package in packages for path in (ROOT / package).rglob("*.py")
    }
    named = set(re.findall(r"^\| `([a-z_/]+\.py)` \|", ARCHITECTURE, re.MULTILINE))
    assert named == {file for file in files if not file.endswith("__init__.py")}
