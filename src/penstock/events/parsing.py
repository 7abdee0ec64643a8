"""A message as Python's ``EmailMessage``, for sinks that want one; but none that was made to keep a parser busy.

The standard library's parser goes line by line through a generator for each level of multiparts, so its time is the product of both, and a
part costs it 80 µs however empty: 25 MiB of ``--b`` are minutes, and a thousand levels end its stack. What has more of these than any mail
has is refused before it is parsed. Rejected: to parse the beginning alone, for then a scanner would miss what stands behind.
"""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage

from ..errors import PenstockError

# Lines that may begin a part. Digests of a thousand messages are known; Postfix' mime_boundary_length and nesting limits are 2048 and 100.
MOST_PARTS = 10_000
MOST_LEVELS = 100
# Lines times levels, about 0.1 µs each.
MOST_STEPS = 20_000_000
# Parameters of one field cost time with the square of their number: 100 KiB of them are a second.
MOST_FIELDS = 10_000_000_000
_BOUNDARY = re.compile(rb"boundary[\s*0-9]*=", re.IGNORECASE)
_ENCLOSED = re.compile(rb"content-type:\s*message/", re.IGNORECASE)
_FIELD = re.compile(rb"^content-[^\n]*+(?:\n[ \t][^\n]*+)*+", re.IGNORECASE | re.MULTILINE)


def parsed(raw: bytes) -> EmailMessage:
    """The message that the octets are.

    Raises: PenstockError for one of more parts or levels than a message has.
    """
    parts, lines = raw.count(b"\n--"), raw.count(b"\n")
    # No message has more levels than it has boundaries; words of its text that look like one are rare enough to be counted with them.
    levels = min(sum(1 for _ in _BOUNDARY.finditer(raw)), parts) + sum(1 for _ in _ENCLOSED.finditer(raw))
    fields = sum(len(field[0]) ** 2 for field in _FIELD.finditer(raw))
    if parts > MOST_PARTS or levels > MOST_LEVELS or levels * lines > MOST_STEPS or fields > MOST_FIELDS:
        raise PenstockError(f"the message is made to keep a parser busy: {lines} lines, some {parts} parts in some {levels} levels")
    return email.message_from_bytes(raw, policy=email.policy.SMTP)
