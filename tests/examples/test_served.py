"""The gallery in a real server: its sinks beside one another, bound in a file, and mail that goes all the way.

The first examples are served by ``tests/docs/test_example_sinks.py``; what each does in every case is tested beside this file."""

from __future__ import annotations

import base64
import hmac
import shutil
import smtplib
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.remote import BackgroundRemotes, Remote
from support.script import Phase, Script, reply
from support.server import Server
from support.waiting import wait_until

from .test_bounce_processor import GONE, REPORT
from .test_smime_gateway import certificate, opened

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SECRET = b"12345678901234567890"
BINDINGS = """
[auth]
without_tls = true

[[listener]]
name = "submission"
address = "127.0.0.1:0"

[domain."people.example"]
deliver = "maildir:{mail}/{{domain}}/{{local}}"

[domain."lists.example"]
deliver = "maildir:{mail}/{{domain}}/{{local}}"

[domain."offices.example"]
deliver = "maildir:{mail}/{{domain}}/{{local}}"

[domain."inner.example"]
kind = "relay"

[route."inner.example"]
next_hop = "[127.0.0.1]:{inner}"

[route."remote.example"]
next_hop = "[127.0.0.1]:{remote}"

[[binding]]
name = "catch-all"
sink = "catch_all:CatchAll"
match = {{ recipient = "*@people.example" }}
settings = {{ directory = "people.db", domain = "people.example", keeper = "office@people.example" }}

[[binding]]
name = "recipient-check"
sink = "recipient_check:RecipientCheck"
match = {{ recipient = "*@inner.example" }}
on_error = "continue"
settings = {{ host = "127.0.0.1", port = {inner} }}

[[binding]]
name = "disclaimer"
sink = "disclaimer:Disclaimer"
match = {{ sender = "*@house.example" }}
settings = {{ domains = ["house.example"], text = "Example Ltd, Oslo", html = "<p>Example Ltd, Oslo</p>" }}

[[binding]]
name = "tickets"
sink = "pipe_to_program:PipeToProgram"
priority = 8191
match = {{ recipient = "tickets@example.com" }}
settings = {{ command = ["{python}", "-c", "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read())", "{folder}/tickets"] }}

[[binding]]
name = "greylist"
sink = "greylist:Greylist"
match = {{ recipient = "grey@example.com" }}
settings = {{ database = "greylist.db" }}

[[binding]]
name = "support"
sink = "inbound_webhook:InboundWebhook"
priority = 8191
match = {{ recipient = "support@example.com" }}
settings = {{ url = "{web}/mail" }}

[[binding]]
name = "gateway"
sink = "smime_gateway:SmimeGateway"
priority = 30000
match = {{ sender = "*@sealed.example" }}
settings = {{ domain = "sealed.example", certificates = "certificates", own = "certificates/own.pem" }}

[[binding]]
name = "bounces"
sink = "bounce_processor:BounceProcessor"
priority = 8191
match = {{ recipient = "bounces@example.com", sender = "<>" }}
settings = {{ database = "bounces.db" }}

[[binding]]
name = "journal"
sink = "journal:Journal"
priority = 8191
match = {{ recipient = "minutes@example.com" }}
settings = {{ mailbox = "journal@example.com" }}

[[binding]]
name = "away-ann"
sink = "autoresponder:Autoresponder"
match = {{ recipient = "away@example.com", header = {{ To = "*away@example.com*" }} }}
settings = {{ text = "I am away.", database = "answered.db" }}

[[binding]]
name = "friends-list"
sink = "list_exploder:ListExploder"
settings = {{ address = "friends@lists.example", owner = "owner@example.com", members = "friends.txt" }}

[[binding]]
name = "rate-limit"
sink = "rate_limit:RateLimit"
match = {{ recipient = "limited*@example.com" }}
settings = {{ database = "rates.db", recipients = 3 }}

[[binding]]
name = "approval"
sink = "approval:Approval"
match = {{ recipient = "everybody@example.com" }}
settings = {{ url = "{web}/approvals", again = 0.2 }}

[[binding]]
name = "content-filter"
sink = "content_filter:ContentFilter"
match = {{ recipient = "filtered@example.com" }}
settings = {{ words = {{ "free money" = 9.0 }} }}

[[binding]]
name = "hidden-verbs"
sink = "hidden_verbs:HiddenVerbs"
listeners = ["submission"]
settings = {{ extensions = ["CHUNKING"] }}

[[binding]]
name = "billing"
sink = "billing:Billing"
settings = {{ database = "usage.db" }}

[[binding]]
name = "by-office"
sink = "by_office:ByOffice"
match = {{ recipient = "*@offices.example" }}
settings = {{ directory = "people.db", servers = {{ oslo = "[127.0.0.1]:{remote}" }} }}

[[binding]]
name = "one-time-code"
sink = "one_time_code:OneTimeCode"
listeners = ["submission"]
settings = {{ database = "codes.db" }}
"""


