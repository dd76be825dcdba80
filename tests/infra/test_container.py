"""The Dockerfile is clean, copies what there is, and asks what the server answers."""

import re
import shutil
import subprocess

import pytest

from server.access.tokens import named_tokens, new_token
from server.settings import load_settings
from tests.processes import ROOT

DOCKERFILE = (ROOT / "infra/Dockerfile").read_text()
COMPOSE = (ROOT / "infra/compose.yaml").read_text()
EXAMPLE = (ROOT / "infra/compose.env.example").read_text()


def test_the_linter_has_nothing_to_say() -> None:
    tool = ROOT / ".tools/bin/hadolint"
    program = str(tool) if tool.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed; `make check` installs it where there is a build of it")
    done = subprocess.run(
        [program, ROOT / "infra/Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_and_is_let_through() -> None:
    ignored, *let_through = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    files = {file for line in copied for file in line.split()}
    assert files == {line[1:] for line in let_through if line.startswith("!")}
    assert all((ROOT / file).exists() for file in files)


def test_the_last_stage_runs_nothing_that_builds_and_not_as_root() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert not re.search(r"\b(pip|apt-get|gcc|hatchling)\b", last)
    user = re.search(r"^USER (\d+)$", last, re.MULTILINE)
    assert user is not None
    assert int(user[1]) > 0
    assert "/readyz" in last


def test_every_file_that_compose_mounts_is_there() -> None:
    mounted = re.findall(r"^ +- (\./[^:]+):", COMPOSE, re.MULTILINE)
    assert len(mounted) >= 5
    assert all((ROOT / "infra" / file).is_file() for file in mounted)


def test_compose_needs_no_variable_that_its_example_lacks() -> None:
    for name in set(re.findall(r"\$\{([A-Z_]+)", COMPOSE)):
        assert re.search(rf"^{name}=", EXAMPLE, re.MULTILINE), name


def test_compose_answers_nobody_without_a_credential() -> None:
    assert "INSECURE_LISTEN" not in COMPOSE + DOCKERFILE + EXAMPLE
    given = dict(re.findall(r"^ +(TAPEDECK_[A-Z_]+): (.+)$", COMPOSE, re.MULTILINE))
    required = re.compile(r"\$\{PROMETHEUS_TOKEN:\?[^}]+\}")
    written, count = required.subn(new_token(), given["TAPEDECK_AUTH_TOKENS"])
    written = re.sub(r"\$\{[A-Z_]+\}", "", written)
    settings = load_settings(host=given["TAPEDECK_HOST"], auth_tokens=written)
    assert (count, [token.name for token in named_tokens(settings.given_tokens)]) == (1, ["prometheus"])


def test_prometheus_has_the_token_that_it_needs() -> None:
    scraping = (ROOT / "infra/monitoring/prometheus.yml").read_text()
    secret = re.search(r"credentials_file: /run/secrets/(\w+)$", scraping, re.MULTILINE)
    assert secret is not None
    assert f"    secrets:\n      - {secret[1]}\n" in COMPOSE
    assert f"  {secret[1]}:\n    environment: PROMETHEUS_TOKEN\n" in COMPOSE
