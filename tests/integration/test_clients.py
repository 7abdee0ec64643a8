"""Real clients send to a real server: Python's smtplib, swaks, msmtp, and Postfix as a sending MTA.

Whoever sent it, the message must arrive exact to the byte, with Return-Path, Delivered-To and Received before it and nothing changed after.
"""

from __future__ import annotations

import re
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.messages import Message, MessageMaker
from support.needs import needs, needs_root, program
from support.postfix import Postfix
from support.server import Server
from support.waiting import wait_until

SENDER = "load@client.example"
ALICE = "alice@example.com"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server with Maildirs for everybody at example.com."""
    with Server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def message() -> Message:
    """A message of some 8 KiB with lines that start with dots."""
    return MessageMaker(8000).make()


def _delivered(server: Server, message: Message) -> bytes:
    """The delivered file of a message, after checking that there is one copy and that its content is exact."""
    server.mailboxes.wait_for({message.token})
    (copy,) = server.mailboxes.copies[message.token]
    data = copy.path.read_bytes()
    assert data.endswith(message.content), "content must be exact to the byte"
    return data


def _check_prepended(data: bytes, message: Message, sender: str = SENDER, recipient: str = ALICE) -> None:
    """Return-Path, Delivered-To and Received stand before the content, and only header fields do."""
    head = data.removesuffix(message.content).decode()
    assert head.startswith(f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\nReceived: from "), head
    assert re.fullmatch(r"(?:[\w-]+: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+", head), head


def test_smtplib_delivers_exact_bytes(server: Server, message: Message) -> None:
    """What Python's own client sends arrives, dots at line starts included."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.sendmail(SENDER, [ALICE], message.content)
    _check_prepended(_delivered(server, message), message)


def test_the_reply_to_data_names_the_queue_id_that_the_log_has(server: Server, message: Message) -> None:
    """``250 2.0.0 Ok: queued as ID``, and ID stands in the log."""
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        client.mail(SENDER)
        client.rcpt(ALICE)
        code, text = client.data(message.content)
    assert code == 250
    found = re.fullmatch(r"2\.0\.0 Ok: queued as (\S+)", text.decode())
    assert found, text
    wait_until(lambda: found[1] in server.log_text(), "the log has the queue id")


def test_several_recipients_get_a_copy_each(server: Server, message: Message) -> None:
    """One transaction, three recipients, three Maildirs with one file each."""
    names = ["alice", "bob", "carol"]
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.sendmail(SENDER, [f"{name}@example.com" for name in names], message.content)
    wait_until(lambda: len(server.mailboxes.refresh().get(message.token, [])) == 3, "three copies")
    copies = server.mailboxes.copies[message.token]
    assert {copy.path.parent.parent.name for copy in copies} == set(names)
    assert all(copy.digest == message.digest for copy in copies)


def test_a_session_carries_many_messages(server: Server) -> None:
    """Twenty messages in one session, with RSET between some of them, all arrive."""
    maker = MessageMaker(1000)
    messages = [maker.make() for _ in range(20)]
    with smtplib.SMTP(*server.address, timeout=20) as client:
        for number, message in enumerate(messages):
            client.sendmail(SENDER, [ALICE], message.content)
            if number % 3 == 0:
                assert client.rset()[0] == 250
    server.mailboxes.wait_for({message.token for message in messages})
    assert not server.mailboxes.compare({message.token: message.digest for message in messages}).corrupt


def test_swaks_delivers_exact_bytes(server: Server, message: Message, tmp_path: Path) -> None:
    """The administrator's favourite test client is understood."""
    needs("swaks")
    path = tmp_path / "message"
    path.write_bytes(message.content.removesuffix(b"\r\n"))  # swaks ends the last line itself
    _run("swaks", "--server", _text(server), "--from", SENDER, "--to", ALICE, "--data", f"@{path}", "--helo", "client.example")
    _check_prepended(_delivered(server, message), message)


def test_swaks_with_pipelining_delivers_exact_bytes(server: Server, message: Message, tmp_path: Path) -> None:
    """Commands sent in one write are answered in order."""
    needs("swaks")
    path = tmp_path / "message"
    path.write_bytes(message.content.removesuffix(b"\r\n"))  # swaks ends the last line itself
    _run("swaks", "--pipeline", "--server", _text(server), "--from", SENDER, "--to", ALICE, "--data", f"@{path}")
    _delivered(server, message)


