"""Extension by extension, what we say to a server that offers it and to one that does not: a parameter is said only where it was offered.

What is not here is tried elsewhere: REQUIRETLS, DELIVERBY, BINARYMIME and most of LIMITS in ``test_treatment``, 8BITMIME and SMTPUTF8 in
``test_messages``, STARTTLS in ``test_sessions`` and ``test_tls_client``, AUTH in ``test_login``.
"""

from __future__ import annotations

import pytest

from delivery.stand import MAIL, Stand, actions, hop_settings, sent
from delivery.test_messages import remote_reads
from penstock import Address, Recipient
from penstock.delivery.settings import EightBit, TlsSettings
from penstock.mail.envelope import MailParameters
from support.certificates import certificate
from support.remote import Remote
from support.script import BASE_EXTENSIONS, At, Face, Phase, Script, reply

QUEUE = "[127.0.0.1]:{}"
EIGHT = "Subject: hello\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n".encode()
ALL = (
    *BASE_EXTENSIONS, "BINARYMIME", "REQUIRETLS", "DELIVERBY", "MT-PRIORITY", "FUTURERELEASE 86400 2099-01-01T00:00:00Z",
    "NO-SOLICITING", "LIMITS RCPTMAX=100 MAILMAX=100",
)  # fmt: skip
NOTIFIED = Recipient(Address.parse("a@remote.example"), "a@remote.example", frozenset({"success"}), "rfc822;x@y.example")
EVERYTHING = MailParameters(body="8BITMIME", ret="FULL", envid="e", smtputf8=True, by=1000, by_mode="N", priority=3)


def offering(*extensions: str, tls: bool = False) -> Script:
    return Script(face=Face(extensions=extensions, tls=tls))


def without(keyword: str) -> tuple[str, ...]:
    return tuple(extension for extension in BASE_EXTENSIONS if extension.partition(" ")[0] != keyword)


def verbs(remote: Remote) -> list[str]:
    return [command.partition(" ")[0] for command in remote.commands]


# No extension at all.


async def test_a_server_without_extensions_is_told_of_none() -> None:
    """What was asked for and can be done without is left out."""
    async with Remote(offering()) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(NOTIFIED, parameters=EVERYTHING))
        assert sent(results)
    assert remote.commands[1:3] == ["MAIL FROM:<alice@client.example>", "RCPT TO:<a@remote.example>"]
    assert remote.faults == []


async def test_a_server_that_does_not_know_ehlo_is_greeted_with_helo() -> None:
    """RFC 5321 §3.2: an old server answers EHLO with 500 or 502, and may be greeted with HELO."""
    for refusal in ("500 Syntax error", "502 Command not implemented"):
        async with Remote(Script({Phase.EHLO: reply(refusal)})) as remote, Stand(QUEUE.format(remote.port)) as stand:
            assert sent(await stand.deliver(stand.mail(NOTIFIED, parameters=EVERYTHING)))
        assert remote.commands[:3] == ["EHLO mx.client.example", "HELO mx.client.example", "MAIL FROM:<alice@client.example>"]


async def test_keywords_count_in_any_case_and_unknown_ones_do_no_harm() -> None:
    script = offering("size 1000", "8bitmime", "X-ODD =?", "auth", "FUTURE-THING 7 9", "dsn")
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(NOTIFIED)))
    assert remote.commands[1:3] == [
        f"MAIL FROM:<alice@client.example> SIZE={len(MAIL)}",
        "RCPT TO:<a@remote.example> NOTIFY=SUCCESS ORCPT=rfc822;x@y.example",
    ]


# PIPELINING (RFC 2920).


async def test_nothing_is_grouped_for_a_server_without_pipelining() -> None:
    reads: list[bytes] = []
    async with Remote(offering("8BITMIME")) as remote, Stand(QUEUE.format(remote.port)) as stand:
        end = remote_reads(remote, reads)
        try:
            assert sent(await stand.deliver(stand.mail("a@remote.example", "b@remote.example")))
        finally:
            end()
    commands = [read for read in reads if read.startswith((b"EHLO", b"MAIL", b"RCPT", b"DATA"))]
    assert len(commands) == 5
    assert all(read.count(b"\r\n") == 1 for read in commands)


