"""A customer without an address of its own logs in and fetches its mail from all workers over its own connection (RFC 2645)."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from support.certificates import certificate
from support.messages import MessageMaker, inspect
from support.server import Server
from support.waiting import wait_until

MORE = """
[limits]
connections_per_client = 1000

[auth]
stores = ["file:{users}"]
without_tls = true

[tls]
certificates = [{{ certificate = "{certificate}", key = "{key}" }}]

[[listener]]
name = "odmr"
address = "127.0.0.1:0"
atrn = true

[domain."office.example"]
kind = "relay"
fetched_by = ["acme"]

[domain."shop.example"]
kind = "relay"
fetched_by = ["acme", "other"]

[domain."foreign.example"]
kind = "relay"
fetched_by = ["other"]
"""


class Customer:
    """The customer's side of one connection: a client first, then a server that a test can spoil.

    Args:
        address: of the provider.
        secure: with STARTTLS.
    """

    def __init__(self, address: tuple[str, int], secure: bool = False) -> None:
        self.client = smtplib.SMTP(*address, timeout=20)
        self.client.ehlo("office.example")
        if secure:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.client.starttls(context=context)
            self.client.ehlo("office.example")
        self.contents: list[bytes] = []
        self.verbs: list[str] = []
        # What is answered to a line, in the place of 250.
        self.answer: Callable[[str], str] = lambda line: "250 2.0.0 ok"

    def __enter__(self) -> Customer:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self, domains: str = "", user: str = "acme", password: str = "anvil of steel") -> int:
        """Logs in, asks, and returns the code."""
        self.client.login(user, password)
        return self.client.docmd("ATRN", domains)[0]

    def serve(self) -> None:
        """Is the server until the provider says QUIT, or goes."""
        self._say("220 office.example ready")
        for line in self._lines():
            verb = line.split(" ")[0].upper()
            self.verbs.append(verb)
            if verb == "EHLO":
                self._say("250-office.example\r\n250-PIPELINING\r\n250 8BITMIME")
            elif verb == "DATA":
                self._say("354 go on")
                self.contents.append(b"".join(iter(self._read, b".\r\n")))
                self._say(self.answer("."))
            elif verb == "QUIT":
                self._say("221 2.0.0 bye")
            else:
                answer = self.answer(line)
                if not answer:
                    return
                self._say(answer)

    def _read(self) -> bytes:
        assert self.client.file is not None
        return self.client.file.readline()

    def _lines(self) -> Iterator[str]:
        while line := self._read():
            yield line.decode().rstrip("\r\n")

    def _say(self, text: str) -> None:
        assert self.client.sock is not None
        self.client.sock.sendall(f"{text}\r\n".encode())


def add(users: Path, name: str, password: str) -> None:
    command = [sys.executable, "-m", "penstock", "user", "add", name, "--file", str(users)]
    subprocess.run(command, input=f"{password}\n", text=True, check=True, capture_output=True)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Server]:
    users, own = tmp_path / "users", certificate("mx.example.com")
    add(users, "acme", "anvil of steel")
    add(users, "other", "another secret")
    more = MORE.format(users=users, certificate=own.certificate, key=own.key)
    with Server(tmp_path / "provider", workers=2, more=more) as server:
        yield server


def send(provider: Server, count: int, domain: str = "office.example") -> set[str]:
    """Sends messages to a domain over as many connections, so that both workers have some; returns their tokens."""
    maker = MessageMaker(2000)
    messages = [maker.make() for _ in range(count)]
    before = len(queued(provider))
    for message in messages:
        with smtplib.SMTP(*provider.address, timeout=20) as client:
            client.sendmail("load@client.example", [f"alice@{domain}"], message.content)
    wait_until(lambda: len(queued(provider)) == before + count, "all of it is queued")
    return {message.token for message in messages}


def queued(server: Server) -> dict[str, str]:
    """Which worker has queued which message."""
    return {line["message"]: line["process"] for line in server.log() if line["event"] == "queued"}


def tokens(customer: Customer, sent: set[str]) -> list[str]:
    """Which of the messages came, as often as they came, each of them whole."""
    found = [inspect(content.replace(b"\r\n..", b"\r\n.")) for content in customer.contents]
    assert all(one is not None and one[2] for one in found)
    return sorted(one[0] for one in found if one is not None and one[0] in sent)


@pytest.mark.parametrize("secure", [False, True])
def test_the_mail_of_all_workers_comes_over_one_connection(provider: Server, secure: bool) -> None:
    sent = send(provider, 30) | send(provider, 10, "shop.example")
    foreign = send(provider, 4, "foreign.example")
    assert set(queued(provider).values()) == {"worker-0", "worker-1"}
    with Customer(provider.at("odmr"), secure) as customer:
        assert customer.client.has_extn("ATRN")
        assert customer.ask() == 250
        customer.serve()
    assert tokens(customer, sent | foreign) == sorted(sent)
    assert customer.verbs[-1] == "QUIT"
    assert customer.verbs.count("QUIT") == 1
    # It is over for good, and the next one gets what came since.
    with Customer(provider.at("odmr")) as customer:
        wait_until(lambda: customer.client.docmd("NOOP")[0] == 250, "it answers")
        assert customer.ask() == 453
    more = send(provider, 3)
    with Customer(provider.at("odmr")) as customer:
        assert customer.ask("office.example") == 250
        customer.serve()
    assert tokens(customer, more) == sorted(more)


def test_only_what_was_asked_for_comes(provider: Server) -> None:
    office, shop = send(provider, 6), send(provider, 6, "shop.example")
    with Customer(provider.at("odmr")) as customer:
        assert customer.ask("SHOP.example") == 250
        customer.serve()
    assert tokens(customer, office | shop) == sorted(shop)
    with Customer(provider.at("odmr")) as customer:
        assert customer.ask("office.example,shop.example") == 250
        customer.serve()
    assert tokens(customer, office | shop) == sorted(office)


def test_who_may_not_fetch_gets_nothing(provider: Server) -> None:
    """RFC 2645 §5.2.1: without access to all of the domains named, mail is sent for none of them."""
    send(provider, 2)
    with Customer(provider.at("odmr")) as customer:
        assert customer.client.docmd("ATRN")[0] == 530
        assert customer.client.docmd("ATRN", "office.example")[0] == 530
        assert customer.ask("office.example,foreign.example") == 450
        assert customer.client.docmd("ATRN", "nowhere.example")[0] == 450
        assert customer.client.docmd("ATRN", "example.com")[0] == 450
        assert customer.client.docmd("ATRN", "office.example foo")[0] == 501
        assert customer.client.docmd("ATRN", ",")[0] == 501
    with Customer(provider.at("odmr")) as customer:
        assert customer.ask("office.example", "other", "another secret") == 450
    with Customer(provider.address) as customer:
        assert not customer.client.has_extn("ATRN")
        customer.client.login("acme", "anvil of steel")
        assert customer.client.docmd("ATRN")[0] == 502


def test_not_within_a_transaction(provider: Server) -> None:
    send(provider, 1)
    with Customer(provider.at("odmr")) as customer:
        customer.client.mail("a@client.example")
        assert customer.client.docmd("ATRN")[0] == 530
        customer.client.rset()
        customer.client.login("acme", "anvil of steel")
        assert customer.client.mail("")[0] == 250
        assert customer.client.docmd("ATRN")[0] == 503


def test_nothing_may_follow_the_command_before_its_answer(provider: Server) -> None:
    send(provider, 1)
    with Customer(provider.at("odmr")) as customer:
        customer.client.login("acme", "anvil of steel")
        assert customer.client.sock is not None
        customer.client.sock.sendall(b"ATRN\r\n220 not me\r\n")
        assert customer.client.getreply()[0] == 503


@pytest.mark.parametrize("at", ["EHLO", "MAIL", "RCPT"])
def test_what_a_customer_does_not_take_waits_for_the_next_time(provider: Server, at: str) -> None:
    """A customer that goes away in the middle has what it answered for; the rest comes later, and nothing twice."""
    sent = send(provider, 12)
    seen = 0

    def third(line: str) -> str:
        nonlocal seen
        seen += line.startswith(at)
        return "" if seen == 3 else "250 2.0.0 ok"

    got: list[str] = []
    with Customer(provider.at("odmr")) as customer:
        customer.answer = third
        assert customer.ask() == 250
        if at != "EHLO":
            customer.serve()
        got += tokens(customer, sent)
    assert len(got) == (0 if at == "EHLO" else 2)

    def fetched() -> bool:
        with Customer(provider.at("odmr")) as again:
            if again.ask() == 453:
                return len(got) == len(sent)
            again.serve()
            got.extend(tokens(again, sent))
        return len(got) >= len(sent)

    wait_until(fetched, "all of it came", timeout=60)
    assert sorted(got) == sorted(sent)


def test_what_a_customer_refuses_is_reported_and_the_rest_comes(provider: Server) -> None:
    sent = send(provider, 3)
    first: list[str] = []

    def refuse(line: str) -> str:
        if line == "." and not first:
            first.append(line)
            return "550 5.7.1 not this one"
        return "250 2.0.0 ok"

    with Customer(provider.at("odmr")) as customer:
        customer.answer = refuse
        assert customer.ask() == 250
        customer.serve()
    assert len(customer.contents) == len(sent)
    wait_until(lambda: [line for line in provider.log() if line["event"] == "reported"], "it is returned")


def test_an_administrator_cannot_send_it_anywhere_by_mistake(provider: Server) -> None:
    sent = send(provider, 2)
    command = [sys.executable, "-m", "penstock", "queue", "flush", "--config", str(provider.config)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with Customer(provider.at("odmr")) as customer:
        assert customer.ask() == 250
        customer.serve()
    assert tokens(customer, sent) == sorted(sent)


def test_a_customer_that_only_listens_is_let_go(provider: Server) -> None:
    """The server stops while a customer says nothing: it does not wait for ever."""
    send(provider, 1)
    with Customer(provider.at("odmr")) as customer:
        assert customer.ask() == 250
        provider.stop()
        assert customer.client.sock is not None
        try:
            while customer.client.sock.recv(4096):
                pass
        except (TimeoutError, ConnectionError):
            pass


OFFICE = """
[domain."office.example"]
kind = "local"
deliver = "maildir:{mail}/{{domain}}/{{local}}"

