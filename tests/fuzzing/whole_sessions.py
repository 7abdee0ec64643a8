"""Whole sessions of our client and our server over a link of a test's own: it cuts, joins and delays octets, breaks, and may be tapped.

Both sides are the machines and the TLS of the product; only the sockets are missing. Octets of one direction keep their order, as TCP has
it; when they arrive, in which pieces, and how the two directions lie in time to each other is drawn. Nothing waits for a clock: whoever
waits while nothing is under way waits for ever, and that is ``Hung``.
"""

from __future__ import annotations

import random
import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from penstock.hosts.smtp.certificates import Certificates
from penstock.hosts.smtp.encryption import TlsLayer
from penstock.mail.address import Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.mail.reply import Reply
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_events import NEED_DATA, Answer, Closed, ContentAnswer, Event, Fate
from penstock.wire.smtp.client_parameters import Facts, mail_command, rcpt_command
from penstock.wire.smtp.client_settings import ClientSettings
from penstock.wire.smtp.happening import PAUSED, Chunk, ContentEnd, DataStart, Mail, Question, Rcpt, StartTls
from penstock.wire.smtp.outgoing import Bdat, Data, Quit, Reset, Sendable
from penstock.wire.smtp.outgoing import Rcpt as RcptCommand
from penstock.wire.smtp.outgoing import StartTls as StartTlsCommand
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings
from penstock.wire.tls import TlsFacts
from wire.driver import BANNER, HOSTNAME

OK, LATER, NO = Reply(250, "2.0.0", "Ok: queued as TESTID"), Reply(451, "4.3.0", "Not now"), Reply(554, "5.7.1", "No")
# What an intruder says in clear to both sides where STARTTLS is about to take effect.
TO_SERVER = b"NOOP\r\nEHLO evil.example\r\nMAIL FROM:<evil@evil.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nevil\r\n.\r\n"
TO_CLIENT = b"250-evil.example\r\n250 X-EVIL\r\n250 2.0.0 Ok\r\n"


class Hung(AssertionError):
    """Somebody waits, and nothing is under way to him."""


class Gone(Exception):
    """The client's session is over."""


@dataclass
class Letter:
    """A message of the client's, and what it knows of it: what became of whom, and for whom it cannot know how often."""

    content: bytes
    pending: list[str]
    taken: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    uncertain: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Way:
    """How a session goes.

    Args:
        lmtp: LHLO, and an answer for each recipient.
        tls: None for clear; else what both sides need for STARTTLS.
        chunk: octets of a BDAT, 0 for DATA.
        without: keywords that the server does not offer.
        carries: octets, both ways together, until the link breaks.
        heard: octets of the server's that come through; then the link is dead for the client, while the server still gets what it says.
        intruder: somebody adds octets in clear at STARTTLS.
    """

    lmtp: bool = False
    tls: tuple[Certificates, ssl.SSLContext] | None = None
    chunk: int = 0
    without: frozenset[str] = frozenset()
    carries: int = 10**9
    heard: int = 10**9
    intruder: bool = False


