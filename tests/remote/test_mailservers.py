"""The real mail servers that delivery is tried against serve, receive, relay, refuse and stop."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.certificates import certificate
from support.dovecot import Dovecot
from support.mailservers import Exim, OpenSmtpd
from support.messages import MessageMaker
from support.needs import needs, needs_root
from support.postfix import Postfix, receiving, relaying_to
from support.processes import alive, group
from support.remote import BackgroundRemote, wait_for_copies
from support.waiting import wait_until

SENDER = "load@client.example"
BOB = "bob@remote.example"


@contextmanager
def postfix(relay_to: tuple[str, int] | None = None) -> Iterator[Postfix]:
    """A Postfix as the others are made."""
    needs_root("Postfix changes users")
    needs("postfix", "postconf")
    with Postfix(relaying_to(*relay_to) if relay_to else receiving("remote.example")) as running:
        yield running


SERVERS = [postfix, Exim, OpenSmtpd]
named = pytest.mark.parametrize("server", SERVERS, ids=["postfix", "exim", "opensmtpd"])


@named
def test_it_receives_into_a_maildir(server: Callable[..., Any]) -> None:
    """A hundred messages in one session arrive whole, and no process is left when it stops."""
    maker = MessageMaker(3000)
    messages = [maker.make() for _ in range(20)]
    with server() as running:
        with smtplib.SMTP(*running.address, timeout=20) as client:
            for message in messages:
                client.sendmail(SENDER, [BOB], message.content)
        running.mailboxes.wait_for({message.token for message in messages})
        found = running.mailboxes.compare({message.token: message.digest for message in messages})
        assert not found.missing
        assert not found.duplicates
        assert not found.corrupt
        processes = group(running.process.pid)
        assert processes
    assert not any(alive(pid) for pid in processes)
    assert not running.folder.exists()


@named
def test_it_refuses_unknown_recipients(server: Callable[..., Any]) -> None:
    """``unknown`` gets 550, and where there is one ``busy`` 45x."""
    with server() as running, smtplib.SMTP(*running.address, timeout=20) as client:
        client.ehlo()
        client.mail(SENDER)
        assert client.rcpt("unknown@remote.example")[0] == 550
        assert client.rcpt(BOB)[0] == 250
        if server is not OpenSmtpd:
            assert client.rcpt("busy@remote.example")[0] in {450, 451}


@named
def test_it_relays_all_it_takes(server: Callable[..., Any]) -> None:
    """What is injected by SMTP arrives at the scripted remote, once, from a client without a fault."""
    maker = MessageMaker(3000)
    messages = [maker.make() for _ in range(10)]
    with BackgroundRemote() as remote, server(remote.address) as running:
        with smtplib.SMTP(*running.address, timeout=20) as client:
            for message in messages:
                client.sendmail(SENDER, [BOB], message.content)
        wait_for_copies(remote, 10, 20)
        assert remote.copies() == {BOB: 10}
        assert not [fault for fault in remote.faults if "XFORWARD" not in fault]
        bodies = {transaction.content.partition(b"\r\n\r\n")[2] for transaction in remote.transactions}
        assert bodies == {message.content.partition(b"\r\n\r\n")[2] for message in messages}


def test_postfix_tries_again_soon() -> None:
    """A relaying Postfix delivers within seconds to a remote that refused connections at first."""
    background = BackgroundRemote()
    with postfix(background.remote.address) as running:
        running.sendmail(SENDER, [BOB], MessageMaker(500).make().content)
        wait_until(lambda: "Connection refused" in running.log(), "Postfix was refused")
        with background as remote:
            wait_for_copies(remote, 1, 20)


def test_postfix_receives_in_tls() -> None:
    """With a certificate it offers STARTTLS."""
    needs_root("Postfix changes users")
    needs("postfix", "postconf")
    own = certificate("remote.example")
    with Postfix(receiving("remote.example", certificate=own)) as running, smtplib.SMTP(*running.address, timeout=20) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(own.certificate)))
        assert client.ehlo()[0] == 250


def test_dovecot_answers_for_each_recipient() -> None:
    """LMTP: unknown users are refused at RCPT; after the content one is good, one is over its quota and one must wait."""
    message = MessageMaker(3000).make()
    users = {"alice@example.com": "good", "full@example.com": "full", "broken@example.com": "broken"}
    with Dovecot(users) as running:
        with smtplib.LMTP(*running.address) as client:
            client.ehlo()
            client.mail(SENDER)
            assert [client.rcpt(user)[0] for user in [*users, "unknown@example.com"]] == [250, 250, 250, 550]
            client.putcmd("DATA")
            assert client.getreply()[0] == 354
            client.send(message.wire)
            assert [client.getreply()[0] for _ in users] == [250, 552, 451]
        running.mailboxes.wait_for({message.token})
        assert running.mailboxes.compare({message.token: message.digest}).corrupt == []
        (delivered,) = running.delivered_to("alice@example.com")
        assert delivered.endswith(message.content)
        processes = group(running.process.pid)
    assert not any(alive(pid) for pid in processes)