@pytest.mark.parametrize("pipelining", [True, False])
async def test_data_is_not_left_open_where_every_recipient_is_refused(pipelining: bool) -> None:
    """RFC 2920 §3.1: a server that says 354 all the same is sent a single dot; and the session serves the next message."""
    steps = {Phase.RCPT: reply("550 5.1.1 Nobody")}
    if pipelining:
        steps[At(Phase.DATA, 1)] = reply("354 Go ahead")
    face = Face(extensions=without("CHUNKING") if pipelining else ("8BITMIME",))
    async with Remote(Script(steps, face)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        first, second = stand.mail(), stand.mail()
        await stand.deliver(first, second)
        assert [stand.handover.results[work.record.id][0].status for work in (first, second)] == ["5.1.1", "5.1.1"]
    assert len(remote.sessions) == 1
    assert all(transaction.content == b"" for transaction in remote.transactions)


# SIZE (RFC 1870).


async def test_a_message_too_large_for_the_server_fails_without_being_tried_and_the_next_one_goes() -> None:
    async with Remote(offering("SIZE 1000")) as remote, Stand(QUEUE.format(remote.port)) as stand:
        large, small = stand.mail(content=MAIL + b"x" * 1000 + b"\r\n"), stand.mail()
        await stand.deliver(large, small)
        assert actions(stand.handover.results[large.record.id]) == {"a": "failed"}
        assert stand.handover.results[large.record.id][0].status == "5.3.4"
        assert sent(stand.handover.results[small.record.id])
    assert verbs(remote).count("MAIL") == 1
    assert len(remote.sessions) == 1


@pytest.mark.parametrize("offer", ["SIZE", "SIZE 0", "SIZE much", "SIZE 99999999999999999999999"])
async def test_a_size_that_sets_no_limit_is_no_limit(offer: str) -> None:
    """RFC 1870 §4: 0, or no number, says nothing of how large messages may be; our own size is told all the same."""
    async with Remote(offering(offer)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail()))
    assert remote.commands[1] == f"MAIL FROM:<alice@client.example> SIZE={len(MAIL)}"


@pytest.mark.parametrize(("text", "action", "status"), [("552 5.3.4 Too big", "failed", "5.3.4"), ("452 4.3.1 Full", "deferred", "4.3.1")])
async def test_a_server_that_finds_the_declared_size_too_much_decides_what_it_means(text: str, action: str, status: str) -> None:
    """RFC 1870 §6.1 has 552 for what is always too large, and 452 for what is so just now."""
    async with Remote(Script({Phase.MAIL: reply(text)})) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail())
        assert (actions(results), results[0].status) == ({"a": action}, status)
    assert remote.taken() == []


# 8BITMIME (RFC 6152) and BINARYMIME (RFC 3030).


@pytest.mark.parametrize(("how", "action", "status"), [("convert", "relayed", ""), ("bounce", "failed", "5.6.3")])
async def test_content_of_eight_bits_is_converted_or_returned_where_8bitmime_is_not_offered(
    how: EightBit, action: str, status: str
) -> None:
    """RFC 6152 §3 knows these two ways, and no third."""
    async with Remote(offering("SIZE")) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(eight_bit=how)) as stand:
        results = await stand.deliver(stand.mail(content=EIGHT, parameters=MailParameters(body="8BITMIME")))
        assert actions(results) == {"a": action}
        assert not status or results[0].status == status
    assert "BODY" not in " ".join(remote.commands)
    assert all(transaction.content.isascii() for transaction in remote.transactions)
    assert remote.faults == []


async def test_the_size_that_is_told_is_that_of_the_converted_content() -> None:
    async with Remote(offering("SIZE")) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(content=EIGHT)))
    assert remote.commands[1].endswith(f" SIZE={len(remote.transactions[0].content)}")