def test_msmtp_delivers_exact_bytes(server: Server, message: Message, tmp_path: Path) -> None:
    """A client that looks at what EHLO offers, as many users have it for sendmail."""
    needs("msmtp")
    host, port = server.address
    settings = tmp_path / "msmtprc"
    settings.write_text(f"defaults\ntls off\nauth off\naccount default\nhost {host}\nport {port}\ndomain client.example\n")
    _run("msmtp", f"--file={settings}", f"--from={SENDER}", ALICE, content=message.content.replace(b"\r\n", b"\n"))
    _check_prepended(_delivered(server, message), message)


@pytest.mark.root
def test_postfix_relays_a_burst_through_penstock(server: Server) -> None:
    """Postfix as the sending MTA: a hundred messages by SMTP and some by sendmail, all relayed, none deferred or bounced."""
    needs("postfix", "sendmail")
    needs_root("Postfix changes users")
    host, port = server.address
    maker = MessageMaker(4000)
    by_smtp, by_sendmail = [maker.make() for _ in range(100)], [maker.make() for _ in range(3)]
    with Postfix(f"relayhost = [{host}]:{port}\n") as postfix:
        with smtplib.SMTP(*postfix.address, timeout=20) as client:
            for message in by_smtp:
                client.sendmail(SENDER, [ALICE], message.content)
        for message in by_sendmail:
            postfix.sendmail(SENDER, [ALICE, "bob@example.com"], message.content.replace(b"\r\n", b"\n"))
        everything = {message.token: message.digest for message in by_smtp + by_sendmail}
        server.mailboxes.wait_for(everything, 60)
        wait_until(lambda: postfix.queued() == 0, "Postfix has an empty queue", 30)
        assert "status=bounced" not in postfix.log()
        assert "status=deferred" not in postfix.log()
    found = server.mailboxes.compare(everything)
    assert not found.corrupt
    assert set(found.duplicates) == {message.token for message in by_sendmail}, "one copy for each of two recipients, and no more"


@pytest.mark.root
def test_postfix_relays_internationalised_mail(server: Server) -> None:
    """SMTPUTF8 through two MTAs: an address that is not ASCII, and a header field and a body in UTF-8."""
    needs("postfix")
    needs_root("Postfix changes users")
    host, port = server.address
    with Postfix(f"relayhost = [{host}]:{port}\n") as postfix:
        message = _utf8_message()
        with smtplib.SMTP(*postfix.address, timeout=20) as client:
            client.sendmail("jörg@client.example", ["jürgen@example.com"], message.content, ["SMTPUTF8", "BODY=8BITMIME"])
        data = _delivered(server, message)
    assert data.startswith("Return-Path: <jörg@client.example>\r\nDelivered-To: jürgen@example.com\r\n".encode())


def test_eight_bit_content_arrives_unchanged(server: Server) -> None:
    """BODY=8BITMIME: every octet from 128 to 255 in the body is the same afterwards (RFC 6152)."""
    base = MessageMaker(500).make()
    body = bytes(range(128, 256)) + b"\r\n"
    message = Message(base.token, base.content + body, "")
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.sendmail(SENDER, [ALICE], message.content, ["BODY=8BITMIME"])
    server.mailboxes.wait_for({message.token})
    _check_prepended(_delivered(server, message), message)


def test_internationalised_mail_is_accepted_and_delivered(server: Server) -> None:
    """SMTPUTF8: addresses that are not ASCII in MAIL and RCPT, and Received says UTF8SMTP (RFC 6531 §3.7.3)."""
    message = _utf8_message()
    with smtplib.SMTP(*server.address, timeout=20) as client:
        client.ehlo("client.example")
        assert client.has_extn("SMTPUTF8")
        client.sendmail("jörg@client.example", ["jürgen@example.com"], message.content, ["SMTPUTF8", "BODY=8BITMIME"])
    data = _delivered(server, message)
    _check_prepended(data, message, "jörg@client.example", "jürgen@example.com")
    assert b"with UTF8SMTP" in data


def _utf8_message() -> Message:
    base = MessageMaker(500).make()
    content = base.content.replace(b"Subject: load", "Subject: Grüße aus Köln".encode()) + "Schöne Grüße, 你好\r\n".encode()
    return Message(base.token, content, "")


def _text(server: Server) -> str:
    host, port = server.address
    return f"{host}:{port}"


def _run(tool: str, *arguments: str, content: bytes = b"") -> None:
    """Runs a client; its whole output is the failure."""
    command = [program(tool) or tool, *arguments]
    done = subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
