"""Sessions: which server, TLS or not, with which password, how long they last, and how they end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from delivery.stand import PATIENT, Stand, actions, hop_settings
from delivery.test_outbound_events import NO_CHUNKING, at
from penstock import Sink, on
from penstock.delivery.connection import Connection
from penstock.delivery.settings import Credentials, HopLimits, TlsSettings
from penstock.delivery.source import SourceAddresses
from penstock.events import ResolveHost, SessionStart
from penstock.mail.address import NULL, Address
from penstock.mail.envelope import Recipient
from penstock.transport.outcome import Action
from penstock.verdicts import Addresses, NotFound
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_events import Closed, Fate
from penstock.wire.smtp.client_settings import ClientSettings, Timeouts
from penstock.wire.smtp.outgoing import Data, Hello, Mail, Rcpt
from support.certificates import certificate
from support.remote import Remote
from support.script import At, Close, Connect, Face, Never, Phase, Reset, Say, Script, Usual, Wait, reply

QUEUE = "[127.0.0.1]:{}"


def login(user: str = "user", password: str = "secret", in_clear: bool = False) -> Credentials:
    return Credentials(user, password, in_clear)


# One connection for many messages.


async def test_many_messages_go_over_one_connection() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        await stand.deliver(*(stand.mail() for _ in range(20)))
        assert stand.destination.successes == 20
    assert len(remote.sessions) == 1
    assert len(remote.transactions) == 20
    assert remote.faults == []


async def test_a_connection_takes_so_many_messages_and_no_more() -> None:
    settings = hop_settings(limits=HopLimits(messages=3, idle=0.05))
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        await stand.deliver(*(stand.mail() for _ in range(7)))
    assert [len(s.transactions) for s in remote.sessions] == [3, 3, 1]
    assert all(s.end == "QUIT" for s in remote.sessions)


async def test_a_connection_that_is_too_old_takes_no_further_message() -> None:
    settings = hop_settings(limits=HopLimits(age=0.0, idle=0.05))
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        await stand.deliver(*(stand.mail() for _ in range(3)))
    assert len(remote.sessions) == 3


async def test_an_idle_connection_is_used_again_and_then_ends() -> None:
    settings = hop_settings(idle=0.3)
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        await stand.deliver(stand.mail())
        await stand.deliver(stand.mail())
        await stand.until(lambda: not stand.destination.sessions, "the idle session ended")
        assert len(remote.sessions) == 1
        assert remote.sessions[0].end == "QUIT"


@pytest.mark.parametrize(
    "step", [(Usual(), Reset()), (Usual(), Close()), (Usual(), *reply("421 4.4.2 idle"), Close())], ids=["rst", "fin", "421"]
)
async def test_a_connection_that_was_closed_between_messages_costs_nothing(step: tuple[Any, ...]) -> None:
    async with (
        Remote(Script({At(Phase.END, 0, 1): step})) as remote,
        Stand(QUEUE.format(remote.port), settings=hop_settings(idle=2.0)) as stand,
    ):
        await stand.deliver(stand.mail())
        assert actions(await stand.deliver(stand.mail("b@remote.example"))) == {"b": "relayed"}
        assert not stand.destination.failures
    assert remote.copies() == {"a@remote.example": 1, "b@remote.example": 1}


async def test_a_server_that_takes_one_message_a_connection_gets_all_of_them() -> None:
    script = Script({At(Phase.MAIL, 2): [Close()]})
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        works = [stand.mail() for _ in range(5)]
        await stand.deliver(*works)
        assert all(actions(stand.handover.results[w.record.id]) == {"a": "relayed"} for w in works)
        assert not stand.destination.failures
    assert len(remote.sessions) == 5
    assert remote.copies() == {"a@remote.example": 5}


async def test_a_closed_connection_is_no_failed_server() -> None:
    # With one try at a server, the second message has no other chance than not to count the connection that was closed before it.
    settings = hop_settings(limits=HopLimits(sessions=1, idle=0.05))
    script = Script({At(Phase.MAIL, 2): [Close()]})
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        works = [stand.mail() for _ in range(3)]
        await stand.deliver(*works)
        assert all(actions(stand.handover.results[w.record.id]) == {"a": "relayed"} for w in works)


# Several addresses.


class Hosts(Sink[None]):
    """Knows the addresses of every host."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.addresses = addresses
        self.asked: list[tuple[str, str]] = []

    @on(ResolveHost)
    async def resolve(self, event: ResolveHost) -> Addresses | NotFound:
        self.asked.append((event.name, event.kind))
        return Addresses(self.addresses) if self.addresses else NotFound()