# CHUNKING (RFC 3030).


@pytest.mark.parametrize(("extensions", "chunking", "verb"), [
    (BASE_EXTENSIONS, True, "BDAT"), (BASE_EXTENSIONS, False, "DATA"), (without("CHUNKING"), True, "DATA"),
])  # fmt: skip
async def test_bdat_is_used_only_where_chunking_is_offered_and_wanted(extensions: tuple[str, ...], chunking: bool, verb: str) -> None:
    async with Remote(offering(*extensions)) as remote, Stand(QUEUE.format(remote.port), settings=hop_settings(chunking=chunking)) as stand:
        assert sent(await stand.deliver(stand.mail()))
    assert verbs(remote)[3] == verb
    assert remote.transactions[0].content == MAIL
    assert remote.faults == []


@pytest.mark.parametrize(("text", "action"), [("554 5.6.0 No", "failed"), ("451 4.3.0 Later", "deferred")])
async def test_a_refused_chunk_ends_the_transaction_and_the_session_goes_on(text: str, action: str) -> None:
    async with Remote(Script({At(Phase.END, 1): reply(text)})) as remote, Stand(QUEUE.format(remote.port)) as stand:
        first, second = stand.mail(), stand.mail()
        await stand.deliver(first, second)
        assert actions(stand.handover.results[first.record.id]) == {"a": action}
        assert sent(stand.handover.results[second.record.id])
    assert len(remote.sessions) == 1
    assert remote.faults == []


# SMTPUTF8 (RFC 6531).


async def test_only_who_needs_smtputf8_fails_where_it_is_not_offered() -> None:
    """A local part has no other form; a domain has one in ASCII, and goes in it."""
    recipients = ["grün@remote.example", "bob@räume.example", "carol@remote.example"]
    async with Remote(offering(*without("SMTPUTF8"))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(*recipients, parameters=MailParameters(smtputf8=True)))
        assert actions(results) == {"grün": "failed", "bob": "relayed", "carol": "relayed"}
        assert results[0].status == "5.6.7"
    assert list(remote.transactions[0].recipients) == ["bob@xn--rume-loa.example", "carol@remote.example"]
    assert remote.faults == []


@pytest.mark.parametrize("sender", ["grün@client.example", "用户@büro.example"])
async def test_a_sender_that_needs_smtputf8_takes_the_mail_of_all_with_it(sender: str) -> None:
    async with Remote(offering(*without("SMTPUTF8"))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example", sender=sender))
        assert {result.status for result in results} == {"5.6.7"}
    assert "MAIL" not in verbs(remote)


async def test_a_senders_domain_beyond_ascii_goes_in_a_labels() -> None:
    async with Remote(offering(*without("SMTPUTF8"))) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(sender="alice@büro.example", parameters=MailParameters(smtputf8=True))))
    assert remote.transactions[0].sender == "alice@xn--bro-hoa.example"
    assert remote.faults == []


# DSN (RFC 3461).


@pytest.mark.parametrize("offered", [True, False])
async def test_who_reports_success_depends_on_dsn_at_the_server(offered: bool) -> None:
    """RFC 3461 §5.2.2: where the next server does not offer DSN the report that the message was relayed is ours."""
    script = offering(*(BASE_EXTENSIONS if offered else without("DSN")))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(NOTIFIED, parameters=MailParameters(ret="FULL", envid="a+b")))
        assert (sent(results), results[0].dsn) == (True, offered)
    line = " ".join(remote.commands[1:3])
    assert [word in line for word in ("RET=FULL", "ENVID=a+2Bb", "NOTIFY=SUCCESS", "ORCPT=rfc822;x@y.example")] == [offered] * 4
    assert remote.faults == []


async def test_nothing_of_dsn_is_added_that_nobody_asked_for() -> None:
    """RFC 3461 §5.2.1 forbids NOTIFY where there was none; our own notion of the default stays with us."""
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail()))
    assert remote.commands[2] == "RCPT TO:<a@remote.example>"


