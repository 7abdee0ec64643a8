"""Every sink in ``examples`` does in a real server what its docstring says."""

from __future__ import annotations

import ast
import shutil
import smtplib
import tomllib
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage, Message
from pathlib import Path

import pytest

from support.server import Server
from support.waiting import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BINDINGS = """
[[listener]]
name = "closed"
address = "127.0.0.1:0"

[domain."split.example"]
deliver = "maildir:{mail}/{{domain}}/{{local}}"

[[binding]]
name = "shields-up"
sink = "shields_up:ShieldsUp"
listeners = ["closed"]

[[binding]]
name = "archive"
sink = "archive:DailyArchive"
priority = 8191
settings = {{ directory = "archive" }}

[[binding]]
name = "renamed"
sink = "rewrite_domain:RewriteDomain"
priority = 8191
settings = {{ old = "Old.example", new = "example.com" }}

[[binding]]
name = "one-per-recipient"
sink = "one_per_recipient:OnePerRecipient"
match = {{ recipient = "*@split.example" }}

[[binding]]
name = "mark"
sink = "one_per_recipient:MarkRecipient"
priority = 28000
match = {{ recipient = "*@split.example" }}

[[binding]]
name = "queue-depth"
sink = "queue_depth:QueueDepth"

[[binding]]
name = "audit-notice"
sink = "audit_notice:AuditNotice"
match = {{ recipient = "board@example.com" }}
settings = {{ auditors = ["audit@example.com"] }}

[[binding]]
name = "reject-big"
sink = "reject_big:RejectBig"
settings = {{ octets = 20_000 }}

[[binding]]
name = "hello"
sink = "hello:Hello"
settings = {{ greeting = "Good day" }}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all example sinks, which lie beside its configuration file."""
    folder = tmp_path_factory.mktemp("examples")
    for source in EXAMPLES.glob("*.py"):
        shutil.copy(source, folder)
    with Server(folder, more=BINDINGS.format(mail=folder / "mail")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[smtplib.SMTP]:
    """A session with it."""
    with smtplib.SMTP(*server.address, timeout=20) as session:
        yield session


def _note(subject: str, text: str = "Good morning.\n") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "carol@client.example", "you@example.com", subject
    message.set_content(text)
    return message


def _delivered(server: Server, domain: str, local: str, subject: str) -> Message:
    """The message with this subject in a mailbox, as soon as it is there."""

    def find() -> Message | None:
        found = [message_from_bytes(path.read_bytes()) for path in server.mail.glob(f"{domain}/{local}/new/*")]
        return next((message for message in found if message["Subject"] == subject), None)

    message = wait_until(find, f"{subject!r} is delivered to {local}@{domain}")
    assert message is not None
    return message


def test_shields_up_turns_away_clients_of_its_listener_only(server: Server, client: smtplib.SMTP) -> None:
    """The closed listener answers 421 to EHLO, and the open one does not."""
    with smtplib.SMTP(timeout=20) as closed:
        closed.connect(*server._listeners["closed"])
        assert closed.ehlo() == (421, b"4.3.2 Please try again later.")
    assert client.ehlo()[0] == 250


def test_archive_keeps_a_copy_of_what_came(server: Server, client: smtplib.SMTP) -> None:
    """The copy has the queue id for a name, and lies in the folder of the day."""
    client.send_message(_note("archived"), "carol@client.example", ["alice@example.com"])
    delivered = _delivered(server, "example.com", "alice", "archived")
    copies = [message_from_bytes(path.read_bytes()) for path in (server.folder / "archive").glob("????-??-??/*.eml")]
    (copy,) = [message for message in copies if message["Subject"] == "archived"]
    assert copy.get_payload() == delivered.get_payload()
    assert copy["X-Hello"] is None


def test_one_per_recipient_gives_each_a_copy_of_his_own(server: Server, client: smtplib.SMTP) -> None:
    """What a later sink writes into one copy is not in the other."""
    client.send_message(_note("split"), "carol@client.example", ["ann@split.example", "ben@split.example", "cy@split.example"])
    for name in ("ann", "ben", "cy"):
        assert _delivered(server, "split.example", name, "split")["X-Copy-For"] == f"{name}@split.example"


def test_rewrite_domain_takes_mail_for_the_old_name(server: Server, client: smtplib.SMTP) -> None:
    """The old domain is not ours, and yet its mail arrives, with a note of where it was sent."""
    client.send_message(_note("renamed"), "carol@client.example", ["dora@old.example"])
    assert _delivered(server, "example.com", "dora", "renamed")["X-Written-To"] == "dora@old.example"


def test_queue_depth_is_offered_and_answers(client: smtplib.SMTP) -> None:
    """EHLO names the new verb; it counts, and refuses an argument."""
    client.ehlo()
    assert client.has_extn("xqdepth")
    code, text = client.docmd("XQDEPTH")
    assert code == 250
    assert text.endswith(b" messages queued")
    assert client.docmd("XQDEPTH now")[0] == 501


def test_audit_notice_is_a_message_of_its_own(server: Server, client: smtplib.SMTP) -> None:
    """The auditors hear who wrote to the board; the message itself arrives as it was."""
    client.send_message(_note("figures"), "carol@client.example", ["board@example.com"])
    assert _delivered(server, "example.com", "board", "figures")
    notice = _delivered(server, "example.com", "audit", "Mail for board@example.com")
    assert notice["Return-Path"] == "<>"
    assert "<carol@client.example> wrote to board@example.com" in notice.get_payload()


def test_reject_big_refuses_early_and_late(client: smtplib.SMTP) -> None:
    """A big message is refused at RCPT when it was announced, and after the content when it was not."""
    client.ehlo()
    client.docmd("MAIL", "FROM:<carol@client.example> SIZE=30000")
    assert client.docmd("RCPT", "TO:<alice@example.com>")[0] == 552
    client.rset()
    client.docmd("MAIL", "FROM:<carol@client.example>")
    client.docmd("RCPT", "TO:<alice@example.com>")
    assert client.data(f"Subject: big\r\n\r\n{'x' * 70}\r\n" + f"{'y' * 70}\r\n" * 400)[0] == 552


def test_hello_greets_and_refuses_on_request(server: Server, client: smtplib.SMTP) -> None:
    """The greeting of the settings is in the header; the magic subject is refused."""
    client.send_message(_note("hello"), "carol@client.example", ["erin@example.com"])
    assert _delivered(server, "example.com", "erin", "hello")["X-Hello"] == "Good day, erin"
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        client.send_message(_note("refuse me"), "carol@client.example", ["erin@example.com"])
    assert refusal.value.smtp_code == 550


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_the_lines_an_example_begins_with_are_a_binding_of_it(path: Path) -> None:
    """The TOML in the docstring parses, and names this file and a class in it."""
    tree = ast.parse(path.read_text())
    indented = [line[4:] for line in (ast.get_docstring(tree, clean=False) or "").splitlines() if line.startswith("    ") or not line]
    tables = tomllib.loads("\n".join(indented)).get("binding", [])
    assert tables or path.name == "hello.py"
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for table in tables:
        module, _, name = table["sink"].partition(":")
        assert (module, name in classes) == (path.stem, True)
