"""A copy of an envelope shares nothing that can be changed, and two new ones share nothing at all."""

from __future__ import annotations

from penstock.mail.address import NULL, Address
from penstock.mail.envelope import Envelope, MailParameters, Recipient


def test_a_copy_shares_nothing_changeable() -> None:
    recipient = Recipient(Address("alice", "example.com"), parameters={"X": "1"}, properties={"tags": ["a"]})
    envelope = Envelope(NULL, [recipient], MailParameters(other={"HOLDFOR": "5"}))
    copy = envelope.copy()
    assert copy == envelope
    copy.recipients[0].address = Address("bob", "example.com")
    copy.recipients[0].parameters["X"] = "2"
    copy.recipients[0].properties["tags"].append("b")
    copy.recipients.append(recipient)
    copy.parameters.other["HOLDFOR"] = "6"
    copy.parameters.size = 7
    assert envelope == Envelope(
        NULL,
        [Recipient(Address("alice", "example.com"), parameters={"X": "1"}, properties={"tags": ["a"]})],
        MailParameters(other={"HOLDFOR": "5"}),
    )


def test_new_values_do_not_share_their_defaults() -> None:
    first, second = Envelope(), Envelope()
    first.recipients.append(Recipient(NULL))
    first.parameters.other["X"] = "1"
    first.recipients[0].properties["a"] = 1
    assert second == Envelope()
    assert Recipient(NULL).properties == {}
