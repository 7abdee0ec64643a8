"""What becomes of a message on which our own code failed, or that is damaged: it is put aside, neither lost nor tried for ever."""

from __future__ import annotations

import msgspec

from ..errors import SpoolDamaged, StorageDamaged
from ..storage.base import Put
from .parts import Shop

# How long a message rests on which our own code failed.
BROKEN_WAIT = 300.0


def put_aside(shop: Shop, message_id: str, error: Exception) -> None:
    """Keeps a message for later, or holds it when it is damaged, and says so in the log."""
    parts = shop.parts
    parts.log.error("message could not be worked on", message=message_id, error=f"{type(error).__name__}: {error}", exc_info=error)
    try:
        if isinstance(error, SpoolDamaged):
            raise error
        entry = parts.spool.get(message_id)
    except SpoolDamaged:
        shop.settings.scheduler.on_damage()
        return
    if entry is None:
        return
    held = f"damaged: {error}" if isinstance(error, StorageDamaged | msgspec.DecodeError) else entry.held
    again = msgspec.structs.replace(entry, due=parts.server.now() + BROKEN_WAIT, held=held)
    parts.spool.append([Put(again)])
    if not held and again.queue:
        shop.scheduler.later(again.queue, again.due)
    elif not held:
        shop.scheduler.soon(again.due)
