"""A load generator that remembers what it was promised.

It keeps N sessions busy against a server that may be killed at any instant: it reconnects until told to stop, and it
keeps, for each message, what the server said of it. A message is *acknowledged* after 250 to end-of-data, *refused*
after any other reply, and *unknown* when its content was (partly) sent and no reply came: of the last kind the server
may keep or lose each one, but not damage any.

As a library: ``Load`` inside an event loop, ``BackgroundLoad`` on a thread of its own (for tests that block). By hand::

    python -m tests.support.load 127.0.0.1:2525 --sessions 50 --seconds 10
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import uvloop

from .messages import Message, MessageMaker
from .smtpsession import Session

QUEUED_AS = re.compile(rb"queued as (\S+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send.

    Args:
        sessions: how many at the same time.
        size: octets of each body, about.
        per_session: messages a session, 0 for as many as it will take.
        pipelining: send MAIL, RCPT and DATA in one write (RFC 2920).
        rate: messages a second over all sessions, 0 for no bound.
        total: stop by itself after so many messages were answered, 0 for never.
        patience: seconds without any reply after which a session is given up.
    """

    sessions: int = 50
    size: int = 4096
    per_session: int = 0
    pipelining: bool = True
    rate: float = 0.0
    total: int = 0
    patience: float = 30.0
    sender: str = "load@client.example"
    recipient: str = "alice@example.com"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The server answered 250 to this message: from ``at`` (monotonic seconds) on, it must never be lost."""

    digest: str
    at: float
    queue_id: str


@dataclass(slots=True)
class Results:
    """What became of all messages; every key is a token."""

    acknowledged: dict[str, Acknowledged] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)  # by the reply's text, those before DATA included
    connected: int = 0
    connect_failures: int = 0
    lost_connections: int = 0

    def summary(self) -> dict[str, object]:
        """Counts, for people."""
        return {
            "acknowledged": len(self.acknowledged),
            "refused": len(self.refused),
            "unknown": len(self.unknown),
            "connected": self.connected,
            "connect_failures": self.connect_failures,
            "lost_connections": self.lost_connections,
            "refusals": dict(self.refusals.most_common(5)),
        }


class Load:
    """Sessions in the running event loop."""

    def __init__(self, plan: Plan, address: tuple[str, int] | None = None) -> None:
        self.plan = plan
        self.results = Results()
        self._address = address
        self._sessions: set[Session] = set()
        self._maker = MessageMaker(plan.size, plan.sender, plan.recipient)
        self._stopping = False
        self._taken = 0
        self._next_at = 0.0
        self._changed = asyncio.Event()

    async def run(self) -> Results:
        """Sends until ``stop`` is called or the total is reached."""
        watchdog = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.plan.sessions):
                    group.create_task(self._slot())
        finally:
            watchdog.cancel()
        return self.results

    def stop(self) -> None:
        """Lets each session finish the message it is at, and says good-bye."""
        self._stopping = True
        self._changed.set()
        for session in list(self._sessions):
            session.finish()

    def abort(self) -> None:
        """Ends all connections at once; what was under way is unknown."""
        self.stop()
        for session in list(self._sessions):
            session.abort()

    def aim(self, address: tuple[str, int] | None) -> None:
        """The address of sessions from now on; None makes them wait for one."""
        self._address = address
        self._changed.set()
        self._changed.clear()

    # What a session calls.

    def next_message(self) -> Message | None:
        """The next message to send, or None when there is nothing more to send."""
        if self._stopping or (self.plan.total and self._taken >= self.plan.total):
            return None
        self._taken += 1
        return self._maker.make()

    def pause(self) -> float:
        """Seconds that this session has to wait before its next message."""
        if not self.plan.rate:
            return 0.0
        now = time.monotonic()
        self._next_at = max(self._next_at + 1 / self.plan.rate, now - 0.5)
        return max(self._next_at - now, 0.0)

    def sending(self, message: Message) -> None:
        """The content is about to be written."""
        self.results.unknown[message.token] = message.digest

    def answered(self, message: Message, reply: bytes) -> None:
        """The reply to end-of-data came."""
        self.results.unknown.pop(message.token, None)
        if reply.startswith(b"250"):
            found = QUEUED_AS.search(reply)
            queue_id = found[1].decode() if found else ""
            self.results.acknowledged[message.token] = Acknowledged(message.digest, time.monotonic(), queue_id)
        else:
            self.results.refused[message.token] = reply.decode(errors="replace").strip()
            self.refused(reply)

    def refused(self, reply: bytes) -> None:
        """Some command was refused."""
        self.results.refusals[reply.decode(errors="replace").strip()] += 1

    def unsent(self) -> None:
        """A message that ``next_message`` gave was never offered; it does not count."""
        self._taken -= 1

    # Inside.

    async def _slot(self) -> None:
        """One session after the other."""
        loop = asyncio.get_running_loop()
        while not self._done():
            if self._address is None:
                await self._changed.wait()
                continue
            try:
                async with asyncio.timeout(5):
                    _, session = await loop.create_connection(lambda: Session(self), *self._address)
            except (OSError, TimeoutError):
                self.results.connect_failures += 1
                await asyncio.sleep(0.05)
                continue
            self.results.connected += 1
            self._sessions.add(session)
            if not await session.closed:
                self.results.lost_connections += 1
            self._sessions.discard(session)
            if session.refused:
                await asyncio.sleep(0.05)

    def _done(self) -> bool:
        return self._stopping or bool(self.plan.total and self._taken >= self.plan.total)

    async def _watch(self) -> None:
        """Ends sessions in which nothing happens, e.g. with a server that is stopped and will not come back."""
        while True:
            await asyncio.sleep(1)
            for session in list(self._sessions):
                if session.silent_for() > self.plan.patience:
                    session.abort()


class BackgroundLoad:
    """A ``Load`` on a thread with an event loop of its own; a context manager."""

    def __init__(self, plan: Plan, address: tuple[str, int] | None = None) -> None:
        self._plan = plan
        self._address = address
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="load", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._load: Load

    def __enter__(self) -> BackgroundLoad:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._call(self._load.abort)
            self._thread.join(10)

    def stop(self, timeout: float = 30.0) -> Results:
        """Finishes what is under way; aborts what has not ended after ``timeout`` seconds."""
        self._call(self._load.stop)
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._call(self._load.abort)
            self._thread.join(10)
        return self.results

    def wait(self, timeout: float = 60.0) -> Results:
        """Waits until the plan's total is reached."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"not over after {timeout:g} s: {self.results.summary()}"
        return self.results

    def aim(self, address: tuple[str, int] | None) -> None:
        """As ``Load.aim``."""
        self._call(self._load.aim, address)

    @property
    def results(self) -> Results:
        """The living results; take copies (``dict(...)``) before comparing."""
        return self._load.results

    def acknowledged(self) -> dict[str, str]:
        """Token to digest of what is acknowledged by now."""
        return {token: ack.digest for token, ack in dict(self.results.acknowledged).items()}

    def _call(self, function: object, *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]
        except RuntimeError:  # the loop ended by itself, as it does when a total is reached
            return

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._load = Load(self._plan, self._address)
        self._ready.set()
        await self._load.run()


