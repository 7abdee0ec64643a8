"""Every conversation under tests/conversations goes as written with the real host too, over a socket, whole and octet by octet."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from conversations import runner
from hosts.running import Running
from penstock.events.plug import BUILT_IN, Plug
from penstock.sinks.discard import Discard
from penstock.sinks.recipients import DomainRecipients, LocalRecipients, LocalRecipientsSettings
from penstock.sinks.relay import Relay, RelaySettings


@pytest.mark.parametrize("step", [1, 1 << 20])
@pytest.mark.parametrize("path", runner.files(), ids=lambda path: path.stem)
async def test_a_conversation_goes_as_written_over_a_socket(path: Path, step: int) -> None:
    """With the built-in policy bound, as a server for example.com has it."""
    policy = [
        Plug("relay", Relay(RelaySettings(["example.com"])), BUILT_IN),
        Plug("recipients", LocalRecipients(LocalRecipientsSettings({"example.com": DomainRecipients()})), BUILT_IN),
        Plug("discard", Discard()),
    ]
    steps = runner.load(path)
    async with Running(*policy) as server:
        reader, writer = await asyncio.open_connection(*server.address)

        async def send(data: bytes) -> None:
            # A long one in pieces: octet by octet it would only take longer.
            size = step if len(data) < 4096 else 1000
            # A server that hung up in the middle has said why; the next expectation reads it.
            with contextlib.suppress(ConnectionError):
                for at in range(0, len(data), size):
                    writer.write(data[at : at + size])
                    await writer.drain()
                    await asyncio.sleep(0)

        async def receive() -> bytes:
            return await asyncio.wait_for(reader.readline(), 5.0)

        await runner.play_async(steps, send, receive)
        writer.close()