class Served:
    """The server's side, which keeps what it took by recipient.

    Args:
        way: how the session goes.
        dice: decides what it refuses.
        store: where it puts what it answers for.
    """

    def __init__(self, way: Way, dice: random.Random, store: Counter[tuple[str, bytes]]) -> None:
        self.machine = ServerMachine(ServerSettings(HOSTNAME, lmtp=way.lmtp, without=way.without, starttls=way.tls is not None))
        self.out = bytearray()
        self.over = False
        self.senders: list[tuple[str, bool]] = []
        self._way, self._dice, self._store = way, dice, store
        self._layer: TlsLayer | None = None
        self._recipients: list[str] = []
        self._content = b""
        self.machine.greet(BANNER)
        self._flush()

    def receive(self, data: bytes) -> None:
        """Octets from the link."""
        if self._layer is not None:
            data = self._layer.receive(data)
            if not data:
                return
        self.machine.receive_data(data)
        self._go_on()

    def end(self) -> None:
        """The link is gone."""
        self.machine.receive_data(b"")
        self._go_on()

    def put(self, octets: bytes) -> None:
        self.out += octets

    def tls_is_on(self, facts: TlsFacts) -> None:
        self.machine.secured()

    def tls_failed(self, why: str) -> None:
        self.over = True

    def _go_on(self) -> None:
        while (happening := self.machine.next_event()) is not NEED_DATA and happening is not PAUSED:
            if isinstance(happening, Chunk):
                self._content += happening.data
            elif isinstance(happening, Question):
                self._decide(happening)
        self._flush()

    def _flush(self) -> None:
        data = self.machine.data_to_send()
        if data:
            assert self._layer is None or self._layer.is_on, "an answer to something that was said before the handshake"
            self.out += data if self._layer is None else self._layer.protect(data)

    def _decide(self, question: Question) -> None:
        machine = self.machine
        if isinstance(question, ContentEnd):
            content, self._content = self._content, b""
            self._answer(question, content)
        elif isinstance(question, StartTls):
            machine.accept()
            self._flush()
            assert self._way.tls is not None
            self._layer = TlsLayer(self._way.tls[0], self)
        elif isinstance(question, (Mail, DataStart)) and self._dice.random() < 0.05:
            machine.refuse(LATER)
        elif isinstance(question, Rcpt) and self._dice.random() < 0.2:
            machine.refuse(NO)
        else:
            if isinstance(question, Mail):
                self.senders.append((str(question.sender), self._layer is not None))
                self._recipients, self._content = [], b""
            elif isinstance(question, Rcpt):
                self._recipients.append(str(question.recipient.address))
            machine.accept()

    def _answer(self, question: ContentEnd, content: bytes) -> None:
        if question.refusal is not None:
            self.machine.refuse(question.refusal)
        elif self._way.lmtp:
            replies = [self._dice.choice((OK, OK, OK, LATER, NO)) for _ in self._recipients]
            self._store.update((who, content) for who, reply in zip(self._recipients, replies, strict=True) if reply is OK)
            self.machine.answer_each(replies, OK)
        elif self._dice.random() < 0.2:
            self.machine.refuse(NO)
        else:
            self._store.update((who, content) for who in self._recipients)
            self.machine.accept(OK)


class Client:
    """The client's side: it says what it may, and waits for the rest.

    Args:
        way: how the session goes.
        letters: what it has for the server.
    """

    def __init__(self, way: Way, letters: list[Letter]) -> None:
        self.machine = ClientMachine(ClientSettings("client.example", protocol="lmtp" if way.lmtp else "smtp"))
        self.out = bytearray()
        self.offers: set[str] = set()
        self.closed: Closed | None = None
        self._way, self._letters = way, letters
        self._greeting = ClientSettings("client.example", protocol="lmtp" if way.lmtp else "smtp").greeting()
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._on = False
        self._accepted: list[str] = []
        self._answered = 0
        self._letter: Letter | None = None
        self._script = self._run()
        self.finished = False

    def go_on(self) -> None:
        """Says what may be said now."""
        try:
            next(self._script)
        except (StopIteration, Gone):
            self.finished = True
        data = self.machine.data_to_send()
        if data and self._tls is not None:
            self._tls.write(data)
            data = b""
        self.out += data + (self._outgoing.read() if self._tls is not None else b"")

    def receive(self, data: bytes) -> None:
        """Octets from the link."""
        if self._tls is None:
            self._hear(data)
            return
        self._incoming.write(data)
        try:
            if not self._on:
                self._tls.do_handshake()
                self._on = True
            while piece := self._tls.read(65536):
                self._hear(piece)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            self.end()

    def end(self) -> None:
        """The link is gone."""
        if not self.machine.is_closed:
            self._hear(b"")

    def _hear(self, data: bytes) -> None:
        self.machine.receive_data(data)
        while not isinstance(event := self.machine.next_event(), type(NEED_DATA)):
            self._note(event)
        self.offers |= set(self.machine.offered.extensions)

    def _note(self, event: Event) -> None:
        letter = self._letter
        if isinstance(event, Answer) and isinstance(event.command, RcptCommand) and letter is not None:
            address = str(event.command.recipient.address)
            if event.reply.is_positive:
                self._accepted.append(address)
            elif event.reply == NO:  # and not one that comes of a refused MAIL
                letter.pending.remove(address)
                letter.refused.append(address)
        elif isinstance(event, ContentAnswer) and letter is not None:
            self._answered += 1
            for address in self._accepted if event.recipient is None else [self._accepted[event.recipient]]:
                if event.reply.code // 100 != 4:
                    letter.pending.remove(address)
                    (letter.taken if event.reply.is_positive else letter.refused).append(address)
        elif isinstance(event, Closed):
            self.closed = event
            if event.fate is Fate.UNCERTAIN and letter is not None:
                letter.uncertain.update(self._accepted[self._answered :])

    def _run(self) -> Iterator[None]:
        yield from self._greet()
        if self._way.tls is not None:
            yield from self._send(StartTlsCommand())
            yield from self._settled()
            if self.machine.reset_after_tls():
                # As connections do: what came in clear behind the 220 ends the session.
                self.machine.disconnect()
                self._hear(b"")
                raise Gone
            self._tls = self._way.tls[1].wrap_bio(self._incoming, self._outgoing, server_hostname="mx.example.com")
            self.receive(b"")
            while not self._on:
                yield from self._wait()
            yield from self._greet()
        for letter in self._letters:
            for _ in range(3):
                if letter.pending:
                    yield from self._deliver(letter)
        yield from self._send(Quit())
        while True:
            yield from self._wait()

    def _greet(self) -> Iterator[None]:
        while not self.machine.may_send(self._greeting):
            yield from self._wait()
        self.machine.send(self._greeting)
        yield from self._settled()

    def _deliver(self, letter: Letter) -> Iterator[None]:
        offered, content = self.machine.offered, letter.content
        self._letter, self._accepted, self._answered = letter, [], 0
        yield from self._send(mail_command(Address("a", "b.example"), MailParameters(), Facts(len(content)), offered).command)
        for address in tuple(letter.pending):
            yield from self._send(rcpt_command(Recipient(Address.parse(address)), offered).command)
        if self._way.chunk and "CHUNKING" in offered:
            yield from self._settled()
            for at in range(0, len(content), self._way.chunk) if self._accepted else ():
                piece = content[at : at + self._way.chunk]
                command = Bdat(len(piece), last=at + self._way.chunk >= len(content))
                while not self.machine.may_send(command) and self.machine.state.name != "FAILED":
                    yield from self._wait()
                if self.machine.state.name == "FAILED":
                    break
                self.machine.send(command)
                self.machine.content(piece)
        else:
            yield from self._send(Data())
            yield from self._settled()
            if self.machine.state.name == "GO_AHEAD":
                self.machine.begin_content()
                if self._accepted:
                    self.machine.content(content)
                self.machine.end_content()
        yield from self._settled()
        self._letter = None
        if self.machine.state.name != "READY":
            yield from self._send(Reset())
            yield from self._settled()

    def _send(self, command: Sendable) -> Iterator[None]:
        """Says it as soon as it may be said; not at all where the answers so far leave no room for it, as DATA with everybody refused."""
        while not self.machine.may_send(command) and self.machine.outstanding:
            yield from self._wait()
        if self.machine.is_closed:
            raise Gone
        if self.machine.may_send(command) or isinstance(command, (Quit, Reset)):
            self.machine.send(command)

    def _settled(self) -> Iterator[None]:
        """Waits until everything that was said is answered."""
        while self.machine.outstanding:
            yield from self._wait()

    def _wait(self) -> Iterator[None]:
        if self.machine.is_closed:
            raise Gone
        yield
        if self.machine.is_closed:
            raise Gone