[domain."shop.example"]
kind = "local"
deliver = "maildir:{mail}/{{domain}}/{{local}}"

[delivery]
ca_file = "{authorities}"

[dns.hosts]
"mx.example.com" = ["127.0.0.1"]

[route."[mx.example.com]:{port}"]
user = "acme"
password = "{password}"
tls = "verify"

[fetch."[mx.example.com]:{port}"]
domains = ["office.example", "shop.example"]
every = "1s"
"""


def office(folder: Path, provider: Server, password: str = "anvil of steel") -> Server:
    """A server at a customer's, which fetches its mail."""
    own = certificate("mx.example.com")
    more = OFFICE.format(mail=folder / "mail", authorities=own.certificate, port=provider.at("odmr")[1], password=password)
    return Server(folder, workers=2, more=more)


def test_a_penstock_fetches_its_mail_from_another_one_again_and_again(tmp_path: Path, provider: Server) -> None:
    sent = send(provider, 20) | send(provider, 5, "shop.example")
    with office(tmp_path / "office", provider) as fetching:
        fetching.mailboxes.wait_for(sent)
        more = send(provider, 5)
        fetching.mailboxes.wait_for(more)
        received = [line for line in fetching.log() if line["event"] == "accepted"]
    assert len(received) == len(sent) + len(more)
    told = [line["event"] for line in fetching.log() if line.get("level") in ("error", "warning")]
    assert set(told) <= {"running as root"}


def test_a_customer_is_told_why_nothing_comes(tmp_path: Path, provider: Server) -> None:
    send(provider, 1)
    with office(tmp_path / "office", provider, "forgotten") as fetching:
        line = fetching.wait_for_log(lambda line: line["event"] == "mail could not be fetched", "it is said")
    assert "535" in line["reason"]
    assert "forgotten" not in fetching.log_text()


def test_mail_that_is_fetched_is_not_lost_when_processes_are_killed_on_both_sides(tmp_path: Path, provider: Server) -> None:
    sent = send(provider, 60)
    with office(tmp_path / "office", provider) as fetching:
        for index, server in enumerate((provider, fetching, provider, fetching)):
            wait_until(partial(lambda least: len(fetching.mailboxes.refresh()) > least, 10 * index), "some of it came")
            server.kill_worker(index // 2)
            server.wait_for_workers()
        fetching.mailboxes.wait_for(sent, timeout=60)
    assert not list((provider.folder / "run").glob("*.atrn"))
