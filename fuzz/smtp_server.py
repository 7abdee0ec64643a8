"""Throws random sessions at the SMTP server machine until told to stop, and prints the first one that breaks a promise.

The promises are those of tests/wire/test_server_properties.py: the same events and replies for any split, progress, bounded memory, and no
exception. This runs for as long as one likes and mutates whole conversations, which the tests have no time for. By hand:

    python fuzz/smtp_server.py [seconds] [seed]
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from conversations import runner
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.settings import ServerSettings
from wire.driver import HOSTNAME, Host

SETTINGS = ServerSettings(HOSTNAME, Limits(command_line=300, text_line=100, message_size=2000, recipients=3, errors=10))
SPICE = [
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b".\r\n",
    b"\r\n.\r\n",
    b"\x00",
    b"\xff",
    b"<",
    b">",
    b'"',
    b"BDAT 7\r\n",
    b"BDAT 3 LAST\r\n",
    b"x" * 120,
    b" ",
]


def sentences() -> list[bytes]:
    """Every line that a client sends in the conversations."""
    sent = [step.data for path in runner.files() for step in runner.load(path) if isinstance(step, runner.Send)]
    return [line for data in sent for line in data.splitlines(keepends=True)]


def session(dice: random.Random, lines: list[bytes]) -> bytes:
    """A session that begins well and then loses its way."""
    data = bytearray(b"EHLO x\r\n" if dice.random() < 0.8 else b"")
    for _ in range(dice.randrange(1, 25)):
        data += dice.choice(lines)
    for _ in range(dice.choice((0, 0, 1, 3, 10))):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.choice((0, 0, 1, 4))] = dice.choice(SPICE)
    return bytes(data)


def outcome(data: bytes, cuts: list[int]) -> tuple[object, ...]:
    """All that can be seen of a session fed in these pieces."""
    host = Host(SETTINGS)
    start = 0
    for end in [*cuts, len(data)]:
        if start < end:
            host.feed(data[start:end])
            assert host.machine.pending <= SETTINGS.limits.command_line, "a host that decides at once leaves little unparsed"
        start = end
    host.feed(b"")
    return host.said, host.story(), host.messages


def main() -> int:
    """Runs for the time given and says how far it came."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    dice, lines, until, count = random.Random(seed), sentences(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = session(dice, lines)
        cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(10)))
        try:
            assert outcome(data, []) == outcome(data, cuts) == outcome(data, list(range(len(data))))
        except BaseException:
            print(f"seed {seed}, session {count}: {data!r} cut at {cuts}")
            raise
        count += 1
    print(f"seed {seed}: {count} sessions kept every promise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
