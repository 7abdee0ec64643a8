"""A line says what the server offers to hear, what it cannot be told comes back as data, and a line is never two."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import LocalProtocolError
from penstock.mail.address import NULL, Address
from penstock.mail.envelope import MailParameters, Recipient
from penstock.wire.smtp.client import ClientMachine
from penstock.wire.smtp.client_parameters import Facts, Needs, Offered, encode_orcpt, encode_xtext, mail_command, rcpt_command
from penstock.wire.smtp.client_settings import ClientSettings
from penstock.wire.smtp.extension import xtext
from penstock.wire.smtp.outgoing import Continuation, Hello, Mail, Rcpt, edited, raw

NOTHING = Offered()
EVERYTHING = Offered(("PIPELINING", "SIZE 1000", "8bitmime", "SMTPUTF8", "DSN", "LIMITS RCPTMAX=5 MAILMAX=x"))
A, UTF8 = Address("a", "b"), Address("é", "b")


@pytest.mark.parametrize(
    ("sender", "parameters", "facts", "offered", "line", "unmet"),
    [
        (A, MailParameters(), Facts(), EVERYTHING, "MAIL FROM:<a@b>", set()),
        (NULL, MailParameters(), Facts(), EVERYTHING, "MAIL FROM:<>", set()),
        (Address('x" y', "b"), MailParameters(), Facts(), NOTHING, r'MAIL FROM:<"x\" y"@b>', set()),
        # The size is that of the content as it is now, not what our client once said.
        (A, MailParameters(size=5), Facts(7), EVERYTHING, "MAIL FROM:<a@b> SIZE=7", set()),
        (A, MailParameters(size=5), Facts(), EVERYTHING, "MAIL FROM:<a@b>", set()),
        (A, MailParameters(), Facts(7), NOTHING, "MAIL FROM:<a@b>", set()),
        (A, MailParameters(), Facts(1000), EVERYTHING, "MAIL FROM:<a@b> SIZE=1000", set()),
        (A, MailParameters(), Facts(1001), EVERYTHING, "MAIL FROM:<a@b> SIZE=1001", {Needs.SIZE}),
        (A, MailParameters(), Facts(10**9), Offered(("SIZE 0",)), f"MAIL FROM:<a@b> SIZE={10**9}", set()),
        (A, MailParameters(), Facts(10**9), Offered(("SIZE",)), f"MAIL FROM:<a@b> SIZE={10**9}", set()),
        (A, MailParameters(body="8BITMIME"), Facts(), EVERYTHING, "MAIL FROM:<a@b> BODY=8BITMIME", set()),
        (A, MailParameters(), Facts(eight_bit=True), EVERYTHING, "MAIL FROM:<a@b> BODY=8BITMIME", set()),
        (A, MailParameters(body="8BITMIME"), Facts(), NOTHING, "MAIL FROM:<a@b>", set()),
        (A, MailParameters(body="7BIT"), Facts(eight_bit=True), NOTHING, "MAIL FROM:<a@b>", {Needs.EIGHT_BIT}),
        (A, MailParameters(body="7BIT"), Facts(), EVERYTHING, "MAIL FROM:<a@b>", set()),
        (A, MailParameters(smtputf8=True), Facts(), EVERYTHING, "MAIL FROM:<a@b> SMTPUTF8", set()),
        (A, MailParameters(smtputf8=True), Facts(), NOTHING, "MAIL FROM:<a@b>", set()),
        (A, MailParameters(), Facts(utf8=True), EVERYTHING, "MAIL FROM:<a@b> SMTPUTF8", set()),
        (A, MailParameters(), Facts(utf8=True), NOTHING, "MAIL FROM:<a@b>", {Needs.UTF8}),
        (UTF8, MailParameters(), Facts(), EVERYTHING, "MAIL FROM:<é@b> SMTPUTF8", set()),
        (UTF8, MailParameters(), Facts(), NOTHING, "MAIL FROM:<é@b>", {Needs.UTF8}),
        (A, MailParameters(ret="HDRS", envid="x y+=z"), Facts(), EVERYTHING, "MAIL FROM:<a@b> RET=HDRS ENVID=x+20y+2B+3Dz", set()),
        (A, MailParameters(ret="HDRS"), Facts(), NOTHING, "MAIL FROM:<a@b>", {Needs.DSN}),
        (A, MailParameters(envid="x"), Facts(), NOTHING, "MAIL FROM:<a@b>", {Needs.DSN}),
    ],
)
def test_mail_says_what_is_offered_and_what_is_not(
    sender: Address, parameters: MailParameters, facts: Facts, offered: Offered, line: str, unmet: set[Needs]
) -> None:
    built = mail_command(sender, parameters, facts, offered)
    assert (built.command, built.unmet) == (Mail(line, sender), unmet)


@pytest.mark.parametrize(
    ("recipient", "offered", "line", "unmet"),
    [
        (Recipient(A), EVERYTHING, "RCPT TO:<a@b>", set()),
        (Recipient(Address("Postmaster", "")), EVERYTHING, "RCPT TO:<Postmaster>", set()),
        (Recipient(UTF8), EVERYTHING, "RCPT TO:<é@b>", set()),
        (Recipient(UTF8), NOTHING, "RCPT TO:<é@b>", {Needs.UTF8}),
        (Recipient(A, notify=frozenset({"success", "delay"})), EVERYTHING, "RCPT TO:<a@b> NOTIFY=DELAY,SUCCESS", set()),
        (Recipient(A, notify=frozenset({"never"})), NOTHING, "RCPT TO:<a@b>", {Needs.DSN}),
        (Recipient(A, orcpt="rfc822;x+y@z"), EVERYTHING, "RCPT TO:<a@b> ORCPT=rfc822;x+2By@z", set()),
        (Recipient(A, orcpt="rfc822;x@z"), NOTHING, "RCPT TO:<a@b>", {Needs.DSN}),
        (Recipient(A, orcpt="utf-8;é\\=@z"), EVERYTHING, r"RCPT TO:<a@b> ORCPT=utf-8;\x{E9}\x{5C}\x{3D}@z", set()),
    ],
)
def test_rcpt_says_what_is_offered_and_what_is_not(recipient: Recipient, offered: Offered, line: str, unmet: set[Needs]) -> None:
    built = rcpt_command(recipient, offered)
    assert (built.command, built.unmet) == (Rcpt(line, recipient), unmet)
    assert built.command.recipient is recipient


def test_what_nobody_knows_is_named_and_not_said() -> None:
    """Not AUTH either: what it vouches for is only true between two servers that trust each other (RFC 4954 §5)."""
    built = mail_command(A, MailParameters(other={"AUTH": "<>", "XFOO": "1"}), Facts(), EVERYTHING)
    assert (built.command.line, built.dropped) == ("MAIL FROM:<a@b>", ("AUTH", "XFOO"))
    assert rcpt_command(Recipient(A, parameters={"XBAR": "1"}), EVERYTHING).dropped == ("XBAR",)


TREATED = Offered(("REQUIRETLS", "DELIVERBY 9", "MT-PRIORITY MIXER", "NO-SOLICITING", "BINARYMIME", "CHUNKING"))


@pytest.mark.parametrize(
    ("parameters", "facts", "offered", "words", "unmet"),
    [
        (MailParameters(requiretls=True), Facts(), TREATED, "REQUIRETLS", set()),
        (MailParameters(requiretls=True), Facts(), NOTHING, "", {Needs.TLS}),
        (MailParameters(priority=-3), Facts(), TREATED, "MT-PRIORITY=-3", set()),
        (MailParameters(priority=0), Facts(), TREATED, "MT-PRIORITY=0", set()),
        (MailParameters(priority=9), Facts(), NOTHING, "", set()),
        (MailParameters(solicit=frozenset({"b:x", "a:y"})), Facts(), TREATED, "SOLICIT=a:y,b:x", set()),
        (MailParameters(by=120, by_mode="R"), Facts(age=19.2), TREATED, "BY=100;R", set()),
        (MailParameters(by=120, by_mode="R", by_trace=True), Facts(), TREATED, "BY=120;RT", set()),
        (MailParameters(by=120, by_mode="R"), Facts(age=120.5), TREATED, "", {Needs.LATE}),
        (MailParameters(by=120, by_mode="R"), Facts(), NOTHING, "", {Needs.DELIVER_BY}),
        (MailParameters(by=10, by_mode="N"), Facts(age=60), TREATED, "BY=-50;N", set()),
        (MailParameters(by=10, by_mode="N"), Facts(), NOTHING, "", set()),
        (MailParameters(hold_for=60), Facts(), Offered(("FUTURERELEASE 100 2030-01-01T00:00:00Z",)), "", set()),
        (MailParameters(body="BINARYMIME"), Facts(binary=True, eight_bit=True), TREATED, "BODY=BINARYMIME", set()),
        (MailParameters(body="BINARYMIME"), Facts(binary=True), Offered(("BINARYMIME",)), "", {Needs.BINARY}),
        (MailParameters(body="BINARYMIME"), Facts(binary=True), Offered(("8BITMIME", "CHUNKING")), "", {Needs.BINARY}),
    ],
)
def test_the_treatment_that_was_asked_for_is_passed_on(
    parameters: MailParameters, facts: Facts, offered: Offered, words: str, unmet: set[Needs]
) -> None:
    """RFC 8689, RFC 2852, RFC 6710, RFC 3865, RFC 3030; what RFC 4865 asks for was done here."""
    built = mail_command(A, parameters, facts, offered)
    assert (built.command.line, built.unmet) == (f"MAIL FROM:<a@b> {words}".strip(), unmet)


def test_what_an_ehlo_reply_offers() -> None:
    offered = Offered(("size 0010", "AUTH=LOGIN PLAIN", "AUTH CRAM-MD5", "", "_x", "LIMITS mailmax=7 RCPTMAX=20;x", "X-A  b c "))
    assert offered.extensions == {
        "SIZE": "0010", "AUTH": "LOGIN PLAIN", "LIMITS": "mailmax=7 RCPTMAX=20;x", "X-A": "b c",
    }  # fmt: skip
    assert (offered.size, offered.limit("MAILMAX"), offered.limit("RCPTMAX"), offered.limit("X")) == (10, 7, None, None)
    assert [Offered((f"SIZE {text}",)).size for text in ("", "x", "-1", "1" * 21, "٣", "5 x")] == [None, None, None, None, None, 5]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_xtext_comes_back_from_our_server(text: str) -> None:
    assert xtext(encode_xtext(text), "ENVID") == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_original_recipient_is_one_ascii_word(text: str) -> None:
    for kind in ("rfc822", "utf-8"):
        word = encode_orcpt(f"{kind};{text}")
        assert word.isascii()
        assert not set(word.partition(";")[2]) & set(" =\r\n\x00")


LINES = ["NOOP\r\nMAIL FROM:<>", "NOOP\n", "NOOP x\r", "NOOP \x00", "NOOP \ud800"]


@pytest.mark.parametrize("line", LINES)
def test_no_line_becomes_two(line: str) -> None:
    mail = Mail("NOOP", A)
    makers: list[Callable[[], object]] = [lambda: raw(line), lambda: edited(mail, line), lambda: ClientSettings(line)]
    makers.append(lambda: rcpt_command(Recipient(Address(line, "b")), EVERYTHING))
    makers.append(lambda: mail_command(A, MailParameters(ret=line), Facts(), EVERYTHING))
    for make in makers:
        with pytest.raises(LocalProtocolError):
            make()
    machine = ClientMachine(ClientSettings("x"))
    machine.receive_data(b"220 x\r\n")
    machine.next_event()
    # A value that was made by hand does not get out either.
    with pytest.raises(LocalProtocolError):
        machine.send(Hello(line))
    assert (machine.data_to_send(), machine.outstanding) == (b"", ())


def test_what_cannot_be_a_path_is_refused() -> None:
    for address in (Address("a", "b> SIZE=1"), Address("a", "b c"), NULL):
        with pytest.raises(LocalProtocolError):
            rcpt_command(Recipient(address), EVERYTHING)
    with pytest.raises(LocalProtocolError):
        encode_xtext("é")


@pytest.mark.parametrize("line", ["DATA", "data", "Mail FROM:<a@b>", "BDAT 5", "QUIT", "STARTTLS", "EHLO x", "RSET", "", " x"])
def test_a_verb_that_changes_the_session_cannot_be_sent_raw(line: str) -> None:
    with pytest.raises(LocalProtocolError):
        raw(line)


def test_an_edited_line_keeps_its_verb_whatever_its_case() -> None:
    assert edited(Mail("MAIL FROM:<a@b>", A), "mail FROM:<x@y>") == Mail("mail FROM:<x@y>", A)
    for line in ("RCPT TO:<a@b>", "MAILFROM:<a@b>", ""):
        with pytest.raises(LocalProtocolError):
            edited(Mail("MAIL FROM:<a@b>", A), line)


def test_nothing_beyond_ascii_leaves_without_smtputf8() -> None:
    for offer, allowed in ((b"250-x\r\n250 SMTPUTF8\r\n", True), (b"250 x\r\n", False)):
        machine = ClientMachine(ClientSettings("x"))
        machine.receive_data(b"220 x\r\n")
        machine.next_event()
        machine.send(Hello("EHLO x"))
        machine.receive_data(offer)
        machine.next_event()
        command = mail_command(UTF8, MailParameters(), Facts(), EVERYTHING).command
        if allowed:
            machine.send(command)
            assert machine.data_to_send().endswith("MAIL FROM:<é@b> SMTPUTF8\r\n".encode())
        else:
            with pytest.raises(LocalProtocolError, match="SMTPUTF8"):
                machine.send(command)


def test_a_continuation_may_be_any_line() -> None:
    assert Continuation("DATA").line == "DATA"
