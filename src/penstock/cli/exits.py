"""Exit codes, and how an error is shown: on standard error, one line of what is wrong and one of what to do.

The codes are those of sysexits.h, which mail programs have exchanged since Sendmail, so that a script can tell "never" from "not now".
"""

from __future__ import annotations

import sys

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 65, 66, 67, 69, 75, 77, 78
EX_CANTCREAT = 73
INTERRUPTED = 130


class Stop(Exception):
    """Ends the command.

    Args:
        code: the exit code.
        what: what is wrong, in one line.
        hint: what to do, in one line; may be empty.
    """

    def __init__(self, code: int, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.hint = hint


def complain(code: int, what: str, hint: str = "") -> int:
    """Shows an error and gives back its exit code."""
    print(f"penstock: {what}", file=sys.stderr)  # noqa: T201 - this is a command's output
    if hint:
        print(f"  {hint}", file=sys.stderr)  # noqa: T201 - this is a command's output
    return code
