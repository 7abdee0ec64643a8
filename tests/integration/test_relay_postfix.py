"""Postfix hands mail to Penstock, which hands it to another Postfix: nothing but trace fields is added, and each recipient has its end."""

from __future__ import annotations

import base64
import random
import signal
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from integration.relaying import SENDER, literal, outcome, outcomes, report_blocks, reports, send, settings, told, wait_exact
from support.certificates import certificate
from support.nameserver import Nameserver
from support.needs import needs, needs_root
from support.postfix import Postfix, receiving, relaying_to
from support.server import Server
from support.waiting import wait_until

pytestmark = pytest.mark.root
ALICE = "alice@remote.example"
# Both would be helpful where we want octets: fields that are missing are not added, and long lines are not broken.
PLAIN = "local_header_rewrite_clients =\nsmtp_line_length_limit = 0\nsmtpd_tls_received_header = yes\n"
HEAD = b"From: sender@client.example\r\nSubject: one\r\n"


def _attachment() -> bytes:
    data = base64.encodebytes(random.Random(5).randbytes(3_700_000)).replace(b"\n", b"\r\n")
    head = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return HEAD + head + data


CONTENTS = {
    "short": HEAD + b"\r\nshort\r\n",
    "eight-bit": HEAD + b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + bytes(range(128, 256)) + b"\r\n",
    "long-lines": HEAD + b"\r\n" + b"".join(bytes([c]) * 998 + b"\r\n" for c in b"abc.defgh"),
    "dots": HEAD + b"\r\n.\r\n..\r\n...\r\n. x\r\n.\r\n\r\n.\r\nend of dots\r\n",
    "folded": b"Subject: a\r\n\tb\r\n  c\r\nX-Odd:no space\r\nx-odd:   three\r\n\r\nend of folds \t\r\n\r\n\r\n",
    "empty-header": b"\r\nonly a body\r\n",
    "five-megabytes": _attachment(),
}


class Chain(NamedTuple):
    """The three servers."""

    first: Postfix
    server: Server
    last: Postfix

    def inject(self, recipients: list[str], content: bytes, *options: str, sender: str = SENDER, each: tuple[str, ...] = ()) -> None:
        """Gives a message to the first server."""
        with smtplib.SMTP(*self.first.address, timeout=20) as client:
            assert client.sendmail(sender, recipients, content, options, each) == {}


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    """The Postfix at the end, which offers STARTTLS."""
    needs("postfix")
    needs_root("Postfix changes users")
    with Postfix(receiving("remote.example", "client.example", certificate=certificate("remote.example")) + PLAIN) as last:
        yield last