@pytest.mark.parametrize(
    "bad",
    [
        Script(connect=Connect.REFUSE),
        Script({Phase.BANNER: reply("554 5.3.2 No")}),
        Script({Phase.EHLO: [Close()]}),
        Script({Phase.MAIL: [*reply("421 4.3.2 Bye"), Close()]}),
        Script({Phase.RCPT: [Close()]}),
        Script({Phase.END: [*reply("421 4.3.2 Bye"), Close()]}),
    ],
    ids=["refused", "banner", "ehlo", "mail-421", "rcpt-closed", "end-421"],
)
async def test_the_next_address_is_tried(bad: Script) -> None:
    async with (
        Remote(bad, host="127.0.0.2") as first,
        Remote(host="127.0.0.3", port=first.port) as second,
        Stand(f"mx:remote.example:{first.port}", Hosts("127.0.0.2", "127.0.0.3")) as stand,
    ):
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "relayed"}
        assert results[0].address == "127.0.0.3"
        assert not stand.destination.failures
    assert second.copies() == {"a@remote.example": 1}


async def test_so_many_servers_may_fail_and_those_out_of_reach_do_not_count() -> None:
    turned_away = Script({Phase.BANNER: reply("450 4.3.2 No")})
    async with (
        Remote(Script(connect=Connect.REFUSE), host="127.0.0.2") as first,
        Remote(turned_away, host="127.0.0.3", port=first.port) as second,
        Remote(turned_away, host="127.0.0.4", port=first.port) as third,
        Remote(host="127.0.0.5", port=first.port) as last,
        Stand(f"mx:remote.example:{first.port}", Hosts("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")) as stand,
    ):
        assert actions(await stand.deliver(stand.mail())) == {"a": "deferred"}
    assert [len(r.sessions) for r in (second, third, last)] == [1, 1, 0]


async def test_a_server_that_speaks_twice_is_not_spoken_to() -> None:
    async with Remote(Script({Phase.BANNER: [Say(b"220 one\r\n220 two\r\n", 220)]})) as remote:
        async with Stand(QUEUE.format(remote.port)) as stand:
            results = await stand.deliver(stand.mail())
            assert actions(results) == {"a": "deferred"}
            assert "without being asked" in results[0].text
        assert "MAIL" not in " ".join(remote.commands)


async def test_what_never_left_this_machine_is_not_uncertain() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    machine = ClientMachine(ClientSettings("client.example"))
    connection = Connection(machine, Timeouts(0.2, 0.2, 0.2, 0.2, 0.2))
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    theirs.sendall(b"220 x\r\n")
    recipient = Recipient(Address("a", "b"))
    await connection.next()
    for command, answer in [
        (Hello("EHLO x"), b"250 x\r\n"),
        (Mail("MAIL FROM:<>", NULL), b"250 x\r\n"),
        (Rcpt("RCPT TO:<a@b>", recipient), b"250 x\r\n"),
        (Data(), b"354 x\r\n"),
    ]:
        machine.send(command)
        theirs.sendall(answer)
        await connection.next()
    machine.begin_content()
    machine.content(b"x" * 500 + b"\r\n" + b"y" * 1_000_000)
    machine.end_content()
    closed = await connection.next()
    theirs.close()
    assert isinstance(closed, Closed)
    assert closed.fate is Fate.PARTIAL
    assert "content" in connection.why


