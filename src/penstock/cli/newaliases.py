"""``penstock newaliases``: there is no database to make, since the server reads the files itself; so it sees that they can be read."""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..config import load
from .exits import EX_CONFIG, EX_USAGE, Stop
from .options import DEFAULT_CONFIG


def newaliases(arguments: Sequence[str]) -> int:
    """Runs the command; the exit code. Raises PenstockError; Stop when a file cannot be read."""
    try:
        options, _ = getopt.getopt(list(arguments), "A:C:O:o:v")
    except getopt.GetoptError as error:
        raise Stop(EX_USAGE, f"newaliases: {error.msg}") from None
    path = next((value for name, value in options if name == "-C"), os.environ.get("PENSTOCK_CONFIG", str(DEFAULT_CONFIG)))
    config = load(Path(path))
    for name, table in config.domains.items():
        if table.aliases is None:
            continue
        file = config.resolve(table.aliases)
        try:
            count = sum(1 for line in file.read_bytes().splitlines() if line.strip() and line[:1] not in b"# \t")
        except OSError as error:
            raise Stop(
                EX_CONFIG, f"the aliases of {name} cannot be read: {file}: {error.strerror}", "make the file, or name another"
            ) from None
        sys.stdout.write(f"{file}: {count} aliases of {name}; the server reads the file itself\n")
    return 0
