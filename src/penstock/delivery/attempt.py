"""One message on its way out: what is left of its recipients, what became of the others, and why the last server would not do.

An attempt may pass through several servers: what one took or refused is over, and what it never answered for goes to the next. All results
are settled at the end at once, so that one try of a message is one atomic step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from ..events.dispatch import Outcome
from ..events.reports import Timings
from ..events.verdict import Bounce, Defer, Drop, Reject, Verdict
from ..events.verdict_transit import Reroute, Skip, as_next_hop
from ..events.work import MessageWork
from ..mail.envelope import Recipient
from ..mail.reply import Reply
from ..transport.outcome import NO_TIMINGS, Action, Result
from .mx import Target
from .parcel import Parcel

# RFC 3463: what stands for a reply without an enhanced code. "Other undefined status is the only undefined error code."
_BARE = {2: "2.0.0", 4: "4.0.0", 5: "5.0.0"}


class Server(NamedTuple):
    """Who answered: for results and log.

    Args:
        host: the host name.
        address: its address, or the path of a socket.
        dsn: it offers DSN.
        local: it delivers finally (LMTP).
    """

    host: str = ""
    address: str = ""
    dsn: bool = False
    local: bool = False


NOBODY = Server()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a server, or all of them, would not do.

    Args:
        text: in one line.
        status: an enhanced status code (RFC 3463).
        reply: what the server said, None when it said nothing.
        server: who.
        decided: what a sink decided about it, None where it was none.
        clear_may_help: the TLS handshake failed, and the same host may be tried in clear.
        permanent: trying again is of no use.
    """

    text: str
    status: str = "4.4.1"
    reply: Reply | None = None
    server: Server = NOBODY
    decided: Outcome | None = None
    clear_may_help: bool = False
    permanent: bool = False


# Told who is served, and who is left.
Progress = Callable[[MessageWork, list[Result], list[Recipient]], None]


