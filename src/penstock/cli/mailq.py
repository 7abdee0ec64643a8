"""``penstock mailq``: the queue, in the form that people and scripts know from Postfix.

    -Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------
    1KA9D2M7QRX4T000      1234 Mon Nov 23 20:45:59  carol@client.example
    (connect to mx.example.org: Connection refused)
                                             ann@example.org

Behind the id, ``*`` says that it is being tried or due, and ``!`` that it is held.
"""

from __future__ import annotations

import getopt
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..admin.protocol import ListMessages, MessageRow
from ..config import load
from .exits import EX_USAGE, Stop
from .offline import counted, printable
from .options import DEFAULT_CONFIG
from .pipes import quiet_pipe
from .workers import Workers, told

HEAD = "-Queue ID-------- --Size-- ----Arrival Time---- -Sender/Recipient-------"
_MARKS = {"hold": "!", "active": "*"}


def mailq(arguments: Sequence[str]) -> int:
    """Runs the command; the exit code. Raises PenstockError; Stop."""
    try:
        # Sendmail's options for it; none means something here.
        options, _ = getopt.getopt(list(arguments), "A:C:O:o:Ccqv", ["config="])
    except getopt.GetoptError as error:
        raise Stop(EX_USAGE, f"mailq: {error.msg}", "see: penstock queue list --help") from None
    path = next((value for name, value in options if name in ("-C", "--config") and value), "")
    workers = Workers(load(Path(path or os.environ.get("PENSTOCK_CONFIG", DEFAULT_CONFIG))))
    with quiet_pipe():
        told(lambda: _show(workers))
    return 0


def _show(workers: Workers) -> None:
    size = count = 0
    for row in workers.messages(ListMessages()):
        if not count:
            sys.stdout.write(HEAD + "\n")
        sys.stdout.write(_lines(row) + "\n\n")
        size, count = size + row.message_size, count + 1
    if count:
        sys.stdout.write(f"-- {(size + 1023) // 1024} Kbytes in {counted(count, 'Request')}.\n")
    else:
        sys.stdout.write("Mail queue is empty\n")
    sys.stdout.flush()


def _lines(row: MessageRow) -> str:
    when = time.strftime("%a %b %d %H:%M:%S", time.localtime(row.arrival_time))
    sender = printable(row.sender) or "MAILER-DAEMON"
    lines = [f"{row.queue_id + _MARKS.get(row.queue_name, ' '):<17} {row.message_size:>8} {when:<20} {sender}"]
    reasons: dict[str, list[str]] = {}
    for recipient in row.recipients:
        reasons.setdefault(recipient.delay_reason, []).append(recipient.address)
    for reason, addresses in reasons.items():
        if reason:
            lines.append(f"{'':>8}({printable(reason)})")
        lines += [f"{'':<48}{printable(address)}" for address in addresses]
    return "\n".join(lines)
