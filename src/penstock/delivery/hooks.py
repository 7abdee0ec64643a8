"""What sinks are asked in a session with a remote server: the chains of the outbound events, and how they are asked.

The chains are looked up once a session, so a session keeps those that it began with, and asks nothing where nobody is bound.
"""

from __future__ import annotations

from ..events.binding import Bindings
from ..events.chain import Chain
from ..events.dispatch import Dispatcher, Outcome
from ..events.event import Event
from ..events.outbound import BeforeData, Connecting, MessageStart, PerRecipient, ServerResponse, SessionEnd, SessionStart
from ..events.transit import ResolveHost


class Hooks:
    """The outbound events' bindings.

    Args:
        dispatcher: asks them.
        bindings: those of the present generation; ``uses`` counts who works with them.
    """

    __slots__ = (
        "_dispatcher", "before_data", "connecting", "message_start", "per_recipient", "resolve_host", "response", "session_end",
        "session_start", "uses",
    )  # fmt: skip

    def __init__(self, dispatcher: Dispatcher, bindings: Bindings) -> None:
        self._dispatcher = dispatcher
        self.uses = bindings.uses
        self.resolve_host = bindings.chain(ResolveHost)
        self.connecting = bindings.chain(Connecting)
        self.session_start = bindings.chain(SessionStart)
        self.message_start = bindings.chain(MessageStart)
        self.per_recipient = bindings.chain(PerRecipient)
        self.before_data = bindings.chain(BeforeData)
        self.response = bindings.chain(ServerResponse)
        self.session_end = bindings.chain(SessionEnd)

    @property
    def sees_message(self) -> bool:
        """True when somebody may edit the message for this hop."""
        return bool(self.message_start or self.per_recipient or self.before_data or self.response)

    async def ask(self, event: Event, chain: Chain) -> Outcome:
        """Asks the bindings; what came of it."""
        answer = self._dispatcher.ask(event, chain)
        return answer if isinstance(answer, Outcome) else await answer
