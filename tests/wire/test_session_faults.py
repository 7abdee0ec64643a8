"""Our client and server over a link that splits, and breaks at any octet: a message counts for the client only if it is the server's."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import LocalProtocolError
from penstock.mail.address import Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.mail.reply import Reply
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_events import NEED_DATA, Answer, ContentAnswer, Event
from penstock.wire.smtp.client_parameters import Facts, mail_command, rcpt_command
from penstock.wire.smtp.client_settings import ClientSettings
from penstock.wire.smtp.happening import ContentEnd, Question
from penstock.wire.smtp.outgoing import Bdat, Data, Reset, Sendable
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings
from wire.driver import HOSTNAME, Host

NO = Reply(554, "5.7.1", "No")


class Broken(Exception):
    """The link is gone."""


class Frail:
    """A client and a server, and a link between them that carries so many octets, both ways together, and then no more.

    Args:
        seed: of how the octets are cut, and which content the server refuses.
        carries: octets.
        without: keywords that the server does not offer.
    """

    def __init__(self, seed: int, carries: int, without: frozenset[str]) -> None:
        self.dice = random.Random(seed)
        self.carries = carries
        self.server = Host(ServerSettings(HOSTNAME, without=without), self._decide)
        self.client = ClientMachine(ClientSettings("client.example"))
        self.events: list[Event] = []
        self._hear(self.server.said)

    def _decide(self, machine: ServerMachine, question: Question) -> bool:
        if isinstance(question, ContentEnd) and self.dice.random() < 0.2:
            machine.refuse(NO)
            return True
        return False

    def _cut(self, data: bytes) -> list[bytes]:
        room, self.carries = self.carries, self.carries - len(data)
        data, pieces = data[: max(room, 0)], []
        while data:
            size = self.dice.choice((1, 2, 7, 100, 5000))
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    def _hear(self, data: bytes) -> None:
        for piece in self._cut(data):
            self.client.receive_data(piece)
            while not isinstance(event := self.client.next_event(), type(NEED_DATA)):
                self.events.append(event)
        if self.carries < 0:
            raise Broken

    def carry(self) -> None:
        """Carries what both have to say."""
        said = b"".join(map(self.server.feed, self._cut(self.client.data_to_send())))
        # What reached the server was heard, even if nothing comes back any more.
        self._hear(said)

    def send(self, command: Sendable) -> None:
        if not self.client.may_send(command):
            self.carry()
        self.client.send(command)

    def deliver(self, content: bytes, chunk: int) -> int:
        """Tries to hand over a message; the code of the answer, 0 when it was refused before its content."""
        before = len(self.events)
        self.send(mail_command(Address("a", "b.example"), MailParameters(), Facts(len(content)), self.client.offered).command)
        self.send(rcpt_command(Recipient(Address("c", "d.example")), self.client.offered).command)
        if chunk and "CHUNKING" in self.client.offered:
            for at in range(0, len(content) or 1, chunk):
                piece = content[at : at + chunk]
                self.send(Bdat(len(piece), last=at + chunk >= len(content)))
                if piece:
                    self.client.content(piece)
        else:
            self.send(Data())
            self.carry()
            self.client.begin_content()
            self.client.content(content)
            self.client.end_content()
        self.carry()
        answers = [event.reply.code for event in self.events[before:] if isinstance(event, ContentAnswer)]
        if self.client.state.name != "READY":
            self.send(Reset())
            self.carry()
        return answers[-1] if answers else 0


def test_a_link_that_holds_carries_all() -> None:
    link = Frail(3, 10**9, frozenset())
    link.client.send(ClientSettings("client.example").greeting())
    link.carry()
    codes = [link.deliver(b"a\r\n.\r\n", chunk) for chunk in (0, 1, 5) * 10]
    assert set(codes) == {250, 554}
    assert link.server.messages == [b"a\r\n.\r\n"] * codes.count(250)


lines = st.lists(st.sampled_from([b".", b"..", b"", b"QUIT", b".\x00\xff", b"x" * 300]), min_size=1, max_size=6)
contents = st.lists(lines.map(lambda several: b"".join(line + b"\r\n" for line in several)), min_size=1, max_size=4)
keywords = st.frozensets(st.sampled_from(["PIPELINING", "CHUNKING", "SIZE", "8BITMIME", "DSN"]))


@given(contents, st.integers(0, 50), st.integers(0, 10**6), st.one_of(st.just(10**9), st.integers(0, 4000)), keywords)
@settings(max_examples=250, deadline=None)
def test_a_message_counts_for_the_client_only_if_it_is_the_servers(
    messages: list[bytes], chunk: int, seed: int, carries: int, without: frozenset[str]
) -> None:
    """Octet by octet the same, in order; when the link breaks, the last one alone may be the server's without the client's knowledge."""
    acknowledged: list[bytes] = []
    trying, whole, link = b"", True, None
    try:
        link = Frail(seed, carries, without)
        link.client.send(ClientSettings("client.example").greeting())
        link.carry()
        for trying in messages:
            if link.deliver(trying, chunk) == 250:
                acknowledged.append(trying)
    except Broken:
        whole = False
    except LocalProtocolError as error:
        raise AssertionError("the client broke a rule of its own") from error
    if link is None:
        return
    kept = link.server.messages
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) == len(acknowledged) if whole else kept[len(acknowledged) :] in ([], [trying])
    assert all(event.reply.code < 500 or event.reply == NO for event in link.events if isinstance(event, (Answer, ContentAnswer)))
