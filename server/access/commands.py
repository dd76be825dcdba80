"""`tapedeck token`: a new bearer token.

Invariant: a secret is shown once, on standard output alone, and kept nowhere.
"""

import argparse
import sys
from typing import Any

from server.access.tokens import NAME, new_token


def add_commands(commands: Any) -> None:
    token = commands.add_parser("token", help="make a new bearer token")
    token.add_argument("name", nargs="?", help="whose it is: writes name=token, a line of the tokens' file")
    token.set_defaults(run=_token)


def _token(given: argparse.Namespace) -> int:
    if given.name and not NAME.fullmatch(given.name):
        sys.stderr.write("tapedeck: a name has up to 32 letters, digits, '_', '.' and '-'\n")
        return 1
    sys.stdout.write(f"{given.name}={new_token()}\n" if given.name else f"{new_token()}\n")
    return 0
