"""The command line finds each command, and imports no more than the one that runs needs."""

import subprocess
import sys

import pytest

from server import cli
from tests import processes


@pytest.mark.parametrize("command", cli.FILES)
def test_every_command_is_added_by_the_file_that_is_named_for_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: tapedeck {command} ")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["sevre"]])
def test_all_commands_are_named_to_who_names_none(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    said = "".join(capsys.readouterr())
    if arguments:
        assert all(command in said for command in cli.FILES)
    else:
        assert "the following arguments are required: command" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        *([command, "--help"] for command in ("exchange", "status", "export", "verify", "backup")),
    ],
)
def test_no_other_commands_imports_are_waited_for(arguments: list[str]) -> None:
    code = "import sys; from server.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print('imported', *(name in sys.modules for name in ('mcp', 'mcp_types', 'scipy')))"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, cwd=processes.ROOT, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("imported False False False\n")
