"""Every event of the catalogue shows in a sink process what it shows on the loop, and comes back as it was when nothing is edited."""

from __future__ import annotations

import msgspec

from events.harness import message_work, session_work
from isolation.running import Isolated, eventually, isolated
from isolation.sinks import Teller, described
from isolation.test_deeds import Client
from penstock import Address, Recipient
from penstock.events.catalog import CATALOG, Auth, Verb
from penstock.events.catalog import AuthenticatedReport as Authenticated
from penstock.events.event import Event
from penstock.events.work import MessageWork, Scope
from penstock.mail.envelope import Envelope, MailParameters
from penstock.wire.tls import CertificateFacts, TlsFacts


def _message() -> MessageWork:
    """One with something in every field."""
    bob = Recipient(
        Address("bob", "example.com"), "robert@example.com", frozenset({"failure"}), "rfc822;robert@example.com", {"X": "1"},
        {"p": [1, None, {"q": b"\x00\xff"}]}, "[192.0.2.1]:25", "v1", "busy",
    )  # fmt: skip
    raw = b"Subject: =?utf-8?q?=C3=A4?=\r\nX-Eight: \xff\r\n\r\nbody \x00\xff\r\n"
    work = message_work(
        raw, (bob, "carol@example.com"), state={"sink0": {"n": 1}}, header=b"Subject: edited\r\n", body_offset=47, generation=2
    )
    parameters = MailParameters(100, "8BITMIME", True, "HDRS", "env", {"X-OTHER": "y"})
    work.record.envelope = Envelope(work.record.envelope.sender, work.record.envelope.recipients, parameters)
    return work


def _event(harness: Isolated, cls: type[Event]) -> Event:
    session = session_work(
        user="alice",
        tls=TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, certificate=CertificateFacts("CN=x", names=("x",)), verified=True),
        client_name="client.example",
    )
    session.states = {"sink0": {"known": [1]}}
    if cls is Auth:
        return Auth(harness.facts(_message(), session), "X-TEST", b"\x00first", Client())  # type: ignore[arg-type]
    if cls is Authenticated:
        return Authenticated(harness.facts(None, session), "alice", "X-TEST")
    return harness.make(cls, _message(), session)


async def test_every_event_shows_the_same_in_a_process() -> None:
    async with isolated(Teller) as harness:
        for name, cls in CATALOG.items():
            event = _event(harness, cls)
            (binding,) = [b for b in harness.bindings.all if b.event is cls and (cls is not Verb or b.keyword == "XTEST")]
            shown = event.clone()
            shown.begin(Scope("sink0", "sink0"))
            expected = described(shown)
            before = msgspec.to_builtins(event.facts.message.record) if event.facts.message else None
            clone = event.clone()
            clone.begin(binding.scope)
            answered = len(harness.lines("looked"))
            assert await harness.process.call(binding, clone) is None, name
            await eventually(lambda answered=answered: len(harness.lines("looked")) > answered, name)  # type: ignore[misc]
            line = harness.lines("looked")[-1]
            assert line["of"] == cls.__name__
            assert line["seen"] == expected[: len(line["seen"])], name
            clone.commit()
            event.absorb(clone)
            event.begin(Scope("sink0", "sink0"))
            assert described(event) == expected, name
            assert event.facts.message is None or msgspec.to_builtins(event.facts.message.record) == before, name
