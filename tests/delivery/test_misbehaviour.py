"""Couriers against every misbehaviour there is: each ends in the right outcome for each recipient; nothing hangs, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from delivery.stand import PATIENT, QUICK, Stand, hop_settings
from penstock.delivery.settings import Credentials, HopSettings, TlsSettings
from penstock.events.outbound import TlsLevel
from penstock.transport.outcome import Action, Result
from support.certificates import certificate
from support.misbehaviour import Behaviour, Outcome, Security
from support.misbehaviours import ALL, OUT_OF_TURN
from support.remote import Remote
from support.script import Connect

LEVELS: dict[Security, TlsLevel] = {Security.OPPORTUNISTIC: "may", Security.REQUIRED: "encrypt", Security.VERIFIED: "verify"}
OUTCOMES = {
    Action.RELAYED: Outcome.DELIVERED,
    Action.DELIVERED: Outcome.DELIVERED,
    Action.DEFERRED: Outcome.DEFERRED,
    Action.FAILED: Outcome.BOUNCED,
}


# With BDAT the whole message has left when the connection is lost; who sends DATA has not been asked for it yet.
GONE_WITH_BDAT = {"rcpt-reset-after-550"}


def settings_for(behaviour: Behaviour) -> HopSettings:
    trusted: Path | None = certificate("trusted.example").certificate if behaviour.security is Security.VERIFIED else None
    login = behaviour.mail.login
    return hop_settings(
        QUICK if behaviour.times_out else PATIENT,
        tls=TlsSettings(LEVELS[behaviour.security], trusted),
        credentials=Credentials(*login, in_clear=True) if login else None,
    )


def outcome_of(result: Result) -> Outcome:
    return Outcome.UNCERTAIN if result.uncertain else OUTCOMES[result.action]


def queue_of(behaviour: Behaviour, remote: Remote) -> str:
    return f"{'lmtp:' if behaviour.lmtp else ''}[127.0.0.1]:{remote.port}"


@pytest.mark.parametrize("chunking", [False, True], ids=["data", "bdat"])
@pytest.mark.parametrize("behaviour", ALL, ids=lambda b: b.name)
async def test_each_recipient_ends_as_it_should(behaviour: Behaviour, chunking: bool) -> None:
    settings = replace(settings_for(behaviour), chunking=chunking)
    async with Remote(behaviour.script) as remote, Stand(queue_of(behaviour, remote), settings=settings) as stand:
        mail = behaviour.mail
        work = stand.mail(*mail.addresses, content=mail.content, sender=mail.sender)
        results = await stand.deliver(work, seconds=15.0)
        order = {id(recipient): n for n, recipient in enumerate(work.record.envelope.recipients)}
        outcomes = [outcome_of(r) for r in sorted(results, key=lambda r: order[id(r.recipient)])]
        lost = Outcome.UNCERTAIN if chunking and behaviour.name in GONE_WITH_BDAT else Outcome(0)
        assert all(outcome in expected | lost for outcome, expected in zip(outcomes, behaviour.expected, strict=True)), outcomes
        assert all(r.status[:1] == {Action.DEFERRED: "4", Action.FAILED: "5"}.get(r.action, "2") for r in results)
        assert not stand.destination.active
        if behaviour.later:
            stand.destination.resting = False
            if behaviour.script.connect is Connect.REFUSE:
                remote.listen()
            again = stand.mail(*mail.addresses, content=mail.content, sender=mail.sender)
            assert [outcome_of(r) for r in await stand.deliver(again)] == list(behaviour.later)
    copies = remote.copies()
    assert all(count == 1 for count in copies.values()), "a recipient has two copies"
    told = dict(zip(mail.addresses, outcomes, strict=True))
    assert all(told[who] & (Outcome.DELIVERED | Outcome.UNCERTAIN) for who in copies if not behaviour.later), "taken, and not known to us"
    assert all(copies[who] for who, outcome in told.items() if outcome is Outcome.DELIVERED), "lost"
    if behaviour.name not in OUT_OF_TURN:
        assert remote.faults == []
