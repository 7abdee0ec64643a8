"""A good message goes out, over one connection as long as there are more."""

from __future__ import annotations

from delivery.stand import MAIL, Stand, actions, hop_settings
from penstock.delivery.settings import HopLimits
from support.nameserver import Nameserver
from support.remote import Remote


async def test_a_message_goes_out_byte_for_byte() -> None:
    async with Remote() as remote, Stand(f"[127.0.0.1]:{remote.port}") as stand:
        results = await stand.deliver(stand.mail("a@remote.example", "b@remote.example"))
        assert actions(results) == {"a": "relayed", "b": "relayed"}
        assert results[0].reply is not None
        assert results[0].reply.code == 250
        assert results[0].address == "127.0.0.1"
    assert remote.copies() == {"a@remote.example": 1, "b@remote.example": 1}
    assert remote.transactions[0].content == MAIL
    assert remote.faults == []
    assert remote.sessions[0].end == "QUIT"


async def test_only_a_domain_that_the_sender_wrote_can_be_wrong_for_good() -> None:
    """Of a smart host that has vanished from DNS the administrator hears in time: the mail of everybody waits."""
    with Nameserver() as dns:
        async with Stand("mx:smart-host.example", dns=dns.address) as stand:
            results = await stand.deliver(stand.mail("a@remote.example"))
            assert [(result.action.value, result.status) for result in results] == [("deferred", "4.1.2")]
        async with Stand("mx:remote.example", dns=dns.address) as stand:
            results = await stand.deliver(stand.mail("a@Remote.example"))
            assert [(result.action.value, result.status) for result in results] == [("failed", "5.1.2")]


async def test_a_crash_repeats_the_transaction_that_it_meets_and_none_before() -> None:
    """Of several transactions of one message each is recorded before the next one begins."""
    async with Remote() as remote:
        settings = hop_settings(limits=HopLimits(recipients=2))
        async with Stand(f"[127.0.0.1]:{remote.port}", settings=settings) as stand:
            results = await stand.deliver(stand.mail(*(f"{name}@remote.example" for name in "abcde")))
            assert len(results) == 5
            assert stand.handover.progress == [(2, 3), (4, 1)]
    assert len(remote.transactions) == 3
