"""Each command line becomes the question that it is, or gets the reply that it deserves."""

from __future__ import annotations

import pytest

from penstock.mail.address import NULL, Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.wire.smtp.content import ContentRules
from penstock.wire.smtp.extension import STANDARD, Extension
from penstock.wire.smtp.happening import ContentEnd, DataStart, Expn, Greeting, Help, Mail, Noop, Quit, Rcpt, Refused, Reset, Verb, Vrfy
from penstock.wire.smtp.limits import Limits
from penstock.wire.smtp.settings import ServerSettings
from wire.driver import HOSTNAME, Host, session, small

EHLO = b"EHLO x\r\n"
MAIL = EHLO + b"MAIL FROM:<a@b.example>\r\n"
RCPT = MAIL + b"RCPT TO:<alice@example.com>\r\n"
UTF8 = EHLO + b"MAIL FROM:<a@b.example> SMTPUTF8\r\n"


def last(start: bytes, line: str | bytes, settings: ServerSettings | None = None) -> tuple[object, str]:
    """What happened last, and the reply, when the line came after these commands."""
    host = session(start, settings)
    host.said = b""
    host.feed((line.encode() if isinstance(line, str) else line) + b"\r\n")
    return next(happening for happening in reversed(host.happened) if type(happening).__name__ != "Closed"), host.said.decode()


def test_each_verb_makes_its_question() -> None:
    verbs = ServerSettings(HOSTNAME, verbs=frozenset({"xqdepth"}))
    for start, line, question in [
        (b"", "EHLO client.example", Greeting("EHLO", "client.example", "EHLO client.example")),
        (b"", "helo [192.0.2.1]", Greeting("HELO", "[192.0.2.1]", "helo [192.0.2.1]")),
        (b"", "EHLO [IPv6:2001:db8::1]", Greeting("EHLO", "[IPv6:2001:db8::1]", "EHLO [IPv6:2001:db8::1]")),
        (b"", "HELO my_pc \t ", Greeting("HELO", "my_pc", "HELO my_pc")),
        (b"", "noop  hello ", Noop("hello", "noop  hello")),
        (b"", "HELP", Help("", "HELP")),
        (b"", "VRFY alice smith", Vrfy("alice smith", "VRFY alice smith")),
        (b"", "EXPN staff", Expn("staff", "EXPN staff")),
        (b"", "RSET", Reset("RSET")),
        (b"", "xQdepth all now", Verb("XQDEPTH", "all now", "xQdepth all now")),
        (b"", "QUIT", Quit("QUIT")),
        (RCPT, "DATA", DataStart(bdat=False, line="DATA")),
    ]:
        assert last(start, line, verbs)[0] == question


A = Address("a", "b.example")


@pytest.mark.parametrize(
    ("argument", "sender", "parameters"),
    [
        ("FROM:<a@b.example>", A, MailParameters()),
        ("from: <a@b.example>", A, MailParameters()),
        ("FROM:<>", NULL, MailParameters()),
        ('FROM:<"a > b"@b.example> SIZE=1', Address("a > b", "b.example"), MailParameters(size=1)),
        ("FROM:<@r.example:a@b.example>", A, MailParameters()),
        ("FROM:<a@b.example> SIZE=0", A, MailParameters(size=0)),
        ("FROM:<a@b.example>  size=10   body=8bitmime", A, MailParameters(size=10, body="8BITMIME")),
        ("FROM:<a@b.example> BODY=7BIT RET=full ENVID=a+2Bb", A, MailParameters(body="7BIT", ret="FULL", envid="a+b")),
        ("FROM:<é@b.example> SMTPUTF8", Address("é", "b.example"), MailParameters(smtputf8=True)),
    ],
)
def test_mail_is_understood(argument: str, sender: Address, parameters: MailParameters) -> None:
    line = f"MAIL {argument}"
    assert last(EHLO, line) == (Mail(sender, parameters, line), "250 2.1.0 Sender ok\r\n")


ALICE = Address("alice", "example.com")