async def test_what_may_have_arrived_is_not_taken_to_the_next_address() -> None:
    async with (
        Remote(Script({Phase.END: [Close()]}), host="127.0.0.2") as first,
        Remote(host="127.0.0.3", port=first.port) as second,
        Stand(f"mx:remote.example:{first.port}", Hosts("127.0.0.2", "127.0.0.3")) as stand,
    ):
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert results[0].uncertain
    assert not second.sessions


async def test_when_no_address_answers_the_destination_is_at_fault_and_no_other_message_is_touched() -> None:
    async with Remote(Script(connect=Connect.REFUSE)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        first, second = stand.mail(), stand.mail()
        stand.destination.put(first, second)
        stand.attend()
        await stand.until(lambda: not stand.destination.sessions, "the courier gave up")
        results = stand.handover.results[first.record.id]
        assert results[0].wide
        assert results[0].status == "4.4.1"
        assert stand.handover.settled == [first.record.id]
        assert stand.destination.ready == [second]
        assert len(stand.destination.failures) == 1


async def test_a_host_that_does_not_exist_ends_the_message() -> None:
    async with Stand("mx:nowhere.example", Hosts()) as stand:
        results = await stand.deliver(stand.mail("a@nowhere.example"))
        assert actions(results) == {"a": "failed"}
        assert results[0].status == "5.1.2"
        assert not stand.destination.failures


async def test_a_queue_that_names_no_next_hop_waits() -> None:
    async with Stand("mx:") as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert results[0].status == "4.3.5"


async def test_a_source_address_is_used() -> None:
    peers: list[str] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        server,
        Stand(QUEUE.format(server.sockets[0].getsockname()[1]), settings=hop_settings(source=SourceAddresses("127.0.0.9"))) as stand,
    ):
        await stand.deliver(stand.mail())
    assert peers == ["127.0.0.9"]


async def test_a_source_address_that_is_not_ours_is_a_clear_reason() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(source=SourceAddresses("192.0.2.1"))) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert "connect to" in results[0].text


# TLS.


@pytest.mark.parametrize("level", ["may", "encrypt"])
async def test_mail_goes_in_tls_where_it_is_offered(level: Any) -> None:
    seen: list[str] = []
    settings = hop_settings(tls=TlsSettings(level))
    sink = at(SessionStart, lambda e: seen.append(str(e.remote.tls)))
    async with Remote(Script(face=Face(tls=True))) as remote, Stand(QUEUE.format(remote.port), sink, settings=settings) as stand:
        await stand.deliver(stand.mail(), stand.mail())
    assert all(t.tls for t in remote.transactions)
    assert [c for c in remote.commands if c.startswith(("EHLO", "STARTTLS"))] == [
        "EHLO mx.client.example",
        "STARTTLS",
        "EHLO mx.client.example",
    ]
    assert seen[0].startswith("TLSv1.")
    assert remote.faults == []


async def test_a_certificate_that_holds_is_verified() -> None:
    own = certificate("remote.example").certificate
    settings = hop_settings(tls=TlsSettings("verify", own, "remote.example"))
    async with Remote(Script(face=Face(tls=True))) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert remote.sessions[0].server_name == "remote.example"


async def test_a_certificate_for_another_name_is_refused() -> None:
    own = certificate("remote.example").certificate
    settings = hop_settings(tls=TlsSettings("verify", own, "other.example"))
    async with Remote(Script(face=Face(tls=True))) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert results[0].status == "4.7.5"
    assert not remote.taken()


async def test_authorities_that_cannot_be_read_are_a_clear_reason(tmp_path: Path) -> None:
    settings = hop_settings(tls=TlsSettings("verify", tmp_path / "none.pem"))
    async with Remote(Script(face=Face(tls=True))) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert "authorities" in results[0].text


async def test_a_failed_handshake_that_was_only_a_wish_is_followed_by_mail_in_clear() -> None:
    script = Script({Phase.STARTTLS: [*reply("220 Go"), Close()]}, Face(tls=True))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert len(remote.sessions) == 2
    assert not remote.transactions[0].tls


