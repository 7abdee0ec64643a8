"""A web service of a test's own: it says yes, no or nothing, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Asked:
    """One request: its first line, its header fields by lower-case name, and its body."""

    line: str
    fields: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Web:
    """What the service answers, and what it was asked.

    Args:
        answers: statuses, one a request; the last one goes on for ever. 0 is silence, and text is sent as it is.
    """

    answers: list[int | str]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-1])}
            self.asked.append(Asked(head[0], fields, await reader.readexactly(int(fields["content-length"]))))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer == 0:
                await reader.read()
            elif isinstance(answer, int):
                writer.write(f"HTTP/1.1 {answer} whatever\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                writer.write(answer.encode())
        finally:
            writer.close()


@asynccontextmanager
async def web(*answers: int | str) -> AsyncIterator[Web]:
    """Such a service, at ``url``."""
    service = Web(list(answers) or [200])
    async with await asyncio.start_server(service.serve, "127.0.0.1", 0) as server:
        service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mail"
        yield service
