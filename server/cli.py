"""The command line: `tapedeck COMMAND`, each command in a file of its own.

Invariants: a wrong setting or a ledger that cannot be opened ends in one clear line and exit status 1. The
files of other commands than the one that runs are not imported: the server's take more than a second.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version

from server.settings import ConfigurationInvalid
from storage.errors import LedgerError

# Where a command is added to the parser, in the order of the help.
FILES = {
    "serve": "server.serve_commands",
    "check-config": "server.config_command",
    "token": "server.access.commands",
    "access": "server.access.commands",
    "demo": "server.serve_commands",
    "exchange": "server.exchange_command",
    "status": "server.status_command",
    "export": "server.export_command",
    "chart": "server.chart_command",
    "verify": "server.verify_command",
    "backup": "server.backup_commands",
    "restore": "server.backup_commands",
    "backfill": "server.archive_commands",
    "audit": "server.archive_commands",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser(given[0] if given else None).parse_args(given)
    try:
        run: Callable[[argparse.Namespace], int] = parsed.run
        return run(parsed)
    except (LedgerError, ConfigurationInvalid) as error:
        for line in str(error).splitlines():
            print(f"tapedeck: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of `command` and of what is in the same file; of all of them where it is none."""
    parser = argparse.ArgumentParser(
        "tapedeck",
        description="Records Binance's aggregate trades and answers questions about them over MCP.",
    )
    parser.add_argument("--version", action="version", version=f"tapedeck {version('tapedeck')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    files = [FILES[command]] if command in FILES else [] if command == "--version" else FILES.values()
    for file in dict.fromkeys(files):
        import_module(file).add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
