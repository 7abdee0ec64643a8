"""Relay: mail for others is taken only from those who may send it."""

from __future__ import annotations

import timeit

import pytest

from events.harness import Harness, message_work, session_work
from penstock import Address, Recipient
from penstock.events import RcptTo
from penstock.events.dispatch import Outcome
from penstock.events.work import Facts
from penstock.sinks import Relay, RelaySettings
from penstock.verdicts import Reject, Verdict

DENIED = Reject(550, "5.7.1", "Relaying denied")
SETTINGS = RelaySettings(["example.com", ".example.org"], ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"])


async def asked(recipient: Address | str, client_ip: str = "203.0.113.9", user: str = "") -> Verdict | None:
    """What Relay says to a client about a recipient."""
    harness = Harness.of(Relay(SETTINGS))
    address = recipient if isinstance(recipient, Address) else Address.parse(recipient)
    facts = Facts(harness.server, session_work(client_ip, user=user), message_work())
    return await harness.ask(RcptTo(facts, Recipient(address)))


@pytest.mark.parametrize("recipient", ["bob@example.com", "Bob@EXAMPLE.com", "bob@example.org", "bob@deep.sub.example.org"])
async def test_recipients_of_local_domains_are_taken_from_everybody(recipient: str) -> None:
    assert await asked(recipient) is None


@pytest.mark.parametrize(
    "recipient", ["bob@elsewhere.example", "bob@sub.example.com", "bob@notexample.org", "bob@example.com.evil.example", "bob@[192.0.2.1]"]
)
async def test_recipients_elsewhere_are_refused_to_strangers(recipient: str) -> None:
    assert await asked(recipient) == DENIED


async def test_a_local_part_that_hides_another_address_does_not_open_the_relay() -> None:
    assert await asked('"bob@example.com"@elsewhere.example') == DENIED
    assert await asked("@example.com:bob@elsewhere.example") == DENIED


async def test_a_bare_postmaster_goes_on() -> None:
    assert await asked("postmaster") is None


async def test_an_authenticated_user_may_send_to_everybody() -> None:
    assert await asked("bob@elsewhere.example", user="alice") is None


@pytest.mark.parametrize("client", ["192.0.2.200", "2001:db8::25", "198.51.100.7", "::ffff:192.0.2.200"])
async def test_a_client_in_one_of_the_networks_may_send_to_everybody(client: str) -> None:
    assert await asked("bob@elsewhere.example", client) is None


@pytest.mark.parametrize("client", ["192.0.3.1", "2001:db9::1", "198.51.100.8", "::ffff:192.0.3.1", ""])
async def test_a_client_beside_the_networks_may_not(client: str) -> None:
    assert await asked("bob@elsewhere.example", client) == DENIED


@pytest.mark.parametrize("bad", ["192.0.2.0/33", "localhost", "", "300.1.1.1"])
def test_a_network_that_is_none_is_refused_by_name(bad: str) -> None:
    with pytest.raises(ValueError, match="networks: ") as caught:
        Relay(RelaySettings(["example.com"], ["192.0.2.0/24", bad]))
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("bad", ["", ".", "*.example.com", "bob@example.com"])
def test_a_domain_that_could_never_match_is_refused_by_name(bad: str) -> None:
    with pytest.raises(ValueError) as caught:
        Relay(RelaySettings([bad]))
    assert repr(bad) in str(caught.value)


def test_a_local_recipient_costs_no_task_and_some_microseconds() -> None:
    """The whole way through the dispatcher is measured; the limit is wide, for busy machines, and still far below one task."""
    harness = Harness.of(Relay(RelaySettings([f"d{n}.example" for n in range(10_000)])))
    chain = harness.bindings.chain(RcptTo)
    event = RcptTo(Facts(harness.server, session_work(), message_work()), Recipient(Address("bob", "d9999.example")))
    assert isinstance(harness.dispatcher.ask(event, chain), Outcome)
    seconds = min(timeit.repeat(lambda: harness.dispatcher.ask(event, chain), number=1000, repeat=5)) / 1000
    assert seconds < 50e-6
