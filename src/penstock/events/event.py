"""What all events have in common: what they carry, and how a handler's drafts begin and come to count.

What a handler edits through an event is a draft of its own: ``begin`` starts it, ``commit`` makes it count. A handler that the server has
to wait for gets a ``clone``, and the server's event ``absorb``s what became of it; so a handler that runs on after its deadline holds
nothing that anybody else looks at."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import TYPE_CHECKING, ClassVar, Generic, Never, Self, TypeVar, get_args, get_origin

from ..mail.envelope import Recipient
from ..mail.message import Direction, Origin, keep_recipient
from . import verdict as v
from .message import Message
from .recipients import tidy
from .views import RemoteSession, Server, Session
from .work import Facts, Scope

_NOBODY = Scope("", "")
Admitted = tuple[type[v.Verdict], ...]
V_co = TypeVar("V_co", covariant=True)


class Answered(Generic[V_co]):
    """What answers an event: the verdicts that it admits, as a union; Never for an event that is only told.

    A type checker compares with it what a handler returns (``on`` in ``sink``); what it declares is not there when the program runs.
    """

    __slots__ = ()
    if TYPE_CHECKING:

        @property
        def answer(self) -> V_co:
            """A verdict that the event admits."""

        def itself(self) -> Self:
            """The event."""


class Event:
    """What every event carries: ``server``, ``origin``, ``direction``, ``attempt`` and ``matched_recipients``.

    ``attempt`` says which time this moment is told of, from 1. ``matched`` and all that is not documented here is the dispatcher's.
    """

    admits: ClassVar[Admitted] = ()
    # The verdicts that change something and go on with the next binding.
    edits: ClassVar[Admitted] = ()
    report: ClassVar[bool] = False
    # A stage of transport is recorded when it is over, and remembers which bindings it asked.
    stage: ClassVar[bool] = False
    __slots__ = ("_message", "_scope", "_session", "attempt", "facts", "matched")

    _every_slot: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in vars(cls).get("__orig_bases__", ()):
            if get_origin(base) is Answered:
                # Said once, for type checkers and for the dispatcher.
                (said,) = get_args(base)
                cls.admits = () if said is Never else get_args(said) if isinstance(said, UnionType) else (said,)
        cls._every_slot = tuple(slot for base in cls.__mro__ for slot in getattr(base, "__slots__", ()))

    def __init__(self, facts: Facts, attempt: int = 1) -> None:
        self.facts = facts
        self.attempt = attempt
        self.matched: tuple[int, ...] = ()
        self._scope = _NOBODY
        self._session: Session | RemoteSession | None = None
        self._message: Message | None = None

    @property
    def server(self) -> Server:
        """This virtual server."""
        work = self.facts.message
        return Server(self.facts.server, self._scope, work.record.generation if work else 0)

    @property
    def origin(self) -> Origin:
        """How the message, or the session, came here."""
        return self.facts.message.record.origin if self.facts.message else "smtp"

    @property
    def direction(self) -> Direction:
        """ "in" from outside, "out" to outside, or "internal"."""
        if self.facts.message is not None:
            return self.facts.message.record.direction
        return "in" if self.facts.outbound is None else "out"

    @property
    def matched_recipients(self) -> tuple[Recipient, ...]:
        """The recipients that met the binding's recipient condition, to be edited or forked like others; () without a condition."""
        shown = self._shown_recipients() if self.matched else ()
        return tuple(shown[index] for index in self.matched)

    def recipients_now(self) -> Sequence[Recipient]:
        """The recipients as the server has them; for conditions, which look and do not touch."""
        return self.facts.message.record.envelope.recipients if self.facts.message else ()

    def _shown_recipients(self) -> Sequence[Recipient]:
        """The recipients as the present handler sees them, in the order of ``recipients_now``."""
        message = self._message_view()
        return message.shown_recipients() if message else ()

    def begin(self, scope: Scope) -> None:
        """Starts the drafts of one handler."""
        self._scope = scope
        self._session = None
        self._message = None

    def is_shown_to(self, scope: Scope) -> bool:
        """Whether this handler was the last whose drafts were started, and what it edited may be in force."""
        return self._scope is scope

    def show(self, message: Message) -> None:
        """Puts a view of the message in the place of its own: what a handler in another process made of it."""
        self._message = message

    def commit(self) -> None:
        """Makes the handler's drafts count, all or none: what can be refused comes first."""
        if self._message is not None:
            self._message.commit()
        if self._session is not None:
            self._session.commit()

    def judge(self, verdict: v.Verdict) -> object:
        """What a verdict that edits asks for, checked. Raises ValueError, TypeError."""
        raise NotImplementedError(f"{type(self).__name__} has no verdict that edits")

    def edit(self, edit: object) -> None:
        """Does what ``judge`` returned."""
        raise NotImplementedError(f"{type(self).__name__} has no verdict that edits")

    def clone(self) -> Event:
        """The same event for one handler, which may keep it and run on while everybody else has this one."""
        other: Event = object.__new__(type(self))
        other.absorb(self)
        return other

    def absorb(self, clone: Event) -> None:
        """Takes over what a handler made of its clone."""
        for name in self._every_slot:
            setattr(self, name, getattr(clone, name))

    def _message_view(self) -> Message | None:
        if self._message is None and self.facts.message is not None:
            self._message = Message(self.facts.message, self._scope, self.facts.server)
        return self._message