async def test_what_comes_before_the_handshake_is_never_heard() -> None:
    script = Script({Phase.STARTTLS: [Say(b"220 Go\r\n250-evil.example\r\n250 AUTH PLAIN\r\n", 220), Wait(0.2), Close()]}, Face(tls=True))
    settings = hop_settings(tls=TlsSettings("encrypt"), credentials=login())
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert "in clear" in results[0].text
    assert not remote.sessions[0].logins


async def test_large_content_goes_through_tls() -> None:
    content = b"Subject: big\r\n\r\n" + b"0123456789" * 7 * 20_000
    content = b"\r\n".join(content[i : i + 70] for i in range(0, len(content), 70)) + b"\r\n"
    async with Remote(Script(face=Face(tls=True))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert actions(await stand.deliver(stand.mail(content=content))) == {"a": "relayed"}
    assert remote.transactions[0].content == content


# AUTH.


@pytest.mark.parametrize("mechanisms", [("PLAIN",), ("LOGIN",), ("CRAM-MD5", "LOGIN", "PLAIN")], ids="-".join)
async def test_a_password_is_sent_in_tls(mechanisms: tuple[str, ...]) -> None:
    script = Script(face=Face(tls=True, accounts={"user": "secret"}, mechanisms=mechanisms, auth_needed=True))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(credentials=login())) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert remote.sessions[0].logins[0][1:] == ("user", "secret")
    assert remote.faults == []


async def test_a_password_is_not_sent_in_clear() -> None:
    script = Script(face=Face(accounts={"user": "secret"}))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(credentials=login())) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert results[0].wide
    assert not remote.sessions[0].logins


async def test_a_wrong_password_is_the_destinations_trouble_and_not_the_messages() -> None:
    script = Script(face=Face(tls=True, accounts={"user": "secret"}))
    settings = hop_settings(credentials=login(password="wrong"))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail())
        assert actions(results) == {"a": "deferred"}
        assert results[0].wide
        assert "535" in stand.destination.failures[0]
        assert "wrong" not in repr(settings)


async def test_a_password_too_long_for_one_line_is_sent_after_a_challenge() -> None:
    password = "x" * 600
    script = Script(face=Face(accounts={"user": password}, mechanisms=("PLAIN",)))
    settings = hop_settings(credentials=login(password=password, in_clear=True))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": "relayed"}
    assert remote.sessions[0].logins[0][1:] == ("user", password)


# LMTP over a Unix socket.


async def lmtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, got: list[bytes]) -> None:
    writer.write(b"220 socket LMTP\r\n")
    recipients = 0
    while line := await reader.readline():
        got.append(line)
        verb = line[:4].upper()
        if verb == b"RCPT":
            recipients += 1
        if verb == b"DATA":
            writer.write(b"354 go\r\n")
            while (await reader.readline()) != b".\r\n":
                pass
            writer.write(b"250 2.0.0 kept\r\n" * (recipients - 1) + b"550 5.2.2 full\r\n")
        else:
            writer.write(b"250 2.1.0 Ok\r\n" if verb != b"QUIT" else b"221 bye\r\n")
        if verb == b"QUIT":
            break
    writer.close()


async def test_lmtp_over_a_unix_socket_answers_for_each_recipient(tmp_path: Path) -> None:
    got: list[bytes] = []
    server = await asyncio.start_unix_server(lambda r, w: lmtp(r, w, got), tmp_path / "lmtp.sock")
    async with server, Stand(f"lmtp:{tmp_path / 'lmtp.sock'}") as stand:
        results = await stand.deliver(stand.mail("a@here.example", "b@here.example"))
        assert actions(results) == {"a": "delivered", "b": "failed"}
        assert results[0].action is Action.DELIVERED
        assert results[0].address == str(tmp_path / "lmtp.sock")
    assert got[0] == b"LHLO mx.client.example\r\n"