@pytest.mark.parametrize(
    ("argument", "recipient"),
    [
        ("TO:<alice@example.com>", Recipient(ALICE, "alice@example.com")),
        ("to: <Alice@Example.COM>", Recipient(Address("Alice", "example.com"), "Alice@Example.COM")),
        ("TO:<postmaster>", Recipient(Address("postmaster", ""), "postmaster")),
        ("TO:<alice@example.com> NOTIFY=Success,FAILURE", Recipient(ALICE, "alice@example.com", frozenset({"success", "failure"}))),
        ("TO:<alice@example.com> ORCPT=RFC822;al+3Dice@x", Recipient(ALICE, "alice@example.com", orcpt="rfc822;al=ice@x")),
        ("TO:<alice@example.com> ORCPT=utf-8;\\x{E9}+2B@x", Recipient(ALICE, "alice@example.com", orcpt="utf-8;é+@x")),
        ("TO:<alice@example.com> ORCPT=utf-8;é@x", Recipient(ALICE, "alice@example.com", orcpt="utf-8;é@x")),
        ("TO:<alice@example.com> ORCPT=utf-8;a\\x{2B}41@x", Recipient(ALICE, "alice@example.com", orcpt="utf-8;a+41@x")),
        ("TO:<alice@example.com> ORCPT=rfc822;+C3+A9@x", Recipient(ALICE, "alice@example.com", orcpt="utf-8;é@x")),
        ("TO:<é@example.com>", Recipient(Address("é", "example.com"), "é@example.com")),
    ],
)
def test_rcpt_is_understood(argument: str, recipient: Recipient) -> None:
    line = f"RCPT {argument}"
    assert last(UTF8, line) == (Rcpt(recipient, line), "250 2.1.5 Recipient ok\r\n")


BAD = [
    (b"", "", "500 5.5.2"),
    (b"", " NOOP", "500 5.5.2"),
    (b"", "NOOP\t", "250 2.0.0"),
    (b"", "NO\tOP", "500 5.5.2"),
    (b"", b"NOOP \x00", "500 5.5.2"),
    (b"", b"NOOP \x7f", "500 5.5.2"),
    (b"", b"NOOP a\rb", "500 5.5.2"),
    (b"", b"NOOP \xff", "500 5.5.2"),
    (b"", "NOOP é", "501 5.5.4"),
    (b"", "NOOP \u2028", "500 5.5.2"),
    (b"", "FROB", "500 5.5.1"),
    (b"", "XQDEPTH", "500 5.5.1"),
    (b"", "STARTTLS", "502 5.5.1"),
    (b"", "AUTH PLAIN", "502 5.5.1"),
    (b"", "EHLO", "501 5.5.4"),
    (b"", "EHLO ", "501 5.5.4"),
    (b"", "EHLO a b", "501 5.5.4"),
    (b"", "EHLO a)b", "501 5.5.4"),
    (b"", "EHLO é", "501 5.5.4"),
    (b"", "HELO " + "x" * 256, "501 5.5.4"),
    (b"", "VRFY", "501 5.5.4"),
    (b"", "EXPN", "501 5.5.4"),
    (b"", "RSET x", "501 5.5.4"),
    (b"", "QUIT x", "501 5.5.4"),
    (b"", "MAIL FROM:<>", "503 5.5.1 Send EHLO"),
    (b"", "RCPT TO:<a@b>", "503 5.5.1 Send EHLO"),
    (b"", "DATA", "503 5.5.1 Send EHLO"),
    (EHLO, "RCPT TO:<a@b>", "503 5.5.1 Need MAIL"),
    (EHLO, "DATA", "503 5.5.1 Need MAIL"),
    (MAIL, "MAIL FROM:<>", "503 5.5.1 Sender"),
    (MAIL, "DATA", "554 5.5.1 No valid"),
    (RCPT, "MAIL FROM:<>", "503 5.5.1 Sender"),
    (RCPT, "DATA x", "501 5.5.4"),
    (EHLO, "MAIL", "501 5.5.4"),
    (EHLO, "MAIL FROM", "501 5.5.4"),
    (EHLO, "MAIL FROM:", "501 5.5.4"),
    (EHLO, "MAIL FROM:a@b", "501 5.5.4"),
    (EHLO, "MAIL TO:<a@b>", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b>SIZE=1", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a b@c>", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> SIZE", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> SIZE=", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> SIZE=-1", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> SIZE=" + "9" * 21, "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> SIZE=1 size=2", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> SIZE=99999999", "552 5.3.4"),
    (EHLO, "MAIL FROM:<a@b> =1", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> NOTIFY=NEVER", "555 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> AUTH=<>", "555 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> RET=SOME", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> ENVID=+0D+0A", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> ENVID=a+", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> ENVID=" + "x" * 101, "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@b> SMTPUTF8=1", "501 5.5.4"),
    (EHLO, "MAIL FROM:<a@@b>", "501 5.1.7"),
    (EHLO, "MAIL FROM:<postmaster>", "501 5.1.7"),
    (EHLO, "MAIL FROM:<é@b>", "550 5.6.7"),
    (b"HELO x\r\n", "MAIL FROM:<a@b> SIZE=1", "555 5.5.4"),
    (MAIL, "RCPT TO:alice@example.com", "501 5.5.4"),
    (MAIL, "RCPT TO:<>", "501 5.1.3"),
    (MAIL, "RCPT TO:<alice>", "501 5.1.3"),
    (MAIL, "RCPT TO:<@r.example:>", "501 5.1.3"),
    (MAIL, "RCPT TO:<a@b> SIZE=1", "555 5.5.4"),
    (MAIL, "RCPT TO:<é@b>", "553 5.6.7"),
    (MAIL, "RCPT TO:<a@b> ORCPT=utf-8;é@b", "553 5.6.7"),
    (MAIL, "RCPT TO:<a@b> NOTIFY=", "501 5.5.4"),
    (MAIL, "RCPT TO:<a@b> NOTIFY=SOMETIMES", "501 5.5.4"),
    (MAIL, "RCPT TO:<a@b> NOTIFY=NEVER,DELAY", "501 5.5.4"),
    (MAIL, "RCPT TO:<a@b> ORCPT=alice", "501 5.5.4"),
    (MAIL, "RCPT TO:<a@b> ORCPT=rfc822;a+0Ab", "501 5.5.4"),
    (MAIL, "RCPT TO:<a@b> ORCPT=rfc822;" + "x" * 500, "501 5.5.4"),
    (UTF8, "RCPT TO:<a@b> ORCPT=utf-8;\\x{D800}", "501 5.5.4"),
    (UTF8, "RCPT TO:<a@b> ORCPT=utf-8;\\x{110000}", "501 5.5.4"),
    (UTF8, "RCPT TO:<a@b> ORCPT=utf-8;\\x{0A}", "501 5.5.4"),
    (b"", "x" * 2047, "500 5.5.2 Line too long"),
    (b"", "x" * 2046, "500 5.5.1"),
    (b"", b"NOOP\n", "500 5.5.2 Lines must end"),
    (b"", "BDAT 0", "503 5.5.1"),
]


@pytest.mark.parametrize(("start", "line", "reply"), BAD)
def test_a_line_gets_the_reply_that_it_deserves_and_changes_nothing(start: bytes, line: str | bytes, reply: str) -> None:
    before = session(start).machine.state
    host = session(start)
    happening, said = last(start, line)
    assert said.startswith(reply)
    if not reply.startswith("250"):
        assert isinstance(happening, Refused)
        assert happening.reply.code == int(reply[:3])
    assert said.count("\r\n") == 1 + said.count("EHLO-")
    host.feed(line.encode() + b"\r\n" if isinstance(line, str) else line + b"\r\n")
    assert host.machine.state is before or host.machine.is_closed


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "post /x HTTP/1.0", "CONNECT a:25 HTTP/1.1", "\x16\x03\x01", "GET /" + "x" * 4000])
def test_another_protocol_is_hung_up_on_in_any_state(line: str) -> None:
    for start in (b"", EHLO, RCPT):
        host = session(start + line.encode() + b"\r\nNOOP\r\n")
        assert host.machine.is_closed
        assert host.said.splitlines()[-1].startswith(b"421 4.7.0 This is SMTP")
        assert host.happened[-1].reason.name == "CROSS_PROTOCOL"


