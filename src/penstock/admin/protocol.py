"""What goes over the control socket: one question a connection, as a line of JSON, and its answer, as lines of JSON.

    {"op": "list", "version": 1, "filter": {"queue": "mx:*"}, "limit": 500}
    {"re": "message", "queue_id": "1KA9D2M7QRX4T000", ...}
    {"re": "done", "cursor": "1KA9D2M7QRX4T000"}

The last line is always a ``Done`` or a ``Failed``. A question is answered in bounded time and space: a long listing comes in pages, and
whoever wants to go on hands in the cursor with a new question. So a slow reader (a pager, a person) costs the worker nothing between
pages, and there is nothing to clean up when it goes away. Rejected: one endless answer with back-pressure, for which every reader that
pauses looks like one that hangs.

A content follows its question, or makes up an answer, as ``Data`` lines of base64, so that nothing on the socket is anything but JSON.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from ..errors import PenstockError
from .line import VERSION
from .line import Answer as Answer
from .line import Question as Question
from .protocol_bindings import BindingChanged, BindingRow, ChangeBinding, ListBindings, Reload, ReloadRow
from .protocol_trace import AskTracing, TracingRow

# The longest line either side takes from the other: a thousand recipients of the greatest length fit.
MAX_LINE = 512 * 1024
# Octets of content in one Data line.
PIECE = 48 * 1024
# The most messages in one page, and ids in one question.
MAX_PAGE = 1000

Action = Literal["hold", "release", "retry", "remove", "bounce", "reroute"]
T = TypeVar("T")


class ControlError(PenstockError):
    """A question cannot be answered.

    Args:
        kind: what sort of trouble it is, as in ``Failed``.
        what: what is wrong, in one line.
    """

    def __init__(self, kind: FailureKind, what: str) -> None:
        super().__init__(what)
        self.kind: FailureKind = kind
        self.what = what


# usage: the question is wrong; data: what was handed in is; unknown: there is no such message or queue; later: ask again; denied: not for
# this user; internal: an error of ours.
FailureKind = Literal["usage", "data", "unknown", "later", "denied", "internal"]


class Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which messages; all conditions that are given must hold.

    Args:
        ids: only these; empty for any.
        queue: a pattern (``*``, ``?``) of the queue's name.
        sender: a pattern of the reverse-path; ``<>`` is the null path. Without ``@`` it is one of the domain.
        recipient: a pattern of a recipient's address, in the same way.
        older_than: seconds since it was received, at least.
        younger_than: seconds since it was received, at most.
        held: True for held ones, False for the others.
        stage: the stage that is over, e.g. "routed".
        reason: a part of why it is held or was not delivered, in any case.
        larger: octets, at least.
        smaller: octets, at most.
        until: only those that were there at this time, in seconds since 1970, so that a change of all does not run after what comes in.
    """

    ids: list[str] = []
    queue: str = ""
    sender: str = ""
    recipient: str = ""
    older_than: float | None = None
    younger_than: float | None = None
    held: bool | None = None
    stage: str = ""
    reason: str = ""
    larger: int | None = None
    smaller: int | None = None
    until: float = 0.0


# --- questions ---


class ListMessages(Question, frozen=True, tag="list"):
    """Asks for messages in order of id: ``MessageRow`` lines.

    Args:
        filter: which.
        cursor: from the page before, "" for the first.
        limit: at most so many.
    """

    filter: Filter = Filter()
    cursor: str = ""
    limit: int = 500


class ShowMessage(Question, frozen=True, tag="show"):
    """Asks for all that is known of one message: a ``Detail``."""

    id: str


class CatMessage(Question, frozen=True, tag="cat"):
    """Asks for the content of one message as it is now, with its edited header: ``Data`` lines."""

    id: str


class ChangeMessages(Question, frozen=True, tag="change"):
    """Does something with messages, a ``Changed`` for each.

    Args:
        action: what.
        filter: with which.
        cursor: from the page before, "" for the first.
        text: why, for a hold or a bounce.
        next_hop: where to, for a reroute.
    """

    action: Action
    filter: Filter
    cursor: str = ""
    text: str = ""
    next_hop: str = ""


class CountQueues(Question, frozen=True, tag="summary"):
    """Asks how many messages each queue has: ``QueueRow`` lines; costs a look-up a queue."""


