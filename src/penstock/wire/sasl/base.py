"""What the machines of SASL have in common: what a server's may want to know, and how an exchange goes on.

A server machine never looks anybody up: it says what it wants to know (``Ask``), somebody who may wait for a database answers, and the
machine goes on. So the same machines serve every store, and are tested without any.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

import msgspec

from ...errors import LocalProtocolError, SaslError


class Password(msgspec.Struct, frozen=True):
    """Is this the user's password? Answered with the user's name (``Known``), or None.

    Args:
        user: the authentication identity, prepared (RFC 4013).
        password: prepared too.
        authorize_as: the identity to act as, "" for the user's own (RFC 4616 §2).
    """

    user: str
    password: str
    authorize_as: str = ""

    def __repr__(self) -> str:
        return f"Password({self.user!r})"


class Keys(msgspec.Struct, frozen=True):
    """What are the user's SCRAM keys? Answered with ``ScramKeys``, or None.

    Args:
        user: the authentication identity.
        mechanism: "SCRAM-SHA-256" or "SCRAM-SHA-1", without "-PLUS".
        authorize_as: as in ``Password``.
    """

    user: str
    mechanism: str
    authorize_as: str = ""


class Secret(msgspec.Struct, frozen=True):
    """What is the user's password, in clear? Answered with ``PlainSecret``, or None; CRAM-MD5 cannot do with less (RFC 2195)."""

    user: str


class Token(msgspec.Struct, frozen=True):
    """Does this bearer token hold? Answered with ``Known``, or None.

    Args:
        token: as the client sent it.
        user: whom the client says it is for, "" when it does not say.
    """

    token: str
    user: str = ""

    def __repr__(self) -> str:
        return f"Token({self.user!r})"


class Certificate(msgspec.Struct, frozen=True):
    """Whom does the client's certificate stand for (EXTERNAL, RFC 4422 appendix A)? Answered with ``Known``, or None.

    Args:
        authorize_as: the identity that the client wants; "" for the one that the certificate gives.
    """

    authorize_as: str = ""


Ask = Password | Keys | Secret | Token | Certificate


class Known(msgspec.Struct, frozen=True):
    """An answer: yes, and this is the user's name from now on."""

    user: str


class ScramKeys(msgspec.Struct, frozen=True):
    """An answer: what a server keeps for SCRAM (RFC 5802 §3).

    Args:
        user: the user's name from now on, if the proof holds.
        salt, iterations: as the keys were made.
        stored_key, server_key: the keys.
    """

    user: str
    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"ScramKeys({self.user!r})"


class PlainSecret(msgspec.Struct, frozen=True):
    """An answer: the password itself."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"PlainSecret({self.user!r})"


Answer = Known | ScramKeys | PlainSecret | None


class Challenge(msgspec.Struct, frozen=True):
    """Send this and hand the response to ``respond``."""

    data: bytes


class Success(msgspec.Struct, frozen=True):
    """The client is this user; all is said."""

    user: str


class Failure(msgspec.Struct, frozen=True):
    """The client is not let in.

    Args:
        reason: for the log, without anything secret; the client hears only that it failed.
        malformed: the exchange broke the rules of the mechanism (a 501), rather than the credentials being wrong (a 535).
        user: whom it wanted to be, "" when that was not said; guesses are counted by it.
    """

    reason: str
    malformed: bool = False
    user: str = ""


Step = Challenge | Ask | Success | Failure


class ServerMechanism(Protocol):
    """The server's side of one exchange; ``start`` once, then ``respond`` to each Challenge and ``answer`` to each Ask, until the end."""

    def start(self, initial: bytes | None) -> Step:
        """Begins, with the initial response if there was one."""

    def respond(self, response: bytes) -> Step:
        """Takes the client's response to the last Challenge."""

    def answer(self, answer: Answer) -> Step:
        """Takes the answer to the last Ask."""


# A server's side as one runs through it: yields what it sends or wants to know, is sent the response or the answer, returns the end.
Talk = Generator["Challenge | Ask", Any, "Success | Failure"]


class ServerExchange:
    """A server's side that is written as one function, so that it reads like its RFC: the generator is the state.

    Args:
        talk: is given the initial response, or None.
    """

    __slots__ = ("_begin", "_last", "_talk")

    def __init__(self, talk: Callable[[bytes | None], Talk]) -> None:
        self._begin = talk
        self._talk: Talk | None = None
        self._last: Step | None = None

    def start(self, initial: bytes | None) -> Step:
        """Begins, with the initial response if there was one."""
        if self._talk is not None:
            raise LocalProtocolError("start() twice")
        self._talk = self._begin(initial)
        return self._on(None)

    def respond(self, response: bytes) -> Step:
        """Takes the client's response to the last Challenge."""
        if not isinstance(self._last, Challenge):
            raise LocalProtocolError("respond() without a challenge")
        return self._on(response)

    def answer(self, answer: Answer) -> Step:
        """Takes the answer to the last Ask."""
        if not isinstance(self._last, Ask):
            raise LocalProtocolError("answer() without a question")
        return self._on(answer)

    def _on(self, value: Any) -> Step:
        assert self._talk is not None
        try:
            self._last = self._talk.send(value)
        except StopIteration as end:
            self._last = end.value
        except SaslError as error:
            self._last = Failure(str(error), malformed=True)
        assert self._last is not None
        return self._last


class ClientMechanism(Protocol):
    """The client's side of one exchange.

    Raises: SaslError when the server breaks the rules or does not know what it should: then the exchange is cancelled.
    """

    name: str

    def initial(self) -> bytes | None:
        """The initial response, or None for mechanisms in which the server speaks first."""

    def respond(self, challenge: bytes) -> bytes:
        """The response to a challenge."""

    def finish(self) -> None:
        """The server said that we are in: raises when it did not prove that it knows us, where the mechanism has it do so."""


class ChannelBindings(msgspec.Struct, frozen=True):
    """What ties an exchange to its TLS connection (RFC 5056), by type: "tls-server-end-point" (RFC 5929 §4), "tls-exporter" (RFC 9266).

    Empty without TLS, or where the type cannot be had.
    """

    data: dict[str, bytes] = {}


UNBOUND = ChannelBindings()