async def test_never_is_passed_on_so_that_no_server_behind_reports() -> None:
    never = Recipient(Address.parse("a@remote.example"), "a@remote.example", frozenset({"never"}))
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(never)))
    assert remote.commands[2] == "RCPT TO:<a@remote.example> NOTIFY=NEVER"


# ENHANCEDSTATUSCODES (RFC 2034).


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("550 5.1.1 Nobody", "5.1.1"),
        ("550 Nobody", "5.0.0"),
        ("550 2.1.1 Nobody", "5.0.0"),
        ("451 4.7.1 Greylisted", "4.7.1"),
        ("451 5.7.1 Odd", "4.0.0"),
        ("550 5.1.10000 Odd", "5.0.0"),
    ],
)
@pytest.mark.parametrize("offered", [True, False])
async def test_a_status_is_the_servers_where_it_fits_its_code_and_general_otherwise(text: str, status: str, offered: bool) -> None:
    """Also of servers that do not offer it: many say codes all the same, and nobody writes one by accident."""
    script = Script({Phase.RCPT: reply(text)}, Face(extensions=BASE_EXTENSIONS if offered else without("ENHANCEDSTATUSCODES")))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail())
        assert (results[0].status, str(results[0].reply)[:3]) == (status, text[:3])


# STARTTLS (RFC 3207).


async def test_what_was_offered_in_clear_counts_for_nothing_within_tls() -> None:
    """RFC 3207 §4.2: the client forgets it, and asks anew."""
    second = "250-remote.example\r\n250 8BITMIME"
    script = Script({At(Phase.EHLO, 2): reply(second)}, Face(extensions=ALL, tls=True))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(NOTIFIED, content=EIGHT, parameters=EVERYTHING)))
    assert verbs(remote)[:3] == ["EHLO", "STARTTLS", "EHLO"]
    assert remote.commands[3:5] == ["MAIL FROM:<alice@client.example> BODY=8BITMIME", "RCPT TO:<a@remote.example>"]
    assert remote.transactions[0].tls


@pytest.mark.parametrize(("level", "offers", "action"), [
    ("may", False, "relayed"), ("encrypt", False, "deferred"), ("verify", False, "deferred"),
    ("may", True, "relayed"), ("encrypt", True, "deferred"),
])  # fmt: skip
async def test_mail_waits_for_tls_only_where_it_must_have_it(level: str, offers: bool, action: str) -> None:
    """The server does not offer STARTTLS, or offers and refuses it (454, RFC 3207 §4)."""
    script = Script({Phase.STARTTLS: reply("454 4.7.0 Not now")}, Face(tls=offers))
    settings = hop_settings(tls=TlsSettings(level))  # type: ignore[arg-type]
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        assert actions(await stand.deliver(stand.mail())) == {"a": action}
    assert not any(transaction.tls for transaction in remote.transactions)


# AUTH (RFC 4954).


async def test_nobody_is_vouched_for_in_mail() -> None:
    """RFC 4954 §5: AUTH= is for servers that trust each other; a client's own is not repeated."""
    parameters = MailParameters(other={"AUTH": "alice@client.example"})
    script = Script(face=Face(accounts={"user": "secret"}))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(parameters=parameters)))
    assert "AUTH" not in " ".join(remote.commands)


# REQUIRETLS (RFC 8689).


@pytest.mark.parametrize("promised", [True, False])
async def test_mail_that_requires_tls_goes_only_to_who_promises_it(promised: bool) -> None:
    authorities = certificate("remote.example").certificate
    settings = hop_settings(tls=TlsSettings("may", authorities, "remote.example"))
    script = offering(*BASE_EXTENSIONS, *(("REQUIRETLS",) if promised else ()), tls=True)
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port), settings=settings) as stand:
        results = await stand.deliver(stand.mail(parameters=MailParameters(requiretls=True)))
        assert actions(results) == {"a": "relayed" if promised else "failed"}
        assert promised or results[0].status == "5.7.30"
    assert len(remote.transactions) == promised


