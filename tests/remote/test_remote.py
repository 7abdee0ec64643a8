"""The scripted remote is a good server where no script says otherwise, sees what a client does wrong, and does what scripts say."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import time

import pytest

from support.certificates import certificate
from support.remote import BackgroundRemote, Remote
from support.script import At, Close, Connect, Face, Never, Phase, Reset, Say, Script, Usual, reply

HELLO = b"EHLO client.example\r\n"
ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@remote.example>\r\n"


def talk(remote: Remote, *parts: bytes, wait: bool = True) -> bytes:
    """Sends each part after something was heard, and hears all to the end; b"" when the connection was reset."""
    heard = b""
    with socket.create_connection(remote.address, 5) as client:
        for part in parts:
            if wait:
                heard += client.recv(4096)
            client.sendall(part)
        try:
            while data := client.recv(65536):
                heard += data
        except ConnectionResetError:
            return b""
    return heard


def test_a_message_in_chunks_is_put_together() -> None:
    """BDAT, pipelined, with a chunk that looks like the end of DATA."""
    with BackgroundRemote() as remote:
        chunks = b"BDAT 9\r\nA: b\r\n\r\n.BDAT 10 LAST\r\n\r\n.\r\nend\r\n"
        talk(remote, HELLO, ENVELOPE + chunks, b"QUIT\r\n")
        (transaction,) = remote.transactions
        assert transaction.content == b"A: b\r\n\r\n.\r\n.\r\nend\r\n"
        assert transaction.whole
        assert remote.copies() == {"b@remote.example": 1}
        assert remote.faults == []


@pytest.mark.parametrize(
    ("content", "kept"),
    [(b".\r\n", b""), (b"..\r\n.\r\n", b".\r\n"), (b"a\n.\n\r\n..b\r\n.\r\n", b"a\n.\n\r\n.b\r\n"), (b"a\r\n.\r\n", b"a\r\n")],
)
def test_only_a_dot_between_two_crlf_ends_a_content(content: bytes, kept: bytes) -> None:
    """Nothing that clients and servers are known to disagree on (RFC 5321 §4.1.1.4)."""
    with BackgroundRemote() as remote:
        talk(remote, HELLO, ENVELOPE + b"DATA\r\n", content + b"QUIT\r\n")
        assert [transaction.content for transaction in remote.transactions] == [kept]
        assert remote.sessions[0].end == "QUIT"


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        ([HELLO + ENVELOPE], "more was sent after EHLO without PIPELINING"),
        ([HELLO, ENVELOPE + b"DATA\r\nx\r\n.\r\n"], "more was sent after DATA before its reply"),
        ([b"HELO x\r\n", b"MAIL FROM:<a@b> SIZE=3\r\n"], "SIZE=3 needs SIZE, which was not offered"),
        ([b"HELO x\r\n", b"MAIL FROM:<a@b> BODY=8BITMIME\r\n"], "BODY=8BITMIME needs 8BITMIME, which was not offered"),
        ([HELLO, b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n"], "BODY=BINARYMIME needs BINARYMIME, which was not offered"),
        ([HELLO, ENVELOPE + b"RCPT TO:<c> X=1\r\n"], "X=1 needs nothing, which was not offered"),
        ([b"HELO x\r\n", "MAIL FROM:<caf\u00e9@b>\r\n".encode()], "caf\u00e9@b needs SMTPUTF8, which was not offered"),
        ([HELLO, ENVELOPE + ENVELOPE], "MAIL within a transaction"),
        ([HELLO, b"NOOP\n"], "a bare LF ends b'NOOP\\n'"),
        ([HELLO, b"XWHAT\r\n"], "an unknown command: XWHAT"),
        ([b"LHLO x\r\n"], "LHLO in SMTP"),
        ([HELLO, b"MAIL TO\r\n"], "no path in 'TO'"),
        ([HELLO, b"STARTTLS\r\n"], "STARTTLS was not offered"),
        ([HELLO, ENVELOPE + b"DATA\r\n", b"a\nb\r\n.\r\n"], "a bare CR or LF in the content"),
        ([HELLO, ENVELOPE + b"DATA\r\n", b"\xe9\r\n.\r\n"], "8-bit content without BODY=8BITMIME"),
        ([HELLO, ENVELOPE + b"DATA\r\n", b"x" * 999 + b"\r\n.\r\n"], "a line of more than 998 octets"),
    ],
)
def test_a_fault_of_the_client_is_written_down(sent: list[bytes], fault: str) -> None:
    """Each thing that a client must not do is seen, and named."""
    with BackgroundRemote() as remote:
        talk(remote, *sent, b"QUIT\r\n")
        assert fault in remote.faults


def test_steps_are_found_by_number_and_connection() -> None:
    """The most particular place wins; RCPT is counted in its transaction."""
    steps = {
        Phase.RCPT: reply("450 each"),
        At(Phase.RCPT, 2): reply("451 second"),
        At(Phase.RCPT, 0, 2): reply("452 second connection"),
        At(Phase.RCPT, 1, 2): [Usual()],
    }
    rcpt = b"RCPT TO:<a@b>\r\n"
    with BackgroundRemote(Script(steps)) as remote:
        heard = [talk(remote, HELLO, b"MAIL FROM:<>\r\n" + 3 * rcpt, b"RSET\r\nMAIL FROM:<>\r\n" + rcpt + b"QUIT\r\n") for _ in "12"]
    assert [[line[:3] for line in text.splitlines() if line[:2] == b"45"] for text in heard] == [
        [b"450", b"451", b"450", b"450"],
        [b"451", b"452"],
    ]


def test_endings_are_told_apart() -> None:
    """FIN lets what was said arrive even when the client sends on; RST does not let it be waited for."""
    gone = (Say(b"421 bye\r\n"), Close())
    with BackgroundRemote(Script({Phase.MAIL: gone})) as remote:
        assert talk(remote, HELLO, ENVELOPE + b"x" * 200_000).endswith(b"421 bye\r\n")
    with BackgroundRemote(Script({Phase.MAIL: [Reset()]})) as remote:
        assert talk(remote, HELLO, ENVELOPE) == b""


def test_a_remote_may_refuse_at_first() -> None:
    """Bound and not listening, its port is its own and connections are refused; later they are not."""
    background = BackgroundRemote(Script(connect=Connect.REFUSE))
    with background as remote:
        with pytest.raises(ConnectionRefusedError):
            talk(remote)
        background.listen()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                assert talk(remote, b"QUIT\r\n").endswith(b"221 Bye\r\n")
                return
            except ConnectionRefusedError:
                continue
    raise AssertionError("never listened")


def test_a_remote_that_ignores_connections_lets_them_hang() -> None:
    """Connecting takes as long as the client waits."""
    with BackgroundRemote(Script(connect=Connect.IGNORE)) as remote, pytest.raises(TimeoutError):
        socket.create_connection(remote.address, 0.3)


def test_implicit_tls_and_login() -> None:
    """TLS from the first octet with a certificate that can be verified, AUTH LOGIN in it, and all of that is written down."""
    face = Face(implicit_tls=True, accounts={"user": "secret"}, auth_needed=True)
    context = ssl.create_default_context(cafile=str(certificate("remote.example").certificate))
    with BackgroundRemote(Script(face=face)) as remote, socket.create_connection(remote.address, 5) as raw:
        with context.wrap_socket(raw, server_hostname="remote.example") as client:
            login = [b"AUTH LOGIN\r\n", base64.b64encode(b"user") + b"\r\n", base64.b64encode(b"secret") + b"\r\n"]
            for line in [HELLO, *login, ENVELOPE + b"DATA\r\n", b"Subject: x\r\n\r\n.\r\n", b"QUIT\r\n"]:
                client.recv(4096)
                if line.startswith(b"Subject"):
                    while not client.recv(4096).endswith(b"354 Go ahead\r\n"):
                        continue
                client.sendall(line)
            while client.recv(4096):
                continue
        assert remote.sessions[0].logins == [("LOGIN", "user", "secret")]
        assert remote.sessions[0].server_name == "remote.example"
        assert [transaction.tls for transaction in remote.transactions] == [True]


async def test_it_stops_with_sessions_open_and_knows_how_many_there_were() -> None:
    """Silent and unread sessions do not keep it; the most that were open at once is known."""
    async with Remote(Script({Phase.EHLO: [Never()]})) as remote:
        streams = [await asyncio.open_connection(*remote.address) for _ in range(3)]
        for reader, writer in streams:
            await reader.readline()
            writer.write(HELLO)
        assert remote.open == remote.most_open == 3
    heard = await asyncio.gather(*(reader.read() for reader, _ in streams), return_exceptions=True)
    assert all(end == b"" or isinstance(end, ConnectionResetError) for end in heard)  # RST where a command was not read yet
    assert [record.end for record in remote.sessions] == ["the remote stopped"] * 3
    for _, writer in streams:
        writer.close()