class Attempt:
    """One try of one message.

    Args:
        work: the message; what becomes of its recipients is told of these very objects.
        started: when it was taken from its queue, in seconds since 1970.
        progress: told what came of some recipients while others are still to be served.
    """

    __slots__ = (
        "_before", "_progress", "connected", "left", "parcel", "reached", "results", "server", "sessions", "skipped", "targets", "trouble",
        "work",
    )  # fmt: skip

    def __init__(self, work: MessageWork, started: float, progress: Progress) -> None:
        self.work = work
        self._progress = progress
        self.left: list[Recipient] = list(work.record.envelope.recipients)
        self.results: list[Result] = []
        self.trouble: Trouble | None = None
        # What is known of the content, so that it is looked through once.
        self.parcel: Parcel | None = None
        # A sink left it for another connection: it goes back to its queue untried.
        self.skipped = False
        self.server = NOBODY
        # Seconds that connecting took.
        self.connected = 0.0
        # Addresses that are still to be tried, None before anybody looked for them; and servers that answered and then failed.
        self.targets: Iterator[Target] | None = None
        self.sessions = 0
        # A server let us in during this try, so the destination as a whole is not out of reach.
        self.reached = False
        self._before = max(started - work.record.received, 0.0)

    @property
    def untouched(self) -> bool:
        """True when nothing became of anybody yet."""
        return not self.results

    def pause(self) -> None:
        """Something else is to be waited for: a crash until then must not repeat what is done."""
        if self.left and self.results:
            self._progress(self.work, self.results, self.left)

    def answer(self, recipients: list[Recipient], reply: Reply, verb: str, sent: float = 0.0) -> None:
        """What the server's reply to something means for these: its first digit decides (RFC 5321 §4.2.1)."""
        digit = reply.code // 100
        status = reply.enhanced if reply.enhanced[:1] == str(digit) else _BARE.get(digit, "5.0.0")
        host, address, dsn, local = self.server
        good = Action.DELIVERED if local else Action.RELAYED
        action = good if digit == 2 else Action.FAILED if digit == 5 else Action.DEFERRED
        timings, text = Timings(self._before, 0.0, self.connected, sent), f"in reply to {verb}"
        self._end(recipients, lambda r: Result(r, action, status, text, reply, host, address, timings=timings, dsn=dsn))

    def fail(self, recipients: list[Recipient], status: str, text: str) -> None:
        """These cannot be sent this way, and nobody had to be asked."""
        server = self.server
        self._end(recipients, lambda r: Result(r, Action.FAILED, status, text, None, server.host, server.address, timings=self._timings()))

    def lose(self, recipients: list[Recipient], trouble: Trouble) -> None:
        """Nobody knows whether the server has the message for these (RFC 1047): it is kept, and tried again."""
        text = f"{trouble.text}; the whole message was sent, so the server may have it"
        server = self.server
        self._end(
            recipients,
            lambda r: Result(
                r, Action.DEFERRED, "4.4.2", text, trouble.reply, server.host, server.address, timings=self._timings(), uncertain=True
            ),
        )

    def decide(self, recipients: list[Recipient], outcome: Outcome, reply: Reply | None = None) -> None:
        """What a sink's verdict means for these."""
        kind = _meaning(outcome.verdict)
        server, by = self.server, outcome.by
        self._end(
            recipients,
            lambda r: Result(
                r, kind.action, kind.status, kind.text, reply, server.host, server.address,
                after=kind.after, next_hop=kind.next_hop, by=by, timings=self._timings(),
            ),
        )  # fmt: skip

    def give_up(self, trouble: Trouble, wide: bool) -> None:
        """No server is left for those who are left.

        Args:
            trouble: the last one.
            wide: the destination is at fault, not this message.
        """
        if trouble.decided is not None:
            self.decide(list(self.left), trouble.decided, trouble.reply)
            return
        action = Action.FAILED if trouble.permanent else Action.DEFERRED
        host, address = trouble.server.host, trouble.server.address
        self._end(
            list(self.left),
            lambda r: Result(
                r, action, trouble.status, trouble.text, trouble.reply, host, address,
                wide=wide and action is Action.DEFERRED, timings=self._timings(),
            ),
        )  # fmt: skip

    def _timings(self) -> Timings:
        return Timings(self._before, 0.0, self.connected, 0.0) if self._before or self.connected else NO_TIMINGS

    def _end(self, recipients: list[Recipient], result: Callable[[Recipient], Result]) -> None:
        self.results += map(result, recipients)
        self._take(recipients)

    def _take(self, recipients: list[Recipient]) -> None:
        if not recipients:
            return
        if len(recipients) == len(self.left):
            self.left = []
        else:
            gone = {id(recipient) for recipient in recipients}
            self.left = [recipient for recipient in self.left if id(recipient) not in gone]


class _Meaning(NamedTuple):
    action: Action
    status: str
    text: str
    after: timedelta | None = None
    next_hop: str = ""


def _meaning(verdict: Verdict | None) -> _Meaning:
    match verdict:
        case Defer():
            status = verdict.enhanced if verdict.enhanced.startswith("4") else "4.0.0"
            return _Meaning(Action.DEFERRED, status, verdict.text, verdict.after)
        case Bounce():
            return _Meaning(Action.FAILED, verdict.enhanced, verdict.text)
        case Drop():
            return _Meaning(Action.DROPPED, "", verdict.reason)
        case Reroute():
            return _Meaning(Action.REROUTED, "", "rerouted by a sink", None, as_next_hop(verdict.next_hop).queue())
        case Skip():  # after another server had answered for a part of it
            return _Meaning(Action.DEFERRED, "4.3.2", verdict.reason or "left for another connection by a sink")
        case Reject():  # a sink that failed with on_error = "reject"
            return _Meaning(Action.FAILED, "5.3.0", "The mail system failed")
        case _:
            return _Meaning(Action.DEFERRED, "4.3.2", "a sink ended the session")