class CountAges(Question, frozen=True, tag="shape"):
    """Asks how old messages are, by queue: ``AgesRow`` lines, which add up over the pages. Reads every message."""

    cursor: str = ""


class ListDestinations(Question, frozen=True, tag="destinations"):
    """Asks for the state of the queues that are worked on: ``DestinationRow`` lines."""


class Suspend(Question, frozen=True, tag="suspend"):
    """Begins nothing more in a queue.

    Args:
        queue: its name.
        seconds: for how long; None until it is resumed.
        reason: why.
    """

    queue: str
    seconds: float | None = None
    reason: str = ""


class Resume(Question, frozen=True, tag="resume"):
    """Ends the suspension of a queue."""

    queue: str


class Flush(Question, frozen=True, tag="flush"):
    """Tries now what waits in one queue, or with "" in all. ``Done.count`` says in how many queues."""

    queue: str = ""


class Lend(Question, frozen=True, tag="lend"):
    """Lends a customer's connection for what waits in his queue (ATRN, RFC 2645). ``Done.count`` is 1 when it was used and can be used on,
    0 when it was not used; ``Failed`` says that it is lost.

    Args:
        queue: whose mail is fetched.
        path: the Unix socket behind which the customer is.
    """

    queue: str
    path: str


class Submit(Question, frozen=True, tag="submit"):
    """Hands in a message. Its content follows as ``Data`` lines, of which an empty one is the last; ``Done.id`` is told when it is durable.

    Args:
        sender: the reverse-path, "" for the null path.
        recipients: where it goes.
        notify: words of NOTIFY for all of them, in lower case (RFC 3461 §4.1).
        ret: "FULL", "HDRS" or "" (RFC 3461 §4.3).
        envid: the envelope id, "" for none (RFC 3461 §4.4).
        body: "8BITMIME", "7BIT" or "" (RFC 6152).
        smtputf8: the message needs SMTPUTF8 (RFC 6531).
    """

    sender: str
    recipients: list[str]
    notify: list[str] = []
    ret: Literal["", "FULL", "HDRS"] = ""
    envid: str = ""
    body: Literal["", "7BIT", "8BITMIME"] = ""
    smtputf8: bool = False


class ResetRoutes(Question, frozen=True, tag="reset-routes"):
    """Asks for the next hop of all that is queued again. ``Done.count`` says how many got another."""


class AskStatus(Question, frozen=True, tag="status"):
    """Asks how the worker is: a ``StatusRow``."""


AnyQuestion = (
    ListMessages | ShowMessage | CatMessage | ChangeMessages | CountQueues | CountAges | ListDestinations
    | Suspend | Resume | Flush | Lend | Submit | ResetRoutes | AskStatus | ListBindings | Reload | ChangeBinding | AskTracing
)  # fmt: skip


# --- answers ---


class RecipientRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recipient, in the words of ``postqueue -j``."""

    address: str
    delay_reason: str = ""


class MessageRow(Answer, frozen=True, tag="message"):
    """One message: first the words of ``postqueue -j``, then ours.

    Args:
        queue_name: "hold", "deferred" or "active", as in Postfix.
        queue_id: the id.
        arrival_time: in seconds since 1970.
        message_size: octets.
        sender: the reverse-path, "" for the null path.
        recipients: those that are still to be served.
        queue: the queue of its next hop, "" while it is in none.
        stage: the stage that is over.
        due: when it is tried next, in seconds since 1970; 0 for at once, or, when it is deferred, for when somebody asks for it.
        reason: why it is held, or was not delivered.
        attempts: how often delivery was put off.
        worker: who has it.
    """

    queue_name: str
    queue_id: str
    arrival_time: int
    message_size: int
    sender: str
    recipients: list[RecipientRow]
    queue: str
    stage: str
    due: float
    reason: str
    attempts: int
    worker: str


class RecipientDetail(msgspec.Struct, frozen=True):
    """All that is known of a recipient; the fields are those of ``mail.envelope.Recipient``, as text."""

    address: str
    original: str
    orcpt: str
    notify: list[str]
    route: str
    variant: str
    reason: str
    parameters: dict[str, str]


class Detail(Answer, frozen=True, tag="detail"):
    """All that is known of a message.

    Args:
        row: what a listing says of it.
        recipients: at length.
        facts: the rest of its record, by the names of ``mail.message.MessageRecord``; empty when the record is damaged.
        header: its header fields with edits, with LF as line end; cut when it is very long.
    """

    row: MessageRow
    recipients: list[RecipientDetail]
    facts: dict[str, str | int | float | bool]
    header: str


class Data(Answer, frozen=True, tag="data"):
    """Octets of a content, base64 on the wire."""

    octets: bytes


class Changed(Answer, frozen=True, tag="changed"):
    """What came of a change.

    Args:
        id: of the message.
        result: "later" when it is being worked on and the change waits for the end of that, "already" when it is as wished.
        failed: why nothing came of it, "" when something did.
    """

    id: str
    result: Literal["done", "later", "already", "failed"]
    failed: str = ""


class QueueRow(Answer, frozen=True, tag="queue"):
    """What a queue has.

    Args:
        queue: its name, "" for what is in none.
        count: messages, held ones too.
        held: of these, held.
        oldest: since when the oldest waits, in seconds since 1970; 0 when it is not known.
        worker: who has them.
    """

    queue: str
    count: int
    held: int
    oldest: float
    worker: str


class AgesRow(Answer, frozen=True, tag="ages"):
    """How many messages of a queue are how old; each number counts up to the age in ``ages.LIMITS`` of its place."""

    queue: str
    counts: list[int]


class DestinationRow(Answer, frozen=True, tag="destination", kw_only=True):
    """The state of a queue that is worked on.

    Args:
        queue: its name.
        state: "active", "backing-off", "suspended" or "closed by schedule".
        window: how many sessions it may have now.
        sessions: how many it has.
        last_error: what went wrong last, "" for nothing.
        next_try: when it is tried again, in seconds since 1970; 0 for now.
        worker: whose view it is.
    """

    queue: str
    state: str
    window: int = 0
    sessions: int = 0
    last_error: str = ""
    next_try: float = 0.0
    worker: str = ""


class StatusRow(Answer, frozen=True, tag="status"):
    """How a worker is.

    Args:
        worker: its name.
        pid: its process.
        version: of Penstock.
        started: in seconds since 1970.
        messages: how many it keeps.
        listeners: host and port by listener.
        generation: of its bindings; 1 at the start, and one more with each reload.
        retiring: old generations that sessions or messages still work with.
        last_error: why the last reload failed; "" when it did not.
    """

    worker: str
    pid: int
    version: str
    started: float
    messages: int
    listeners: dict[str, tuple[str, int]]
    generation: int = 0
    retiring: int = 0
    last_error: str = ""


class Done(Answer, frozen=True, tag="done", omit_defaults=True):
    """The end of an answer.

    Args:
        cursor: with which to ask for the next page, "" when there is none.
        count: how many, where the question says so.
        id: of the new message, where one was handed in.
    """

    cursor: str = ""
    count: int = 0
    id: str = ""


class Failed(Answer, frozen=True, tag="failed"):
    """The end of an answer that is none."""

    kind: FailureKind
    what: str


AnyAnswer = (
    MessageRow | Detail | Data | Changed | QueueRow | AgesRow | DestinationRow | StatusRow | Done | Failed
    | BindingRow | ReloadRow | BindingChanged | TracingRow
)  # fmt: skip


class _Versioned(msgspec.Struct):
    version: int


_encoder = msgspec.json.Encoder()
_question_decoder: msgspec.json.Decoder[AnyQuestion] = msgspec.json.Decoder(AnyQuestion)
_answer_decoder: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)
_data_decoder = msgspec.json.Decoder(Data)
_version_decoder = msgspec.json.Decoder(_Versioned)


def encode(line: Question | Answer) -> bytes:
    """The line, with its line end."""
    return _encoder.encode(line) + b"\n"


def decode_question(line: bytes) -> AnyQuestion:
    """The question in a line. Raises ControlError with what is wrong with it."""
    try:
        version = _version_decoder.decode(line).version
        if version != VERSION:
            raise ControlError("usage", f"the question is of version {version}, and this server speaks version {VERSION}")
        return _question_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError("usage", f"this is not a question: {error}") from None


def decode_answer(line: bytes) -> AnyAnswer:
    """The answer in a line. Raises ControlError."""
    try:
        return _answer_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError("internal", f"the server's answer cannot be read: {error}") from None


def decode_data(line: bytes) -> bytes:
    """The octets in a Data line. Raises ControlError."""
    try:
        return _data_decoder.decode(line).octets
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError("data", f"this is no part of a content: {error}") from None
