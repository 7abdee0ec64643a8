"""What strangers write ends in logs, commands and listings: there it is text and never anything else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from penstock.sinks.pipe import words_of

SHOW = """
from penstock.observe.log import get_log, set_up
set_up("info", "human")
get_log().info("rejected", helo="\\x1b]0;owned\\x07", reason="\\x9b31mred", more="a\\nforged line b")
"""


def test_a_log_line_for_people_steers_no_terminal() -> None:
    """Neither escapes, nor the one-octet controls behind them, nor line ends."""
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, check=True, timeout=30, env={"NO_COLOR": "1"})
    text = done.stderr.decode()
    assert "owned" in text
    assert len(text.splitlines()) == 1
    assert all(c.isprintable() for c in text.rstrip("\n"))


@pytest.mark.parametrize(
    "command",
    [
        "/bin/sh -c 'store {local}'",
        "/bin/bash -ec 'store \"{recipient}\"'",
        "/usr/bin/env bash -c 'store {sender}'",
        "/usr/bin/nice -n 5 /bin/dash -c 'echo {detail} >> f'",
    ],
)
def test_no_address_becomes_part_of_a_shells_script(command: str) -> None:
    """Local parts may hold ``$(...)`` in quotes, and ``|`` and backticks without."""
    with pytest.raises(ValueError, match="a shell would run"):
        words_of(command)


@pytest.mark.parametrize(
    "command",
    [
        "/bin/sh -c 'store \"$RECIPIENT\"'",
        "/bin/sh -c 'store \"$1\"' store {local}",
        "/usr/bin/store {local}",
        "/bin/sh /opt/store {local}",
    ],
)
def test_a_shell_may_read_an_address_as_text(command: str) -> None:
    """From its environment or its parameters."""
    assert words_of(command)