@pytest.fixture(scope="module")
def chain(postfix: Postfix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Postfix, Penstock, Postfix."""
    server = Server(tmp_path_factory.mktemp("server"), more=settings(literal(postfix.address)) + '[limits]\nmessage_size = "50 MiB"\n')
    with server, Postfix(relaying_to(*server.address) + PLAIN) as first:
        yield Chain(first, server, postfix)


@pytest.mark.parametrize("name", CONTENTS)
def test_content_is_the_same_to_the_byte_after_three_servers(chain: Chain, name: str) -> None:
    content = CONTENTS[name]
    options = [] if content.isascii() else ["BODY=8BITMIME"]
    chain.inject([ALICE], content, *options)
    data = wait_exact(chain.last.folder / "mail", content).read_bytes()
    received = [
        field
        for field in data.split(b"\n\n")[0].replace(b"\n\t", b" ").replace(b"\n  ", b" ").split(b"\n")
        if field.startswith(b"Received: ")
    ]
    assert len(received) == 3, received
    assert b"using TLSv1" in received[0], "what is offered is used"
    assert b"by mx.example.com" in received[1]


def test_internationalised_mail_passes_through(chain: Chain) -> None:
    """SMTPUTF8 (RFC 6531): addresses and header fields in UTF-8."""
    content = "From: jörg@client.example\r\nSubject: Grüße\r\n\r\nSchöne Grüße, 你好\r\n".encode()
    chain.inject(["jürgen@remote.example"], content, "SMTPUTF8", "BODY=8BITMIME", sender="jörg@client.example")
    data = wait_exact(chain.last.folder / "mail", content).read_bytes()
    assert "Return-Path: <jörg@client.example>".encode() in data
    assert "jürgen@remote.example".encode() in data


def test_each_of_several_recipients_has_its_own_end(postfix: Postfix, tmp_path: Path) -> None:
    """One is taken, one refused for good, and one for so long that it is given up; the sender is told of the last two."""
    content = HEAD + b"\r\nfor several\r\n"
    with Server(tmp_path, more=settings(literal(postfix.address), expire="3s")) as server:
        with Postfix(relaying_to(*server.address) + PLAIN) as first:
            Chain(first, server, postfix).inject(["carol@remote.example", "unknown@remote.example", "busy@remote.example"], content)
            assert outcome(server, "unknown@remote.example", "failed")["status"] == "5.1.1"
            assert outcome(server, "busy@remote.example", "deferred")["status"] == "4.2.0"
            outcome(server, "busy@remote.example", "expired")
            assert told(reports(tmp_path / "reports", 2)) == {
                "unknown@remote.example": ("failed", "5.1.1"),
                "busy@remote.example": ("failed", "4.4.7"),
            }
        assert outcomes(server)["carol@remote.example"] == ["relayed"]
        assert server.queue() == []
    wait_exact(postfix.folder / "mail", content)


def test_what_was_busy_is_delivered_later(tmp_path: Path) -> None:
    """450 at first, 250 when the recipient is no longer busy: one copy, and no report."""
    needs("postfix")
    needs_root("Postfix changes users")
    content = HEAD + b"\r\nfor the busy\r\n"
    with Postfix(receiving("remote.example") + PLAIN) as receiver:
        # A new configuration is for new connections, so none may be kept.
        more = settings(literal(receiver.address)) + '[delivery]\nidle = "100ms"\n'
        with Server(tmp_path, more=more) as server:
            send(server, ["busy@remote.example"], content)
            outcome(server, "busy@remote.example", "deferred")
            assert [entry["queue_name"] for entry in server.queue()]
            main = receiver.folder / "main.cf"
            main.write_text(main.read_text().replace("busy@ =", "nobody@ ="))
            receiver.process.send_signal(signal.SIGHUP)
            outcome(server, "busy@remote.example", "relayed", timeout=30)
            wait_exact(receiver.folder / "mail", content)
            assert len(list(receiver.folder.glob("mail/all/new/*"))) == 1
            assert server.queue() == []
            assert not (tmp_path / "reports").exists()


def test_mail_goes_to_the_mx_host_that_dns_names(postfix: Postfix, tmp_path: Path) -> None:
    """No route and no smart host: MX, then A, and the second MX host when the first does not listen."""
    content = HEAD + b"\r\nby MX\r\n"
    with Nameserver() as dns:
        dns.add("remote.example", "MX", "10 dead.remote.example", "20 mx.remote.example")
        dns.add("dead.remote.example", "A", "127.0.0.99")
        dns.add("mx.remote.example", "A", "127.0.0.1")
        more = settings() + f'[delivery]\nport = {postfix.port}\nown_addresses = []\n[dns]\nservers = ["{dns.address}"]\n'
        with Server(tmp_path, more=more) as server:
            send(server, ["erin@remote.example"], content)
            line = outcome(server, "erin@remote.example", "relayed")
            assert line["remote"].startswith("mx.remote.example")
            wait_exact(postfix.folder / "mail", content)
            send(server, ["erin@nowhere.example"], content)
            assert outcome(server, "erin@nowhere.example", "failed")["status"] in {"5.1.2", "5.4.4"}
            assert dns.asked("remote.example", "MX") == 1


def test_a_smart_host_takes_what_has_no_route(postfix: Postfix, tmp_path: Path) -> None:
    content = HEAD + b"\r\nby smart host\r\n"
    more = settings() + f'[delivery]\nsmart_host = "{literal(postfix.address)}"\n'
    with Server(tmp_path, more=more) as server:
        send(server, ["frank@remote.example"], content)
        outcome(server, "frank@remote.example", "relayed")
        wait_exact(postfix.folder / "mail", content)


def test_a_certificate_that_holds_is_what_verify_wants(postfix: Postfix, tmp_path: Path) -> None:
    """The authority is known and the certificate names 127.0.0.1."""
    more = (
        settings(literal(postfix.address), route='tls = "verify"')
        + f'[delivery]\nca_file = "{certificate("remote.example").certificate}"\n'
    )
    content = HEAD + b"\r\nverified\r\n"
    with Server(tmp_path, more=more) as server:
        send(server, ["grace@remote.example"], content)
        outcome(server, "grace@remote.example", "relayed")
    assert b"using TLSv1" in wait_exact(postfix.folder / "mail", content).read_bytes()


def test_a_certificate_for_another_name_is_refused_by_verify(tmp_path: Path) -> None:
    """The authority is known and the name is wrong: nothing is sent, and the reason says why."""
    needs("postfix")
    needs_root("Postfix changes users")
    other = certificate("other.example")
    with Postfix(receiving("remote.example", certificate=other) + PLAIN) as receiver:
        more = settings(literal(receiver.address), route='tls = "verify"', expire="2s") + f'[delivery]\nca_file = "{other.certificate}"\n'
        with Server(tmp_path, more=more) as server:
            send(server, [ALICE], HEAD + b"\r\nsecret\r\n")
            assert "certificate" in outcome(server, ALICE, "deferred")["reason"].lower()
            outcome(server, ALICE, "expired")
            assert told(reports(tmp_path / "reports", 1))[ALICE][0] == "failed"
        assert not list(receiver.folder.glob("mail/all/new/*"))
        assert "from=<" not in receiver.log()


DSN = ("RET=HDRS", "ENVID=sent-one")
EACH = ("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first@remote.example")


def test_the_last_server_tells_of_success_where_it_can(chain: Chain) -> None:
    """NOTIFY, ORCPT, RET and ENVID reach the server that delivers, and nobody before it tells of anything (RFC 3461 §5.2)."""
    chain.inject(["heidi@remote.example"], HEAD + b"\r\nwith a report\r\n", *DSN, each=EACH)

    def found() -> bytes:
        texts = [path.read_bytes() for path in chain.last.folder.glob("mail/all/new/*")]
        return next((text for text in texts if b"Action: delivered" in text and b"heidi@" in text), b"")

    envelope, block = report_blocks(wait_until(found, "a report of success"))
    assert envelope["Original-Envelope-Id"] == "sent-one"
    assert (block["Action"], block["Original-Recipient"]) == ("delivered", "rfc822;first@remote.example")
    assert outcomes(chain.server)["heidi@remote.example"] == ["relayed"]
    assert not any(line["event"] == "reported" and line["to"] == SENDER for line in chain.server.log())


def test_we_tell_of_the_relaying_where_the_next_server_cannot_report(tmp_path: Path) -> None:
    """The next server has no DSN: "relayed" is told by the last one that has it (RFC 3461 §5.2.2)."""
    needs("postfix")
    needs_root("Postfix changes users")
    content = HEAD + b"\r\nto one without\r\n"
    with Postfix(receiving("remote.example") + PLAIN + "smtpd_discard_ehlo_keywords = dsn\n") as receiver:
        with Server(tmp_path, more=settings(literal(receiver.address))) as server:
            with smtplib.SMTP(*server.address, timeout=20) as client:
                client.sendmail(SENDER, ["ivan@remote.example"], content, DSN, EACH)
            (block,) = reports(tmp_path / "reports", 1)
            assert (block["Action"], block["Original-Recipient"]) == ("relayed", "rfc822;first@remote.example")
            assert outcomes(server)["ivan@remote.example"] == ["relayed"]
        wait_exact(receiver.folder / "mail", content)
