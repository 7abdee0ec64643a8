"""What the tests of relaying share: settings that send mail on at once and try again soon, and what is looked for afterwards."""

from __future__ import annotations

import re
import smtplib
from email import message_from_bytes
from email.message import Message as Parsed
from pathlib import Path
from typing import Any

from support.server import Server
from support.waiting import wait_until

SENDER = "sender@client.example"
_FIELD = rb"(?:Return-Path|Received|Delivered-To|X-Original-To|Envelope-to|Delivery-date): [^\n]*\n(?:[ \t][^\n]*\n)*"
TRACE = re.compile(rb"(?:" + _FIELD + rb")*\n?", re.IGNORECASE)  # before a body without header an empty line is added
# Reports to SENDER land in the Maildir "reports" of the server's folder; {expire} is when mail is given up.
SETTINGS = """
[domain."client.example"]
deliver = "maildir:reports"

[relay]
networks = ["127.0.0.0/8"]

[retry]
intervals = ["1s"]
glitch = ["1s"]
jitter = 0.0
expire = "{expire}"
delay_notice = 0
"""
ROUTE = """
[route."remote.example"]
next_hop = "{hop}"
{route}
"""


def settings(hop: str = "", *, route: str = "", expire: str = "1 minute") -> str:
    """TOML that sends mail for remote.example to a next hop, if there is one; ``route`` is added to its table."""
    return SETTINGS.format(expire=expire) + (ROUTE.format(hop=hop, route=route) if hop else "")


def literal(address: tuple[str, int]) -> str:
    """A next hop without MX."""
    return f"[{address[0]}]:{address[1]}"


def send(to: Server, recipients: list[str], content: bytes, *options: str, sender: str = SENDER) -> None:
    """Hands a message to a server by SMTP; all recipients must be taken."""
    with smtplib.SMTP(*to.address, timeout=20) as client:
        assert client.sendmail(sender, recipients, content, options) == {}


def outcome(server: Server, recipient: str, *events: str, timeout: float = 20.0) -> dict[str, Any]:
    """Waits for a log line about a recipient, of one of these events."""
    return server.wait_for_log(lambda line: line.get("to") == recipient and line["event"] in events, f"{events} {recipient}", timeout)


def outcomes(server: Server) -> dict[str, list[str]]:
    """The events of each recipient, in order."""
    found: dict[str, list[str]] = {}
    for line in server.log():
        if "to" in line and line["event"] in {"relayed", "delivered", "deferred", "failed", "expired"}:
            found.setdefault(str(line["to"]), []).append(line["event"])
    return found


def reports(folder: Path, count: int, timeout: float = 20.0) -> list[Parsed]:
    """Waits for so many reports in a Maildir and gives the parts that machines read, per recipient (RFC 3464 §2.3)."""
    paths = wait_until(lambda: len(found := list((folder / "new").glob("*"))) >= count and found, f"{count} reports", timeout) or []
    return [block for path in paths for block in report_blocks(path.read_bytes())[1:]]


def report_blocks(data: bytes) -> list[Parsed]:
    """The fields of a report: about the message, then about each recipient."""
    status: Any = message_from_bytes(data).get_payload(1)
    return list(status.get_payload())


def told(blocks: list[Parsed]) -> dict[str, tuple[str, str]]:
    """Action and status by recipient."""
    return {_address(block["Final-Recipient"]): (block["Action"], block["Status"]) for block in blocks}


def _address(field: str) -> str:
    return field.partition(";")[2].strip()


def exact(files: list[Path], content: bytes) -> bool:
    """Whether one of the files is this content and nothing but trace fields before it; line ends are compared as LF."""
    return any(_is_exact(path.read_bytes(), content) for path in files)


def _is_exact(data: bytes, content: bytes) -> bool:
    data, content = data.replace(b"\r\n", b"\n"), content.replace(b"\r\n", b"\n")
    return data.endswith(content) and TRACE.fullmatch(data.removesuffix(content)) is not None


def wait_exact(folder: Path, content: bytes, timeout: float = 20.0) -> Path:
    """Waits for a file below a folder that is this content, to the byte but for trace fields."""
    part = content.replace(b"\r\n", b"\n")[-60:]

    def found() -> Path | None:
        for path in folder.glob("**/new/*"):
            if path.read_bytes().replace(b"\r\n", b"\n").endswith(part):
                return path
        return None

    path = wait_until(found, "the message arrived", timeout)
    assert path is not None
    assert exact([path], content), path.read_bytes()[:3000].decode(errors="replace")
    return path
