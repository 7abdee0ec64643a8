"""TLS with clients that mean harm or fall over: nothing hangs, nothing is left behind, and nothing grows without bounds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

import pytest
import structlog

from hosts.running import Running, until
from hosts.secured import Raw, from_the_first_octet, plain_hello, secured, serving, trusting, upgraded
from penstock import Sink, on
from penstock.events import SessionEnded, StartTls
from penstock.hosts.smtp.encryption import TlsLayer
from penstock.hosts.smtp.host import SessionLimits
from support.needs import needs, program


class Ended(Sink):
    """Keeps how sessions ended."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    @on(SessionEnded, blocking=False)
    def ended(self, event: SessionEnded) -> None:
        self.reasons.append(event.reason)


def failures(lines: list[Any]) -> list[str]:
    """The reasons of handshakes that failed."""
    return [line["reason"] for line in lines if line["event"] == "TLS handshake failed"]


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_handshake_that_never_begins_ends_in_time(implicit: bool) -> None:
    ended = Ended()
    async with secured(ended, tls=serving(implicit=implicit, handshake=0.2), sessions=SessionLimits(idle=60)) as server:
        with structlog.testing.capture_logs() as lines:
            client = await (server.knock() if implicit else plain_hello(server))
            assert await asyncio.wait_for(client.reader.read(), 5) == b"", "not a word in clear"
            await until(lambda: not server.host.sessions, "the session to end")
        assert failures(lines) == ["it took too long"]
        await until(lambda: ended.reasons == ([] if implicit else ["timeout"]), "the report")


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_handshake_that_drips_ends_in_time(implicit: bool) -> None:
    async with secured(tls=serving(implicit=implicit, handshake=0.5), sessions=SessionLimits(idle=60)) as server:
        client = await (server.knock() if implicit else plain_hello(server))
        hello = Raw(client).hello()

        async def drip() -> None:
            for octet in hello:
                client.writer.write(bytes([octet]))
                await asyncio.sleep(0.05)

        with structlog.testing.capture_logs() as lines:
            dripping = asyncio.ensure_future(drip())
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(client.reader.read(), 10) == b""
            dripping.cancel()
            await until(lambda: not server.host.sessions, "the session to end")
        assert failures(lines) == ["it took too long"]


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_a_client_that_goes_away_in_the_handshake_is_let_go(implicit: bool, share: float) -> None:
    async with secured(tls=serving(implicit=implicit)) as server:
        client = await (server.knock() if implicit else plain_hello(server))
        hello = Raw(client).hello()
        with structlog.testing.capture_logs() as lines:
            client.writer.write(hello[: int(len(hello) * share)])
            await client.writer.drain()
            client.writer.write_eof()
            await asyncio.wait_for(client.reader.read(), 5)
            client.close()
            await until(lambda: not server.host.sessions, "the session to end")
        assert failures(lines) == ["the client went away"]


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_reset_in_the_handshake_is_no_error_of_ours(implicit: bool) -> None:
    async with secured(tls=serving(implicit=implicit)) as server:
        client = await (server.knock() if implicit else plain_hello(server))
        with structlog.testing.capture_logs() as lines:
            client.writer.write(Raw(client).hello())
            await client.reader.read(1)
            client.reset()
            await until(lambda: not server.host.sessions, "the session to end")
        assert [line for line in lines if line["log_level"] == "error"] == []


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\xff" * 512,
        b"\x16\x03\x01\x00\x00" * 50,
        b"\x16\x03\x01\xff\xff" + b"\x01" * 70_000,
        b"\x80\x2e\x01\x03\x01" + b"\x00" * 100,
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x14\x03\x03\x00\x01\x01" * 100,
        b"\x17\x03\x03\x00\x10" + b"a" * 16,
        b"\x00" * 100_000,
    ],
    ids=["http", "garbage in a record", "empty records", "a record too long", "ssl2", "an alert", "change cipher specs", "data", "zeros"],
)
async def test_garbage_for_a_hello_ends_the_session(octets: bytes) -> None:
    ended = Ended()
    async with secured(ended) as server:
        client = await plain_hello(server)
        with structlog.testing.capture_logs() as lines:
            client.writer.write(octets)
            with contextlib.suppress(ConnectionError):
                said = await asyncio.wait_for(client.reader.read(), 5)
                assert said[:1] in (b"", b"\x15"), "nothing but an alert"
            client.close()
            await until(lambda: not server.host.sessions, "the session to end")
        assert len(failures(lines)) == 1
        assert [line for line in lines if line["log_level"] == "error"] == []
        assert ended.reasons == ["dropped"]


