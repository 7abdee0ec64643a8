"""Delivers to a program: the message on its standard input, the envelope in its environment, its exit code the answer.

Bind it with:

    [[binding]]
    name = "tickets"
    sink = "pipe_to_program:PipeToProgram"
    priority = 8191                     # before the domain's own delivery
    match = { recipient = "tickets@example.com" }
    timeout = "2 minutes"
    settings = { command = ["/usr/bin/python3", "/opt/tickets/take.py"] }
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass

from penstock import Sink, on
from penstock.events import LocalDelivery
from penstock.verdicts import Bounce, Defer, Delivered


@dataclass(frozen=True, slots=True)
class PipeSettings:
    """What is run.

    Args:
        command: the program with its whole path, and its arguments; no shell is between.
        seconds: how long it may take before it is killed and the message waits.
    """

    command: list[str]
    seconds: float = 60.0


class PipeToProgram(Sink[PipeSettings]):
    """Runs the program once for each recipient. What ends in a way that nobody meant is tried again: mail is not lost by a typing error."""

    @on(LocalDelivery)
    async def deliver(self, event: LocalDelivery) -> Delivered | Defer | Bounce:
        """The codes are those of sysexits.h, by which programs have answered mail servers since Sendmail."""
        address = event.recipient.address
        envelope = {"SENDER": event.message.sender, "RECIPIENT": address, "LOCAL": address.local, "HOST": address.domain}
        environment = {"PATH": "/usr/bin:/bin", **{name: str(value) for name, value in envelope.items()}}
        try:
            async with asyncio.timeout(self.settings.seconds):
                code = await self._run(event, environment)
        except (OSError, TimeoutError) as error:
            self.log.error("program cannot be run, or did not end", command=self.settings.command[0], error=repr(error))
            return Defer(451, "4.3.0", "The program did not answer")
        match code:
            case os.EX_OK:
                return Delivered(self.settings.command[0])
            case os.EX_NOUSER:
                return Bounce("5.1.1", "The program knows nobody of this name")
            case os.EX_NOPERM | os.EX_UNAVAILABLE | os.EX_DATAERR:
                return Bounce("5.7.1", "The program does not want the message")
        return Defer(451, "4.3.0", f"The program ended with {code}")

    async def _run(self, event: LocalDelivery, environment: dict[str, str]) -> int:
        none = asyncio.subprocess.DEVNULL
        program = await asyncio.create_subprocess_exec(
            *self.settings.command, stdin=asyncio.subprocess.PIPE, stdout=none, stderr=none, env=environment, cwd="/"
        )
        try:
            assert program.stdin is not None
            # A program need not read to the end to know what it wants.
            with contextlib.suppress(ConnectionError):
                async for piece in event.message.stream():
                    program.stdin.write(piece)
                    await program.stdin.drain()
            program.stdin.close()
            return await program.wait()
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()
