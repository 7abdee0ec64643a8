"""Ways in which remote servers misbehave, as data: what the remote does, and what must become of the mail in one attempt.

``misbehaviours.CATALOGUE`` holds them all, by name. Outcomes are flags: where the RFCs leave the choice to the client, those it may choose
are joined with ``|``, and what is not among them is wrong.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .script import At, Face, Phase, Script, Step


class Outcome(enum.Flag):
    """What becomes of one recipient in the first attempt."""

    DELIVERED = enum.auto()
    DEFERRED = enum.auto()  # kept, to be tried again
    BOUNCED = enum.auto()
    UNCERTAIN = enum.auto()  # kept as if deferred, though the remote may have it: a second copy cannot be avoided


DELIVERED, DEFERRED, BOUNCED, UNCERTAIN = Outcome.DELIVERED, Outcome.DEFERRED, Outcome.BOUNCED, Outcome.UNCERTAIN
NOT_DELIVERED = DEFERRED | BOUNCED
ANY = DELIVERED | DEFERRED | BOUNCED | UNCERTAIN


class Security(enum.Enum):
    """What the client shall ask of TLS."""

    OPPORTUNISTIC = enum.auto()  # used when offered, whatever the certificate; on failure in clear or later
    REQUIRED = enum.auto()  # never in clear, whatever the certificate
    VERIFIED = enum.auto()  # and a certificate for the name, from an authority that the client knows


@dataclass(frozen=True, slots=True)
class Mail:
    """What is sent.

    Args:
        recipients: local parts are ``a``, ``b``, ``c``; all are at remote.example.
        size: octets of the content, about.
        text: stands in the body; not ASCII needs 8BITMIME.
        sender: not ASCII needs SMTPUTF8.
        login: user and password for AUTH, for a remote that is a smart host.
    """

    recipients: int = 1
    size: int = 400
    text: str = ""
    sender: str = "sender@client.example"
    login: tuple[str, str] | None = None

    @property
    def addresses(self) -> list[str]:
        """The recipients' addresses."""
        return [f"{letter}@remote.example" for letter in "abcdefghijklmnopqrstuvwxyz"[: self.recipients]]

    @property
    def content(self) -> bytes:
        """The message, with lines that start with dots."""
        head = f"From: <{self.sender}>\r\nSubject: hello\r\n\r\n{self.text}\r\n".encode()
        lines = max(1, (self.size - len(head)) // 64)
        return head + b"".join(b".%062d\r\n" % number if number % 5 == 0 else b"%062d\r\n" % number for number in range(lines))


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One way to misbehave.

    Args:
        name: short, for test ids.
        script: what the remote does.
        expected: an outcome for each recipient, after one attempt (all addresses and reconnections of it included).
        remote_may_have: the remote may have taken a whole message in this attempt, acknowledged or not.
        mail: what is sent.
        security: what the client shall ask of TLS.
        times_out: the client must give up by its own clock; all others end by themselves.
        later: the outcomes of a second attempt, where that is the point.
    """

    name: str
    script: Script
    expected: tuple[Outcome, ...]
    remote_may_have: bool = False
    mail: Mail = field(default_factory=Mail)
    security: Security = Security.OPPORTUNISTIC
    times_out: bool = False
    later: tuple[Outcome, ...] = ()

    @property
    def lmtp(self) -> bool:
        """Whether the client shall speak LMTP."""
        return self.script.face.lmtp


Steps = Mapping[Phase | At, Sequence[Step]]


def behaviour(name: str, steps: Steps, *expected: Outcome, times_out: bool = False, face: Face | None = None) -> Behaviour:
    """A behaviour for as many recipients as outcomes are expected; the remote has the mail where it may be delivered."""
    may_have = any(outcome & (DELIVERED | UNCERTAIN) for outcome in expected)
    return Behaviour(name, Script(steps, face or Face()), expected, may_have, Mail(len(expected)), times_out=times_out)