async def test_garbage_within_tls_ends_the_session() -> None:
    async with secured() as server:
        raw = Raw(await plain_hello(server))
        await raw.shake_hands()
        raw.say(b"NOOP\r\n")
        await raw.heard()
        with structlog.testing.capture_logs() as lines:
            raw.client.writer.write(b"MAIL FROM:<attacker@example.net>\r\n")
            with pytest.raises(ssl.SSLError):
                await raw.reads_on()
            raw.client.close()
            await until(lambda: not server.host.sessions, "the session to end")
        assert [line["event"] for line in lines if "TLS" in line["event"]] == ["TLS failed"]


async def test_content_that_is_cut_off_without_a_goodbye_is_not_taken() -> None:
    """A connection that somebody cuts in the middle is no end of the content (a truncation attack)."""
    ended = Ended()
    async with secured(ended) as server:
        raw = Raw(await plain_hello(server))
        await raw.shake_hands()
        raw.say(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n")
        assert (await raw.heard(b"<CRLF>\r\n")).endswith(b"354 End data with <CRLF>.<CRLF>\r\n")
        raw.say(b"Subject: half\r\n\r\nhalf a mess")
        raw.client.writer.write_eof()
        await until(lambda: ended.reasons, "the session to end")
        assert ended.reasons == ["lost"]
        assert not server.kept()


async def test_a_goodbye_of_tls_is_answered_with_one() -> None:
    ended = Ended()
    async with secured(ended) as server:
        raw = Raw(await plain_hello(server))
        await raw.shake_hands()
        raw.say(b"NOOP\r\n")
        await raw.heard()
        with contextlib.suppress(ssl.SSLWantReadError):
            raw.object.unwrap()
        raw.client.writer.write(raw.outgoing.read())
        while await raw.hear():
            pass
        raw.object.unwrap()
        await until(lambda: ended.reasons == ["lost"], "the session to end")


async def test_quit_is_answered_and_the_goodbye_follows() -> None:
    """So that nobody can cut off the reply unnoticed."""
    async with secured() as server:
        raw = Raw(await plain_hello(server))
        await raw.shake_hands()
        raw.say(b"QUIT\r\n")
        assert await raw.heard() == b"221 2.0.0 Bye\r\n"
        while await raw.hear():
            pass
        assert raw.object.read(10) == b"", "close_notify, and no ragged end"


async def test_commands_in_the_packet_with_the_end_of_the_handshake_are_heard() -> None:
    async with secured() as server:
        raw = Raw(await plain_hello(server))
        raw.client.writer.write(raw.hello())
        while True:
            await raw.hear()
            with contextlib.suppress(ssl.SSLWantReadError):
                raw.object.do_handshake()
                break
        last = raw.outgoing.read()
        raw.object.write(b"EHLO client.example\r\nNOOP\r\nQUIT\r\n")
        raw.client.writer.write(last + raw.outgoing.read())
        assert (await raw.heard(b"Bye\r\n")).endswith(b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n")


async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    """Replies wait for a client that does not read: no more of its commands are heard meanwhile, and all replies come in the end."""
    count = 150_000
    async with secured(sessions=SessionLimits(idle_commands=0)) as server:
        raw = Raw(await plain_hello(server))
        await raw.shake_hands()
        (connection,) = server.host._connections
        raw.object.write(b"HELP\r\n" * count)
        raw.client.writer.write(raw.outgoing.read())
        await until(lambda: connection._choked, "the server to stop")
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() < 1024 * 1024
        heard = 0
        while heard < count:
            heard += (await raw.heard()).count(b"214 ")
        raw.say(b"QUIT\r\n")
        assert (await raw.heard(b"Bye\r\n")).endswith(b"221 2.0.0 Bye\r\n")


async def test_no_session_leaves_anything_behind() -> None:
    """Good ones, bad ones and those that break off."""
    async with secured() as server, secured(tls=serving(implicit=True)) as other:
        gc.collect()
        before = _alive()
        for number in range(10):
            client = await upgraded(server)
            await client.say("EHLO x", "QUIT")
            client = await from_the_first_octet(other)
            await client.say("QUIT")
            raw = Raw(await plain_hello(server))
            raw.client.writer.write(raw.hello() if number % 2 else b"\x16garbage")
            await raw.client.reader.read(1) if number % 2 else await asyncio.sleep(0)
            raw.client.reset()
            gone = await other.knock()
            gone.reset()
        server.close_clients()
        other.close_clients()
        await until(lambda: not server.host.sessions and not other.host.sessions, "all sessions to end")
        await asyncio.sleep(0.05)
        gc.collect()
        assert _alive() == before


def _alive() -> int:
    return sum(isinstance(one, TlsLayer) for one in gc.get_objects())


async def test_a_server_that_stops_does_not_wait_for_handshakes() -> None:
    async with secured(tls=serving(implicit=True, handshake=60)) as server:
        silent = await server.knock()
        await until(lambda: server.host.sessions == 1, "the connection")
        await asyncio.wait_for(server.host.drain(1.0), 5)
        assert await asyncio.wait_for(silent.reader.read(), 5) == b""


async def test_a_client_that_goes_while_a_sink_decides_on_starttls_gets_no_handshake() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(Sink):
        @on(StartTls)
        async def wait(self, event: StartTls) -> None:
            asked.set()
            await answer.wait()

    async with secured(Slow()) as server:
        client = await server.client()
        await client.say("EHLO x")
        client.writer.write(b"STARTTLS\r\n")
        await asyncio.wait_for(asked.wait(), 5)
        client.reset()
        await until(lambda: not server.host.sessions, "the session to end")
        with structlog.testing.capture_logs() as lines:
            answer.set()
            await asyncio.sleep(0.05)
        assert [line for line in lines if line["log_level"] in ("error", "warning")] == []


@pytest.mark.parametrize("name", ["a" * 250 + ".example", "x..y", "-", "xn--ls8h.example", "_dmarc.example.com", "mx.example.com."])
async def test_odd_names_in_the_hello_do_no_harm(name: str) -> None:
    context = trusting()
    context.check_hostname = False
    async with secured() as server:
        client = await plain_hello(server)
        try:
            raw = Raw(client, context, name)
        except (ValueError, ssl.SSLError, UnicodeError):
            pytest.skip("OpenSSL sends no such name")
        await raw.shake_hands()
        raw.say(b"NOOP\r\n")
        assert await raw.heard() == b"250 2.0.0 Ok\r\n"


async def test_a_name_that_is_not_ascii_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    """A hello that somebody edited on the way, or made by hand."""
    context = trusting()
    context.check_hostname = False
    async with secured() as server:
        client = await plain_hello(server)
        hello = Raw(client, context, "odd-name.example").hello()
        with structlog.testing.capture_logs() as lines:
            client.writer.write(hello.replace(b"odd-name", b"odd\xff\x00\r\n\xe9"))
            await asyncio.wait_for(client.reader.read(1), 5)
            client.close()
            await until(lambda: not server.host.sessions, "the session to end")
        assert all("\n" not in str(value) for line in lines for value in line.values())


class Deaf:
    """Stands between a client and the server, and takes nothing of the server's while ``reads`` is not set."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self.reads = asyncio.Event()
        self.reads.set()
        self.came = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self._server.address)
        down, up = await asyncio.open_connection(sock=sock, limit=2048)
        answers = asyncio.create_task(self._answers(down, writer))
        while data := await reader.read(65536):
            up.write(data)
            self.came.set()
        answers.cancel()
        up.close()
        writer.close()

    async def _answers(self, down: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self.reads.wait() and (data := await down.read(2048)):
            writer.write(data)


async def test_a_client_that_asks_for_new_keys_and_never_reads_is_not_listened_to() -> None:
    """Each request for new keys is answered (RFC 8446 §4.6.3): who sends nothing else, and reads nothing, could fill the memory."""
    needs("openssl")
    openssl = program("openssl") or ""
    async with secured(tls=serving(implicit=True)) as server:
        between = Deaf(server)
        async with await asyncio.start_server(between.serve, "127.0.0.1", 0) as relay:
            place = f"127.0.0.1:{relay.sockets[0].getsockname()[1]}"
            client = await asyncio.create_subprocess_exec(
                openssl, "s_client", "-connect", place, "-tls1_3", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
            assert client.stdin is not None
            assert client.stdout is not None
            await asyncio.wait_for(client.stdout.readuntil(b"220 "), 10.0)
            between.reads.clear()
            try:
                (connection,) = server.host._connections
                transport = connection._transport
                assert transport is not None
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                transport.set_write_buffer_limits(2048)
                for _ in range(3000):
                    between.came.clear()
                    client.stdin.write(b"K\n")
                    await asyncio.wait_for(between.came.wait(), 5.0)
                assert connection._choked
                assert transport.get_write_buffer_size() < 4096
                assert not transport.is_reading()
                between.reads.set()
                client.stdin.write(b"NOOP\r\n")
                assert b"250 2.0.0" in await asyncio.wait_for(client.stdout.readuntil(b"250 2.0.0"), 10.0)
            finally:
                client.kill()
                await client.wait()