@pytest.mark.parametrize("line", ["BDAT", "BDAT x", "BDAT -1", "BDAT 1 LAST x", "BDAT 1\tLAST", "BDAT é", "BDAT 10\n"])
def test_a_bdat_without_a_readable_size_ends_the_session(line: str) -> None:
    host = session(RCPT + line.encode() + b"\r\nNOOP\r\n")
    assert host.machine.is_closed
    assert host.happened[-1].reason.name == "OUT_OF_STEP"


def test_recipients_above_the_limit_are_put_off_and_do_not_count_as_errors() -> None:
    host = session(RCPT + b"RCPT TO:<bob@example.com>\r\n" * 50 + b"DATA\r\n", small(recipients=2, errors=3))
    assert host.said.count(b"250 2.1.5") == 2
    assert host.said.count(b"452 4.5.3") == 49
    assert host.said.endswith(b"354 End data with <CRLF>.<CRLF>\r\n")


def test_the_limit_of_recipients_is_one_of_each_transaction() -> None:
    transaction = b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n"
    assert b"452" not in session(EHLO + transaction * 3, small(recipients=2)).said


def test_a_line_is_given_up_as_soon_as_it_can_only_be_too_long() -> None:
    host = Host(small(command_line=512))
    assert host.feed(b"x" * 511) == b""
    assert host.feed(b"x") == b"500 5.5.2 Line too long\r\n"
    assert host.feed(b"x" * 600 + b"\r\nNOOP\r\n") == b"250 2.0.0 Ok\r\n"


def test_transactions_above_the_limit_are_put_off() -> None:
    settings = small(transactions=1)
    host = session(MAIL + b"RSET\r\nMAIL FROM:<>\r\n", settings)
    assert b"LIMITS MAILMAX=1 RCPTMAX=1000\r\n" in host.said
    assert host.said.endswith(b"452 4.3.2 Too many messages in this session\r\n")


