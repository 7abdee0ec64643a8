"""LocalRecipients: who does not exist is refused while the client listens."""

from __future__ import annotations

import pytest

from events.harness import Harness, message_work, session_work
from penstock import Address, Recipient
from penstock.events import Item, RcptTo, Resolve
from penstock.sinks import DomainRecipients, LocalRecipients, LocalRecipientsSettings, UnknownRecipients
from penstock.verdicts import Reject

from .asking import at_rcpt, resolved

UNKNOWN = Reject(550, "5.1.1", "No such user here")
DOMAINS = {
    "example.com": DomainRecipients(["Alice", "bob.smith", "c+plus", "Sales"]),
    "open.example": DomainRecipients(["*"]),
    ".wild.example": DomainRecipients(["dave"]),
    "empty.example": DomainRecipients([]),
}


async def asked(recipient: str, **settings: str) -> tuple[Reject | None, str]:
    """The final verdict, and the address that the recipient has then."""
    harness = Harness.of(LocalRecipients(LocalRecipientsSettings(DOMAINS, **settings)))
    event = RcptTo(harness.facts(message_work(), session_work()), Recipient(Address.parse(recipient)))
    verdict = await harness.ask(event)
    assert verdict is None or isinstance(verdict, Reject)
    return verdict, str(event.work.address)


@pytest.mark.parametrize(
    "recipient",
    [
        "alice@example.com",
        "ALICE@example.com",
        "bob.smith@example.com",
        "sales@example.com",
        "SaLeS@EXAMPLE.COM",
        "anybody@open.example",
        "dave@wild.example",
        "dave@a.b.wild.example",
    ],
)
async def test_who_exists_is_accepted_in_any_case_and_not_rewritten(recipient: str) -> None:
    verdict, address = await asked(recipient)
    assert verdict is None
    assert address == str(Address.parse(recipient))


@pytest.mark.parametrize(
    "recipient", ["carol@example.com", "alice@empty.example", "dave.x@wild.example", "bob@example.com", "*@example.com"]
)
async def test_who_does_not_exist_is_refused(recipient: str) -> None:
    assert (await asked(recipient))[0] == UNKNOWN


@pytest.mark.parametrize("recipient", ["alice+lists@example.com", "sales+fair+2026@example.com", "c+plus@example.com"])
async def test_what_follows_the_delimiter_does_not_count(recipient: str) -> None:
    assert (await asked(recipient))[0] is None


async def test_a_delimiter_alone_is_no_name() -> None:
    assert (await asked("+@example.com"))[0] == UNKNOWN
    assert (await asked("+alice@example.com"))[0] == UNKNOWN


async def test_without_a_delimiter_the_whole_name_counts() -> None:
    assert (await asked("alice+lists@example.com", delimiter=""))[0] == UNKNOWN
    assert (await asked("c+plus@example.com", delimiter=""))[0] is None


@pytest.mark.parametrize("recipient", ["postmaster@example.com", "PostMaster@empty.example", "postmaster@x.wild.example"])
async def test_postmaster_exists_in_every_local_domain(recipient: str) -> None:
    assert (await asked(recipient))[0] is None


async def test_a_bare_postmaster_becomes_that_of_the_first_local_domain() -> None:
    assert await asked("Postmaster") == (None, "Postmaster@example.com")


async def test_recipients_elsewhere_are_none_of_its_business() -> None:
    assert (await asked("nobody@elsewhere.example"))[0] is None


async def test_an_exact_domain_wins_over_a_pattern_and_a_longer_pattern_over_a_shorter() -> None:
    domains = {
        ".example.com": DomainRecipients(["short"]),
        ".mail.example.com": DomainRecipients(["long"]),
        "x.mail.example.com": DomainRecipients(["exact"]),
    }
    harness = Harness.of(LocalRecipients(LocalRecipientsSettings(domains)))

    async def accepts(recipient: str) -> bool:
        return await harness.ask(RcptTo(harness.facts(message_work(), session_work()), Recipient(Address.parse(recipient)))) is None

    assert await accepts("exact@x.mail.example.com")
    assert not await accepts("long@x.mail.example.com")
    assert await accepts("long@y.mail.example.com")
    assert not await accepts("short@y.mail.example.com")
    assert await accepts("short@z.example.com")


async def test_at_resolve_who_is_unknown_fails_and_who_exists_goes_on() -> None:
    """For mail that did not come by SMTP; postmaster always exists, and other domains are none of its business."""
    sink = UnknownRecipients(LocalRecipientsSettings(DOMAINS))
    found = await resolved(
        sink, "nobody@example.com", "alice+x@example.com", "Postmaster@example.com", "x@open.example", "x@elsewhere.example"
    )
    assert [(item.decision, item.status) for item in found] == [("failed", "5.1.1"), ("", ""), ("", ""), ("", ""), ("", "")]


async def test_at_resolve_it_says_nothing_about_what_a_directory_decided() -> None:
    harness = Harness.of(UnknownRecipients(LocalRecipientsSettings(DOMAINS)))
    item = Item(Address.parse("nobody@example.com"), recipient=Recipient(Address.parse("nobody@example.com")))
    item.resolve()
    sender = Item(Address.parse("nobody@example.com"), "sender")
    event = Resolve(harness.facts(message_work()), [item, sender], 1)
    await harness.ask(event)
    assert [kept.decision for kept in event.kept] == ["resolved", ""]


async def test_a_catch_all_gets_what_nobody_else_does() -> None:
    settings = LocalRecipientsSettings({"example.com": DomainRecipients(["alice"], "rest@example.com")})
    alice, nobody, rest = await resolved(UnknownRecipients(settings), "alice@example.com", "nobody@example.com", "rest@example.com")
    assert (alice.decision, rest.decision) == ("", "resolved")
    assert (nobody.decision, [str(m) for m in nobody.members]) == ("forwarded", ["rest@example.com"])
    assert await at_rcpt("nobody@example.com", LocalRecipients(settings)) is None
