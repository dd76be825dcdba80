"""The manual of operation names what there is: settings, commands, files, targets of make."""

import re
from pathlib import Path

import pytest

from server.cli import _parser
from server.settings import PREFIX, Settings
from tests.processes import ROOT

MANUAL = (ROOT / "docs/operate.md").read_text()
TEXTS = [
    path
    for path in (ROOT / "infra").rglob("*")
    if path.is_file() and path.suffix != ".pyc" and path.name != "tapedeck.env.example"
]
# A name of something secret with a value of its own behind it: nothing and variables are none.
SECRET = re.compile(r"^[^#$\n]*(password|token|secret|api_?key)[a-z_]*[ \t]*[=:][ \t]*[^\s${]", re.I | re.M)


def test_every_setting_that_is_named_exists() -> None:
    known = {name.upper() for name in Settings.model_fields}
    for text in [MANUAL, *(path.read_text() for path in TEXTS)]:
        assert set(re.findall(rf"\b{PREFIX}([A-Z_]+)\b", text)) <= known


def test_every_command_that_is_named_exists() -> None:
    usage = _parser().format_help()
    shell = re.findall(r"```sh\n(.*?)```", MANUAL, re.DOTALL) + re.findall(
        r"`([^`\n]*tapedeck [^`\n]+)`", MANUAL
    )
    commands = set(
        re.findall(r"\btapedeck (?!tapedeck )([a-z][a-z-]*)(?= |$)", "\n".join(shell), re.MULTILINE)
    )
    assert {"backup", "restore", "status", "check-config", "verify", "backfill"} <= commands
    for command in commands:
        assert re.search(rf"^    {command}\b", usage, re.MULTILINE), command


def test_every_file_that_is_named_exists() -> None:
    for name in re.findall(r"\binfra/[A-Za-z0-9_./-]*[A-Za-z]", MANUAL):
        assert (ROOT / name).exists() or name == "infra/.env", name


def test_every_target_of_make_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", MANUAL):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_file_of_infra_is_listed() -> None:
    listed = (ROOT / "infra/README.md").read_text()
    for path in (ROOT / "infra").iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"`{path.name}" in listed, path.name


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path: Path) -> None:
    assert not SECRET.search(path.read_text())


def test_a_secret_would_be_found() -> None:
    assert SECRET.search("PORT=1\n  GF_PASSWORD: hunter2\n")
    assert SECRET.search("TAPEDECK_AUTH_TOKENS=abc")
    assert not SECRET.search("GF_PASSWORD: ${GRAFANA_PASSWORD:?set it}\nPASSWORD=\n# token=x\n")