class Link:
    """Between both: octets are under way until they are drawn."""

    def __init__(self, way: Way, dice: random.Random, client: Client, server: Served) -> None:
        self.carried = b""
        self._heard = 0
        self._way, self._dice, self._client, self._server = way, dice, client, server
        self._there, self._back = bytearray(), bytearray()
        self._intruded = [not way.intruder, not way.intruder]

    def run(self) -> None:
        """Carries until the client is done or the link is broken. Raises Hung."""
        while True:
            self._client.go_on()
            self._collect()
            if self._client.finished:
                break
            deaf = self._heard > self._way.heard and not self._there
            if self._server.over or len(self.carried) > self._way.carries or deaf:
                self._client.end()
                continue
            self._carry()
        self._server.end()

    def _carry(self) -> None:
        queues = [queue for queue in (self._there, self._back) if queue]
        if not queues:
            raise Hung(f"the client is {self._client.machine.state.name}, the server {self._server.machine.state.name}")
        queue = self._dice.choice(queues)
        size = self._dice.choice((1, 1, 2, 7, 100, 5000, 10**6))
        piece = bytes(queue[:size])
        del queue[:size]
        self.carried += piece
        self._heard += len(piece) if queue is self._back else 0
        if len(self.carried) <= self._way.carries and (queue is self._there or self._heard <= self._way.heard):
            (self._server if queue is self._there else self._client).receive(piece)

    def _collect(self) -> None:
        for side, queue, sign, evil, number in (
            (self._client, self._there, b"STARTTLS\r\n", TO_SERVER, 0),
            (self._server, self._back, b"220 2.0.0 ", TO_CLIENT, 1),
        ):
            said = bytes(side.out)
            side.out.clear()
            queue += said
            if sign in said and not self._intruded[number] and self._dice.random() < 0.7:
                self._intruded[number] = True
                queue += evil