async def test_a_socket_that_is_not_there_is_a_destination_out_of_reach(tmp_path: Path) -> None:
    async with Stand(f"lmtp:{tmp_path / 'none.sock'}") as stand:
        results = await stand.deliver(stand.mail())
        assert results[0].wide
        assert "No such file" in results[0].text


# The end.


async def test_idle_sessions_end_at_once_when_the_server_stops() -> None:
    async with Remote() as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(idle=30.0)) as stand:
        await stand.deliver(stand.mail())
        stand.destination.ended = True
        stand.destination.news.set()
        await stand.couriers.stop(5.0)
        assert not stand.destination.sessions
    assert remote.sessions[0].end == "QUIT"


@pytest.mark.parametrize("phase", [Phase.BANNER, Phase.EHLO, Phase.RCPT, Phase.DATA], ids=str)
async def test_a_message_that_the_server_has_not_taken_is_given_back_when_we_stop(phase: Phase) -> None:
    async with Remote(Script({phase: [Never()]}, Face(extensions=NO_CHUNKING))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        work = stand.mail()
        stand.destination.put(work)
        stand.attend()
        await stand.until(lambda: remote.sessions, "the session has begun")
        await stand.until(lambda: phase is Phase.BANNER or remote.sessions[0].commands, "something was said")
        await stand.couriers.stop(0.1)
        assert stand.destination.ready == [work]
        assert not stand.handover.settled
        assert not stand.destination.sessions


async def test_a_message_without_its_last_answer_is_kept_as_uncertain_when_we_stop() -> None:
    async with Remote(Script({Phase.END: [Never()]})) as remote, Stand(QUEUE.format(remote.port)) as stand:
        stand.destination.put(stand.mail())
        stand.attend()
        await stand.until(lambda: remote.taken(), "the content is there")
        await stand.couriers.stop(0.1)
        results = stand.handover.results["m1"]
        assert actions(results) == {"a": "deferred"}
        assert results[0].uncertain


async def test_a_message_under_way_is_finished_when_there_is_time() -> None:
    async with Remote(Script({Phase.END: [Wait(0.2), Usual()]})) as remote, Stand(QUEUE.format(remote.port)) as stand:
        stand.destination.put(stand.mail(), stand.mail())
        stand.attend()
        await stand.until(lambda: remote.taken(), "the content is there")
        await stand.couriers.stop(5.0)
        assert stand.handover.settled == ["m1"]
        assert len(stand.destination.ready) == 1
    assert remote.sessions[0].end == "QUIT"


async def test_nothing_is_begun_after_the_stop() -> None:
    async with Stand("[127.0.0.1]:9") as stand:
        await stand.couriers.stop(0.1)
        stand.attend()
        assert not stand.destination.sessions


# Slow servers.


async def test_a_server_that_drips_every_answer_is_given_up_in_the_end() -> None:
    slow: Callable[[bytes], list[Any]] = lambda line: [Say(line, every=0.02)]  # noqa: E731 - a name for the test's own reading
    script = Script({Phase.RCPT: slow(b"250 2.1.5 " + b"x" * 15 + b"\r\n")})
    timeouts = PATIENT.__class__(5.0, 5.0, 20.0, PATIENT.answers, 0.6, 1e9)
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(timeouts)) as stand:
        results = await stand.deliver(stand.mail(*(f"r{n}@remote.example" for n in range(10))))
        assert set(actions(results).values()) == {"deferred"}
        assert "too long" in results[0].text
    assert not remote.taken()


async def test_a_session_that_never_becomes_ready_is_given_up() -> None:
    script = Script({Phase.BANNER: [Wait(0.3), Usual()], Phase.EHLO: [Wait(0.3), Usual()]})
    timeouts = PATIENT.__class__(5.0, 5.0, 0.4, PATIENT.answers, 20.0, 1000)
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(timeouts)) as stand:
        results = await stand.deliver(stand.mail())
        assert results[0].wide
        assert "too long" in results[0].text


def test_the_settings_refuse_an_unknown_level() -> None:
    with pytest.raises(ValueError, match="tls is one of"):
        TlsSettings("maybe")  # type: ignore[arg-type]
