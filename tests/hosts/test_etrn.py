"""ETRN (RFC 1985): who may ask for what, and how it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest

from hosts.running import Running
from penstock.hosts.smtp.trust import Trust


class Asked:
    """Knows the queues of office.example and of what is below it."""

    def __init__(self, waiting: int = 1, error: Exception | None = None) -> None:
        self.waiting = waiting
        self.error = error
        self.released: list[Sequence[str]] = []

    def queues_of(self, option: str, node: str) -> Sequence[str] | None:
        known = {("", "office.example"): ["mx:office.example"], ("@", "office.example"): ["mx:office.example", "mx:a.office.example"]}
        return [node] if option == "#" and node.startswith("mx:") else known.get((option, node))

    async def release(self, queues: Sequence[str]) -> int:
        if self.error is not None:
            raise self.error
        self.released.append(queues)
        return self.waiting


class Asking(Running):
    """A server of which clients here may ask for mail."""

    def __init__(self, asked: Asked, networks: str = "127.0.0.0/8") -> None:
        super().__init__()
        self.host.services = replace(self.host.services, on_demand=asked)
        wire = replace(self.settings.wire, verbs=frozenset({"ETRN"}))
        self.settings = replace(self.settings, wire=wire, trust=Trust(etrn=(ip_network(networks),)))


async def test_mail_is_sent_for_who_asks() -> None:
    """RFC 1985 §5.3: 250 when something waits, 251 when nothing does."""
    asked = Asked()
    async with Asking(asked) as server:
        client = await server.client()
        assert "250 ETRN" in await client.say("EHLO office.example")
        assert (await client.say("ETRN Office.example")) == "250 2.0.0 Ok, queuing for node Office.example started"
        assert (await client.say("ETRN @office.example")).startswith("250 2.0.0")
        assert (await client.say("ETRN #mx:office.example")).startswith("250 2.0.0")
        asked.waiting = 0
        assert (await client.say("ETRN office.example")) == "251 2.0.0 Ok, no messages waiting for node office.example"
    assert asked.released[:3] == [["mx:office.example"], ["mx:office.example", "mx:a.office.example"], ["mx:office.example"]]


@pytest.mark.parametrize(("line", "reply"), [
    ("ETRN", "501 5.5.4"), ("ETRN a b", "501 5.5.4"), ("ETRN @", "501 5.5.4"), ("ETRN <office.example>", "501 5.5.4"),
    ("ETRN other.example", "459 4.7.1"), ("ETRN @example", "459 4.7.1"), ("ETRN #local:x", "459 4.7.1"),
])  # fmt: skip
async def test_what_cannot_be_asked_for_is_refused(line: str, reply: str) -> None:
    asked = Asked()
    async with Asking(asked) as server:
        client = await server.client()
        await client.say("EHLO x")
        assert (await client.say(line)).startswith(reply)
    assert not asked.released


async def test_strangers_may_not_ask_and_are_not_offered_it() -> None:
    async with Asking(Asked(), "192.0.2.0/24") as server:
        client = await server.client()
        assert "ETRN" not in await client.say("EHLO x")
        assert (await client.say("ETRN office.example")).startswith("459 4.7.1")
    async with Running() as server:
        client = await server.client()
        assert (await client.say("EHLO x", "ETRN office.example")).startswith("502 5.5.1")


async def test_not_within_a_transaction_and_trouble_of_ours_is_said_so() -> None:
    async with Asking(Asked(error=OSError("no descriptors"))) as server:
        client = await server.client()
        await client.say("EHLO x", "MAIL FROM:<a@b.example>")
        assert (await client.say("ETRN office.example")).startswith("503 5.5.1")
        assert (await client.say("RSET", "ETRN office.example")).startswith("458 4.3.0")
