"""One side of a replay: a whole server in this process, with these bindings, to which captured sessions are said again.

Everything is the server's own but what touches the world: the spool is in memory, the clock is that of the capture, and nothing is
delivered; a message ends in the queue that it was routed to. What its sinks do by themselves is really done."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from ..app.node import Node
from ..capture.content import filled
from ..capture.format import CapturedSession, Step
from ..config import Config
from ..events.binding import Binding
from ..events.catalog import Event, LocalDelivery
from ..events.plug import Plug
from ..events.sink import Sink, on
from ..events.verdict import Defer, Verdict
from ..events.work import Facts
from ..isolation import SinkProcess
from ..mail.address import Address
from ..mail.header import Header, read_fields
from ..mail.message import decode_record, with_edits
from ..observe.log import get_log
from ..queue.settings import NOBODY
from ..storage.base import Entry
from ..testing.network import MemoryTransport
from ..testing.server import InProcess, World
from ..testing.virtual import VirtualLoop
from .replay_seen import Final, Ids, Run, Said, Watching

# Which kinds of steps are answered with a reply of their own.
_ANSWERED = frozenset({"command", "refused", "answer", "content"})
_SHOWN = 80
KEEPER = "(replay keeps)"
# A shorter time within a session is passed over.
SHORT = 60.0
# Turns of the loop in which whatever is ready gets done.
TURNS = 20
# How long transport may take with a message, on the clock of the replay, and how often it is looked at.
LATEST, STEP = 600.0, 0.01
T = TypeVar("T")
_NEVER = timedelta(days=3650)
_HIDDEN = "what was said is not in the capture"


class Keep(Sink[None]):
    """Stands before all who deliver, and leaves every message where it is."""

    @on(LocalDelivery, blocking=False)
    def keep(self, event: LocalDelivery) -> Defer:
        """Not now, and not later either."""
        return Defer(text="kept by the replay", after=_NEVER)


class Player(asyncio.Protocol):
    """The client: says what it is told to, and gathers replies."""

    def __init__(self) -> None:
        self.replies: list[str] = []
        self.lost = False
        self._line = b""
        self._lines: list[str] = []
        self._changed: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\r\n")
        for line in lines:
            self._lines.append(line.decode("utf-8", "backslashreplace"))
            if line[3:4] != b"-":
                self.replies.append("\n".join(self._lines))
                self._lines = []
        self._tell()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._tell()

    async def heard(self, count: int) -> None:
        """Waits for so many replies, or for the end of the connection; the server's own timeouts end that at last."""
        while len(self.replies) < count and not self.lost:
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        await _turns()

    async def gone(self) -> None:
        """Waits for the end of the connection."""
        while not self.lost:
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed

    def _tell(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def taken(self) -> tuple[str, ...]:
        """The replies since the last time."""
        found, self.replies = tuple(self.replies), []
        return found


class _Process(SinkProcess):
    """A sink in processes of its own: real ones, for which time on the clock of the replay stands still."""

    async def call(self, binding: Binding, event: Event) -> Verdict | None:
        return await _held(super().call(binding, event))

    async def start(self) -> None:
        await _held(super().start())


async def _held(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    task = loop.create_task(work)
    loop.hold(task)
    found: T = await task
    return found


class _World(World):
    """A world that tells of each id that is made."""

    made: Callable[[str], None] = staticmethod(lambda _: None)

    def new_id(self) -> str:
        made = super().new_id()
        self.made(made)
        return made


@dataclass(frozen=True, slots=True)
class Bound:
    """What a side runs.

    Args:
        config: the configuration.
        plugs: the bindings.
    """

    config: Config
    plugs: Sequence[Plug]


class Side:
    """One side.

    Args:
        loop: its own.
        bound: what it runs.
        begins: when the capture begins, in seconds since 1970.
    """

    def __init__(self, loop: VirtualLoop, bound: Bound, begins: float) -> None:
        loop.clock.beginning = begins
        self._loop = loop
        self._config = bound.config
        self._world = world = _World(loop)
        # What sinks connect to is really there; nothing of the server's own goes out.
        loop.connector = None
        # The first of all at priority 0: nobody else is asked to deliver.
        plugs, node = [Plug(KEEPER, Keep(), 0, where="the replay"), *bound.plugs], _node(bound.config, world)
        self._life = InProcess(bound.config, world, [_furnished(plug, node) for plug in plugs])
        self._life.transport.carriers.remote = NOBODY
        node.transports = [self._life.transport]
        self._watching = self._life.dispatcher.tracer = Watching()
        self._facts: Callable[[], Facts] | None = None
        self._life.host.tap = self._note
        self._ports = 40_000

    async def start(self) -> None:
        """Starts the sinks. Raises PenstockError when one does not start."""
        await self._life.start()

    async def stop(self) -> None:
        """Stops the sinks."""
        await _held(self._life.stop())

    async def play(self, session: CapturedSession) -> Run:
        """Says a session again, and follows its messages to where they would be delivered."""
        run, ids = Run(), Ids()
        self._world.made = ids.note
        self._watching.run, self._watching.labels = run, ids.label
        try:
            self._jump(session.started)
            await self._converse(session, run, ids)
            await self._follow(run, ids)
        finally:
            self._watching.run = None
            await self._forget()
        return run

    async def _converse(self, session: CapturedSession, run: Run, ids: Ids) -> None:
        player = Player()
        self._ports += 1
        self._client_name = session.client_name
        client = (session.client_ip or "192.0.2.1", session.client_port or self._ports)
        transport = self._life.connect(player, client, self._listener(session.listener))
        await player.heard(1)
        run.said.append(Said("(connects)", tuple(map(ids.label, player.taken()))))
        for step, why in turns(session.steps):
            await self._until(session.started + step.at)
            said = shown(step)
            if step.kind == "auth" and self._facts is not None and (work := self._facts().session) is not None:
                work.user = step.user
            # A client that was not told to go on would not have sent its content.
            if not why and step.kind == "content" and not _goes_on(run, step):
                why = "the server did not ask for it"
            if not why and player.lost:
                why = "the connection was gone"
            if not why:
                transport.write(self._octets(step))
                await player.heard(int(step.kind in _ANSWERED))
            run.said.append(Said(said, tuple(map(ids.label, player.taken())), why))
        await self._end(session, player, transport)
        rest = tuple(map(ids.label, player.taken()))
        if rest:
            run.said.append(Said(f"(ends: {session.ended})", rest))

    async def _end(self, session: CapturedSession, player: Player, transport: MemoryTransport) -> None:
        """Lets the session end as it did."""
        if session.ended == "timeout" and not player.lost:
            await self._until(session.started + session.seconds + 1.0)
        if not player.lost:
            transport.close()
            await player.gone()

    def _octets(self, step: Step) -> bytes:
        if step.kind != "content":
            return step.raw
        return filled(step.raw, step.missing, dotted=step.raw[:5].upper() != b"BDAT ")

    async def _until(self, moment: float) -> None:
        """Goes on to a moment. What is short of a minute makes no difference to any timer of the server's, and is passed over."""
        ahead = moment - self._loop.clock.now()
        if 0 < ahead < SHORT:
            self._loop.clock.beginning += ahead
        elif ahead > 0:
            await self._loop.advance(ahead)

    def _jump(self, moment: float) -> None:
        """Goes to the beginning of a session; between two, nothing is left that could happen meanwhile."""
        clock = self._loop.clock
        clock.beginning += max(moment - clock.now(), 0.0)
        clock.expect(0.0)

    async def _follow(self, run: Run, ids: Ids) -> None:
        """Waits until nothing is left to do for the messages, and notes how they are."""
        await self._done()
        await self._life.dispatcher.drain()
        await self._done()
        counts: Counter[str] = Counter()
        for entry in sorted(self._life.entries(), key=lambda entry: entry.id):
            run.finals.append(self._final(entry, counts, ids))

    async def _done(self) -> None:
        """Waits until each message is held, deferred, or where it would be delivered."""
        latest = self._loop.time() + LATEST
        await _turns()
        while not self._is_done() and self._loop.time() < latest:  # noqa: ASYNC110 - nobody tells when transport has nothing left to do
            await asyncio.sleep(STEP)

    def _is_done(self) -> bool:
        now, scheduler = self._loop.clock.now(), self._life.transport.scheduler
        entries = self._life.entries()
        return all(entry.held or entry.due > now or (entry.queue and not scheduler.is_active(entry.id)) for entry in entries)

    def _final(self, entry: Entry, counts: Counter[str], ids: Ids) -> Final:
        record = decode_record(entry.record)
        content = with_edits(record, self._life.spool.content(entry))
        lines = [f"sender <{record.envelope.sender}>", f"queue {entry.queue or '-'}"]
        lines += [f"held: {entry.held}"] if entry.held else []
        lines += ["deferred"] if entry.due and not entry.queue else []
        lines += [f"recipient {_recipient(r.address, r.route)}" for r in record.envelope.recipients]
        fields = [f.raw.decode("utf-8", "backslashreplace").replace("\r\n", " ").rstrip() for f in Header(read_fields(content))]
        lines += [f"header {line[:400]}" for line in fields]
        counts[record.origin] += 1
        label = f"message {counts[record.origin]}" + ("" if record.origin == "smtp" else f" ({record.origin})")
        return Final(label, Counter(map(ids.label, lines)))

    async def _forget(self) -> None:
        """Takes away what is left, so that the next session is alone."""
        for entry in self._life.entries():
            await self._life.transport.operations.remove(entry.id)
        await _turns()

    def _listener(self, name: str) -> str:
        names = [listener.name for listener in self._config.listeners]
        return name if name in names or not names else names[0]

    def _note(self, facts: Callable[[], Facts]) -> None:
        """Takes the place of a capture's tap: the first who sees a new session, and the only one who can say what DNS said."""
        self._facts = facts
        work = facts().session
        if work is not None:
            work.client_name = self._client_name

    _client_name = ""


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _node(config: Config, world: World) -> Node:
    """What the server does for sinks in processes of their own, on the clock of the replay."""
    node = Node(config, [world.spool])
    node.now, node.new_id = world.loop.clock.now, world.new_id
    return node


def _furnished(plug: Plug, node: Node) -> Plug:
    """The plug, with its processes where it runs in such."""
    return replace(plug, remote=_Process(plug, get_log(), node)) if plug.run_in == "process" and plug.enabled else plug


def _recipient(address: Address, route: str) -> str:
    return f"<{address}>" + (f" by {route}" if route else "")


def turns(steps: Sequence[Step]) -> list[tuple[Step, str]]:
    """What the client said, each with why it cannot be said again, or ""."""
    client = [step for step in steps if step.kind != "reply"]
    found: list[tuple[Step, str]] = []
    for number, step in enumerate(client):
        following = client[number + 1] if number + 1 < len(client) else None
        is_talk = step.kind == "command" and following is not None and following.kind == "answer" and following.hidden
        found.append((step, _HIDDEN if step.hidden or is_talk or step.kind == "auth" else ""))
    return found


def shown(step: Step) -> str:
    """What the client said, in a line."""
    if step.kind == "content":
        return f"(content, {len(step.octets) + step.missing} octets)"
    line = step.octets.split("\r\n", 1)[0][:_SHOWN]
    return line if step.kind in ("command", "refused", "auth") and line else f"({step.kind}, {len(step.octets)} octets)"


def _goes_on(run: Run, step: Step) -> bool:
    """Whether a server that was asked for DATA said that the content may come."""
    if step.raw[:5].upper() == b"BDAT ":
        return True
    last = next((said for said in reversed(run.said) if not said.skipped), None)
    return last is not None and bool(last.replies) and last.replies[-1].startswith("354")