def test_errors_are_counted_until_a_message_is_accepted() -> None:
    settings = small(errors=3)
    assert not session(b"X\r\n" * 2 + RCPT + b"DATA\r\n.\r\n" + b"X\r\n" * 2, settings).machine.is_closed
    host = session(b"X\r\n" * 2 + RCPT + b"X\r\nNOOP\r\n", settings)
    assert host.said.endswith(b"421 4.7.0 Too many errors, closing the connection\r\n")
    assert host.happened[-1].reason.name == "TOO_MANY_ERRORS"
    assert not session(b"X\r\n" * 100, small(errors=0)).machine.is_closed


def test_a_limit_of_nothing_offers_no_limits_and_any_size() -> None:
    said = session(EHLO + b"MAIL FROM:<> SIZE=99999999999999999999\r\n", small(recipients=0, message_size=0)).said
    assert b"LIMITS" not in said
    assert b"250-SIZE 0\r\n" in said
    assert said.endswith(b"250 2.1.0 Sender ok\r\n")


def test_a_new_extension_is_a_row() -> None:
    def hold(parameters: MailParameters, value: str, limits: Limits) -> None:
        parameters.other["HOLDFOR"] = value

    row = Extension("FUTURERELEASE", lambda limits: "86400 2030-01-01T00:00:00Z", mail={"HOLDFOR": hold})
    settings = ServerSettings(HOSTNAME, extensions=(*STANDARD, row))
    host = session(EHLO + b"MAIL FROM:<a@b> HOLDFOR=60\r\n", settings)
    assert b"250 FUTURERELEASE 86400 2030-01-01T00:00:00Z\r\n" in host.said
    assert host.happened[-1].parameters.other == {"HOLDFOR": "60"}
    assert session(EHLO + b"MAIL FROM:<a@b> HOLDFOR=60\r\n").said.splitlines()[-1].startswith(b"555")


def test_bdat_carries_a_message_exactly() -> None:
    host = session(RCPT + b"BDAT 3\r\na\r\nBDAT 0\r\nBDAT 5 last\r\n.\r\n\r\nNOOP\r\n")
    assert host.messages == [b"a\r\n.\r\n\r\n"]
    assert host.said.endswith(
        b"250 2.0.0 3 octets received\r\n250 2.0.0 0 octets received\r\n250 2.0.0 Ok: queued as TESTID\r\n250 2.0.0 Ok\r\n"
    )


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (b"BDAT 3\r\na\nbBDAT 3 LAST\r\n\r\n.", b"550 5.6.11"),
        (b"BDAT 2 LAST\r\na\r", b"550 5.6.11"),
        (b"BDAT 1001 LAST\r\n" + b"x" * 1001, b"554 5.6.0"),
        (b"BDAT 2100 LAST\r\n" + b"x\r\n" * 700, b"552 5.3.4"),
    ],
)
def test_bad_bdat_content_fails_the_transaction_and_its_octets_are_swallowed(content: bytes, reply: bytes) -> None:
    host = session(RCPT + content + b"NOOP\r\n", small(message_size=2000))
    assert host.machine.state.name == "READY"
    assert not host.messages
    refused = [line for line in host.said.splitlines() if line.startswith(b"5")]
    assert refused[0].startswith(reply)
    assert all(line.startswith(b"503") for line in refused[1:])
    assert host.said.endswith(b"250 2.0.0 Ok\r\n")
    ends = [happening for happening in host.happened if isinstance(happening, ContentEnd)]
    assert len(ends) == 1
    assert ends[0].refusal is not None


def test_bdat_that_was_not_offered_is_swallowed_all_the_same() -> None:
    host = session(RCPT.replace(b"EHLO", b"HELO") + b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert host.said.splitlines()[3:] == [b"502 5.5.1 Command not implemented", b"250 2.0.0 Ok"]


def test_every_reply_after_the_greeting_has_an_enhanced_code() -> None:
    host = Host()
    host.feed(EHLO)
    host.said = b""
    host.feed(RCPT[len(EHLO) :] + b"VRFY a\r\nEXPN b\r\nHELP\r\nNOOP\r\nFOO\r\nDATA\r\n.\r\nBDAT 0\r\nRSET\r\nQUIT\r\n")
    for line in host.said.splitlines():
        assert line.startswith(b"354") or line[4:5] == line[:1]
        assert line.startswith(b"354") or line[5:6] == b"."


def test_content_rules_start_afresh_for_each_message() -> None:
    message = b"MAIL FROM:<>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n"
    host = session(EHLO + message + b"bare\n\r\n.\r\n" + message + b"good\r\n.\r\n")
    assert host.messages == [b"good\r\n"]
    assert ContentRules(Limits()).refusal is None
