"""A good message goes out, over one connection as long as there are more."""

from __future__ import annotations

from delivery.stand import MAIL, Stand, actions
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
