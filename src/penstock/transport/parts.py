"""What the parts of transport share: what they work with, how they behave, and the limits that end loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..events.binding import Bindings
from ..events.dispatch import Dispatcher
from ..events.work import Backplane, Facts, MessageWork
from ..observe.log import Log
from ..queue.policy import Policies, RetryPolicy
from ..queue.scheduler import Scheduler, SchedulerSettings
from ..storage.base import Spool

if TYPE_CHECKING:
    from .aging import AgingSettings
    from .notices import NoticeSettings


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How transport behaves.

    Args:
        retry: when deferred mail is tried again.
        scheduler: how much at once; who serves queues is filled in by transport.
        is_local: whether mail for a domain, given in lower case, is delivered here; by default all of it, which the sinks of LocalDelivery
            then judge.
        members: how many recipients one message may come to by expansion.
        nesting: how many addresses may lead to one another.
        local_sessions: deliveries to one local domain that wait for their sinks at the same time.
        large: octets of new content from which a stage waits until they are durable, so that a full disk puts the message off.
        policies: the retry policy of each domain; None for ``retry`` everywhere.
        notices: how reports are sent; None for the plain way.
        aging: how often messages in queues that rest are looked after; None for every minute.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    is_local: Callable[[str], bool] = lambda domain: True
    members: int = 20_000
    nesting: int = 50
    local_sessions: int = 20
    large: int = 64 * 1024
    policies: Policies | None = None
    notices: NoticeSettings | None = None
    aging: AgingSettings | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What transport works with; put together by the composition root."""

    server: Backplane
    spool: Spool
    dispatcher: Dispatcher
    log: Log

    def facts(self, work: MessageWork) -> Facts:
        """What an event of this message is about."""
        return Facts(self.server, None, work)


@dataclass(frozen=True, slots=True)
class Shop:
    """What every part of transport is given: the parts, the bindings of the present generation, the settings, and the scheduler.

    ``split`` is told of each part of a message that becomes a message of its own: the id of the message, and that of the part.
    """

    parts: Parts
    bindings: Bindings
    settings: TransportSettings
    scheduler: Scheduler
    split: Callable[[str, str], None] = lambda message_id, part: None
