"""Sinks that tests run in processes of their own: one that does all that a sink can, and some that do what none should."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MemberDescriptorType
from typing import Any

from penstock import Header, Message, MessageSnapshot, Server, Session, Sink, on
from penstock.events import (
    Auth,
    Categorized,
    Ehlo,
    EndOfData,
    MailFrom,
    MessageStart,
    RcptTo,
    Resolve,
    Route,
    SessionEnded,
    SessionStart,
    Submission,
    Verb,
)
from penstock.events.catalog import CATALOG
from penstock.events.event import Event
from penstock.events.keeping import PerSession
from penstock.events.recipients import Recipients
from penstock.events.views import RemoteSession
from penstock.mail.reply import Reply
from penstock.observe.log import get_log
from penstock.verdicts import Authenticated, Defer, Reject, Respond, Rewrite, RouteTo, Split


@dataclass(frozen=True, slots=True)
class Inner:
    """Settings within settings."""

    wait: timedelta = timedelta(seconds=3)
    words: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True, slots=True)
class DeedSettings:
    """Settings of every kind."""

    folder: Path = Path("/nowhere")
    inner: Inner = field(default_factory=Inner)


class Teller(Sink[None]):
    """Says in the log all that an event shows, whatever kind of event it is."""

    @on(*(event for name, event in CATALOG.items() if name not in ("Verb", "Auth")))
    async def look(self, event: Event) -> None:
        """Looks at everything."""
        self.log.info("looked", of=type(event).__name__, seen=described(event))

    @on(Verb, keyword="XTEST")
    async def verb(self, event: Verb) -> None:
        """As ``look``."""
        await self.look(event)

    @on(Auth, mechanism="X-TEST")
    async def auth(self, event: Auth) -> None:
        """As ``look``."""
        await self.look(event)


def described(event: Event) -> str:
    """All that an event shows, as text: the same on both sides of a process."""
    slots = {slot for base in type(event).__mro__ for slot in base.__dict__.get("__slots__", ()) if not slot.startswith("_")}
    names = slots | {name for name in dir(type(event)) if isinstance(getattr(type(event), name), property)}
    return "; ".join(f"{name}={_text(getattr(event, name))}" for name in sorted(names - {"facts"}))


def _text(value: object) -> str:
    if isinstance(value, Session | RemoteSession | Server | Message | MessageSnapshot):
        names = [n for n in dir(type(value)) if isinstance(getattr(type(value), n), property | MemberDescriptorType) and n[0] != "_"]
        return f"{type(value).__name__}({', '.join(f'{n}={_text(getattr(value, n))}' for n in names if n not in _OWN)})"
    if isinstance(value, Header):
        return repr(value.to_bytes())
    if isinstance(value, Recipients):
        return _text(tuple(value))
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}[{', '.join(map(_text, value))}]"
    if hasattr(value, "read"):
        return repr(value.read())
    return f"{type(value).__name__} {value!r}"


# What belongs to a process, or to nobody but the server.
_OWN = {"now", "queue", "routes", "work", "state", "fate"}


class Deeds(Sink[DeedSettings]):
    """Does what a sink can do."""

    def __init__(self, settings: DeedSettings | None = None) -> None:
        super().__init__(settings or DeedSettings())
        self.started = False

    async def start(self) -> None:
        """Notes that it was called."""
        self.started = True
        self.log.info("started here", pid_here=os.getpid())

    async def stop(self) -> None:
        """Notes that it was called."""
        self.log.info("stopped here")

    async def settings_changed(self, settings: DeedSettings) -> None:
        """Notes the new ones."""
        self.log.info("other settings", folder=str(settings.folder))

    @on(MailFrom)
    async def name(self, event: MailFrom) -> Reject | Rewrite | None:
        """Remembers and rewrites."""
        seen = event.session.state.setdefault("senders", [])
        seen.append(str(event.sender))
        event.session.shared("all")["pid"] = os.getpid()
        if event.sender.local == "who":
            settings = f"{self.settings.folder} {self.settings.inner.wait} {self.settings.inner.words} {self.started}"
            return Reject(550, "5.7.1", settings)
        return Rewrite("new@example.org") if event.sender.local == "old" else None

    @on(RcptTo)
    async def rcpt(self, event: RcptTo) -> None:
        """Edits the recipient in place."""
        event.recipient.properties["seen"] = [1, {"two": b"3"}]
        event.recipient.address = event.recipient.address.with_domain("inner.example")

    @on(Ehlo)
    def greet(self, event: Ehlo) -> None:
        """Offers more."""
        event.extensions.append("XMORE")

    @on(EndOfData)
    async def content(self, event: EndOfData) -> Defer | None:
        """Edits the header, or all of it."""
        subject = str(event.message.header.get("Subject"))
        if subject == "large":
            event.message.replace_content(b"Subject: larger\r\n\r\n" + b"x" * 3_000_000)
        elif subject == "raise":
            event.message.header.add("X-Lost", "yes")
            event.session.state["lost"] = True
            raise ValueError("on purpose")
        elif subject == "strange":
            event.session.state["thing"] = object()
        else:
            event.message.header.add("X-Process", str(os.getpid()))
        return None

    @on(Submission)
    async def spread(self, event: Submission) -> None:
        """Forks, submits, remembers."""
        event.message.state["was"] = "here"
        event.message.recipients.add("archive@example.com", notify={"never"})
        copy = event.message.fork([event.message.recipients[0]])
        copy.header.add("X-Copy", "1")
        notice = event.server.new_message(sender="", recipients=["audit@example.com"], content=b"Subject: audit\n\nbody\n")
        sent = await event.server.submit(notice)
        self.log.info("submitted", id=sent, depth=await event.server.queue.depth(), released=await event.server.queue.release("mx:x"))
        await event.server.routes.reset()

    @on(Categorized)
    async def divide(self, event: Categorized) -> Split:
        """A copy for each."""
        return Split(tuple((recipient,) for recipient in event.message.recipients[1:]))

    @on(Resolve)
    def resolve(self, event: Resolve) -> None:
        """In a thread."""
        for item in event.open:
            item.attributes["found"] = True
            item.expand(["one@example.com", "two@example.com"], sender="owner@example.com")

    @on(Route)
    async def route(self, event: Route) -> RouteTo:
        """Wraps what was proposed."""
        assert event.next_hop is not None
        return RouteTo("relay.example:26", message_class=event.destination.replace(".", "-"))

    @on(Verb, keyword="XASK")
    async def ask(self, event: Verb) -> Respond:
        """Talks to the client."""
        line = await event.read_line(Reply(334, "", "go on"))
        return Respond(250, "2.0.0", f"{line.decode()} {(await event.read_bytes(3)).decode()} {await event.server.queue.depth()}")

    @on(Auth, mechanism="X-OTP")
    async def auth(self, event: Auth) -> Authenticated | Reject:
        """Asks twice."""
        user, code = await event.challenge(b"User:"), await event.challenge(b"Code:")
        return Authenticated(user.decode()) if code == b"1234" else Reject(535, "5.7.8", "no")

    @on(SessionStart)
    async def talk(self, event: SessionStart) -> None:
        """Talks to the server."""
        event.session.state["said"] = (await event.send("XQDEPTH")).text

    @on(MessageStart)
    async def command(self, event: MessageStart) -> None:
        """Edits the command."""
        event.command += " RET=HDRS"

    @on(SessionEnded)
    async def ended(self, event: SessionEnded) -> None:
        """A report."""
        self.log.warning("session over", reason=event.reason, known=sorted(event.session.state))


class Visit:
    """What is kept for a session."""

    def __init__(self) -> None:
        self.count = 0

    def close(self) -> None:
        """Says that it is over."""
        get_log().info("visit closed", count=self.count)


class Keeper(Sink[None]):
    """Keeps an object for each session."""

    visits = PerSession(Visit)

    @on(MailFrom)
    async def count(self, event: MailFrom) -> Reject:
        """Counts."""
        self.visits[event].count += 1
        return Reject(550, "5.7.1", f"{self.visits[event].count} of {len(self.visits)}")


class Misdeeds(Sink[None]):
    """Does what its message's subject says, and no sink should."""

    leaked: list[Any] = []

    @on(EndOfData)
    async def misbehave(self, event: EndOfData) -> Defer | Reject | None:
        """See the names."""
        event.message.header.add("X-Half", "done")
        return await getattr(self, f"_{event.message.header.get('Subject')}")(event)  # type: ignore[no-any-return]

    @on(Submission)
    def misbehave_in_thread(self, event: Submission) -> None:
        """Plain ``def``."""
        what = str(event.message.header.get("Subject"))
        if what == "hang":
            time.sleep(3600)
        if what == "exit":
            os._exit(7)
        if what == "spin":
            while True:
                pass

    async def _fine(self, event: EndOfData) -> Reject:
        return Reject(550, "5.7.1", f"process {os.getpid()}")

    async def _slow(self, event: EndOfData) -> Reject:
        await asyncio.sleep(0.5)
        return await self._fine(event)

    async def _hang(self, event: EndOfData) -> None:
        await asyncio.Event().wait()

    async def _swallow(self, event: EndOfData) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                print("no")

    async def _spin(self, event: EndOfData) -> None:
        while True:
            pass

    async def _leak(self, event: EndOfData) -> None:
        while True:
            self.leaked.append(bytearray(10_000_000))

    async def _raise(self, event: EndOfData) -> None:
        raise RuntimeError("a secret reason")

    async def _exit(self, event: EndOfData) -> None:
        os._exit(3)

    async def _sysexit(self, event: EndOfData) -> None:
        sys.exit(0)

    async def _segfault(self, event: EndOfData) -> None:
        ctypes.string_at(0)

    async def _text(self, event: EndOfData) -> Any:
        return "250 OK"

    async def _wrong(self, event: EndOfData) -> Any:
        return Rewrite("a@b.example")

    async def _huge(self, event: EndOfData) -> Reject:
        return Reject(550, "5.7.1", "x" * 50_000_000)

    async def _garbage(self, event: EndOfData) -> None:
        for descriptor in range(3, 200):
            try:
                if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("socket:"):
                    os.write(descriptor, b"250 this is no frame" * 100)
            except OSError:
                continue
        await asyncio.sleep(3600)

    async def _frame(self, event: EndOfData) -> None:
        """A frame that is one, with nonsense in it."""
        body = b"\x93\xa4done\x01\xc0"
        data = b"\x51\x50\x00\x00" + len(body).to_bytes(4, "little") + body
        for descriptor in range(3, 200):
            try:
                if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("socket:"):
                    os.write(descriptor, data)
            except OSError:
                continue
        await asyncio.sleep(3600)

    async def _shout(self, event: EndOfData) -> None:
        print("heard once")
        for number in range(20_000):
            print(f"line {number}", file=sys.stderr)

    async def _children(self, event: EndOfData) -> None:
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        self.log.info("child", child=process.pid)
        os._exit(1)


class NeverStarts(Sink[None]):
    """Refuses to start."""

    async def start(self) -> None:
        """Raises."""
        raise ValueError("no such directory")

    @on(EndOfData)
    async def nothing(self, event: EndOfData) -> None:
        """Nothing."""