@dataclass
class Web:
    """The application behind webhook and approval: it keeps what it gets, and approves what it was told to."""

    asked: list[str] = field(default_factory=list)
    approves: bool = False


@dataclass
class Yard:
    """All that takes part."""

    server: Server
    inner: Remote
    remote: Remote
    web: Web

    def delivered(self, address: str, subject: str) -> Message:
        """The message with this subject in a mailbox, as soon as it is there."""
        local, _, domain = address.partition("@")

        def find() -> list[Message]:
            found = [
                message_from_bytes(path.read_bytes(), policy=policy.default) for path in self.server.mail.glob(f"{domain}/{local}/new/*")
            ]
            return [message for message in found if message["Subject"] == subject]

        return wait_until(find, f"{subject!r} is delivered to {address}")[0]

    def relayed(self, recipient: str) -> bytes:
        """The content that the remote took for a recipient."""
        return wait_until(lambda: [t.content for t in self.remote.taken() if recipient in t.recipients], f"{recipient} is relayed")[0]

    def rows(self, database: str, query: str) -> list[tuple[object, ...]]:
        """What a sink wrote into its database."""
        with closing(sqlite3.connect(self.server.folder / database)) as opened:
            return opened.execute(query).fetchall()


@pytest.fixture(scope="module")
def web() -> Iterator[tuple[Web, str]]:
    state = Web()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            state.asked.append(f"{self.command} {self.path} " + self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200 if state.approves or self.command == "POST" else 202)
            self.end_headers()

        do_POST = do_PUT = answer  # noqa: N815  the names that the library looks for

        def log_message(self, *_: object) -> None:
            """Not to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield state, f"http://127.0.0.1:{service.server_address[1]}"
        service.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, web: tuple[Web, str]) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("gallery")
    for source in EXAMPLES.glob("*.py"):
        shutil.copy(source, folder)
    with closing(sqlite3.connect(folder / "people.db")) as people, people:
        people.execute("CREATE TABLE person (address TEXT PRIMARY KEY, office TEXT)")
        people.execute("INSERT INTO person VALUES ('known@people.example', NULL), ('ole@offices.example', 'oslo')")
    with closing(sqlite3.connect(folder / "codes.db")) as codes, codes:
        codes.execute("CREATE TABLE code (user TEXT PRIMARY KEY, secret TEXT NOT NULL, last INTEGER NOT NULL DEFAULT 0)")
        codes.execute("INSERT INTO code (user, secret) VALUES ('alice', ?)", (base64.b32encode(SECRET).decode(),))
    (folder / "friends.txt").write_text("carol@client.example\nmember@remote.example\nfriend@example.com\n")
    (folder / "certificates").mkdir()
    for name in ("own", "remote.example"):
        certificate(folder / "certificates", name)
    refusing = Script({Phase.RCPT: reply("550 5.1.1 no such user")})
    state, url = web
    with BackgroundRemotes([Remote(refusing), Remote()]) as (inner, remote):
        words = {
            "mail": folder / "mail",
            "folder": folder,
            "inner": inner.port,
            "remote": remote.port,
            "web": url,
            "python": sys.executable,
        }
        with Server(folder, more=BINDINGS.format(**words) + '[relay]\nnetworks = ["127.0.0.1"]\n') as server:
            yield Yard(server, inner, remote, state)


@pytest.fixture
def client(yard: Yard) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(*yard.server.address, timeout=20) as session:
        yield session


def note(subject: str, text: str = "Good morning.\n", to: str = "you@example.com") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"], message["Subject"] = "carol@client.example", to, subject
    message.set_content(text)
    return message


CAROL = "carol@client.example"


def test_a_catch_all_leaves_the_known_and_the_others_alone(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("caught"), CAROL, ["known@people.example", "nobody@people.example", "dora@example.com"])
    assert yard.delivered("known@people.example", "caught")
    assert yard.delivered("office@people.example", "caught")
    assert yard.delivered("dora@example.com", "caught")


def test_the_inner_servers_refusal_is_the_clients_reply(yard: Yard, client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        client.send_message(note("refused"), CAROL, ["ghost@inner.example"])
    assert refused.value.recipients == {"ghost@inner.example": (550, b"5.1.1 Unable to relay to ghost@inner.example: 5.1.1 no such user")}


def test_a_disclaimer_goes_out_and_not_to_colleagues(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("disclaimed"), "ann@house.example", ["dora@remote.example"])
    assert yard.relayed("dora@remote.example").endswith(b"Good morning.\r\n\r\nExample Ltd, Oslo\r\n")


def test_a_program_takes_its_mail(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("a ticket"), CAROL, ["tickets@example.com"])
    taken = yard.server.folder / "tickets"
    assert wait_until(lambda: taken.exists() and taken.read_bytes(), "the program has it").endswith(b"Good morning.\r\n")
    assert not list(yard.server.mail.glob("example.com/tickets/new/*"))


def test_a_first_try_is_greylisted_and_a_later_one_is_not(yard: Yard, client: smtplib.SMTP) -> None:
    client.ehlo()
    client.mail(CAROL)
    assert client.rcpt("grey@example.com")[0] == 450
    with closing(sqlite3.connect(yard.server.folder / "greylist.db")) as database, database:
        database.execute("UPDATE seen SET first = first - 301")
    assert client.rcpt("grey@example.com")[0] == 250


def test_an_application_gets_its_mail(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("help"), CAROL, ["support@example.com"])
    wait_until(lambda: any(line.startswith("POST /mail ") and '"subject": "help"' in line for line in yard.web.asked), "it is posted")


def test_what_leaves_the_gateway_is_sealed_and_who_has_no_certificate_bounces(yard: Yard, client: smtplib.SMTP, tmp_path: Path) -> None:
    client.send_message(note("sealed", "secret\n"), "max@sealed.example", ["dora2@remote.example", "nobody@unknown.example"])
    content = yard.relayed("dora2@remote.example")
    assert b"application/pkcs7-mime" in content
    assert b"secret" in opened(content, yard.server.folder / "certificates" / "remote.example.pem", tmp_path)
    line = yard.server.wait_for_log(
        lambda line: line["event"] == "failed" and line.get("to") == "nobody@unknown.example", "the other one fails"
    )
    assert "certificate" in str(line)


def test_a_report_marks_the_bad_address(yard: Yard, client: smtplib.SMTP) -> None:
    client.sendmail("", ["bounces@example.com"], REPORT.format(groups=GONE))
    assert wait_until(lambda: yard.rows("bounces.db", "SELECT address, status FROM bad"), "it is noted") == [("gone@example.net", "5.1.1")]


def test_the_journal_gets_its_report(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("minutes"), CAROL, ["minutes@example.com", "blind@example.com"])
    yard.delivered("minutes@example.com", "minutes")

    def find() -> list[bytes]:
        return [path.read_bytes() for path in yard.server.mail.glob("example.com/journal/new/*")]

    (report,) = wait_until(find, "the report is there")
    assert b"Recipient: blind@example.com" in report
    assert b"Subject: minutes" in report


def test_who_is_away_answers_once(yard: Yard, client: smtplib.SMTP) -> None:
    for number in range(2):
        client.send_message(note(f"lunch {number}", to="away@example.com"), "dora3@remote.example", ["away@example.com"])
        yard.delivered("away@example.com", f"lunch {number}")
    answer = message_from_bytes(yard.relayed("dora3@remote.example"), policy=policy.default)
    assert (answer["Auto-Submitted"], answer["Subject"]) == ("auto-replied", "Auto: lunch 0")
    assert yard.rows("answered.db", "SELECT sender FROM answered") == [("dora3@remote.example",)]
    assert sum("dora3@remote.example" in t.recipients for t in yard.remote.taken()) == 1


def test_a_list_goes_to_its_members_in_the_owners_name(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("party"), CAROL, ["friends@lists.example", "plain@example.com"])
    assert yard.delivered("friend@example.com", "party")["List-Id"] == "<friends.lists.example>"
    assert yard.delivered("plain@example.com", "party")["List-Id"] is None
    yard.relayed("member@remote.example")
    assert [t.sender for t in yard.remote.taken() if "member@remote.example" in t.recipients] == ["friends-owner@lists.example"]


def test_a_user_who_writes_to_too_many_waits(yard: Yard, client: smtplib.SMTP) -> None:
    client.ehlo()
    client.mail(CAROL)
    assert [client.rcpt(f"limited{number}@example.com")[0] for number in range(5)] == [250, 250, 250, 450, 450]


def test_a_message_waits_for_approval(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("to all"), CAROL, ["everybody@example.com"])
    wait_until(lambda: sum(line.startswith("PUT /approvals/") for line in yard.web.asked) >= 2, "it is asked again")
    assert not list(yard.server.mail.glob("example.com/everybody/new/*"))
    yard.web.approves = True
    assert yard.delivered("everybody@example.com", "to all")


def test_spam_is_refused_at_the_door(yard: Yard, client: smtplib.SMTP) -> None:
    with pytest.raises(smtplib.SMTPDataError) as refused:
        client.send_message(note("FREE money"), CAROL, ["filtered@example.com"])
    assert refused.value.smtp_code == 550
    client.send_message(note("ham"), CAROL, ["filtered@example.com"])
    assert yard.delivered("filtered@example.com", "ham")["X-Spam-Score"] == "0"


def test_mail_goes_to_the_office_that_the_directory_names(yard: Yard, client: smtplib.SMTP) -> None:
    client.send_message(note("office"), CAROL, ["ole@offices.example", "here@offices.example"])
    assert b"Subject: office" in yard.relayed("ole@offices.example")
    assert yard.delivered("here@offices.example", "office")


def test_a_code_from_a_telephone_lets_in(yard: Yard) -> None:
    with smtplib.SMTP(*yard.server._listeners["submission"], timeout=20) as session:
        session.ehlo()
        assert "X-OTP" in session.esmtp_features["auth"].split()
        assert not session.has_extn("chunking")
        assert session.docmd("VRFY", "alice")[0] == 502
        for code, expected in (("000000", 535), (_code_now(), 235)):
            assert session.docmd("AUTH", "X-OTP")[0] == 334
            assert session.docmd(base64.b64encode(b"alice").decode())[0] == 334
            assert session.docmd(base64.b64encode(code.encode()).decode())[0] == expected
        session.send_message(note("by alice"), CAROL, ["dora4@remote.example"])
    yard.relayed("dora4@remote.example")
    wait_until(lambda: ("alice", 1) in yard.rows("usage.db", "SELECT who, messages FROM usage"), "alice's account has it")


def _code_now() -> str:
    digest = hmac.digest(SECRET, (int(time.time()) // 30).to_bytes(8, "big"), "sha1")
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"
