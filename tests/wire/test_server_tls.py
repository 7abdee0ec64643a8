"""STARTTLS in the server machine: where it may come, what it forgets, and what is served before and after it."""

from __future__ import annotations

import pytest

from penstock.errors import LocalProtocolError
from penstock.mail.reply import Reply
from penstock.wire.smtp.happening import PAUSED, Auth, Greeting, Mail, Noop, Refused, StartTls
from penstock.wire.smtp.server import ServerMachine
from penstock.wire.smtp.settings import ServerSettings
from penstock.wire.smtp.state import State
from wire.driver import BANNER, HOSTNAME, Host


def settings(**given: bool) -> ServerSettings:
    return ServerSettings(HOSTNAME, mechanisms=("PLAIN",), **{"starttls": True, **given})


def greeted(**given: bool) -> ServerMachine:
    machine = ServerMachine(settings(**given))
    machine.greet(BANNER)
    machine.receive_data(b"EHLO client.example\r\n")
    assert isinstance(machine.next_event(), Greeting)
    machine.accept()
    machine.data_to_send()
    return machine


def asked_for_tls(**given: bool) -> ServerMachine:
    machine = greeted(**given)
    machine.receive_data(b"STARTTLS\r\n")
    assert machine.next_event() == StartTls("STARTTLS")
    return machine


def lines(machine: ServerMachine) -> list[str]:
    return [line.partition(" ")[0] for line in machine.offered()]


def test_nothing_is_parsed_until_the_handshake_is_over() -> None:
    machine = asked_for_tls()
    machine.receive_data(b"MAIL FROM:<early@example.net>\r\n")
    machine.accept()
    assert machine.data_to_send() == b"220 2.0.0 Ready to start TLS\r\n"
    assert (machine.state, machine.pending) == (State.SECURING, 0)
    machine.receive_data(b"MAIL FROM:<late@example.net>\r\n")
    assert machine.next_event() is PAUSED
    machine.secured()
    assert (machine.state, machine.pending) == (State.GREETING, 0)
    machine.receive_data(b"NOOP\r\n")
    assert isinstance(machine.next_event(), Noop)


def test_what_is_offered_changes_with_tls() -> None:
    machine = asked_for_tls(auth_in_clear=False)
    assert "STARTTLS" in lines(machine)
    assert "AUTH" not in lines(machine)
    machine.accept()
    machine.secured()
    assert "STARTTLS" not in lines(machine)
    assert "AUTH" in lines(machine)


def test_a_login_in_clear_is_refused_where_it_is_not_served() -> None:
    machine = greeted(auth_in_clear=False)
    machine.receive_data(b"AUTH PLAIN\r\n")
    assert machine.next_event() == Refused("AUTH PLAIN", Reply(538, "5.7.11", "Encryption required for authentication"))
    machine = greeted(tls_required=True)
    machine.receive_data(b"AUTH PLAIN\r\n")
    assert machine.next_event() == Refused("AUTH PLAIN", Reply(530, "5.7.0", "Must issue a STARTTLS command first"))


def test_a_login_before_tls_is_forgotten() -> None:
    machine = greeted()
    machine.receive_data(b"AUTH PLAIN\r\n")
    assert isinstance(machine.next_event(), Auth)
    machine.accept()
    machine.receive_data(b"STARTTLS\r\n")
    machine.next_event()
    machine.accept()
    machine.secured()
    machine.receive_data(b"EHLO x\r\nAUTH PLAIN\r\n")
    machine.next_event()
    machine.accept()
    assert isinstance(machine.next_event(), Auth)


def test_a_refusal_leaves_everything_as_it_was() -> None:
    machine = asked_for_tls()
    machine.refuse(Reply(454, "4.7.0", "TLS not available due to temporary reason"))
    assert machine.data_to_send().startswith(b"454 ")
    machine.receive_data(b"MAIL FROM:<a@example.net>\r\n")
    assert isinstance(machine.next_event(), Mail)


def test_with_tls_from_the_first_octet_the_banner_comes_after_it() -> None:
    machine = ServerMachine(settings(starttls=False))
    machine.secured()
    machine.greet(BANNER)
    machine.receive_data(b"EHLO x\r\n")
    assert isinstance(machine.next_event(), Greeting)
    assert "AUTH" in lines(machine)


@pytest.mark.parametrize("again", [True, False])
def test_the_handshake_is_told_of_once_and_when_it_is_due(again: bool) -> None:
    machine = asked_for_tls()
    if again:
        machine.accept()
        machine.secured()
    with pytest.raises(LocalProtocolError):
        machine.secured()


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_pipelined_commands_around_starttls_go_one_way(step: int) -> None:
    """However the octets come, the commands before it count and those after it do not."""

    def decide(machine: ServerMachine, question: object) -> bool:
        if isinstance(question, StartTls):
            machine.accept()
            machine.secured()
            return True
        return False

    host = Host(settings(), decide)
    for at in range(0, len(said := b"EHLO x\r\nNOOP\r\nSTARTTLS\r\n"), step):
        host.feed(said[at : at + step])
    host.feed(b"MAIL FROM:<a@example.net>\r\n")
    assert host.said.endswith(b"220 2.0.0 Ready to start TLS\r\n503 5.5.1 Send EHLO or HELO first\r\n")
