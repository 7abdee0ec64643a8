"""Faults of other people's code, made errors of the configuration: whatever they raise, this process goes on and says where it was."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError


@contextmanager
def faults_of_the_user(where: str, what: str) -> Iterator[None]:
    """Makes a ConfigError of whatever somebody else's code raises.

    That includes SystemExit: a script without its ``if __name__ == "__main__"`` would end this command with its own exit code, 0 perhaps.
    """
    try:
        yield
    except (ConfigError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise ConfigError(where, f"{what}: it calls sys.exit({error.code!r})", "a sink leaves the process alone") from error
    except BaseException as error:
        text = " ".join(str(error).split())
        raise ConfigError(where, f"{what}: {type(error).__name__}{f': {text}' if text else ''}", _place_of(error)) from error


def _place_of(error: BaseException) -> str:
    """The line that raised, as a hint; "" when it was one of Python's own."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    ours = str(Path(__file__).parent)
    theirs = [frame for frame in frames if not frame.filename.startswith(ours) and "importlib" not in frame.filename]
    return f"raised in {theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else ""