# DELIVERBY (RFC 2852), FUTURERELEASE (RFC 4865), MT-PRIORITY (RFC 6710).


async def test_who_only_wants_to_know_of_lateness_is_told_by_us_where_the_server_cannot() -> None:
    """With "R" it would come back instead, see ``test_treatment``."""
    async with Remote() as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(parameters=MailParameters(by=1000, by_mode="N"))))
    assert "BY=" not in remote.commands[1]


async def test_mail_that_was_held_here_is_not_held_again_by_the_next_server() -> None:
    async with Remote(offering(*ALL)) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(parameters=MailParameters(hold_for=60))))
    assert "HOLD" not in remote.commands[1]


@pytest.mark.parametrize("offered", [True, False])
@pytest.mark.parametrize("priority", [-4, 0, 9])
async def test_a_priority_is_passed_on_where_it_is_known_and_else_forgotten(offered: bool, priority: int) -> None:
    script = offering(*BASE_EXTENSIONS, *(("MT-PRIORITY",) if offered else ()))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(parameters=MailParameters(priority=priority))))
    assert (f" MT-PRIORITY={priority}" in remote.commands[1]) is offered


# LIMITS (RFC 9422).


@pytest.mark.parametrize(
    ("limits", "transactions", "sessions"),
    [("RCPTMAX=2", [2, 2, 1], 1), ("MAILMAX=1", [5], 1), ("RCPTMAX=0", [5], 1), ("RCPTMAX=x MAILMAX=-1", [5], 1)],
)
async def test_limits_that_make_sense_are_kept(limits: str, transactions: list[int], sessions: int) -> None:
    script = offering(*BASE_EXTENSIONS, f"LIMITS {limits}")
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(*(f"r{number}@remote.example" for number in range(5)))))
    assert [len(transaction.recipients) for transaction in remote.transactions] == transactions
    assert len(remote.sessions) == sessions
    assert remote.faults == []


async def test_the_transactions_of_one_message_count_for_mailmax() -> None:
    """RFC 9422 §4.1 limits transactions, not messages."""
    async with Remote(offering(*BASE_EXTENSIONS, "LIMITS MAILMAX=1 RCPTMAX=2")) as remote, Stand(QUEUE.format(remote.port)) as stand:
        assert sent(await stand.deliver(stand.mail(*(f"r{number}@remote.example" for number in range(5)))))
    assert [len(session.transactions) for session in remote.sessions] == [1, 1, 1]
    assert remote.copies() == {f"r{number}@remote.example": 1 for number in range(5)}


async def test_nobody_is_lost_where_a_server_takes_one_transaction_a_session_without_a_word() -> None:
    """Who is left when the session ends is tried again; who was served is not."""
    script = Script({At(Phase.MAIL, 2): reply("421 4.7.0 Enough")}, Face(extensions=(*BASE_EXTENSIONS, "LIMITS RCPTMAX=2")))
    async with Remote(script) as remote, Stand(QUEUE.format(remote.port)) as stand:
        results = await stand.deliver(stand.mail(*(f"r{number}@remote.example" for number in range(3))))
        assert actions(results) == {"r0": "relayed", "r1": "relayed", "r2": "deferred"}
    assert remote.copies() == {"r0@remote.example": 1, "r1@remote.example": 1}


# LMTP (RFC 2033).


async def test_lmtp_is_greeted_with_lhlo_and_each_recipient_has_its_own_end() -> None:
    script = Script({At(Phase.STATUS, 2): reply("552 5.2.2 Full"), At(Phase.STATUS, 3): reply("451 4.3.0 Later")}, Face(lmtp=True))
    async with Remote(script) as remote, Stand(f"lmtp:[127.0.0.1]:{remote.port}") as stand:
        results = await stand.deliver(stand.mail("a@here.example", "b@here.example", "c@here.example"))
        assert actions(results) == {"a": "delivered", "b": "failed", "c": "deferred"}
        assert [result.status for result in results][1:] == ["5.2.2", "4.3.0"]
    assert verbs(remote)[0] == "LHLO"
    assert remote.faults == []
