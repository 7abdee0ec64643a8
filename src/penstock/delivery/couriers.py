"""The couriers of a worker: begins one for each session that a destination is given, and ends them all.

One task a session, none a message.
"""

from __future__ import annotations

import asyncio

from ..events.binding import Bindings
from ..queue.destination import Destination
from .courier import LAST_WAIT, Courier, CourierParts
from .exchange import Context
from .hooks import Hooks
from .lending import Lending, Loan
from .settings import DeliverySettings


class Couriers:
    """Serves destinations over SMTP and LMTP; a queue ``Carrier``.

    Args:
        parts: what they work with.
        bindings: the bindings of the present generation.
        settings: how deliveries behave.
    """

    def __init__(self, parts: CourierParts, bindings: Bindings, settings: DeliverySettings) -> None:
        self._parts = parts
        self._settings = settings
        self.context = Context(parts.server, Hooks(parts.dispatcher, bindings), parts.log)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.lending = Lending()

    def rebind(self, bindings: Bindings, settings: DeliverySettings | None = None) -> None:
        """From now on new sessions ask these bindings; those under way keep theirs to the end of their present message.

        Args:
            bindings: the bindings of the new generation.
            settings: how new couriers deliver; None for as before.
        """
        self._settings = settings or self._settings
        self.context = Context(self._parts.server, Hooks(self._parts.dispatcher, bindings), self._parts.log)

    @property
    def stopping(self) -> bool:
        """True when no further message is begun."""
        return self._stopping

    def attend(self, destination: Destination) -> None:
        """Begins one more session with a destination."""
        if self._stopping or not self.lending.may_begin(destination.name):
            return
        destination.begin_session()
        task = asyncio.get_running_loop().create_task(self._run(destination, self.lending.take(destination.name)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, seconds: float) -> None:
        """Begins no further message, gives those under way so long, and then ends them, before their last dot where that is possible."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=LAST_WAIT)

    async def _run(self, destination: Destination, loan: Loan | None) -> None:
        try:
            courier = Courier(self, self._parts, self._settings, destination)
            courier.loan = loan
            await courier.run()
        except Exception as error:
            self._parts.log.error("session failed", queue=destination.name, error=f"{type(error).__name__}: {error}", exc_info=error)
        finally:
            if loan is not None:
                loan.end()
            destination.end_session()
