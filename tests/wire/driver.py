"""A host that accepts everything, for tests of the server machine: it feeds octets in and keeps what happened and what was said."""

from __future__ import annotations

from collections.abc import Callable

from penstock.mail.reply import Reply
from penstock.wire.smtp.happening import NEED_DATA, PAUSED, Chunk, Closed, ContentEnd, Happening, Question, Refused, Verb
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings

HOSTNAME = "mx.example.com"
BANNER = Reply(220, "", f"{HOSTNAME} ESMTP")

Decide = Callable[[ServerMachine, Question], bool]


class Host:
    """Drives one machine.

    Args:
        settings: of the machine.
        decide: may answer a question itself and return True; otherwise it is accepted.
    """

    def __init__(self, settings: ServerSettings | None = None, decide: Decide | None = None) -> None:
        self.machine = ServerMachine(settings or ServerSettings(HOSTNAME))
        self.decide = decide
        self.happened: list[Happening] = []
        self.messages: list[bytes] = []
        self._content = b""
        self.machine.greet(BANNER)
        self.said = self.machine.data_to_send()

    def feed(self, data: bytes) -> bytes:
        """Feeds octets and returns what the machine says to them."""
        self.machine.receive_data(data)
        while (happening := self.machine.next_event()) is not NEED_DATA:
            assert happening is not PAUSED, "the host left a decision open"
            self.happened.append(happening)
            self._react(happening)
        said = self.machine.data_to_send()
        self.said += said
        return said

    def _react(self, happening: Happening) -> None:
        if isinstance(happening, Chunk):
            self._content += happening.data
        elif isinstance(happening, ContentEnd):
            content, self._content = self._content, b""
            if happening.refusal is not None:
                self.machine.refuse(happening.refusal)
            elif not (self.decide and self.decide(self.machine, happening)):
                self.messages.append(content)
                self.machine.accept(Reply(250, "2.0.0", "Ok: queued as TESTID"))
        elif isinstance(happening, Question) and not (self.decide and self.decide(self.machine, happening)):
            self.machine.accept()

    def story(self) -> list[Happening]:
        """What happened, with the chunks of each accepted message joined and those of refused ones left out."""
        story: list[Happening] = []
        content = b""
        for happening in self.happened:
            if isinstance(happening, Chunk):
                content += happening.data
                continue
            if isinstance(happening, ContentEnd) and happening.refusal is None:
                story.append(Chunk(content))
            if isinstance(happening, ContentEnd):
                content = b""
            story.append(happening)
        return story


def session(data: bytes, settings: ServerSettings | None = None) -> Host:
    """A host after a whole session, which begins after the banner."""
    host = Host(settings)
    host.said = b""
    if data:
        host.feed(data)
    return host


def small(**limits: int) -> ServerSettings:
    """Settings with some limits set low."""
    return ServerSettings(HOSTNAME, Limits(**limits))


__all__ = ["BANNER", "HOSTNAME", "Chunk", "Closed", "Host", "Refused", "Verb", "session", "small"]