class InSession(Event):
    """An event that always has its session."""

    __slots__ = ()

    @property
    def session(self) -> Session:
        """The SMTP session."""
        if self._session is None:
            assert self.facts.session is not None
            self._session = Session(self.facts.session, self._scope)
        assert isinstance(self._session, Session)
        return self._session


class AboutMessage(Event):
    """An event that always has its message."""

    __slots__ = ()

    @property
    def message(self) -> Message:
        """The message so far."""
        message = self._message_view()
        assert message is not None
        return message


class SessionEvent(InSession):
    """An event of an SMTP session; ``message`` is None before MAIL and grows as envelope and content arrive."""

    __slots__ = ()

    @property
    def message(self) -> Message | None:
        """The message so far, or None before MAIL."""
        return self._message_view()


class TransactionEvent(InSession, AboutMessage):
    """An event of a mail transaction within an SMTP session."""

    __slots__ = ()


class MessageEvent(AboutMessage):
    """An event of a message in transport; ``session`` is the one it came in when it is still known, else None."""

    __slots__ = ()

    @property
    def session(self) -> Session | None:
        """The SMTP session that the message came in, when it is still under way, else None."""
        if self._session is None and self.facts.session is not None:
            self._session = Session(self.facts.session, self._scope)
        assert isinstance(self._session, Session | None)
        return self._session


class OneRecipient(Event):
    """An event about one recipient, which a handler may edit."""

    __slots__ = ("_draft", "work")

    def __init__(self, facts: Facts, recipient: Recipient, attempt: int = 1) -> None:
        super().__init__(facts, attempt)
        self.work = recipient
        self._draft: Recipient | None = None

    @property
    def recipient(self) -> Recipient:
        """The recipient; may be edited in place."""
        if self._draft is None:
            self._draft = self.work.copy()
        return self._draft

    def begin(self, scope: Scope) -> None:
        super().begin(scope)
        self._draft = None

    def recipients_now(self) -> Sequence[Recipient]:
        return (self.work,)

    def _shown_recipients(self) -> Sequence[Recipient]:
        return (self.recipient,)

    def commit(self) -> None:
        kept = self.work
        if self._draft is not None:
            tidy(self._draft)
            if self._draft != kept:
                # A copy, since the sink may hold on to its draft.
                kept = keep_recipient(self._draft)
        super().commit()
        self.work = kept


class Report(Event, Answered[Never]):
    """Tells, and cannot be answered."""

    report = True
    __slots__ = ()
