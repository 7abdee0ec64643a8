"""Targets for the protocol machines: commands, whole sessions of both sides, replies, content, SASL, PROXY.

Every machine is fed whole and in pieces, and must say and tell the same.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from penstock.errors import LocalProtocolError, RemoteProtocolError, SaslError
from penstock.hosts.smtp.claims import VERBS, read_attributes
from penstock.mail.address import Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.wire.client_hello import ClientHello
from penstock.wire.proxy import ProxyReader
from penstock.wire.sasl.base import Ask, Challenge, PlainSecret, Success
from penstock.wire.sasl.mechanisms import NAMES, Login, ServerSide, client, server
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_events import NEED_DATA, Event
from penstock.wire.smtp.client_parameters import Facts, Offered, mail_command, rcpt_command
from penstock.wire.smtp.client_settings import ClientLimits, ClientSettings
from penstock.wire.smtp.command import Bdat, Scope, decode, table_with, understand
from penstock.wire.smtp.content import ContentRules, DataDecoder
from penstock.wire.smtp.happening import Mail, Rcpt
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.outgoing import Data
from penstock.wire.smtp.replies import Heard, ReplyReader
from penstock.wire.smtp.settings import ServerSettings
from penstock.wire.smtp.state import State
from penstock.wire.smtp.stuffing import LineEnds, NewlineWatch, Stuffing
from penstock.wire.x509 import facts_of, read_certificate
from wire.driver import HOSTNAME, Host

from .reading import Reader, pieces

LIMITS = Limits(command_line=300, text_line=100, message_size=2000, recipients=3, errors=10)
_SMTP = ServerSettings(HOSTNAME, LIMITS)
_LMTP = ServerSettings(HOSTNAME, LIMITS, lmtp=True)
_TABLE = table_with(frozenset({"XQDEPTH"}), auth=True)
_SCOPE = Scope(LIMITS, _SMTP.in_clear.offer, utf8=True)
_STATES = (State.GREETING, State.READY, State.MAIL, State.RCPT, State.BDAT)
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


def claim(data: bytes) -> None:
    """XCLIENT and XFORWARD say what may stand in a log line and a trace field, or are refused."""
    for verb in sorted(VERBS):
        try:
            said = read_attributes(verb, data.decode("utf-8", "surrogateescape"))
        except RemoteProtocolError as error:
            assert error.code == 501
            continue
        assert said
        assert all(len(value) <= 255 and value.isprintable() for value in said.values())
        assert not said.get("PORT") or int(said["PORT"]) <= 65535


def command(data: bytes) -> None:
    """A line is a question, or refused with a reply of class 4 or 5; a path that was understood can be sent on and means the same."""
    for state in _STATES:
        try:
            question = understand(decode(data), state, _TABLE, _SCOPE)
        except RemoteProtocolError as error:
            assert 400 <= error.code <= 599
            continue
        assert not isinstance(question, Bdat) or question.size >= 0
        if isinstance(question, Mail):
            _again(question.sender, None)
        elif isinstance(question, Rcpt):
            _again(question.recipient.address, question.recipient)


def _again(address: Address, recipient: Recipient | None) -> None:
    """Sends on what came in: as one line, understood as the same."""
    offered = Offered(("mx", "SMTPUTF8", "DSN", "SIZE", "8BITMIME"))
    try:
        if recipient is None:
            line = mail_command(address, MailParameters(smtputf8=True), Facts(5, utf8=True), offered).command.line
        else:
            line = rcpt_command(recipient, offered).command.line
    except LocalProtocolError:
        return
    assert not any(c in line for c in "\r\n\0"), line
    if len(line) > LIMITS.command_line - 2:
        return
    state = State.READY if recipient is None else State.RCPT
    try:
        question = understand(line, state, _TABLE, _SCOPE)
    except RemoteProtocolError as error:
        # Quoted again, a local part may be longer than the path that it came in.
        assert "longer" in str(error) or "limit" in str(error), (line, error)
        return
    if isinstance(question, Mail):
        assert question.sender == address
    elif isinstance(question, Rcpt):
        assert question.recipient.address == address


def _outcome(settings: ServerSettings, octets: list[bytes]) -> tuple[object, ...]:
    host = Host(settings)
    for piece in octets:
        host.feed(piece)
        assert host.machine.pending <= LIMITS.command_line, "a host that decides at once leaves little unparsed"
    host.feed(b"")
    return host.said, host.story(), host.messages


def smtp_server(data: bytes) -> None:
    """A server session: the same events and replies for any split, with little kept, and nothing but replies said."""
    _serve(_SMTP, data)


def lmtp_server(data: bytes) -> None:
    """The same for LMTP, with its reply for each recipient."""
    _serve(_LMTP, data)


def _serve(settings: ServerSettings, data: bytes) -> None:
    if not data:
        return
    whole = _outcome(settings, [data])
    assert whole == _outcome(settings, list(pieces(data)))
    if len(data) < 400:
        assert whole == _outcome(settings, [data[at : at + 1] for at in range(len(data))])
    said = whole[0]
    assert isinstance(said, bytes)
    assert not _BARE.search(said)


def _listen(data: list[bytes], lmtp: bool) -> tuple[object, ...]:
    settings = ClientSettings("client.example", protocol="lmtp" if lmtp else "smtp", limits=ClientLimits(200, 1000, 4000))
    machine = ClientMachine(settings)
    events: list[Event] = []
    step = 0

    def act() -> None:
        nonlocal step
        offered = machine.offered
        ways = (
            lambda: machine.send(settings.greeting()),
            lambda: machine.send(mail_command(Address("a", "b.example"), MailParameters(smtputf8=True), Facts(5), offered).command),
            lambda: machine.send(rcpt_command(Recipient(Address("c", "d.example")), offered).command),
            lambda: machine.send(Data()),
            lambda: (machine.begin_content(), machine.content(b".x\r\n"), machine.end_content()),
        )
        try:
            ways[min(step, 4)]()
        except LocalProtocolError:
            return
        step += 1

    for piece in data:
        machine.receive_data(piece)
        while not isinstance(event := machine.next_event(), type(NEED_DATA)):
            events.append(event)
            act()
    machine.receive_data(b"")
    while not isinstance(event := machine.next_event(), type(NEED_DATA)):
        events.append(event)
    return events, machine.data_to_send()


def smtp_client(data: bytes) -> None:
    """A server that says anything: the client tells the same for any split, and sends nothing but commands and content."""
    if not data:
        return
    for lmtp in (False, True):
        events, sent = _listen([data], lmtp)
        again, _ = _listen(list(pieces(data)), lmtp)
        assert events == again
        assert isinstance(sent, bytes)
        assert not _BARE.search(sent)


def _heard(octets: list[bytes]) -> tuple[list[Heard], str]:
    limits = ClientLimits(reply_line=80, reply_text=300, reply=2000)
    reader, heard = ReplyReader(limits), list[Heard]()
    for piece in octets:
        reader.append(piece)
        try:
            while (one := reader.next_reply()) is not None:
                heard.append(one)
        except RemoteProtocolError as error:
            return heard, str(error)
        assert reader.pending <= limits.reply_line + limits.reply_text + len(piece)
    return heard, ""


def reply(data: bytes) -> None:
    """Replies heard are the same for any split, are bounded, and their text is text."""
    heard, wrong = _heard([data])
    again, as_well = _heard(list(pieces(data)))
    assert heard == again
    assert bool(wrong) == bool(as_well)
    for one in heard:
        assert 200 <= one.reply.code <= 599
        assert len(one.reply.text.encode()) <= 3 * 300 + 3
        assert not any(c in one.reply.text for c in "\r\0\x1b\x9b")


def content(data: bytes) -> None:
    """Content stuffed and sent is content received, to the octet, whole or in pieces; the end is found where it is and nowhere else."""
    stuffing, ends = Stuffing(convert=True), LineEnds()
    wire = b"".join(map(stuffing.feed, pieces(data))) + stuffing.finish()
    plain = b"".join(map(ends.feed, pieces(data))) + ends.finish()
    decoder = DataDecoder(ContentRules(Limits(message_size=0, text_line=0)))
    got, used = decoder.feed(wire + b"QUIT\r\n")
    assert decoder.ended
    assert used == len(wire)
    assert got == plain + (b"" if plain.endswith(b"\r\n") or not plain else b"\r\n")
    assert not _BARE.search(wire)
    # Octets that came from a stranger, with ends of any kind in them.
    octets = [data[at : at + 1] for at in range(len(data))]
    assert _decoded([data]) == _decoded(list(pieces(data))) == _decoded(octets)
    watch = NewlineWatch()
    for piece in pieces(data):
        watch.look(piece)
    watch.finish()
    assert watch.found == bool(_BARE.search(data))


def _decoded(octets: list[bytes]) -> tuple[object, ...]:
    rules = ContentRules(LIMITS)
    decoder, got, used = DataDecoder(rules), b"", 0
    for piece in octets:
        if decoder.ended or not piece:
            continue
        text, count = decoder.feed(piece)
        got += text
        used += count
    refusal = rules.refusal
    return decoder.ended, used, refusal, b"" if refusal else got, rules.size


def sasl(data: bytes) -> None:
    """Both sides of each mechanism take whatever the other says: a step, or a SaslError; nobody gets in who does not know the secret."""
    read = Reader(data)
    name = NAMES[read.number(len(NAMES))]
    machine = server(name, ServerSide("mx.example.com", pepper=b"x"))
    step = machine.start(read.rest_of(read.number(400)) if read.number(2) else None)
    for _ in range(8):
        if isinstance(step, Challenge):
            step = machine.respond(read.rest_of(read.number(400)))
        elif isinstance(step, Ask):
            scram = name.startswith(("SCRAM", "CRAM"))
            step = machine.answer(PlainSecret("alice", "a secret that nobody knows") if scram else None)  # type: ignore[arg-type]
        else:
            break
    assert not isinstance(step, (Challenge, Ask))
    assert not isinstance(step, Success), "in without a secret"
    mechanism = client(name, Login("alice", "wonder", "token")) if not name.endswith("PLUS") else None
    if mechanism is None:
        return
    try:
        mechanism.initial()
        for _ in range(5):
            mechanism.respond(read.rest_of(read.number(400)))
        mechanism.finish()
    except SaslError:
        return


def _proxied(octets: list[bytes]) -> tuple[object, ...]:
    reader = ProxyReader()
    for number, piece in enumerate(octets):
        try:
            found = reader.receive(piece)
        except RemoteProtocolError:
            return ("no",)
        if found is not None:
            return found, reader.rest + b"".join(octets[number + 1 :])
    return ("more",)


def proxy(data: bytes) -> None:
    """A PROXY header is the same header whole and in pieces, or none; what follows it is left to the session."""
    whole = _proxied([data])
    assert whole == _proxied([data[at : at + 1] for at in range(len(data))] or [b""])


def client_hello(data: bytes) -> None:
    """A TLS hello names the same protocols whole and in pieces; what is none is none."""
    whole = ClientHello().feed(data)
    hello, found = ClientHello(), None
    for at in range(len(data)):
        found = hello.feed(data[at : at + 1])
        if found is not None:
            break
    assert found == whole or whole is None or found is not None


def certificate(data: bytes) -> None:
    """A client's certificate is read, or a ValueError."""
    for read in (read_certificate, facts_of):
        try:
            read(data)
        except ValueError:
            continue


TARGETS = {
    "claim": claim,
    "command": command,
    "smtp_server": smtp_server,
    "lmtp_server": lmtp_server,
    "smtp_client": smtp_client,
    "reply": reply,
    "content": content,
    "sasl": sasl,
    "proxy": proxy,
    "client_hello": client_hello,
    "certificate": certificate,
}