def main() -> None:
    """Loads one server from the command line and prints the counts as JSON."""
    parser = argparse.ArgumentParser(description="Load an SMTP server and say what it promised.")
    parser.add_argument("address", help="host:port")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--per-session", type=int, default=0, help="messages a session; 0: no bound")
    parser.add_argument("--rate", type=float, default=0.0, help="messages a second; 0: no bound")
    parser.add_argument("--total", type=int, default=0, help="messages; 0: until --seconds are over")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--no-pipelining", action="store_true")
    parser.add_argument("--recipient", default="alice@example.com")
    given = parser.parse_args()
    host, _, port = given.address.rpartition(":")
    plan = Plan(
        given.sessions,
        given.size,
        given.per_session,
        not given.no_pipelining,
        given.rate,
        given.total,
        recipient=given.recipient,
    )
    started = time.monotonic()
    with BackgroundLoad(plan, (host, int(port))) as load:
        results = load.wait(3600) if given.total else _run_for(load, given.seconds)
    took = time.monotonic() - started
    rate = round(len(results.acknowledged) / took, 1)
    print(json.dumps({**results.summary(), "seconds": round(took, 2), "messages_a_second": rate}))


def _run_for(load: BackgroundLoad, seconds: float) -> Results:
    time.sleep(seconds)
    return load.stop()


if __name__ == "__main__":
    main()
