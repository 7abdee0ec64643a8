"""Sinks that type checkers must accept; see test_typing.py. Never run."""

from dataclasses import dataclass
from datetime import timedelta

from penstock import Match, Sink, on
from penstock.events import (
    Accepted,
    Auth,
    Connecting,
    Credentials,
    Delivered,
    Ehlo,
    EndOfData,
    Helo,
    LocalDelivery,
    MailFrom,
    MessageStart,
    RcptTo,
    Resolve,
    Route,
    ServerResponse,
    SessionEnd,
    SessionStart,
    Submission,
    Verb,
)
from penstock.verdicts import Authenticated, Bounce, Defer, Discard, Disconnect, Keys, Reject, Respond, Rewrite, RouteTo, TreatAs, Verdict


@dataclass(frozen=True, slots=True)
class Settings:
    greeting: str = "hello"


class Everything(Sink[Settings]):
    async def start(self) -> None:
        self.log.info("started", greeting=self.settings.greeting.upper())

    @on(Ehlo, Helo)
    async def greet(self, event: Ehlo | Helo) -> Disconnect:
        return Disconnect(421, "4.3.2", event.name)

    @on(RcptTo, match=Match(recipient="example.com"))
    async def check(self, event: RcptTo) -> Reject | None:
        return None if event.recipient.address.domain else Reject()

    @on(RcptTo, blocking=False)
    def rewrite(self, event: RcptTo) -> Rewrite | Discard | None:
        return None

    @on(MailFrom, RcptTo, EndOfData)
    async def three(self, event: MailFrom | RcptTo | EndOfData) -> Reject | Defer | None:
        return None

    @on(Ehlo, Helo, MailFrom, RcptTo)
    async def four(self, event: Ehlo | Helo | MailFrom | RcptTo) -> None: ...

    @on(Ehlo, Helo, MailFrom, RcptTo, Submission)
    async def five(self, event: Ehlo | Helo | MailFrom | RcptTo | Submission) -> None: ...

    @on(Submission)
    async def submitted(self, event: Submission) -> None:
        event.message.header.add("X-Seen", "yes")

    @on(Accepted)
    @on(Delivered)
    async def told(self, event: Accepted | Delivered) -> None: ...

    @on(Verb, keyword="XHELLO", advertise="XHELLO")
    async def answer(self, event: Verb) -> Respond:
        return Respond(250, "2.0.0", f"{await event.server.queue.depth()}")

    @on(Auth, mechanism="X-OTP")
    async def authenticate(self, event: Auth) -> Authenticated | Reject:
        return Authenticated((await event.challenge(b"User:")).decode())

    @on(Credentials)
    async def known(self, event: Credentials) -> Authenticated | Keys | Reject | None:
        if event.kind == "keys":
            return Keys.of(event.user, "wonderland", event.mechanism)
        return Authenticated(event.user) if event.password == "wonderland" else None

    @on(SessionStart)
    async def ask(self, event: SessionStart) -> None:
        event.session.state["reply"] = (await event.send("XHELLO")).text

    @on(ServerResponse, match=Match(verb="MAIL", code="501"))
    async def trap(self, event: ServerResponse) -> Defer | TreatAs:
        return Defer(after=timedelta(hours=1))

    @on(MessageStart)
    async def hold(self, event: MessageStart) -> Defer | None:
        return Defer(after=timedelta(days=1)) if "X-Hold" in event.message.header else None

    @on(Route)
    async def route(self, event: Route) -> RouteTo | None:
        return None

    @on(Connecting)
    async def connecting(self, event: Connecting) -> Bounce | None:
        return None

    @on(Resolve)
    async def resolve(self, event: Resolve) -> None: ...

    @on(LocalDelivery)
    def deliver(self, event: LocalDelivery) -> Defer | None:
        return None

    @on(SessionEnd)
    async def end(self, event: SessionEnd) -> None: ...


class Base(Sink):
    def common(self) -> Verdict | None:
        return None
