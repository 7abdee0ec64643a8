"""Says the same octets to two servers and compares what they answer, class by class, command by command.

A conversation is sent whole, with the sending side closed behind it, so that no timing decides anything; what comes back is read to its
end. Replies belong to commands in order. From the first difference on the two sessions are in different states, so that one difference is
looked at in each conversation; what explains it stands in ``differences.toml``.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

_REPLY = re.compile(rb"(?:[2-5][0-9]{2}-[^\n]*\n)*[2-5][0-9]{2}(?: [^\n]*)?\n")
_BDAT = re.compile(rb"BDAT +([0-9]{1,9})(?: +LAST)? *\r?\n", re.IGNORECASE)
_DATA = re.compile(rb"\s*DATA\s", re.IGNORECASE)
RULES = Path(__file__).with_name("differences.toml")


@dataclass(frozen=True)
class Rule:
    """A class of differences that is known.

    Args:
        name: of the rule.
        command: matches the octets that the differing reply answers, as latin-1.
        postfix: matches Postfix's reply; "" for one that says nothing more and ends.
        penstock: matches ours.
        why: who is right and says so.
        before: matches what was said in the session up to there, as latin-1.
    """

    name: str
    command: str
    postfix: str
    penstock: str
    why: str
    does: str
    before: str = ""

    def explains(self, found: Difference) -> bool:
        """Whether the difference is of this class."""
        return (
            re.fullmatch(self.command, found.command, re.DOTALL | re.IGNORECASE) is not None
            and re.match(self.postfix or r"\Z", found.postfix) is not None
            and re.match(self.penstock or r"\Z", found.penstock) is not None
            and re.search(self.before, found.before, re.DOTALL | re.IGNORECASE) is not None
        )


@dataclass(frozen=True)
class Difference:
    """The first point at which the servers differ in the class of a reply."""

    command: str
    postfix: str
    penstock: str
    before: str


def rules() -> list[Rule]:
    """All rules of the file."""
    return [Rule(name, **table) for name, table in tomllib.loads(RULES.read_text()).items()]


async def replies(address: tuple[str, int], says: bytes) -> list[str]:
    """What a server answers to the whole of it, reply by reply, the banner first."""
    reader, writer = await asyncio.open_connection(*address)
    said = b""
    try:
        said = await asyncio.wait_for(reader.readuntil(b"\n"), 20)
        writer.write(says)
        writer.write_eof()
        while piece := await asyncio.wait_for(reader.read(65536), 20):
            said += piece
    except OSError:
        # A server that hangs up with input unread resets the connection, or has gone before our end; what it said before is what counts.
        pass
    finally:
        writer.close()
    return [match[0].decode("latin-1").replace("\r\n", "\n").strip() for match in _REPLY.finditer(said)]


def commands(said: bytes, answered: list[str]) -> list[bytes]:
    """The octets that each reply after the banner answers, as far as that follows from the replies."""
    found: list[bytes] = []
    at = 0
    while at < len(said):
        number = len(found)
        if found and _DATA.match(found[-1]) and answered[number : number + 1] and answered[number][0] == "3":
            end = said.find(b"\r\n.\r\n", at - 2) + 5
            stop = end if end > 4 else len(said)
        else:
            stop = said.find(b"\n", at) + 1 or len(said)
            chunk = _BDAT.match(said, at)
            stop += int(chunk[1]) if chunk else 0
        found.append(said[at:stop])
        at = stop
    return found


def difference(said: bytes, postfix: list[str], penstock: list[str]) -> Difference | None:
    """The first difference in class, or None."""
    at = next((n for n in range(max(len(postfix), len(penstock))) if _class(postfix, n) != _class(penstock, n)), None)
    if at is None:
        return None
    split = commands(said, postfix[:at] or penstock[:at])
    command = split[at - 1] if 0 < at <= len(split) else b""
    before = b"".join(split[: max(at - 1, 0)])
    return Difference(command.decode("latin-1"), _at(postfix, at), _at(penstock, at), before.decode("latin-1"))


def _at(answered: list[str], number: int) -> str:
    return answered[number] if number < len(answered) else ""


def _class(answered: list[str], number: int) -> str:
    return _at(answered, number)[:1]
